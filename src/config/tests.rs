#![allow(clippy::unwrap_used)]

mod addresses;
mod bounds;
mod changes;
mod checks;
mod edits;
mod moved_listens;
mod operator_states;
mod saves;
mod settings;

use std::net::IpAddr;
use std::time::Duration;

use crate::model::Policy;

use super::{Fault, MAX_FAULTS, MssSetting, RealServer, director, realserver};

/// A director with `services`, which may start with keys of the director.
fn with_services(services: &str) -> String {
    format!("[director]\n{services}")
}

/// The faults as `LINE: key: message`.
fn lines(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_model_contains_the_values_of_the_text() {
    let director = director(
        r#"
        [director]
        tun = "tun7"
        uplinks = ["eth0", "eth1"]
        arp = false
        source = "10.0.0.1"
        announce_table = 4294967295
        control = "/run/d.sock"
        max_connections = 0x10
        offload = false
        hash_seed = "the same at both directors"
        maglev_slots = 131_071
        timeouts = { udp = "1h30m", tcp_close = "1s" }
        [[service]]
        name = "web"
        listen = ["192.0.2.11:80/tcp", "192.0.2.10:5000-5099/udp"]
        scheduler = "rr"
        real = [{ address = "10.0.0.12", weight = 0 }, { address = "10.0.0.11" }]
        [[service]]
        name = "empty"
        listen = ["192.0.2.10:*/tcp"]
        scheduler = "mh"
        hash_ports = false
        fallback = false
        [realserver]
        whatever = "is for the other daemon to check"
        "#,
    )
    .unwrap();
    assert_eq!(director.tun, "tun7");
    assert_eq!(director.uplinks, Some(vec!["eth0".to_owned(), "eth1".to_owned()]));
    assert!(!director.arp && !director.offload);
    assert_eq!(director.sources, [address("10.0.0.1")]);
    assert_eq!(director.announce_table, u32::MAX);
    assert_eq!(director.control.to_str(), Some("/run/d.sock"));
    assert_eq!(director.max_connections, 16);
    assert_eq!(director.hash_seed.as_deref(), Some("the same at both directors"));
    assert_eq!(director.maglev_slots, 131_071);
    assert_eq!(director.timeouts.udp, Duration::from_secs(5400));
    assert_eq!(director.timeouts.tcp_close, Duration::from_secs(1));
    assert_eq!(director.timeouts.tcp_established, Duration::from_secs(900));
    assert_eq!(director.vips(), [address("192.0.2.10"), address("192.0.2.11")]);
    assert_eq!(director.reals(), [address("10.0.0.11"), address("10.0.0.12")]);
    let [web, empty] = director.specs().collect::<Vec<_>>()[..] else {
        panic!("{:?}", director.services)
    };
    assert_eq!((web.name.as_str(), web.scheduler.name()), ("web", "rr"));
    assert_eq!(web.policy, Policy::default());
    assert_eq!(
        empty.policy,
        Policy { hash_ports: Some(false), fallback: false, ..Policy::default() }
    );
    assert_eq!(web.listens[1].to_string(), "192.0.2.10:5000-5099/udp");
    assert_eq!((web.reals[0].values.weight, web.reals[1].values.weight), (0, 1));
    assert_eq!((empty.listens[0].to_string().as_str(), empty.reals.len()), ("192.0.2.10:*/tcp", 0));
}

/// The hashing keys are accepted with hashing schedulers only.
#[test]
fn hashing_keys_need_a_hashing_scheduler() {
    for (scheduler, hash_ports, fallback) in
        [("mh", true, true), ("sh", true, true), ("dh", false, true), ("wlc", false, false)]
    {
        for (key, known) in [("hash_ports", hash_ports), ("fallback", fallback)] {
            let text = with_services(&format!(
                "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1/tcp\"]\n\
                 scheduler = \"{scheduler}\"\n{key} = true"
            ));
            let faults = director(&text).map(drop).err().unwrap_or_default();
            let expected =
                format!("6: service.{key}: has no effect with {scheduler}; it is for mh, sh");
            assert_eq!(faults.is_empty(), known, "{scheduler} {key} {faults:?}");
            assert!(lines(&faults).iter().all(|line| line.starts_with(&expected)), "{faults:?}");
        }
    }
    // One fault for an unknown scheduler, and none for its keys.
    let text = "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1/tcp\"]\n\
                scheduler = \"hm\"\nfallback = true";
    assert_eq!(director(&with_services(text)).unwrap_err().len(), 1);
}

#[test]
fn a_real_server_reads_its_own_table_only() {
    let text = r#"
        [director]
        whatever = "is for the other daemon to check"
        [realserver]
        vips = ["192.0.2.11", "192.0.2.10"]
        directors = ["10.0.0.0/30", "10.1.0.1"]
        mss = "off"
        rule_priority = 5
        table = 7
    "#;
    let RealServer { vips, directors, mss, rule_priority, table, .. } = realserver(text).unwrap();
    assert_eq!(vips, [address("192.0.2.11"), address("192.0.2.10")]);
    assert_eq!(directors, ["10.0.0.0/30".parse().unwrap(), "10.1.0.1/32".parse().unwrap()]);
    assert_eq!((mss, rule_priority, table), (MssSetting::Off, 5, 7));
}

#[test]
fn flags_give_the_same_model_as_a_file() {
    let owned = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
    let flags = RealServer::from_flags(
        &owned(&["192.0.2.10", "2001:DB8:0::10"]),
        &owned(&["10.0.0.1/32", "2001:db8:1::1"]),
        None,
    );
    let file = "[realserver]\nvips = [\"192.0.2.10\", \"2001:db8::10\"]\n\
                directors = [\"10.0.0.1\", \"2001:db8:1::1/128\"]\n";
    assert_eq!(flags, realserver(file));

    let flags = RealServer::from_flags(
        &owned(&["192.0.2.10", "192.0.2.10", "fe80::1"]),
        &owned(&["192.0.2.10"]),
        Some("/"),
    );
    let faults = lines(&flags.unwrap_err());
    let expected = [
        "--vip: 192.0.2.10 is given twice; keep one",
        "--vip: fe80::1 is a link-local address, which means nothing without an interface; write a \
         global or unique local address",
        "--control: \"/\" is not an absolute path of a file; write one such as \
         /run/vstun/director.sock",
        "--director: 192.0.2.10/32 is the virtual IP 192.0.2.10; write the director's own address",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn faults_of_all_parts_are_reported_together_by_line() {
    let text =
        "[[service]]\nname = \"a\"\nlisten = [\"x\"]\n[director]\narp = 1\narp = 2\ntun = \"\"\n";
    let keys: Vec<_> =
        director(text).unwrap_err().into_iter().map(|fault| (fault.line, fault.key)).collect();
    let expected = [(3, "service.listen"), (5, "director.arp"), (6, "arp"), (7, "director.tun")];
    assert_eq!(keys, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn after_a_syntax_error_nothing_else_is_reported() {
    let text = "[director]\ntun = \"vstun0\nx = 1\n[servise]\n";
    let faults = lines(&director(text).unwrap_err());
    assert_eq!(faults, ["2: syntax: invalid basic string, expected `\"`"]);
}

#[test]
fn faults_of_several_values_on_one_line_are_distinct() {
    let text = with_services(
        "service = [{ name = \"a\", listen = [\"192.0.2.1:1/tcp\"] }, \
         { name = \"a\", listen = [\"192.0.2.1:1/tcp\"] }]",
    );
    let faults = director(&text.replace("[director]\n", "director = {}\n")).unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["service.name", "service.listen"], "{faults:?}");
}

#[test]
fn overlaps_are_found_past_a_listen_that_ends_early() {
    let listens = ["1-100", "5-6", "50-60", "200", "101-150", "120"];
    let quoted: Vec<_> =
        listens.iter().map(|ports| format!("\n\"192.0.2.1:{ports}/udp\"")).collect();
    let service = format!("[[service]]\nname = \"a\"\nlisten = [{}]\n", quoted.join(","));
    let faults = director(&with_services(&service)).unwrap_err();
    let pairs: Vec<_> =
        faults.iter().map(|fault| fault.message.split(';').next().unwrap().to_owned()).collect();
    let expected = [
        "192.0.2.1:5-6/udp overlaps 192.0.2.1:1-100/udp of service a at line 5",
        "192.0.2.1:50-60/udp overlaps 192.0.2.1:1-100/udp of service a at line 5",
        "192.0.2.1:120/udp overlaps 192.0.2.1:101-150/udp of service a at line 9",
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn neighbours_do_not_overlap() {
    let service = "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1-9/udp\", \
                   \"192.0.2.1:10-19/udp\", \"192.0.2.1:1-19/tcp\", \"192.0.2.2:1-19/udp\"]\n";
    assert_eq!(director(&with_services(service)).unwrap().services[0].spec.listens.len(), 4);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "[director]\n\"a\\u001b[31m\" = 1\ntun = \"\\u001b[31m\"\n\"\\u001b\" = 1\n";
    for fault in director(text).unwrap_err() {
        assert!(!fault.to_string().chars().any(char::is_control), "{fault:?}");
    }
    let long = format!("[director]\n{} = 1\ntun = \"{}\"\n", "k".repeat(9999), "v".repeat(9999));
    for fault in director(&long).unwrap_err() {
        assert!(fault.to_string().len() < 400, "{fault:?}");
    }
}

#[test]
fn a_fault_prints_with_and_without_file_and_line() {
    let message = "is wrong".to_owned();
    let fault = Fault { line: 7, key: "director.tun".to_owned(), message: message.clone() };
    assert_eq!(fault.display("a.toml").to_string(), "a.toml:7: director.tun: is wrong");
    assert_eq!(fault.to_string(), "7: director.tun: is wrong");
    let flag = Fault { line: 0, key: "--vip".to_owned(), message: message.clone() };
    assert_eq!(flag.display("a.toml").to_string(), "--vip: is wrong");
    let whole = Fault { line: 1, key: String::new(), message };
    assert_eq!(whole.display("a.toml").to_string(), "a.toml:1: is wrong");
}

#[test]
fn a_thousand_faults_are_named_and_one_more_is_counted() {
    for (count, expected) in [(MAX_FAULTS, MAX_FAULTS), (MAX_FAULTS + 1, MAX_FAULTS + 1)] {
        let keys: String = (0..count).map(|key| format!("k{key} = 1\n")).collect();
        let text = format!(
            "[director]\n{keys}[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1/tcp\"]\n"
        );
        let faults = director(&text).unwrap_err();
        assert_eq!(faults.len(), expected);
        let last = &faults.last().unwrap().message;
        assert_eq!(last.starts_with("more than 1000 faults"), count > MAX_FAULTS, "{last}");
    }
}
