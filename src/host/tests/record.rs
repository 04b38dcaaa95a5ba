//! Recorded steps, and their order.

use super::*;

fn write(sysctl: &str, from: &str, to: &str) -> HostStep {
    let (sysctl, from, to) = (sysctl.to_owned(), from.to_owned(), to.to_owned());
    HostStep::Write { sysctl, from, to, beside: [].into() }
}

fn proxy(last: u8) -> HostStep {
    let address = IpAddr::from([192, 0, 2, last]);
    HostStep::Add(Object::Proxy { address, link: "eth0".into() })
}

fn forwarding(to: &str) -> HostStep {
    write("net/ipv6/conf/eth0/forwarding", "0", to)
}

#[test]
fn guards_come_first_and_a_later_step_replaces_one_with_the_same_key() {
    let guard = write("net/ipv6/conf/eth1/accept_ra", "1", "2");
    let mut record = HostRecord::from_iter([forwarding("1"), proxy(1), proxy(2), guard.clone()]);
    assert!(record.iter().eq(&[guard.clone(), forwarding("1"), proxy(1), proxy(2)]));
    record.add(guard.clone());
    record.add(forwarding("2"));
    let expected = [guard.clone(), proxy(1), proxy(2), forwarding("2")];
    assert!(record.iter().eq(&expected));
    assert_eq!(record, HostRecord::from_iter(expected));
    assert_ne!(record, HostRecord::from_iter([guard, proxy(2), proxy(1), forwarding("2")]));
    assert_eq!(record.len(), 4);
}

#[test]
fn a_step_is_found_by_its_key() {
    let record = HostRecord::from_iter([forwarding("1"), proxy(1)]);
    let other = write("net/ipv6/conf/eth0/forwarding", "7", "1");
    assert_eq!(record.same_end(&other), Some(&forwarding("1")), "whatever was before");
    assert!(!record.contains(&other));
    assert_eq!(record.same_end(&forwarding("2")), None);
    assert_eq!(record.about(&forwarding("2").record_key()), Some(&forwarding("1")));
    assert!(record.contains(&proxy(1)));
    assert_eq!(record.about(&proxy(2).record_key()), None);
}

#[test]
fn only_the_equal_step_is_forgotten() {
    let mut record = HostRecord::from_iter([forwarding("1"), proxy(1), proxy(2)]);
    record.forget(&forwarding("2"));
    record.forget(&proxy(3));
    assert_eq!(record.len(), 3);
    record.forget(&proxy(1));
    record.retain(|step| *step != forwarding("1"));
    assert!(record.iter().eq(&[proxy(2)]));
    assert_eq!(record.about(&proxy(1).record_key()), None);
    assert_eq!(record.about(&forwarding("1").record_key()), None);
    record.retain(|_| false);
    assert!(record.is_empty());
}

/// Two interfaces that swap their names swap their steps.
#[test]
fn renamed_interfaces_keep_their_own_steps() {
    let of = |link: &str, last| {
        let address = IpAddr::from([192, 0, 2, last]);
        let path = sysctl::conf(link, "forwarding");
        [HostStep::Add(Object::Proxy { address, link: link.into() }), write(&path, "0", "1")]
    };
    let names = [("eth0", "eth1"), ("eth1", "eth0")];
    let names = names.map(|(old, new)| (old.to_owned(), new.to_owned())).into();
    let before = HostRecord::from_iter([of("eth0", 1), of("eth1", 2)].concat());
    let after: HostRecord = before.iter().map(|step| step.renamed(&names)).collect();
    assert!(after.iter().eq(&[of("eth1", 1), of("eth0", 2)].concat()));
    let all = sysctl::conf("all", "forwarding");
    assert_eq!(write(&all, "0", "1").renamed(&names), write(&all, "0", "1"));
}
