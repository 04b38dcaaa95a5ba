//! fo and ovf when counts are not available: in flood mode, with a full table, and as long
//! afterwards as flows without an entry are alive.

use super::*;
use crate::balancer::flood::FLOOD_INTERVAL;
use SchedulerKind::{Failover, Overflow};

const WEIGHTS: [(IpAddr, u32); 3] = [(A, 9), (B, 10), (C, 1)];

/// This many new flows, from `first` on, and how many of them went to each server.
fn shares(director: &mut Director, first: u32) -> [usize; 3] {
    let went: Vec<_> = (first..first + 300).map(|number| director.connect(flow(number))).collect();
    [A, B, C].map(|real| went.iter().filter(|&&other| other == real).count())
}

fn flooded(scheduler: SchedulerKind) -> Director {
    let mut director = Director::with(scheduler, &WEIGHTS);
    let flood = FloodMarks { new_flows: 1, table_use: 0 };
    director.apply(&set_policy(Policy { flood, ..Policy::default() }));
    for number in 0..2 {
        director.syn(flow(number));
    }
    assert!(director.balancer.snapshot().services[0].flood.active);
    director
}

/// The same with a table that two connections fill.
fn full(scheduler: SchedulerKind) -> Director {
    let mut director = Director::new(2);
    director.apply(&Change::AddService(web(scheduler, &WEIGHTS)));
    for number in 0..2 {
        director.connect(flow(number));
    }
    director
}

#[test]
fn failover_stays_failover() {
    for make in [flooded, full] {
        let mut director = make(Failover);
        assert_eq!(shares(&mut director, 100), [0, 300, 0]);
        director.apply(&set_state(B, AdminState::Disabled));
        assert_eq!(shares(&mut director, 1_000), [300, 0, 0], "the next one stands in");
        director.apply(&set_state(B, AdminState::Up));
        assert_eq!(shares(&mut director, 2_000), [0, 300, 0]);
        director.apply(&set_weight(A, 10));
        assert_eq!(shares(&mut director, 3_000), [300, 0, 0], "of equal ones the first");
    }
}

#[test]
fn failover_stays_failover_after_a_flood() {
    let mut director = flooded(Failover);
    director.pass(FLOOD_INTERVAL * 2);
    assert!(!director.balancer.snapshot().services[0].flood.active);
    let mut services = director.balancer.registry.services.iter();
    assert!(services.all(|service| service.hashed(director.now)));
    drop(services);
    assert_eq!(director.connect(flow(100)), B);
}

/// The real server of a flow without an entry must not depend on the number of other flows.
#[test]
fn failover_in_a_flood_does_not_heed_thresholds() {
    let mut director = flooded(Failover);
    let thresholds = Thresholds { upper: 1, lower: 0 };
    director.apply(&Change::SetReal {
        service: "web".to_owned(),
        address: B,
        value: RealValue::Thresholds(thresholds),
    });
    assert_eq!(shares(&mut director, 100), [0, 300, 0]);
}

/// All flows to one of them would exceed its capacity.
#[test]
fn overflow_shares_by_weight() {
    for make in [flooded, full] {
        let [a, b, c] = shares(&mut make(Overflow), 100);
        // 135, 150 and 15, give or take four standard deviations.
        assert!((100..=170).contains(&a) && (115..=185).contains(&b), "{a} {b} {c}");
        assert!((1..=30).contains(&c), "{a} {b} {c}");
    }
}
