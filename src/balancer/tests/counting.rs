//! Counters, limits, and invariants after any sequence of packets and changes.

use proptest::prelude::*;

use super::*;
use crate::wire::encap::Encap;
use crate::wire::packet::OnWire;
use crate::wire::pieces::piece;

#[test]
fn each_kind_of_refusal_has_its_own_rate_limit() {
    let mut director = Director::new(10);
    let limits = Limits { connections: 10, refusals_per_second: 3 };
    director.balancer = Balancer::new(limits, Seed(1, 2));
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    let closed = Flow { client: 1, port: 443 };
    for _ in 0..2 {
        for _ in 0..3 {
            director.resets(&closed.tcp(Flags::SYN));
        }
        let over = director.forward(&closed.tcp(Flags::SYN));
        assert_eq!(over, Verdict::Drop(Reason::NoService));
        assert_eq!(director.forward(&flow(1).tcp(Flags::ACK)), Verdict::Drop(Reason::NoConnection));
        for _ in 0..3 {
            assert_eq!(director.forward(&closed.udp()), Verdict::Reply);
        }
        assert_eq!(director.forward(&closed.udp()), Verdict::Drop(Reason::NoService));
        director.pass(seconds(1));
    }
    let counters = director.balancer.counters();
    let answered: Vec<_> = counters.answered().filter(|(_, count)| *count > 0).collect();
    assert_eq!((answered, counters.replied()), (vec![("no_service", 12)], 12));
    director.syn(flow(2));
}

#[test]
fn an_unwanted_rst_costs_no_token() {
    let limits = Limits { connections: 10, refusals_per_second: 1 };
    let mut director = Director::new(10);
    director.balancer = Balancer::new(limits, Seed(1, 2));
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    for _ in 0..5 {
        let verdict = director.forward(&flow(1).tcp(Flags::RST | Flags::ACK));
        assert_eq!(verdict, Verdict::Drop(Reason::NoConnection));
    }
    director.resets(&flow(1).tcp(Flags::ACK));
}

#[test]
fn tunnel_errors_count_for_every_real_server_of_that_address() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        ..web(SchedulerKind::RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(mail));
    let mut error = |kind| director.balancer.believe(director.now, TunnelError { real: A, kind });
    assert_eq!(error(TunnelErrorKind::ProtocolUnreachable), Verdict::Drop(Reason::TunnelError));
    assert_eq!(error(TunnelErrorKind::Unreachable), Verdict::Drop(Reason::TunnelError));
    assert_eq!(error(TunnelErrorKind::Unreachable), Verdict::Drop(Reason::TunnelError));
    assert_eq!(error(TunnelErrorKind::PathMtu(1_400)), Verdict::Drop(Reason::PathMtu));
    assert_eq!(error(TunnelErrorKind::PathMtu(1_280)), Verdict::Drop(Reason::PathMtu));
    assert_eq!(error(TunnelErrorKind::PathMtu(1_500)), Verdict::Drop(Reason::PathMtu));

    let snapshot = director.balancer.snapshot();
    let of = |service: usize, real: usize| {
        let real = &snapshot.services[service].reals[real];
        (real.protocol_unreachable, real.unreachable, real.path_mtu)
    };
    let noted = (1, 2, Some(1_280));
    assert_eq!((of(0, 0), of(0, 1), of(1, 0)), (noted, (0, 0, None), noted));
    let counters = &snapshot.counters;
    assert_eq!((counters.tunnel_errors, counters.read), (6, 6));
    assert_eq!(counters.dropped(Reason::TunnelError), 3);
    assert_eq!(counters.dropped(Reason::PathMtu), 3);
}

#[test]
fn an_error_from_an_unknown_address_is_counted_too() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let error = TunnelError { real: C, kind: TunnelErrorKind::Unreachable };
    director.balancer.believe(director.now, error);
    assert_eq!(director.balancer.counters().tunnel_errors, 1);
    assert_eq!(director.real(A).unwrap().unreachable, 0);
}

#[test]
fn a_real_server_counts_wire_packets_and_bytes() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let (syn, ack) = (flow(1).tcp(Flags::SYN), flow(1).tcp(Flags::ACK));
    let tunnel = |sequence| Tunnel {
        real: A,
        encap: Encap::Ipip,
        source: None,
        sequence,
        limit: usize::MAX,
        link: usize::MAX,
    };
    assert_eq!(director.tunnel(&syn), tunnel(0));
    let on_wire = OnWire { packets: 45, bytes: 65_000, longest: 1_500 };
    let super_frame = Packet::parse(&ack).unwrap().split_into(on_wire);
    let verdict = director.balancer.forward(director.now, &super_frame);
    assert_eq!(verdict, Verdict::Tunnel(tunnel(1)));
    assert_eq!(director.tunnel(&ack), tunnel(46));
    let counted = director.real(A).unwrap();
    let bytes = 65_000 + (syn.len() + ack.len()) as u64;
    assert_eq!((counted.packets, counted.bytes), (47, bytes));
    assert_eq!(director.balancer.counters().tunnelled, 3, "a super-frame is one packet read");
}

/// The events of a director.
#[derive(Clone, Debug)]
enum Event {
    Tcp(Flow, u8, usize),
    Udp(Flow),
    /// The first or the last fragment of the flow's datagram with that number.
    Piece(Flow, u32, bool),
    Bytes(Vec<u8>),
    Icmp(Flow, u8),
    Error(IpAddr, TunnelErrorKind),
    Change(Change),
    Pass(u64),
}

fn flows() -> impl Strategy<Value = Flow> {
    (0_u32..8, prop::sample::select(vec![80, 80, 80, 443]))
        .prop_map(|(client, port)| Flow { client, port })
}

fn change() -> impl Strategy<Value = Change> {
    let real = || prop::sample::select(vec![A, B, C]);
    let scheduler = || prop::sample::select(SchedulerKind::ALL.to_vec());
    let reals = prop::collection::vec((real(), 0_u32..3), 0..3);
    prop_oneof![
        (scheduler(), reals)
            .prop_map(|(scheduler, reals)| Change::AddService(web(scheduler, &reals))),
        Just(remove_web()),
        any::<bool>().prop_map(|known| {
            let known = known.then(|| (B, Family::V6.director()));
            Change::SetSources(known.into_iter().collect())
        }),
        (real(), 600_u32..2_000).prop_map(|way| Change::SetLinkMtus([way].into())),
        (real(), 0_u32..3).prop_map(|(real, weight)| add_real(real, weight)),
        real().prop_map(remove_real),
        (real(), 0_u32..3).prop_map(|(real, weight)| set_weight(real, weight)),
        (real(), 0_u32..5, 0_u32..5).prop_map(|(address, upper, lower)| Change::SetReal {
            service: "web".to_owned(),
            address,
            value: RealValue::Thresholds(Thresholds { upper, lower }),
        }),
        (real(), wanted()).prop_map(|(real, wanted)| set_state(real, wanted)),
        (real(), prop::sample::select(vec![Health::Up, Health::Down]))
            .prop_map(|(real, health)| set_health(real, health)),
        policy().prop_map(set_policy),
        scheduler()
            .prop_map(|scheduler| Change::SetScheduler { service: "web".to_owned(), scheduler }),
        prop::sample::select(vec!["192.0.2.10:80/tcp", "192.0.2.10:*/udp", "192.0.2.10:1-442/tcp"])
            .prop_map(|text| Change::SetListens {
                service: "web".to_owned(),
                listens: listens(&[text])
            }),
    ]
}

fn wanted() -> impl Strategy<Value = AdminState> {
    let deadline = prop::option::of((0_u64..90).prop_map(seconds));
    prop_oneof![
        Just(AdminState::Up),
        deadline.prop_map(|deadline| AdminState::Draining { deadline }),
        Just(AdminState::Down),
        Just(AdminState::Disabled),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let persistence =
        (1_u64..300, 30_u8..=32, any::<bool>()).prop_map(|(timeout, prefix, moves)| {
            let quiescent = if moves { Quiescent::Move } else { Quiescent::Keep };
            Persistence {
                timeout: seconds(timeout),
                prefix_v4: prefix,
                prefix_v6: prefix * 4,
                quiescent,
            }
        });
    let unknown = prop::sample::select(vec![None, Some(Unknown::Reset), Some(Unknown::Adopt)]);
    let of_states =
        (prop::sample::select(&Existing::ALL[..]), prop::option::of(1_u64..90), 0_u64..60);
    (unknown, prop::option::of(persistence), any::<bool>(), of_states).prop_map(
        |(unknown, persistence, one_packet, (existing, deadline, slow_start))| Policy {
            unknown,
            persistence,
            one_packet,
            existing,
            drain_deadline: deadline.map(seconds),
            slow_start: seconds(slow_start),
            ..Policy::default()
        },
    )
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let flags = prop::sample::select(vec![
        Flags::SYN,
        Flags::SYN,
        Flags::ACK,
        Flags::FIN | Flags::ACK,
        Flags::RST,
        Flags::SYN | Flags::ACK,
        0,
    ]);
    let kind = prop_oneof![
        Just(TunnelErrorKind::Unreachable),
        any::<u16>().prop_map(TunnelErrorKind::PathMtu),
    ];
    let event = prop_oneof![
        6 => (flows(), flags, prop::sample::select(vec![0, 1_400]))
            .prop_map(|(flow, flags, len)| Event::Tcp(flow, flags, len)),
        1 => (flows(), any::<u8>()).prop_map(|(flow, kind)| Event::Icmp(flow, kind)),
        2 => flows().prop_map(Event::Udp),
        2 => (flows(), 0_u32..3, any::<bool>())
            .prop_map(|(flow, number, first)| Event::Piece(flow, number, first)),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Event::Bytes),
        1 => (prop::sample::select(vec![A, B]), kind)
            .prop_map(|(real, kind)| Event::Error(real, kind)),
        3 => change().prop_map(Event::Change),
        2 => (0_u64..200).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..150)
}

/// Handles received bytes as the daemon does.
fn read(director: &mut Director, bytes: &[u8]) -> Verdict {
    match Packet::parse(bytes) {
        Ok(packet) => director.balancer.forward(director.now, &packet),
        Err(error) => director.balancer.refuse(error.into()),
    }
}

/// How many listed connections each real server of the service has: active and inactive ones.
fn listed(director: &Director, address: IpAddr) -> (u64, u64) {
    let (connections, _) = director.balancer.connections(director.now, 0, usize::MAX);
    let of_it = connections.iter().filter(|connection| connection.real == address);
    let (active, inactive): (Vec<_>, Vec<_>) = of_it.partition(|connection| {
        let active = ["ESTABLISHED", "SYN_RECV", "SYNACK"];
        assert!(!connection.active || active.contains(&connection.state));
        connection.active
    });
    (active.len() as u64, inactive.len() as u64)
}

/// Forwards the packet of an event.
fn forward(director: &mut Director, packet: Event) -> Verdict {
    match packet {
        Event::Tcp(flow, flags, len) => {
            director.forward(&flow.segment(flags).data(&vec![7; len]).bytes())
        }
        Event::Icmp(flow, kind) => {
            let quote = flow.segment(Flags::ACK).backwards().bytes();
            let error = flow.family().icmp_error((kind, 0), &quote);
            director.forward(&error.from(flow.source()).bytes())
        }
        Event::Udp(flow) => director.forward(&flow.udp()),
        Event::Bytes(bytes) => read(director, &bytes),
        Event::Piece(flow, number, first) => {
            let whole = flow.datagram().data(&[7; 40]).bytes();
            let range = if first { 0..24 } else { 24..48 };
            director.forward(&piece(&whole, number, range, first))
        }
        Event::Error(real, kind) => {
            director.balancer.believe(director.now, TunnelError { real, kind })
        }
        Event::Change(_) | Event::Pass(_) => unreachable!(),
    }
}

/// The counters agree with each other, and with the `reads` packets and the listed connections. The
/// entries of a removed service are listed with addresses that a new one may also have.
fn check(director: &Director, reads: u64, removed: bool) -> Result<(), TestCaseError> {
    director.check_ids();
    let snapshot = director.balancer.snapshot();
    let counters = &snapshot.counters;
    prop_assert_eq!(counters.read, reads);
    prop_assert_eq!(
        counters.read,
        counters.tunnelled + counters.replied() + counters.dropped_total() + counters.held
    );
    let answered: u64 = counters.answered().map(|(_, count)| count).sum();
    prop_assert_eq!(answered, counters.replied(), "each answer has a name");
    prop_assert!(snapshot.connections <= snapshot.capacity);
    prop_assert!(snapshot.templates <= snapshot.templates_capacity);
    let reals = snapshot.services.iter().flat_map(|service| &service.reals);
    let named: u64 = reals.map(|real| real.templates).sum();
    prop_assert!(named <= snapshot.templates as u64, "removed real servers have the others");
    for real in snapshot.services.iter().flat_map(|service| &service.reals) {
        prop_assert!(!real.removed || real.active + real.inactive > 0);
        prop_assert!(real.state != RealState::Up || real.deadline.is_none());
        if !removed {
            prop_assert_eq!((real.active, real.inactive), listed(director, real.address));
        }
    }
    Ok(())
}

/// Nothing is left once every timeout has passed.
fn check_end(director: &mut Director) -> Result<(), TestCaseError> {
    director.pass(seconds(2_000));
    prop_assert_eq!(director.connections(), 0);
    let snapshot = director.balancer.snapshot();
    prop_assert_eq!(snapshot.templates, 0);
    for real in snapshot.services.iter().flat_map(|service| &service.reals) {
        prop_assert_eq!((real.removed, real.active, real.inactive), (false, 0, 0));
        prop_assert_eq!((real.templates, real.full), (0, false));
    }
    let live: usize = snapshot.services.iter().map(|service| service.reals.len()).sum();
    prop_assert_eq!(director.balancer.registry.reals.iter().count(), live);
    Ok(())
}

proptest! {
    #[test]
    fn every_packet_and_every_connection_is_accounted_for(
        events in events(),
        capacity in 1_u32..12,
    ) {
        let mut director = Director::new(capacity);
        director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 2)])));
        let (mut reads, mut removed) = (0, false);
        for event in events {
            match event {
                Event::Pass(seconds) => director.pass(Duration::from_secs(seconds)),
                Event::Change(change) => {
                    let before = director.balancer.snapshot();
                    let result = director.balancer.apply(director.now, &change);
                    removed |= result.is_ok() && change == remove_web();
                    prop_assert!(result.is_ok() || director.balancer.snapshot() == before);
                }
                packet => {
                    reads += 1;
                    let udp = matches!(packet, Event::Udp(_));
                    let verdict = forward(&mut director, packet);
                    if let Verdict::Tunnel(tunnel) | Verdict::Reset(tunnel) = verdict {
                        let state = director.real(tunnel.real).map(|real| real.state);
                        prop_assert!(state.is_some());
                        if matches!(verdict, Verdict::Reset(_)) || udp {
                            prop_assert_ne!(state, Some(RealState::Down), "nothing arrives there");
                        }
                    }
                }
            }
            check(&director, reads, removed)?;
        }
        check_end(&mut director)?;
    }
}
