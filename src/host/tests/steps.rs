//! Steps, their inverses and their text.

use super::*;

fn every_kind() -> Vec<HostStep> {
    let address = ip("192.0.2.10");
    let link = "eth0.100".to_owned();
    vec![
        HostStep::Write {
            sysctl: sysctl::conf("eth0.100", "forwarding"),
            from: "0".into(),
            to: "1".into(),
            beside: [(sysctl::conf("eth1", "forwarding"), "2".to_owned())].into(),
        },
        HostStep::Add(Object::Proxy { address, link: link.clone() }),
        HostStep::Add(Object::Address { address, link: link.clone() }),
        HostStep::Add(Object::Route { address, link: link.clone(), table: 254, source: None }),
        HostStep::Add(Object::Neighbour { address, link, source: None }),
        HostStep::Add(Object::Rule { from: address, table: 100, priority: 100 }),
        HostStep::Remove(Object::Copies { table: 100 }),
    ]
}

#[test]
fn the_inverse_of_the_inverse_is_the_step() {
    for step in every_kind() {
        assert_ne!(step.inverse(), step);
        assert_eq!(step.inverse().inverse(), step);
    }
}

#[test]
fn a_step_survives_the_state_file() {
    for step in every_kind() {
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<HostStep>(&text).unwrap(), step, "{text}");
    }
    let text = serde_json::to_string(&every_kind()[1]).unwrap();
    assert_eq!(text, r#"{"add":{"proxy":{"address":"192.0.2.10","link":"eth0.100"}}}"#);
}

#[test]
fn a_step_knows_its_interface() {
    let links: Vec<_> = every_kind().iter().map(|step| step.link().map(str::to_owned)).collect();
    let eth = || Some("eth0.100".to_owned());
    assert_eq!(links, [eth(), eth(), eth(), eth(), eth(), None, None]);
}

#[test]
fn a_route_with_another_source_takes_the_place_of_the_old_one() {
    let route = |source| {
        let (address, link) = (ip("192.0.2.10"), "vstun0".to_owned());
        HostStep::Add(Object::Route { address, link, table: 254, source })
    };
    let mut record = HostRecord::from_iter([route(None), every_kind()[1].clone()]);
    record.add(route(Some(ip("10.0.0.1"))));
    let expected = [every_kind()[1].clone(), route(Some(ip("10.0.0.1")))];
    assert!(record.iter().eq(&expected));
}
