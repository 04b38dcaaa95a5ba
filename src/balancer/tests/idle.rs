//! Established connections without packets, which may be dead.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use SchedulerKind::{LeastConnections, RoundRobin};

#[test]
fn an_established_connection_without_packets_counts_as_active_for_a_minute() {
    let mut director = Director::with(LeastConnections, &[(A, 1), (B, 1)]);
    assert_eq!(director.connect(flow(0)), A);
    // As if A had reset it: the client sends nothing more.
    director.pass(seconds(60) - Duration::from_millis(1));
    assert_eq!(director.counts(A), (1, 0));
    director.pass(Duration::from_millis(1));
    assert_eq!((director.counts(A), director.states()), ((0, 1), vec!["ESTABLISHED"]));
    let (listed, _) = director.balancer.connections(director.now, 0, 9);
    assert_eq!((listed[0].active, listed[0].expires), (false, seconds(840)));

    assert_eq!(director.ack(flow(0)), A, "it lives");
    assert_eq!(director.counts(A), (1, 0));
    let (listed, _) = director.balancer.connections(director.now, 0, 9);
    assert_eq!((listed[0].active, listed[0].expires), (true, seconds(900)));
    director.pass(seconds(899));
    assert_eq!(director.connections(), 1);
    director.pass(seconds(1));
    assert_eq!((director.connections(), director.counts(A)), (0, (0, 0)));
}

#[test]
fn an_idle_time_as_long_as_the_life_is_none() {
    for (tcp_idle, tcp_established) in [(30, 30), (31, 30), (900, 30)] {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let (tcp_idle, tcp_established) = (seconds(tcp_idle), seconds(tcp_established));
        let timeouts = Timeouts { tcp_idle, tcp_established, ..Timeouts::DEFAULT };
        director.apply(&Change::SetTimeouts(timeouts));
        director.connect(flow(0));
        director.pass(seconds(30) - Duration::from_millis(1));
        assert_eq!(director.counts(A), (1, 0), "{tcp_idle:?}");
        director.pass(Duration::from_millis(1));
        assert_eq!(director.connections(), 0, "{tcp_idle:?}");
    }
}

/// The events of a connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Packet(u32),
    Fin(u32),
    Pass(u64),
}

proptest! {
    /// The naive model: the time of each flow's last packet, and whether a FIN was among them.
    #[test]
    fn active_are_those_with_a_packet_not_long_ago(
        events in prop::collection::vec(
            prop_oneof![
                5 => (0_u32..6).prop_map(Event::Packet),
                1 => (0_u32..6).prop_map(Event::Fin),
                3 => (1_u64..120).prop_map(Event::Pass),
            ],
            1..80,
        ),
        idle in 1_u64..100,
        established in 1_u64..300,
    ) {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let (tcp_idle, tcp_established) = (seconds(idle), seconds(established));
        let timeouts = Timeouts { tcp_idle, tcp_established, ..Timeouts::DEFAULT };
        director.apply(&Change::SetTimeouts(timeouts));
        let mut model: BTreeMap<u32, (u64, bool)> = BTreeMap::new();
        let mut now = 0;
        for event in events {
            if let Event::Packet(number) | Event::Fin(number) = event
                && !model.contains_key(&number)
            {
                director.connect(flow(number));
            }
            match event {
                Event::Packet(number) => {
                    director.ack(flow(number));
                    let fin = model.get(&number).is_some_and(|(_, fin)| *fin);
                    model.insert(number, (now, fin));
                }
                Event::Fin(number) => {
                    director.to(&flow(number).tcp(Flags::FIN | Flags::ACK));
                    model.insert(number, (now, true));
                }
                Event::Pass(passed) => {
                    director.pass(seconds(passed));
                    now += passed;
                }
            }
            model.retain(|_, (last, fin)| now - *last < if *fin { 120 } else { established });
            let active = model.values().filter(|(last, fin)| !fin && now - last < idle).count();
            let expected = (active as u64, (model.len() - active) as u64);
            prop_assert_eq!(director.counts(A), expected);
            prop_assert_eq!(director.connections(), model.len());
        }
    }
}
