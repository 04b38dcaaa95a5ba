//! An explanation matches what then happens to the flow; and forgetting flows.

use proptest::prelude::*;

use super::*;
use crate::balancer::{FlowError, FlowQuery as Asked, Why};

fn asked(flow: Flow) -> Asked {
    let vip: IpAddr = flow.family().pick("192.0.2.10", "2001:db8::10").parse().unwrap();
    let packet = flow.tcp(Flags::SYN);
    let Transport::Tcp(header) = Packet::parse(&packet).unwrap().transport else { panic!() };
    Asked {
        protocol: Protocol::Tcp,
        client: (flow.source(), header.source_port).into(),
        virtual_address: (vip, header.destination_port).into(),
    }
}

impl Director {
    fn explain(&mut self, flow: Flow) -> (Option<IpAddr>, Why) {
        let explained = self.balancer.explain(self.now, &asked(flow));
        let again = self.balancer.explain(self.now, &asked(flow));
        assert_eq!(explained, again, "an explanation changes nothing");
        (explained.real, explained.why)
    }
}

#[test]
fn a_flow_with_an_entry_is_explained_by_its_entry() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    for number in 0..4 {
        let real = director.connect(flow(number));
        director.pass(seconds(3));
        let (idle, expires) = (seconds(3), seconds(897));
        let why = Why::Entry { state: "ESTABLISHED", idle, expires, reusable: false, ends: false };
        assert_eq!(director.explain(flow(number)), (Some(real), why));
    }
    // Idle for long: now in the other state with that name.
    director.pass(seconds(97));
    let (_, why) = director.explain(flow(3));
    let (idle, expires) = (seconds(100), seconds(800));
    assert_eq!(
        why,
        Why::Entry { state: "ESTABLISHED", idle, expires, reusable: false, ends: false }
    );
    let name = director.balancer.explain(director.now, &asked(flow(0))).service;
    assert_eq!(name.as_deref(), Some("web"));
}

#[test]
fn a_draining_server_has_its_flow_and_a_removed_service_has_none() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.connect(flow(1));
    director.apply(&remove_real(A));
    assert!(matches!(director.explain(flow(1)), (Some(A), Why::Entry { reusable: true, .. })));
    assert_eq!(director.explain(flow(2)), (None, Why::NoRealServer));
    director.apply(&remove_web());
    assert_eq!(director.explain(flow(1)), (None, Why::NotVip));
}

#[test]
fn an_address_or_port_without_a_service_is_explained() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let mut why = |text: &str| director.balancer.explain(director.now, &text.parse().unwrap()).why;
    assert_eq!(why("tcp 198.51.100.7:1 192.0.2.10:81"), Why::NoService);
    assert_eq!(why("udp [2001:db8:c::7]:1 [2001:db8::10]:81"), Why::NoService);
    assert_eq!(why("tcp 198.51.100.7:1 192.0.2.11:80"), Why::NotVip);
    assert!(matches!(why("udp [2001:db8:c::7]:1 [2001:db8::10]:80"), Why::Scheduler(_)));
}

#[test]
fn in_a_full_table_the_hash_places() {
    let mut director = Director::new(1);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)])));
    director.connect(flow(0));
    for number in 1..50 {
        let (real, why) = director.explain(flow(number));
        assert_eq!(why, Why::Hash);
        assert_eq!(Some(director.syn(flow(number))), real, "{number}");
    }
}

/// The explanation of TCP without a SYN, checked against its verdict.
fn mid_stream(director: &mut Director, flow: Flow) -> Option<IpAddr> {
    let said = director.balancer.explain(director.now, &asked(flow)).mid_stream;
    let went = match director.forward(&flow.tcp(Flags::ACK)) {
        Verdict::Tunnel(tunnel) => Some(tunnel.real),
        _ => None,
    };
    assert_eq!(said, went);
    said
}

#[test]
fn a_flow_in_mid_stream_is_explained() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    assert_eq!(mid_stream(&mut director, flow(1)), None, "reset");
    let policy = Policy { unknown: Some(Unknown::Adopt), ..Policy::default() };
    director.apply(&Change::SetPolicy { service: "web".to_owned(), policy });
    for number in 0..50 {
        assert!(mid_stream(&mut director, flow(number)).is_some(), "adopted");
    }
}

#[test]
fn an_existing_flow_that_is_not_adopted_is_explained_as_reset() {
    let mut director = Director::with(SchedulerKind::SourceHashing, &[(A, 1)]);
    let (unknown, existing) = (Some(Unknown::Adopt), Existing::Reset);
    director.apply(&set_policy(Policy { fallback: false, unknown, existing, ..Policy::default() }));
    assert_eq!(mid_stream(&mut director, flow(1)), Some(A));
    director.apply(&set_state(A, AdminState::Disabled));
    assert_eq!(mid_stream(&mut director, flow(2)), None);
}

/// Also if flood mode has outlasted the last flow that was placed by it.
#[test]
fn in_flood_mode_the_hash_places() {
    let mut director = Director::new(10);
    let reals = [(A, 1), (B, 1), (C, 1)];
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &reals)));
    let flood = FloodMarks { new_flows: 0, table_use: 50 };
    director.apply(&set_policy(Policy { flood, ..Policy::default() }));
    for number in 0..5 {
        director.connect(flow(number));
    }
    director.syn(flow(5));
    for _ in 0..20 {
        director.pass(seconds(50));
        for number in 0..5 {
            director.ack(flow(number));
        }
    }
    assert!(director.balancer.snapshot().services[0].flood.active);
    for number in 100..130 {
        let (real, why) = director.explain(flow(number));
        assert_eq!(why, Why::Hash);
        assert_eq!(Some(director.syn(flow(number))), real, "{number}");
        director.pass(seconds(1));
    }
}

#[test]
fn templates_and_one_packet_scheduling_are_explained() {
    let persistence = Persistence {
        timeout: seconds(300),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let policy = Policy { persistence: Some(persistence), one_packet: true, ..Policy::default() };
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&Change::SetPolicy { service: "web".to_owned(), policy });
    let datagram = || Asked { protocol: Protocol::Udp, ..asked(flow(1)) };
    let explain = |director: &mut Director| director.balancer.explain(director.now, &datagram());
    assert_eq!(explain(&mut director).why, Why::OnePacket(SchedulerKind::RoundRobin));
    let real = director.connect(flow(1));
    let explained = explain(&mut director);
    assert_eq!((explained.real, explained.why), (Some(real), Why::Template));
    assert_eq!(director.to(&flow(1).udp()), real);
    assert_eq!(flush(&mut director, None, None), 1);
    assert_eq!(director.real(real).unwrap().templates, 1, "the client is remembered still");
    assert_eq!(director.explain(flow(1)), (Some(real), Why::Template));
    director.pass(seconds(301));
    assert_eq!(director.real(real).unwrap().templates, 0, "no flow holds it");
}

#[test]
fn flows_are_parsed() {
    for text in ["tcp 198.51.100.7:40000 192.0.2.10:80", "udp [2001:db8::7]:1 [2001:db8::10]:53"] {
        assert_eq!(text.parse::<Asked>().unwrap().to_string(), text);
    }
    let spaced = "  tcp\t198.51.100.7:40000   192.0.2.10:80 ".parse::<Asked>().unwrap();
    assert_eq!(spaced.to_string(), "tcp 198.51.100.7:40000 192.0.2.10:80");
    let refused = |text: &str| text.parse::<Asked>().unwrap_err();
    assert_eq!(refused(""), FlowError::Words(0));
    assert_eq!(refused("tcp 198.51.100.7:1"), FlowError::Words(2));
    assert_eq!(refused("tcp 198.51.100.7:1 192.0.2.10:80 x"), FlowError::Words(4));
    assert_eq!(refused("sctp 198.51.100.7:1 192.0.2.10:80"), FlowError::Protocol("sctp".into()));
    for text in ["tcp 198.51.100.7 192.0.2.10:80", "udp 2001:db8::7 [2001:db8::10]:53"] {
        let flow = text.parse::<Asked>().unwrap();
        assert!(flow.any_port());
        assert_eq!(flow.to_string(), text);
    }
    assert_eq!(refused("tcp 198.51.100.7 192.0.2.10"), FlowError::Address("192.0.2.10".to_owned()));
    for address in [
        "198.51.100.7:65536",
        "::ffff:192.0.2.1",
        "web:80",
        "[fe80::1%2]:80",
        "[::ffff:192.0.2.1]:80",
    ] {
        let error = refused(&format!("tcp {address} 192.0.2.10:80"));
        assert_eq!(error, FlowError::Address(address.to_owned()));
    }
    let mixed = refused("tcp 198.51.100.7:1 [2001:db8::10]:80").to_string();
    assert!(mixed.contains("different families"), "{mixed}");
    let long = refused(&format!("{} a b", "x".repeat(10_000)));
    assert!(long.to_string().len() < 200, "what is long is cut");
}

proptest! {
    #[test]
    fn any_text_is_a_flow_or_refused(text: String) {
        let _ = text.parse::<Asked>();
    }

    /// An explanation for a client holds for each of its ports, or names the port as the reason.
    #[test]
    fn an_explanation_of_any_port_is_that_of_each(
        kind in prop::sample::select(SchedulerKind::ALL.to_vec()),
        hash_ports in any::<Option<bool>>(),
        persists in any::<bool>(),
        adopts in any::<bool>(),
        full in any::<bool>(),
    ) {
        let (prefix_v4, prefix_v6, quiescent) = (32, 128, Quiescent::Keep);
        let timeout = seconds(300);
        let persistence = Persistence { timeout, prefix_v4, prefix_v6, quiescent };
        let policy = Policy {
            hash_ports,
            persistence: persists.then_some(persistence),
            unknown: Some(if adopts { Unknown::Adopt } else { Unknown::Reset }),
            ..Policy::default()
        };
        let mut director = Director::new(if full { 1 } else { 100 });
        director.apply(&Change::AddService(web(kind, &[(A, 1), (B, 1), (C, 1)])));
        director.apply(&set_policy(policy));
        director.connect(flow(0));
        let any: Asked = "tcp 198.51.100.7 192.0.2.10:80".parse().unwrap();
        let said = director.balancer.explain(director.now, &any);
        let each: Vec<_> = (1..200)
            .map(|port| {
                let flow = Asked { client: (any.client.ip(), port).into(), ..any };
                director.balancer.explain(director.now, &flow)
            })
            .collect();
        if let Why::Port(_) = said.why {
            prop_assert!(each.iter().any(|one| one.real != each[0].real), "{}", kind.name());
        } else {
            prop_assert!(each.iter().all(|one| one.real == said.real), "{}", kind.name());
        }
        if said.adopted_by_port {
            prop_assert!(each.iter().any(|one| one.mid_stream != each[0].mid_stream));
        } else {
            prop_assert!(each.iter().all(|one| one.mid_stream == said.mid_stream));
        }
    }

    /// After any history, a SYN goes where the explanation says.
    #[test]
    fn an_explanation_matches_the_next_verdict(
        kind in prop::sample::select(SchedulerKind::ALL.to_vec()),
        weights in [0_u32..4, 0..4, 0..4],
        flows in prop::collection::vec((0_u32..30, any::<bool>()), 1..80),
    ) {
        let [a, b, c] = weights;
        let mut director = Director::new(20);
        director.apply(&Change::AddService(web(kind, &[(A, a), (B, b), (C, c)])));
        for (number, ends) in flows {
            let (said, _) = director.explain(flow(number));
            let verdict = director.forward(&flow(number).tcp(Flags::SYN));
            let went = match verdict {
                Verdict::Tunnel(tunnel) => Some(tunnel.real),
                _ => None,
            };
            prop_assert_eq!(said, went, "{}", kind.name());
            if ends && went.is_some() {
                director.forward(&flow(number).tcp(Flags::RST));
                director.pass(seconds(20));
            }
        }
    }
}

fn flush(director: &mut Director, service: Option<&str>, real: Option<IpAddr>) -> usize {
    let which = Flush { service: service.map(str::to_owned), real };
    let (mut sum, mut next) = (0, Some(0));
    while let Some(from) = next {
        let flushed = director.balancer.flush(&which, from);
        (sum, next) = (sum + flushed.connections, flushed.next);
    }
    sum
}

#[test]
fn a_flush_forgets_the_selected_connections_only() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        ..web(SchedulerKind::RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(mail));
    for number in 0..10 {
        director.connect(flow(number));
        director.connect(Flow { port: 25, ..flow(number) });
    }
    assert_eq!(flush(&mut director, Some("mail"), Some(B)), 0);
    assert_eq!(flush(&mut director, Some("web"), Some(A)), 5);
    assert_eq!(director.connections(), 15);
    assert_eq!(flush(&mut director, None, Some(A)), 10);
    assert_eq!(director.counts(B), (5, 0));
    assert_eq!(flush(&mut director, None, None), 5);
    assert_eq!((director.connections(), director.counts(B)), (0, (0, 0)));
    director.resets(&flow(1).tcp(Flags::ACK));
}

#[test]
fn a_removed_server_disappears_with_the_flush_of_its_connections() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.connect(flow(0));
    director.connect(flow(1));
    director.apply(&remove_real(A));
    assert!(director.real(A).is_some());
    assert_eq!(flush(&mut director, None, Some(A)), 1);
    assert!(director.real(A).is_none());
}

#[test]
fn a_flush_looks_at_a_page_at_a_time() {
    let connections = u32::try_from(ENTRIES_A_PAGE).unwrap() + 1;
    let mut director = Director::new(connections);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    for number in 0..connections {
        director.syn(flow(number));
    }
    let all = Flush::default();
    let first = director.balancer.flush(&all, 0);
    assert_eq!((first.connections, first.next), (ENTRIES_A_PAGE, Some(ENTRIES_A_PAGE)));
    let second = director.balancer.flush(&all, ENTRIES_A_PAGE);
    assert_eq!((second.connections, second.next), (1, None));
    assert_eq!(director.connections(), 0);
}
