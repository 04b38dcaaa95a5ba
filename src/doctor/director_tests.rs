#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::{AlterationText, EventText, ListedService, VirtualIp};
use crate::doctor::Tunnelled;

const REAL: &str = "10.0.0.11";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(real: &str, detail: &str) -> ProbedPort {
    ProbedPort {
        address: ip(real),
        protocol: "tcp".to_owned(),
        destination: "192.0.2.10:80".parse().unwrap(),
        passed: detail.is_empty(),
        detail: detail.to_owned(),
    }
}

fn route(real: &str, source: &str, neighbour: NeighbourEntry) -> RouteToReal {
    RouteToReal {
        real: ip(real),
        source: Some(ip(source)),
        masqueraded: Some(ip(source)),
        link: Some("eth1".to_owned()),
        tunnelled: vec![Tunnelled::default()],
        next: Some(ip(real)),
        neighbour,
    }
}

fn event(what: &str, real: &str, before: Option<&str>, after: Option<&str>) -> EventText {
    let text = |one: Option<&str>| one.map(str::to_owned);
    EventText {
        time: "2026-11-29T07:00:00.000Z".to_owned(),
        change: AlterationText {
            what: what.to_owned(),
            address: Some(ip(real)),
            before: text(before),
            after: text(after),
            why: Some("10 SYNs in 3 s and no handshake ended".to_owned()),
            service: None,
        },
        ..EventText::default()
    }
}

/// A director with one real server whose port ends its probe like this.
fn facts(detail: &str, neighbour: NeighbourEntry) -> DirectorFacts {
    DirectorFacts {
        tun: "vstun0".to_owned(),
        routes: vec![route(REAL, "10.0.0.1", neighbour)],
        probed: Some(Probed { ports: vec![port(REAL, detail)], left_out: 0 }),
        vips: vec![VirtualIp { address: ip("192.0.2.10"), announced: true }],
        ..DirectorFacts::default()
    }
}

#[test]
fn a_silent_real_server_is_judged_by_the_kernel_s_neighbour_entry() {
    let fixed = NeighbourEntry::Fixed("02:00:00:00:00:99".to_owned());
    for (neighbour, cause, mend, on) in [
        (NeighbourEntry::Silent, Cause::NextHop, "ip -4 neigh show to 10.0.0.11 dev eth1", ""),
        (fixed, Cause::NextHop, "ip -4 neigh del 10.0.0.11 dev eth1", ""),
        (NeighbourEntry::Answers, Cause::Tunnel, "vstun doctor", "real server 10.0.0.11"),
        (NeighbourEntry::Unknown, Cause::Tunnel, "vstun doctor", "real server 10.0.0.11"),
    ] {
        let report = diagnose_director(&facts("no answer within 1s", neighbour.clone()));
        let [found] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((found.cause, &found.mend[0][..], &found.on[..]), (cause, mend, on));
        // No table there is known, so no command names one.
        assert!(!found.mend.concat().contains("nft insert"), "{found:?}");
        let up = found.text.contains("although the host answers ARP");
        assert_eq!(up, neighbour == NeighbourEntry::Answers, "{found:?}");
    }
    // A real server that answers needs no entry.
    assert!(diagnose_director(&facts("", NeighbourEntry::Silent)).findings.is_empty());
}

#[test]
fn a_router_that_does_not_answer_is_named() {
    let mut facts = facts("no answer within 1s", NeighbourEntry::Silent);
    facts.routes[0].next = Some(ip("10.0.0.254"));
    let report = diagnose_director(&facts);
    assert!(report.findings[0].text.starts_with("router 10.0.0.254 on the way"), "{report:?}");
}

/// All real servers are silent for the same reason, which is at this end.
#[test]
fn a_source_that_has_moved_is_one_finding_at_this_end() {
    let moved = |link: Option<&str>| {
        let silent = "no answer within 1s";
        let mut facts = facts(silent, NeighbourEntry::Answers);
        facts.routes = [REAL, "10.0.0.12"]
            .map(|real| route(real, "192.0.2.2", NeighbourEntry::Answers))
            .to_vec();
        facts.probed.as_mut().unwrap().ports.push(port("10.0.0.12", silent));
        let (before, after) = (Some("10.0.0.1"), Some("192.0.2.2"));
        facts.events = vec![
            event("source", REAL, Some("10.0.0.9"), before),
            event("source", REAL, before, after),
            event("source", "10.0.0.12", before, after),
        ];
        facts.down = link.map(|link| (link.to_owned(), vec![ip("10.0.0.1")])).into_iter().collect();
        facts
    };
    for (link, mend) in [(Some("eth1"), "ip link set eth1 up"), (None, "ip route get 10.0.0.11")] {
        let report = diagnose_director(&moved(link));
        let [found] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((found.cause, &found.on[..], &found.mend[0][..]), (Cause::Source, "", mend));
        assert!(found.text.contains("from 10.0.0.1 to 192.0.2.2"), "{found:?}");
    }
    // It is back.
    let mut back = moved(None);
    back.events.extend(
        [REAL, "10.0.0.12"].map(|real| event("source", real, Some("192.0.2.2"), Some("10.0.0.1"))),
    );
    back.routes.iter_mut().for_each(|route| route.source = Some(ip("10.0.0.1")));
    let report = diagnose_director(&back);
    assert!(report.findings.iter().all(|found| found.cause == Cause::Tunnel), "{report:?}");
    // The real servers admit the new source.
    let mut admitted = moved(None);
    admitted.probed = Some(Probed { ports: vec![port(REAL, "")], left_out: 0 });
    assert!(diagnose_director(&admitted).findings.is_empty());
}

#[test]
fn clients_handshakes_that_do_not_end_are_found_where_probes_are_answered() {
    let mut open = facts("", NeighbourEntry::Answers);
    open.events = vec![event("unanswered", REAL, None, None)];
    // They have ended since.
    assert!(diagnose_director(&open).findings.is_empty());
    open.handshakes.insert(ip(REAL), ip("198.51.100.7"));
    let report = diagnose_director(&open);
    let [found] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((found.cause, found.severity), (Cause::ReplyPath, Severity::Fault));
    assert!(found.mend.contains(&"ip route get 198.51.100.7 from 192.0.2.10".to_owned()));
    assert!(found.evidence.contains("10 SYNs in 3 s"), "{found:?}");
}

#[test]
fn an_outage_that_nothing_explains_is_a_fault() {
    let service = |reals: &str| -> ListedService {
        let text = format!(
            r#"{{"name": "web", "listen": [], "scheduler": "rr", "outage": "1 down",
            "panic": true, "reals": [{reals}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let real = r#"{"address": "10.0.0.11", "weight": 1, "state": "down", "wanted": "up",
        "active": 0, "inactive": 0, "connections": 0, "packets": 0, "bytes": 0}"#;
    let mut facts = facts("", NeighbourEntry::Answers);
    facts.services = vec![service(real)];
    let report = diagnose_director(&facts);
    let causes: Vec<_> = report.findings.iter().map(|found| found.cause).collect();
    assert_eq!(causes, [Cause::Outage, Cause::Check]);
    assert_eq!(report.findings[0].mend, ["vstun check 10.0.0.11"]);
    facts.failing = vec![(ip(REAL), "http".to_owned(), "status 503".to_owned())];
    let report = diagnose_director(&facts);
    assert!(report.findings.iter().all(|found| found.cause == Cause::Check), "{report:?}");
}
