//! Probation: the effect of one packet with a forged source does not last, in and out of floods.

use super::*;
use crate::balancer::flood::{FLOOD_INTERVAL, PROBATION};

/// A little more than the probation: entries are timed to a quarter of a second.
const AFTER: Duration = Duration::from_millis(1_250);

#[test]
fn an_adopted_flow_proves_itself_by_a_packet_after_the_probation() {
    for flags in [Flags::ACK, Flags::ACK | Flags::PSH, Flags::FIN | Flags::ACK] {
        let mut director = adopting(&[(A, 1), (B, 1)]);
        let reals: Vec<_> = (0..20).map(|number| director.to(&flow(number).tcp(flags))).collect();
        assert_eq!(director.states(), ["SYNACK"; 20]);
        director.pass(PROBATION - Duration::from_millis(1));
        for number in 0..20 {
            director.ack(flow(number));
        }
        assert_eq!(director.states(), ["SYNACK"; 20], "too early");
        director.pass(AFTER);
        for number in 0..10 {
            assert_eq!(director.ack(flow(number)), reals[number as usize]);
        }
        director.pass(seconds(60));
        assert_eq!(director.states(), ["ESTABLISHED"; 10], "the flow that went on is left");
        assert_eq!(director.balancer.counters().without_entry, 0);
        for number in 10..20 {
            assert_eq!(director.ack(flow(number)), reals[number as usize], "found again");
        }
    }
}

/// More sources than entries, a packet each: a minute later none of them is left.
#[test]
fn acknowledgements_of_forged_sources_do_not_hold_an_adopting_table() {
    let mut director = Director::with(SchedulerKind::Maglev, &[(A, 1), (B, 1)]);
    director.apply(&set_policy(Policy::default()));
    let active = |director: &Director| director.balancer.snapshot().services[0].flood.active;
    for number in 0..2_000 {
        director.ack(flow(number));
    }
    assert!(active(&director));
    assert_eq!(director.connections(), 1_000);
    // An honest flow gets an entry, and keeps it against as many again.
    director.ack(flow(10_000));
    director.pass(AFTER);
    director.ack(flow(10_000));
    for number in 2_000..4_000 {
        director.ack(flow(number));
    }
    assert_eq!(director.connections(), 1_000);
    director.pass(seconds(61));
    assert_eq!(director.states(), ["ESTABLISHED"]);
    director.pass(FLOOD_INTERVAL * 2);
    assert!(!active(&director));
}

#[test]
fn a_changed_timeout_keeps_no_flow_on_probation() {
    for (before, after) in [(60, 5), (5, 60)] {
        let mut director = adopting(&[(A, 1)]);
        let set = |director: &mut Director, tcp_syn_recv| {
            let tcp_syn_recv = seconds(tcp_syn_recv);
            director.apply(&Change::SetTimeouts(Timeouts { tcp_syn_recv, ..Timeouts::DEFAULT }));
        };
        set(&mut director, before);
        director.ack(flow(1));
        set(&mut director, after);
        director.pass(AFTER);
        director.ack(flow(1));
        assert_eq!(director.states(), ["ESTABLISHED"], "from {before} to {after}");
    }
}
