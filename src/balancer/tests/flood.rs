//! Floods: when the mode begins and ends, which flows keep their real servers and entries, and that
//! every count is right in and out of flood mode.

mod marks;
mod remembered;

use proptest::prelude::*;

use super::*;
use crate::balancer::flood::{FLOOD_INTERVAL, PROBATION};

const RATE: u32 = 100;

fn marks(new_flows: u32, table_use: u8) -> Change {
    let flood = FloodMarks { new_flows, table_use };
    set_policy(Policy { flood, ..Policy::default() })
}

/// A director with this capacity, whose service allows [`RATE`] new flows a second and `table_use`
/// per cent.
fn watchful(capacity: u32, scheduler: SchedulerKind, table_use: u8) -> Director {
    let mut director = Director::new(capacity);
    director.apply(&Change::AddService(web(scheduler, &[(A, 1), (B, 1), (C, 1)])));
    director.apply(&marks(RATE, table_use));
    director
}

/// As [`watchful`], flooded by more SYNs than it allows, from clients 1,000,000 and up.
fn flooded(capacity: u32) -> Director {
    let mut director = watchful(capacity, SchedulerKind::WeightedLeastConnections, 90);
    flood(&mut director, 0, RATE + 1);
    assert!(director.flood().active);
    director
}

/// Checksums stay wrong, since the balancer does not check them.
fn flood(director: &mut Director, from: u32, count: u32) {
    let mut packets = [0, 1].map(|number| flow(number).tcp(Flags::SYN));
    for number in from..from + count {
        let packet = &mut packets[number as usize % 2];
        match flow(1_000_000 + number).source() {
            IpAddr::V4(source) => packet[12..16].copy_from_slice(&source.octets()),
            IpAddr::V6(source) => packet[8..24].copy_from_slice(&source.octets()),
        }
        assert!(matches!(director.forward(packet), Verdict::Tunnel(_)));
    }
}

impl Director {
    fn flood(&self) -> snapshot::FloodSnapshot {
        self.balancer.snapshot().services[0].flood
    }

    fn evicted(&self) -> u64 {
        self.balancer.snapshot().turnover.evicted
    }

    fn state_of(&self, flow: Flow) -> Option<&'static str> {
        let (listed, _) = self.balancer.connections(self.now, 0, usize::MAX);
        let its =
            |connection: &snapshot::ConnectionSnapshot| connection.client.ip() == flow.source();
        listed.into_iter().find(its).map(|connection| connection.state)
    }
}

#[test]
fn a_flow_of_the_flood_stays_with_its_server_through_its_life() {
    let mut director = flooded(10_000);
    let reals: Vec<_> = (0..60).map(|number| director.syn(flow(number))).collect();
    assert_eq!(director.state_of(flow(0)), None);
    let all_send = |director: &mut Director, flags, state| {
        for (number, real) in (0..60).zip(&reals) {
            assert_eq!(director.to(&flow(number).tcp(flags)), *real, "{number} {state:?}");
            assert_eq!(director.state_of(flow(number)), state, "{number}");
        }
    };
    all_send(&mut director, Flags::SYN, None);
    all_send(&mut director, Flags::ACK, Some("SYNACK"));
    director.pass(PROBATION + Duration::from_millis(250));
    all_send(&mut director, Flags::ACK, Some("ESTABLISHED"));
    all_send(&mut director, Flags::FIN | Flags::ACK, Some("FIN_WAIT"));
    assert!(director.flood().active);
}

/// A stray acknowledgement costs an attacker nothing, so it must not create anything lasting.
#[test]
fn packets_within_the_probation_change_nothing() {
    let mut director = flooded(10_000);
    let all =
        [Flags::ACK, Flags::ACK | Flags::PSH, Flags::SYN, Flags::FIN | Flags::ACK, Flags::RST];
    director.ack(flow(1));
    let (before, _) = director.balancer.connections(director.now, 0, usize::MAX);
    director.pass(PROBATION - Duration::from_millis(1));
    for flags in all {
        director.to(&flow(1).tcp(flags));
    }
    assert_eq!(director.state_of(flow(1)), Some("SYNACK"));
    let (after, _) = director.balancer.connections(director.now, 0, usize::MAX);
    let ends = |listed: &[snapshot::ConnectionSnapshot], now: Millis| {
        now.after(listed.last().unwrap().expires)
    };
    assert_eq!(ends(&after, director.now), ends(&before, Millis(1_000)), "it lives no longer");
    director.pass(seconds(60));
    assert_eq!(director.state_of(flow(1)), None);
}

/// Ending it is the director's decision: the probation must not spare the packet that is answered
/// by a reset.
#[test]
fn a_connection_on_probation_ends_with_its_real_server_like_any_other() {
    let mut director = flooded(10_000);
    let real = director.ack(flow(1));
    assert_eq!(director.state_of(flow(1)), Some("SYNACK"));
    let flood = FloodMarks { new_flows: RATE, table_use: 90 };
    director.apply(&set_policy(Policy { existing: Existing::Reset, flood, ..Policy::default() }));
    director.apply(&set_state(real, AdminState::Disabled));
    let data = flow(1).segment(Flags::ACK).sequence(7_000).acknowledgement(99).bytes();
    assert!(director.ends(&data).is_some());
    assert_eq!(director.state_of(flow(1)), Some("CLOSE"));
    director.ends(&data);
    assert_eq!(director.balancer.counters().ended, 1);
}

#[test]
fn a_timeout_as_short_as_the_probation_leaves_time_for_a_proof() {
    let mut director = flooded(10_000);
    let tcp_syn_recv = seconds(1);
    director.apply(&Change::SetTimeouts(Timeouts { tcp_syn_recv, ..Timeouts::DEFAULT }));
    director.ack(flow(1));
    director.pass(Duration::from_millis(800));
    director.ack(flow(1));
    assert_eq!(director.state_of(flow(1)), Some("ESTABLISHED"));
}

#[test]
fn a_udp_flow_proves_itself_by_a_datagram_after_the_probation() {
    let mut director = flooded(10_000);
    let real = director.to(&flow(1).udp());
    assert_eq!(director.to(&flow(1).udp()), real);
    director.to(&flow(2).udp());
    director.pass(PROBATION + Duration::from_millis(250));
    assert_eq!(director.to(&flow(1).udp()), real);
    director.pass(seconds(60));
    assert_eq!(director.state_of(flow(1)), Some("UDP"));
    assert_eq!(director.state_of(flow(2)), None, "one datagram proves nothing");
}

#[test]
fn handshakes_that_were_under_way_go_on() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 90);
    let real = director.syn(flow(1));
    flood(&mut director, 0, RATE);
    assert!(director.flood().active);
    assert_eq!(director.ack(flow(1)), real);
    assert_eq!(director.state_of(flow(1)), Some("ESTABLISHED"));
}

/// Its flood evicts the handshake, and leaves no flow without an entry itself.
#[test]
fn a_handshake_that_a_flood_of_udp_evicts_is_not_reset() {
    let mut director = watchful(10, SchedulerKind::RoundRobin, 90);
    director.apply(&marks(0, 90));
    director.syn(flow(1));
    for number in 100..200 {
        director.to(&flow(number).udp());
    }
    assert!(director.flood().active);
    assert_eq!(director.state_of(flow(1)), None);
    assert_eq!(director.flood().without_entry, 0);
    director.ack(flow(1));
    assert_eq!(director.state_of(flow(1)), Some("SYNACK"));
}

#[test]
fn only_unproven_entries_are_evicted() {
    let mut director = watchful(100, SchedulerKind::RoundRobin, 90);
    for number in 0..60 {
        director.connect(flow(number));
    }
    for number in 100..130 {
        director.syn(flow(number));
    }
    director.syn(flow(200));
    assert!(director.flood().active);
    // Ten entries are free, and then thirty half-open connections are evicted.
    for number in 1_000..1_040 {
        director.ack(flow(number));
        assert!(director.state_of(flow(number)).is_some(), "{number}");
    }
    assert_eq!((director.connections(), director.evicted()), (100, 30));
    assert_eq!(director.state_of(flow(100)), None);
    // From here on the flood's own entries are evicted.
    for number in 2_000..3_000 {
        director.ack(flow(number));
    }
    assert_eq!((director.connections(), director.evicted()), (100, 1_030));
    for number in 0..60 {
        assert_eq!(director.state_of(flow(number)), Some("ESTABLISHED"), "{number}");
    }
}

#[test]
fn half_open_connections_count_as_load_except_in_flood_mode() {
    let mut director = watchful(1_000, SchedulerKind::WeightedLeastConnections, 0);
    let loads = |director: &Director| {
        let reals = &director.balancer.registry.reals;
        reals.iter().map(real::Real::active).sum::<u64>()
    };
    director.connect(flow(1));
    flood(&mut director, 0, RATE - 1);
    assert_eq!(loads(&director), u64::from(RATE));
    director.syn(flow(2));
    assert!(director.flood().active);
    assert_eq!(loads(&director), 1);
    let listed: Vec<_> = [A, B, C].map(|real| director.real(real).unwrap()).into();
    let sum = |count: fn(&snapshot::RealSnapshot) -> u64| listed.iter().map(count).sum::<u64>();
    assert_eq!(sum(|real| real.active), u64::from(RATE), "IPVS's ActiveConn as ever");
    assert_eq!(sum(|real| real.half_open), u64::from(RATE - 1));

    director.apply(&remove_real(A));
    director.apply(&add_real(IpAddr::from([10, 0, 0, 99]), 1));
    assert_eq!(loads(&director), 1, "a new real server is in the mode too");
    director.apply(&marks(0, 0));
    director.pass(seconds(2));
    assert_eq!(loads(&director), u64::from(RATE));
}

/// A director that restarts gets established connections in mid-stream: they count as new flows
/// too.
#[test]
fn a_flood_of_adopted_flows_makes_no_connections() {
    let mut director = watchful(10_000, SchedulerKind::RoundRobin, 0);
    let flood = FloodMarks { new_flows: RATE, table_use: 0 };
    let policy = Policy { flood, unknown: Some(Unknown::Adopt), ..Policy::default() };
    director.apply(&set_policy(policy));
    let homes: Vec<_> = (0..=RATE + 50).map(|number| director.ack(flow(number))).collect();
    assert!(director.flood().active);
    assert_eq!(director.state_of(flow(RATE)), Some("SYNACK"), "the one above the mark");
    director.pass(PROBATION + Duration::from_millis(250));
    for (number, home) in (0..).zip(&homes) {
        assert_eq!(director.ack(flow(number)), *home);
    }
    assert_eq!(director.state_of(flow(RATE)), Some("ESTABLISHED"), "a flow that goes on counts");
    director.to(&flow(1_000).tcp(Flags::RST));
    assert_eq!(director.state_of(flow(1_000)), None, "a reset leaves nothing to remember");
}

#[test]
fn an_honest_flow_is_not_counted_twice_in_the_mode() {
    let mut director = flooded(10_000);
    for second in 0..=10 {
        for number in 0..RATE / 2 {
            director.connect(flow(second * 1_000 + number));
        }
        director.pass(seconds(1));
    }
    assert!(!director.flood().active);
}

#[test]
fn a_flood_makes_no_templates_and_uses_existing_ones() {
    let mut director = watchful(10_000, SchedulerKind::RoundRobin, 0);
    let persistence = Persistence {
        timeout: seconds(300),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let flood_marks = FloodMarks { new_flows: RATE, table_use: 0 };
    let persistence = Some(persistence);
    director.apply(&set_policy(Policy { persistence, flood: flood_marks, ..Policy::default() }));
    let homes: Vec<_> = (0..50).map(|number| director.connect(flow(number))).collect();
    flood(&mut director, 0, 1_000);
    assert!(director.flood().active);
    let again = |number| Flow { client: number, port: 80 }.segment(Flags::SYN).source_port(777);
    for (number, home) in (0..50).zip(&homes) {
        assert_eq!(director.to(&again(number).bytes()), *home, "{number}");
    }
    let templates = director.balancer.snapshot().templates;
    assert_eq!(templates, RATE as usize, "of the clients before the one above the mark");
}

#[test]
fn half_open_connections_fill_no_threshold_in_the_mode() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 0);
    let thresholds = Thresholds { upper: 20, lower: 0 };
    let change = |address| Change::SetReal {
        service: "web".to_owned(),
        address,
        value: RealValue::Thresholds(thresholds),
    };
    for real in [A, B, C] {
        director.apply(&change(real));
    }
    flood(&mut director, 0, 60);
    let full = |director: &Director| [A, B, C].map(|real| director.real(real).unwrap().full);
    assert_eq!(full(&director), [true; 3]);
    director.apply(&marks(1, 0));
    flood(&mut director, 60, 1);
    assert!(director.flood().active);
    assert_eq!(full(&director), [false; 3]);
    director.apply(&marks(0, 0));
    director.pass(seconds(2));
    assert_eq!(full(&director), [true; 3]);
}

#[test]
fn a_handshake_that_is_finished_in_the_mode_fills_a_threshold() {
    let mut director = flooded(1_000);
    let thresholds = Thresholds { upper: 2, lower: 2 };
    let on_a: Vec<_> = (0..30).map(flow).filter(|&flow| director.ack(flow) == A).collect();
    director.apply(&Change::SetReal {
        service: "web".to_owned(),
        address: A,
        value: RealValue::Thresholds(thresholds),
    });
    director.pass(PROBATION + Duration::from_millis(250));
    let full = |director: &Director| director.real(A).unwrap().full;
    director.ack(on_a[0]);
    assert!(!full(&director), "one is established");
    director.ack(on_a[1]);
    assert!(full(&director), "two are");
}

/// The flood: ten times the table's capacity, from as many sources. Meanwhile honest clients: two
/// hundred connections that send something each second, and new ones.
#[test]
fn a_flood_of_ten_times_the_table_costs_honest_clients_nothing() {
    const CAPACITY: u32 = 20_000;
    const HELD: u32 = 200;
    const A_SECOND: u32 = 8_000;
    let mut director = watchful(CAPACITY, SchedulerKind::WeightedLeastConnections, 90);
    director.apply(&marks(2_000, 90));
    let mut homes: Vec<_> = (0..HELD).map(|number| director.connect(flow(number))).collect();
    let (mut forged, mut honest) = (0, HELD);
    while forged < 10 * CAPACITY {
        flood(&mut director, forged, A_SECOND);
        forged += A_SECOND;
        // Every second four new clients connect, and all existing ones go on.
        for number in honest..honest + 4 {
            homes.push(director.connect(flow(number)));
        }
        honest += 4;
        director.pass(seconds(1));
        for (number, home) in (0..honest).zip(&homes) {
            assert_eq!(director.ack(flow(number)), *home, "{number} after {forged}");
        }
    }
    assert!(director.flood().active);
    assert!(director.connections() <= 2_000 + homes.len(), "{}", director.connections());
    let listed = |director: &Director| {
        let established = director.states().into_iter().filter(|state| *state == "ESTABLISHED");
        u32::try_from(established.count()).unwrap()
    };
    assert_eq!(listed(&director), honest);
    let active: u64 = [A, B, C]
        .map(|real| director.real(real).unwrap())
        .iter()
        .map(|real| real.active - real.half_open)
        .sum();
    assert_eq!(active, u64::from(honest));
    assert_eq!(director.balancer.counters().dropped_total(), 0);
    director.pass(seconds(60) + FLOOD_INTERVAL * 2);
    assert!(!director.flood().active);
    assert_eq!(director.connections(), homes.len(), "only the honest are left");
}

/// Without a mark for the rate, the table fills to its own mark and no further.
#[test]
fn a_flood_without_a_mark_for_the_rate_stops_at_the_table_s() {
    let mut director = watchful(1_000, SchedulerKind::WeightedLeastConnections, 90);
    director.apply(&marks(0, 90));
    let homes: Vec<_> = (0..100).map(|number| director.connect(flow(number))).collect();
    flood(&mut director, 0, 10_000);
    assert_eq!(director.connections(), 900);
    let late: Vec<_> = (100..300).map(|number| director.connect(flow(number))).collect();
    director.pass(PROBATION + Duration::from_millis(250));
    for (number, home) in (0..300).zip(homes.iter().chain(&late)) {
        assert_eq!(director.ack(flow(number)), *home, "{number}");
        assert_eq!(director.state_of(flow(number)), Some("ESTABLISHED"), "{number}");
    }
    assert_eq!((director.connections(), director.evicted()), (1_000, 100));
}

#[derive(Clone, Debug)]
enum Event {
    Tcp(u32, u8),
    Udp(u32),
    Marks(u32, u8),
    Real(Change),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let flags = vec![Flags::SYN, Flags::SYN, Flags::ACK, Flags::FIN | Flags::ACK, Flags::RST];
    let changes = vec![add_real(C, 1), remove_real(C), set_weight(A, 0), set_weight(A, 2)];
    prop_oneof![
        8 => (0_u32..30, prop::sample::select(flags)).prop_map(|(n, flags)| Event::Tcp(n, flags)),
        2 => (0_u32..30).prop_map(Event::Udp),
        1 => (0_u32..8, prop::sample::select(vec![0, 1, 50, 100]))
            .prop_map(|(rate, full)| Event::Marks(rate, full)),
        1 => prop::sample::select(changes).prop_map(Event::Real),
        2 => (0_u64..20_000).prop_map(Event::Pass),
    ]
}

proptest! {
    /// The naive model: count the table's entries each time, in and out of the mode.
    #[test]
    fn every_count_is_right_in_every_mode(
        events in prop::collection::vec(event(), 1..200), capacity in 1_u32..16
    ) {
        let mut director = Director::new(capacity);
        let reals = [(A, 1), (B, 1), (C, 1)];
        director.apply(&Change::AddService(web(SchedulerKind::WeightedLeastConnections, &reals)));
        for event in events {
            match event {
                Event::Tcp(number, flags) => {
                    director.forward(&flow(number).tcp(flags));
                }
                Event::Udp(number) => {
                    director.forward(&flow(number).udp());
                }
                Event::Marks(rate, full) => director.apply(&marks(rate, full)),
                Event::Real(change) => drop(director.balancer.apply(director.now, &change)),
                Event::Pass(millis) => director.pass(Duration::from_millis(millis)),
            }
            let (listed, _) = director.balancer.connections(director.now, 0, usize::MAX);
            let flooded = director.flood().active;
            for &id in &director.balancer.registry.services.iter().next().unwrap().reals {
                let real = &director.balancer.registry.reals[id];
                let count = |is: &dyn Fn(&snapshot::ConnectionSnapshot) -> bool| {
                    let its = listed.iter().filter(|connection| connection.real == real.address());
                    its.filter(|connection| is(connection)).count() as u64
                };
                let handshake = |state: &str| ["SYN_RECV", "SYNACK"].contains(&state);
                let half_open = count(&|connection| handshake(connection.state));
                let established = count(&|connection| {
                    connection.active && !handshake(connection.state)
                });
                let others = count(&|connection| !connection.active);
                let shown = real.snapshot(director.now, 0, SchedulerKind::RoundRobin);
                prop_assert_eq!(
                    (shown.active, shown.half_open, shown.inactive),
                    (established + half_open, half_open, others)
                );
                let load = if flooded { established } else { established + half_open };
                prop_assert_eq!((real.active(), real.inactive()), (load, others));
            }
        }
        director.pass(seconds(2_000));
        let reals = director.balancer.snapshot().services.remove(0).reals;
        for real in reals {
            prop_assert_eq!((real.active, real.half_open, real.inactive), (0, 0, 0));
        }
        prop_assert!(!director.flood().active);
    }
}
