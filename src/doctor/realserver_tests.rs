use super::*;
use crate::doctor::{LostDirector, LostWay, RouteLeads, StrayDirector};

#[test]
fn the_fast_path_is_named_where_it_is_and_why_it_is_not_elsewhere() {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let report = |at: &[&str], missing: &[&str]| {
        let state = FastPathState { at: all(at), missing: all(missing) };
        let tun = "vstun0".to_owned();
        let fast_path = Some(state);
        diagnose_realserver(&RealServerFacts { tun, fast_path, ..RealServerFacts::default() })
    };
    let off = report(&[], &[]);
    assert!(off.findings.is_empty() && off.well == [fast_path::OFF], "{off:?}");
    let unknown = diagnose_realserver(&RealServerFacts::default());
    assert!(unknown.well.is_empty(), "{unknown:?}");
    for (at, missing, texts) in [
        (&["eth0", "eth1"][..], &[][..], &["at eth0 eth1: rules"][..]),
        (&[], &["the kernel refuses its maps"], &["there is no fast path, though"]),
        (&["eth0"], &["eth1: no tcx"], &["is not at all interfaces", "at eth0: rules"]),
    ] {
        let report = report(at, missing);
        assert_eq!(report.findings.len(), texts.len(), "{report:?}");
        for (finding, text) in report.findings.iter().zip(texts) {
            assert!(finding.text.contains(text), "{finding:?}");
            let warns = finding.severity == Severity::Warning;
            assert_eq!(finding.evidence, if warns { missing[0] } else { "" });
        }
    }
}

#[test]
fn each_fault_has_its_finding_with_a_command() {
    let base = RealServerFacts {
        tun: "vstun0".to_owned(),
        vips: vec!["192.0.2.10".parse().expect("an address")],
        directors: vec!["192.0.2.2/32".parse().expect("a network")],
        read: Some((1, 0)),
        ..RealServerFacts::default()
    };
    assert!(diagnose_realserver(&base).findings.is_empty());
    let links = vec!["eth0".to_owned()];
    for (facts, cause) in [
        (RealServerFacts { strict: true, ..base.clone() }, "rp_filter"),
        (RealServerFacts { answers_arp: links, ..base.clone() }, "announcing"),
        (RealServerFacts { read: Some((0, 0)), ..base.clone() }, "tunnel"),
        (RealServerFacts { no_reply_route: base.vips.clone(), ..base.clone() }, "reply_path"),
        // Refused long ago.
        (RealServerFacts { read: Some((5, 5)), ..base }, "tunnel"),
    ] {
        let report = diagnose_realserver(&facts);
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!(finding.cause.name(), cause);
        assert!(!finding.mend.is_empty());
    }
}

#[test]
fn a_director_whose_packets_the_reverse_path_filter_drops_is_named_with_the_route() {
    let to_tunnel = RouteLeads::To("tun9".to_owned());
    let nowhere = RouteLeads::Nowhere("blackhole");
    for (leads, route, words, mend) in [
        (to_tunnel, "10.0.0.0/25", "leads to tun9", "ip route del 10.0.0.0/25 dev tun9"),
        (nowhere, "10.0.0.1/32", "is blackhole", "ip route del blackhole 10.0.0.1/32"),
    ] {
        let stray = StrayDirector {
            director: [10, 0, 0, 1].into(),
            input: "eth0".to_owned(),
            leads,
            route: route.parse().expect("a network"),
        };
        let facts = RealServerFacts { strays: vec![stray], ..RealServerFacts::default() };
        let [found] = &diagnose_realserver(&facts).findings[..] else { panic!("{words}") };
        assert_eq!((found.cause, found.severity), (Cause::RpFilter, Severity::Fault));
        assert!(found.text.ends_with(words), "{}", found.text);
        assert_eq!(found.mend, [mend]);
    }
}

#[test]
fn a_director_without_a_way_to_it_is_named() {
    for (why, cause, severity, mend) in [
        (LostWay::Down("eth0".to_owned()), Cause::Uplink, Severity::Fault, "ip link set eth0 up"),
        (
            LostWay::NoCarrier("eth0".to_owned()),
            Cause::Uplink,
            Severity::Fault,
            "ip -br link show eth0",
        ),
        (
            LostWay::NoRoute { filtered: true },
            Cause::RpFilter,
            Severity::Fault,
            "ip -br addr show up",
        ),
        (
            LostWay::NoRoute { filtered: false },
            Cause::RpFilter,
            Severity::Warning,
            "ip -br addr show up",
        ),
    ] {
        let lost = vec![LostDirector { director: [10, 0, 0, 1].into(), why }];
        let report = diagnose_realserver(&RealServerFacts { lost, ..RealServerFacts::default() });
        let [found] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((found.cause, found.severity), (cause, severity));
        assert_eq!(found.mend, [mend]);
    }
}

/// A program that has nothing to do with a virtual IP may have as many connections as it likes.
#[test]
fn a_program_that_does_not_accept_is_a_fault_where_clients_use_it() {
    for (own, passes, severity) in [
        (true, false, Severity::Fault),
        (false, true, Severity::Fault),
        (false, false, Severity::Note),
    ] {
        let vip = |last| [192, 0, 2, last].into();
        let (protocol, port) = (crate::wire::protocol::TCP, 80);
        let one = Listening { vip: vip(10), protocol, port, own, used: false, passes, full: true };
        let other = Listening { vip: vip(11), ..one.clone() };
        let listening = vec![one, other];
        let facts = RealServerFacts { listening, ..RealServerFacts::default() };
        let [found] = &diagnose_realserver(&facts).findings[..] else { panic!("{own} {passes}") };
        assert_eq!((found.cause, found.severity), (Cause::Listener, severity));
        assert_eq!(found.mend, ["ss -tlnp 'sport = 80'"]);
    }
}

#[test]
fn refused_hosts_are_named_while_their_packets_come() {
    let refused = |hosts: &[(u8, u64, u64)], admitted_seconds, growing| {
        let host = |(host, count, seconds): &(u8, u64, u64)| RefusedSource {
            address: [10, 0, 0, *host].into(),
            count: *count,
            seconds: *seconds,
        };
        let refused_sources = hosts.iter().map(host).collect();
        let facts = RealServerFacts {
            directors: vec!["10.0.0.2/32".parse().expect("a network")],
            read: Some((20, 12)),
            last: LastSources { refused_sources, admitted_seconds },
            growing,
            config: Some("/etc/vstun/realserver.toml".to_owned()),
            ..RealServerFacts::default()
        };
        let report = diagnose_realserver(&facts);
        let found = report.findings.iter().map(|one| (one.cause.name(), one.severity));
        (found.collect::<Vec<_>>(), report)
    };
    let (fault, note) = (("gate", Severity::Fault), ("gate", Severity::Note));
    for (hosts, admitted, growing, expected) in [
        // The director has another address: seconds since the last admitted packet.
        (&[(1, 12, 0)][..], None, false, vec![fault]),
        (&[(1, 12, 0)], Some(9), false, vec![fault]),
        // Others come meanwhile.
        (&[(1, 12, 0)], Some(1), false, vec![note]),
        (&[(1, 12, 0)], Some(9), true, vec![note]),
        // A single packet may be anyone's.
        (&[(1, 1, 0)], None, false, vec![note]),
        (&[(1, 12, 0), (7, 1, 3)], Some(9), false, vec![fault, note]),
        (&[(1, 12, 60)], Some(70), false, vec![fault]),
        // It is over.
        (&[(1, 12, 61)], Some(70), false, vec![]),
        (&[], Some(0), true, vec![]),
    ] {
        assert_eq!(refused(hosts, admitted, growing).0, expected, "{hosts:?} {admitted:?}");
    }
    let report = refused(&[(1, 12, 0)], None, false).1;
    let finding = &report.findings[0];
    assert!(finding.text.starts_with("tunnelled packets from 10.0.0.1 are refused"), "{finding:?}");
    let sed = r#"sed -i 's|^\( *directors *= *\[\)|\1"10.0.0.1/32", |' /etc/vstun/realserver.toml"#;
    assert!(finding.mend[0].starts_with(sed), "{finding:?}");
}
