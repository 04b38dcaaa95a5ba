#![allow(clippy::unwrap_used)]

use super::*;

fn end(state: EndState, listening: Listening) -> EndFacts {
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
        heard: EndHeard::Answered { answer, clock: 0 },
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
        (well, Listening::VIP, vec![]),
        (EndState::default(), Listening::VIP, vec!["vip_missing"]),
        (EndState::CONFIGURED, Listening::default(), vec!["vip_missing"]),
        (well.and(EndState::ELSEWHERE), Listening::VIP, vec!["announcing"]),
        (well.and(EndState::ANSWERS_ARP), Listening::VIP, vec!["announcing"]),
        (well.and(EndState::STRICT), Listening::VIP, vec!["rp_filter"]),
        (well.and(EndState::NO_MSS), Listening::VIP, vec!["mss"]),
        (well.and(EndState::FAULTS), Listening::VIP, vec!["host"]),
        (well, Listening::WILDCARD, vec!["udp_wildcard"]),
        (well, Listening::ELSEWHERE, vec!["listener"]),
        (well, Listening::default(), vec!["listener"]),
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

#[test]
fn another_release_a_wrong_clock_and_a_narrow_path_are_named() {
    let mut end = end(EndState::CONFIGURED.and(EndState::PRESENT), Listening::VIP);
    assert_eq!(findings(&end, "2")[0].cause, Cause::Version);
    for (ahead, expected) in [(CLOCKS, 0), (CLOCKS + 1, 1), (-CLOCKS, 0), (-CLOCKS - 1, 1)] {
        let EndHeard::Answered { clock, .. } = &mut end.heard else { panic!("it has answered") };
        *clock = ahead;
        assert_eq!(findings(&end, "1").len(), expected, "{ahead} ms");
    }
    let EndHeard::Answered { clock, .. } = &mut end.heard else { panic!("it has answered") };
    *clock = 0;
    for (told, severity) in [(None, Severity::Fault), (Some(1_400), Severity::Warning)] {
        end.full = Some(FullSize { mtu: 1_500, passed: false, largest: Some(1_396), told });
        let found = findings(&end, "1");
        assert_eq!((found[0].cause, found[0].severity), (Cause::Mtu, severity));
        let fits = told.map_or(1_396, usize::from);
        assert!(found[0].mend[0].ends_with(&format!("mtu {fits}")), "{found:?}");
        assert_eq!(found[0].on, "", "the path is this host's matter");
    }
}
