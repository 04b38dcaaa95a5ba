//! For any history, [`Balancer::explain`] matches what [`Balancer::forward`] then does with the
//! packet.

use proptest::prelude::*;

use super::*;
use crate::balancer::{Explanation, FlowQuery, Why};

/// The table has fewer entries than there are clients.
const CAPACITY: u32 = 6;
const CLIENTS: u32 = 10;

/// The client with this number has the address of another virtual IP.
const VIRTUAL_CLIENT: u32 = CLIENTS;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum EventKind {
    Syn,
    Segment(u8),
    Datagram,
}

#[derive(Clone, Debug)]
enum Act {
    Packet(u32, EventKind),
    Pass(Duration),
    Change(Change),
    /// The service is removed and added again: its entries are dead.
    AddAnew,
}

fn source(client: u32, family: Family) -> IpAddr {
    if client == VIRTUAL_CLIENT {
        family.pick("192.0.2.11", "2001:db8::11").parse().unwrap()
    } else {
        flow(client).source()
    }
}

fn packet(client: u32, kind: EventKind) -> Vec<u8> {
    let packet = match kind {
        EventKind::Syn => flow(client).segment(Flags::SYN),
        EventKind::Segment(flags) => flow(client).segment(flags),
        EventKind::Datagram => flow(client).datagram(),
    };
    packet.from(source(client, flow(client).family())).bytes()
}

fn query(client: u32, kind: EventKind) -> FlowQuery {
    let bytes = packet(client, kind);
    let packet = Packet::parse(&bytes).unwrap();
    let (protocol, from, to) = match packet.transport {
        Transport::Tcp(header) => (Protocol::Tcp, header.source_port, header.destination_port),
        Transport::Udp { source_port, destination_port } => {
            (Protocol::Udp, source_port, destination_port)
        }
        other => panic!("{other:?}"),
    };
    FlowQuery {
        protocol,
        client: (packet.source, from).into(),
        virtual_address: (packet.destination, to).into(),
    }
}

/// The real server according to the explanation.
fn said(explanation: &Explanation, kind: EventKind) -> Option<IpAddr> {
    match (kind, explanation.why) {
        (EventKind::Segment(_), _) => explanation.mid_stream,
        (EventKind::Syn, Why::Entry { reusable: true, .. }) => explanation.syn,
        _ => explanation.real,
    }
}

impl Director {
    fn comes_true(&mut self, client: u32, kind: EventKind) -> Result<(), TestCaseError> {
        let before = self.balancer.snapshot();
        let explanation = self.balancer.explain(self.now, &query(client, kind));
        prop_assert_eq!(&before, &self.balancer.snapshot(), "an explanation changes nothing");
        let went = match self.forward(&packet(client, kind)) {
            Verdict::Tunnel(tunnel) => Some(tunnel.real),
            _ => None,
        };
        prop_assert_eq!(said(&explanation, kind), went, "{} {:?}: {:?}", client, kind, explanation);
        Ok(())
    }
}

fn kinds() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        4 => Just(EventKind::Syn),
        3 => Just(EventKind::Segment(Flags::ACK)),
        1 => Just(EventKind::Segment(Flags::FIN)),
        3 => Just(EventKind::Datagram),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let persistence = Persistence {
        timeout: seconds(30),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let flood = prop_oneof![Just((0, 0)), Just((3, 0)), Just((0, 70))]
        .prop_map(|(new_flows, table_use)| FloodMarks { new_flows, table_use });
    let unknown = prop_oneof![Just(None), Just(Some(Unknown::Adopt)), Just(Some(Unknown::Reset))];
    let existing = prop_oneof![Just(Existing::Keep), Just(Existing::Reset)];
    let switches = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    let times = (prop_oneof![Just(None), Just(Some(seconds(5)))], 0_u64..20);
    (flood, unknown, existing, switches, times).prop_map(move |it| {
        let (flood, unknown, existing, (fallback, one_packet, persists), (drain, slow)) = it;
        Policy {
            hash_ports: None,
            fallback,
            unknown,
            persistence: persists.then_some(persistence),
            one_packet,
            existing,
            drain_deadline: drain,
            slow_start: seconds(slow),
            flood,
        }
    })
}

fn changes() -> impl Strategy<Value = Change> {
    let real = || prop::sample::select(vec![A, B, C]);
    let state = prop_oneof![
        2 => Just(AdminState::Up),
        1 => Just(AdminState::Down),
        1 => Just(AdminState::Disabled),
        1 => Just(AdminState::Draining { deadline: None }),
        1 => Just(AdminState::Draining { deadline: Some(seconds(3)) }),
    ];
    let thresholds = (0_u32..4).prop_map(|upper| Thresholds { upper, lower: 0 });
    let service = || "web".to_owned();
    let scheduler = prop::sample::select(SchedulerKind::ALL.to_vec());
    prop_oneof![
        (real(), 0_u32..4).prop_map(|(real, weight)| set_weight(real, weight)),
        (real(), state).prop_map(|(real, state)| set_state(real, state)),
        (real(), any::<bool>()).prop_map(|(real, up)| {
            set_health(real, if up { Health::Up } else { Health::Down })
        }),
        real().prop_map(remove_real),
        (real(), 0_u32..4).prop_map(|(real, weight)| add_real(real, weight)),
        (real(), thresholds).prop_map(move |(address, thresholds)| {
            Change::SetReal {
                service: service(),
                address,
                value: RealValue::Thresholds(thresholds),
            }
        }),
        policies().prop_map(set_policy),
        scheduler.prop_map(move |scheduler| Change::SetScheduler { service: service(), scheduler }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Act>> {
    let pass = prop_oneof![
        4 => (0_u64..3_000).prop_map(Duration::from_millis),
        1 => (0_u64..1_000).prop_map(seconds),
    ];
    let step = prop_oneof![
        12 => (0..=VIRTUAL_CLIENT, kinds()).prop_map(|(client, kind)| Act::Packet(client, kind)),
        3 => pass.prop_map(Act::Pass),
        3 => changes().prop_map(Act::Change),
        1 => Just(Act::AddAnew),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn explanations_match_the_verdicts(
        kind in prop::sample::select(SchedulerKind::ALL.to_vec()),
        weights in [0_u32..4, 0..4, 0..4],
        policy in policies(),
        steps in steps(),
    ) {
        let [a, b, c] = weights;
        let service = || ServiceSpec { policy, ..web(kind, &[(A, a), (B, b), (C, c)]) };
        let mut director = Director::new(CAPACITY);
        director.apply(&Change::AddService(service()));
        director.apply(&Change::AddService(ServiceSpec {
            name: "other".to_owned(),
            listens: listens(&["192.0.2.11:80/tcp", "[2001:db8::11]:80/tcp"]),
            ..web(SchedulerKind::RoundRobin, &[(A, 1)])
        }));
        for step in steps {
            match step {
                Act::Packet(client, kind) => director.comes_true(client, kind)?,
                Act::Pass(duration) => director.pass(duration),
                // A change that is refused changes nothing.
                Act::Change(change) => drop(director.balancer.apply(director.now, &change)),
                Act::AddAnew => {
                    director.apply(&remove_web());
                    director.apply(&Change::AddService(service()));
                }
            }
        }
    }
}

/// The explained real server of an opening packet, and the reason; asserts that it went there.
fn opening(director: &mut Director, client: u32, kind: EventKind) -> (Option<IpAddr>, Why) {
    let explanation = director.balancer.explain(director.now, &query(client, kind));
    director.comes_true(client, kind).unwrap();
    (explanation.real, explanation.why)
}

#[test]
fn a_dead_entry_in_a_full_table_leaves_room() {
    let mut director = Director::new(2);
    let service = || web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&Change::AddService(service()));
    director.connect(flow(0));
    director.connect(flow(1));
    director.apply(&remove_web());
    director.apply(&Change::AddService(service()));
    let (_, why) = opening(&mut director, 0, EventKind::Syn);
    assert_eq!(why, Why::Scheduler(SchedulerKind::RoundRobin));
    let (_, why) = opening(&mut director, 2, EventKind::Syn);
    assert_eq!(why, Why::Hash, "one of the two entries is still there");
}

#[test]
fn the_packet_that_starts_a_flood_is_placed_by_hash() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1), (C, 1)]);
    let flood = FloodMarks { new_flows: 1, table_use: 0 };
    director.apply(&set_policy(Policy { flood, ..Policy::default() }));
    let (_, why) = opening(&mut director, 0, EventKind::Syn);
    assert_eq!(why, Why::Scheduler(SchedulerKind::RoundRobin));
    let (_, why) = opening(&mut director, 1, EventKind::Syn);
    assert_eq!(why, Why::Hash);
}

#[test]
fn an_entry_whose_real_server_is_down_is_explained_to_end() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 0)]);
    let existing = Existing::Reset;
    director.apply(&set_policy(Policy { existing, ..Policy::default() }));
    director.connect(flow(0));
    director.to(&flow(1).udp());
    director.apply(&set_weight(B, 1));
    director.apply(&set_state(A, AdminState::Down));
    let (real, why) = opening(&mut director, 1, EventKind::Datagram);
    assert_eq!((real, why), (Some(B), Why::Scheduler(SchedulerKind::RoundRobin)));
    let explanation = director.balancer.explain(director.now, &query(0, EventKind::Syn));
    assert_eq!((explanation.real, explanation.mid_stream), (Some(B), None));
    director.ends(&flow(0).tcp(Flags::ACK));
    assert_eq!(director.syn(flow(0)), B);
}

#[test]
fn weights_in_a_slow_start_are_those_of_the_moment() {
    let mut director = Director::with(SchedulerKind::WeightedLeastConnections, &[(A, 1)]);
    director.apply(&set_policy(Policy { slow_start: seconds(100), ..Policy::default() }));
    for client in 0..10 {
        director.connect(flow(client));
    }
    director.apply(&add_real(B, 1));
    director.connect(flow(11));
    director.pass(seconds(50));
    assert_eq!(director.counts(B), (1, 0));
    let (real, _) = opening(&mut director, 12, EventKind::Syn);
    assert_eq!(real, Some(B));
}

#[test]
fn a_syn_on_a_connection_that_is_over_is_scheduled_without_it() {
    let mut director = Director::with(SchedulerKind::WeightedLeastConnections, &[(A, 1), (B, 1)]);
    assert_eq!(director.connect(flow(0)), A);
    director.to(&flow(0).tcp(Flags::FIN | Flags::ACK));
    let explanation = director.balancer.explain(director.now, &query(0, EventKind::Syn));
    assert!(matches!(explanation.why, Why::Entry { reusable: true, ends: false, .. }));
    assert_eq!(explanation.syn, Some(A), "the connection that is over counts no more");
    director.comes_true(0, EventKind::Syn).unwrap();
}
