#![allow(clippy::unwrap_used)]

use super::*;

fn end(state: EndState, listening: ListenerKinds) -> EndFacts {
    let answer = InquiryAnswer {
        state,
        listening: vec![listening],
        program: "1".to_owned(),
        text: "a rule is gone: `ip rule add from 192.0.2.10`".to_owned(),
        ..InquiryAnswer::default()
    };
    EndFacts {
        real: "10.0.0.11".parse().unwrap(),
        vip: "192.0.2.10".parse().unwrap(),
        listens: vec!["192.0.2.10:53/udp".parse().unwrap()],
        answer: EndAnswer::Answered { answer, clock: 0 },
        full: None,
    }
}

fn causes(end: &EndFacts) -> Vec<&'static str> {
    findings(end, "1").iter().map(|one| one.cause.name()).collect()
}

#[test]
fn each_state_has_its_finding_with_a_command() {
    let well = EndState::CONFIGURED.and(EndState::PRESENT);
    let table = [
        (well, ListenerKinds::VIP, vec![]),
        (EndState::default(), ListenerKinds::VIP, vec!["vip_missing"]),
        (EndState::CONFIGURED, ListenerKinds::default(), vec!["vip_missing"]),
        (well.and(EndState::ELSEWHERE), ListenerKinds::VIP, vec!["announcing"]),
        (well.and(EndState::ANSWERS_ARP), ListenerKinds::VIP, vec!["announcing"]),
        (well.and(EndState::STRICT), ListenerKinds::VIP, vec!["rp_filter"]),
        (well.and(EndState::NO_MSS), ListenerKinds::VIP, vec!["mss"]),
        (well.and(EndState::FAULTS), ListenerKinds::VIP, vec!["host"]),
        (well, ListenerKinds::WILDCARD, vec!["udp_wildcard"]),
        (well, ListenerKinds::ELSEWHERE, vec!["listener"]),
        (well, ListenerKinds::V6_ONLY, vec!["listener"]),
        (well, ListenerKinds::DEVICE, vec!["listener"]),
        (well, ListenerKinds::DEVICE.and(ListenerKinds::VIP), vec![]),
        (well, ListenerKinds::FULL.and(ListenerKinds::VIP), vec!["listener"]),
        (well, ListenerKinds::default(), vec!["listener"]),
    ];
    for (state, listening, expected) in table {
        let end = end(state, listening);
        assert_eq!(causes(&end), expected, "{state:?} {listening:?}");
        for found in findings(&end, "1") {
            assert!(!found.mend.is_empty(), "{found:?}");
            assert_eq!(found.on, "real server 10.0.0.11", "{found:?}");
        }
    }
}

/// The commands name the TUN that its daemon uses.
#[test]
fn commands_name_the_real_server_s_own_tun() {
    for (tun, named) in [("lvs.7", "lvs.7"), ("", "vstun0")] {
        let commands = |state: EndState| {
            let mut end = end(state, ListenerKinds::VIP);
            let EndAnswer::Answered { answer, .. } = &mut end.answer else { panic!("it answered") };
            tun.clone_into(&mut answer.tun);
            findings(&end, "1")[0].mend.clone()
        };
        let lost = commands(EndState::CONFIGURED);
        assert_eq!(lost, [format!("ip -4 addr add 192.0.2.10/32 dev {named}")]);
        let strict = commands(EndState::CONFIGURED.and(EndState::PRESENT).and(EndState::STRICT));
        assert_eq!(strict, [format!("sysctl -w net/ipv4/conf/{named}/rp_filter=2")]);
    }
}

/// An address cannot be added while its family is off.
#[test]
fn the_daemon_s_own_text_about_a_missing_address_is_the_finding() {
    let mut end = end(EndState::CONFIGURED.and(EndState::FAULTS), ListenerKinds::VIP);
    let EndAnswer::Answered { answer, .. } = &mut end.answer else { panic!("it has answered") };
    answer.text = "virtual IP 192.0.2.10 is off; turn it on with `sysctl -w x=0` | another".into();
    let found = findings(&end, "1");
    let mends: Vec<_> = found.iter().map(|one| (one.cause, one.mend[0].as_str())).collect();
    assert_eq!(mends, [(Cause::VipMissing, "sysctl -w x=0"), (Cause::Host, "vstun doctor")]);
}

#[test]
fn another_release_a_wrong_clock_and_a_narrow_path_are_named() {
    let mut end = end(EndState::CONFIGURED.and(EndState::PRESENT), ListenerKinds::VIP);
    assert_eq!(findings(&end, "2")[0].cause, Cause::Version);
    for (ahead, expected) in [(CLOCKS, 0), (CLOCKS + 1, 1), (-CLOCKS, 0), (-CLOCKS - 1, 1)] {
        let EndAnswer::Answered { clock, .. } = &mut end.answer else { panic!("it has answered") };
        *clock = ahead;
        assert_eq!(findings(&end, "1").len(), expected, "{ahead} ms");
    }
    let EndAnswer::Answered { clock, .. } = &mut end.answer else { panic!("it has answered") };
    *clock = 0;
    for (reported, severity) in [(None, Severity::Fault), (Some(1_400), Severity::Warning)] {
        end.full = Some(FullSize { mtu: 1_500, passed: false, largest: Some(1_396), reported });
        let found = findings(&end, "1");
        assert_eq!((found[0].cause, found[0].severity), (Cause::Mtu, severity));
        let fits = reported.map_or(1_396, usize::from);
        assert!(found[0].mend[0].ends_with(&format!("mtu {fits}")), "{found:?}");
        assert_eq!(found[0].on, "", "the path is this host's matter");
    }
}
