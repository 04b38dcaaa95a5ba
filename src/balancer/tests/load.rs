//! Load as real servers report it: effective weights, and connections that count.

use super::*;
use crate::model::{Established, Load};

/// The report of time 1.
fn set_load(address: IpAddr, thousandths: u32, count: Option<u64>) -> Change {
    reported_at(1, address, thousandths, count)
}

fn reported_at(at: u64, address: IpAddr, thousandths: u32, count: Option<u64>) -> Change {
    let connections = count.map(|count| Established { count, at: Millis(at) });
    let load = Load { thousandths, connections, weight: None };
    Change::SetLoad { service: "web".to_owned(), address, load }
}

fn share_of_a(director: &mut Director, from: u32, count: u32) -> usize {
    (from..from + count).filter(|&number| director.connect(flow(number)) == A).count()
}

#[test]
fn a_loaded_server_has_its_reported_share_and_later_all_of_it() {
    use SchedulerKind::{WeightedLeastConnections, WeightedRoundRobin};
    for scheduler in [WeightedRoundRobin, WeightedLeastConnections] {
        let mut director = Director::with(scheduler, &[(A, 1), (B, 1)]);
        director.apply(&set_load(A, 250, None));
        let share = share_of_a(&mut director, 0, 100);
        assert!((19..=21).contains(&share), "{}: {share}", scheduler.name());
        let real = director.real(A).unwrap();
        assert_eq!((real.values.weight, real.effective_weight), (1, Some(250)));
        director.apply(&set_load(A, 1_000, None));
        assert_eq!(director.real(A).unwrap().effective_weight, None);
    }
}

#[test]
fn an_agent_takes_it_out_and_its_connections_go_on() {
    for scheduler in SchedulerKind::ALL {
        let mut director = Director::with(scheduler, &[(A, 50), (B, 50)]);
        let first = (0..).find(|&number| director.connect(flow(number)) == A).unwrap();
        director.apply(&set_load(A, 0, None));
        assert_eq!(share_of_a(&mut director, 200, 20), 0, "{}", scheduler.name());
        assert_eq!(director.ack(flow(first)), A, "{}", scheduler.name());
    }
}

#[test]
fn reported_connections_count_and_those_given_since() {
    use SchedulerKind::{
        LeastConnections, NeverQueue, ShortestExpectedDelay, WeightedLeastConnections,
    };
    for scheduler in [LeastConnections, WeightedLeastConnections, ShortestExpectedDelay, NeverQueue]
    {
        let name = scheduler.name();
        let mut director = Director::with(scheduler, &[(A, 1), (B, 1)]);
        director.apply(&set_load(A, 1_000, Some(10)));
        director.apply(&set_load(B, 1_000, Some(4)));
        // Six to B, and then by turns.
        assert_eq!(share_of_a(&mut director, 0, 6), 0, "{name}");
        assert_eq!(share_of_a(&mut director, 6, 10), 5, "{name}");
        assert_eq!(director.real(A).unwrap().reported, Some(15), "{name}");
        director.apply(&set_load(A, 900, Some(10)));
        assert_eq!(director.real(A).unwrap().reported, Some(15), "{name}: no other report");
        director.apply(&reported_at(2, A, 900, Some(10)));
        assert_eq!(director.real(A).unwrap().reported, Some(10), "{name}: the same number");
        director.apply(&reported_at(3, A, 1_000, Some(3)));
        assert_eq!(director.real(A).unwrap().reported, Some(3), "{name}");
        director.apply(&set_load(A, 1_000, None));
        assert_eq!(director.real(A).unwrap().reported, None, "{name}");
    }
}

#[test]
fn a_program_s_weight_stands_in_for_the_configured_one_unless_that_is_0() {
    let given = |address, weight| {
        let load = Load { weight, ..Load::default() };
        Change::SetLoad { service: "web".to_owned(), address, load }
    };
    let mut director = Director::with(SchedulerKind::WeightedRoundRobin, &[(A, 1), (B, 1), (C, 0)]);
    director.apply(&given(A, Some(3)));
    assert_eq!(share_of_a(&mut director, 0, 100), 75);
    let real = director.real(A).unwrap();
    assert_eq!((real.values.weight, real.effective_weight), (1, Some(3_000)));
    director.apply(&given(A, Some(0)));
    assert_eq!(share_of_a(&mut director, 100, 20), 0);
    assert_eq!(director.real(A).unwrap().effective_weight, Some(0));
    director.apply(&given(A, None));
    assert_eq!(share_of_a(&mut director, 200, 20), 10);
    assert_eq!(director.real(A).unwrap().effective_weight, None);
    director.apply(&given(C, Some(253)));
    assert_eq!(share_of_a(&mut director, 300, 20), 10, "C has no weight");

    let mut director = Director::with(SchedulerKind::Failover, &[(A, 2), (B, 3)]);
    director.apply(&given(A, Some(4)));
    assert_eq!(share_of_a(&mut director, 0, 20), 20);
}

#[test]
fn no_report_is_too_large() {
    for scheduler in SchedulerKind::ALL {
        let mut director = Director::with(scheduler, &[(A, 65_535), (B, 65_535)]);
        director.apply(&set_load(A, Load::MOST, Some(u64::MAX)));
        director.apply(&set_load(B, u32::MAX, Some(u64::MAX)));
        assert!(share_of_a(&mut director, 0, 20) <= 20, "{}", scheduler.name());
    }
}

#[test]
fn a_server_that_its_load_brings_back_starts_slowly_whatever_it_reports_meanwhile() {
    let mut director = Director::with(SchedulerKind::WeightedRoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&set_policy(Policy { slow_start: seconds(100), ..Policy::default() }));
    director.apply(&set_load(A, 0, None));
    director.apply(&set_load(A, 500, None));
    director.pass(seconds(50));
    director.apply(&set_load(A, 500, Some(7)));
    assert_eq!(director.real(A).unwrap().effective_weight, Some(250));
}
