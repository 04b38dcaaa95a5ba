//! One-packet scheduling: each datagram is a flow of its own.

use super::*;
use SchedulerKind::{RoundRobin, WeightedRoundRobin};

#[test]
fn datagrams_scheduled_alone_are_spread_and_leave_no_entry() {
    let mut director = Director::with(WeightedRoundRobin, &[(A, 3), (B, 1)]);
    director.to(&flow(9).udp());
    director.apply(&set_policy(Policy { one_packet: true, ..Policy::default() }));
    let sent: Vec<_> = (0..8).map(|_| director.to(&flow(1).udp())).collect();
    assert_eq!(sent.iter().filter(|real| **real == A).count(), 6, "{sent:?}");
    assert_eq!(director.connections(), 1, "the earlier connection goes on");
    let given = [A, B].map(|real| director.real(real).unwrap().connections);
    assert_eq!(given.iter().sum::<u64>(), 9, "each counts as a connection given");
    assert_eq!(director.counts(B), (0, 0));
    assert_eq!(director.balancer.counters().without_entry, 0);
    let before = director.to(&flow(9).udp());
    assert!((0..5).all(|_| director.to(&flow(9).udp()) == before));
    assert_eq!(director.connect(flow(1)), director.ack(flow(1)), "TCP has connections");
}

#[test]
fn datagrams_are_scheduled_alone_in_a_full_table_too() {
    let mut director = Director::new(1);
    let policy = Policy { one_packet: true, ..Policy::default() };
    let spec = ServiceSpec { policy, ..web(RoundRobin, &[(A, 1), (B, 1)]) };
    director.apply(&Change::AddService(spec));
    director.syn(flow(0));
    director.syn(flow(2));
    assert_eq!([1, 1, 1, 1].map(|number| director.to(&flow(number).udp())), [B, A, B, A]);
    director.apply(&set_weight(A, 0));
    director.apply(&set_weight(B, 0));
    assert_eq!(director.forward(&flow(1).udp()), Verdict::Reply, "no server takes it");
}

#[test]
fn datagrams_of_a_persistent_client_stay_together_without_entries() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let persistence = Persistence {
        timeout: seconds(60),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let policy = Policy { persistence: Some(persistence), one_packet: true, ..Policy::default() };
    director.apply(&set_policy(policy));
    let real = director.to(&flow(1).udp());
    assert!((0..10).all(|_| director.to(&flow(1).udp()) == real));
    assert_eq!((director.connections(), director.balancer.snapshot().templates), (0, 1));
    director.pass(seconds(60));
    assert_eq!(director.balancer.snapshot().templates, 0, "nothing holds it");
}
