//! Thresholds: real servers that are full take no new connections until enough have ended.

use super::*;
use SchedulerKind::{RoundRobin, WeightedRoundRobin};

fn set_thresholds(address: IpAddr, upper: u32, lower: u32) -> Change {
    let thresholds = Thresholds { upper, lower };
    Change::SetReal { service: "web".to_owned(), address, value: RealValue::Thresholds(thresholds) }
}

#[test]
fn a_full_real_server_is_passed_over_until_it_has_few_enough() {
    for scheduler in SchedulerKind::ALL {
        let mut director = Director::with(scheduler, &[(A, 9), (B, 9)]);
        director.apply(&set_thresholds(A, 8, 3));
        director.apply(&set_weight(B, 0));
        for number in 0..8 {
            assert_eq!(director.syn(flow(number)), A, "{}", scheduler.name());
        }
        director.resets(&flow(8).tcp(Flags::SYN));
        director.apply(&set_weight(B, 9));
        assert_eq!(director.syn(flow(8)), B, "{}", scheduler.name());
        assert!(director.real(A).unwrap().full);
        assert_eq!(director.ack(flow(0)), A, "its own go on");
        // Five of the eight end; inactive ones count until then.
        for number in 0..5 {
            director.to(&flow(number).tcp(Flags::ACK));
            director.to(&flow(number).tcp(Flags::RST));
            assert!(director.real(A).unwrap().full);
        }
        director.pass(seconds(10));
        assert!(director.real(A).unwrap().full, "three are not below three");
        director.to(&flow(5).tcp(Flags::ACK));
        director.to(&flow(5).tcp(Flags::RST));
        director.pass(seconds(10));
        assert!(!director.real(A).unwrap().full);
        let next: Vec<_> = (20..30).map(|number| director.syn(flow(number))).collect();
        assert!(next.contains(&A), "{}", scheduler.name());
    }
}

#[test]
fn a_heavy_server_that_was_full_at_a_change_has_its_share_again() {
    let mut director = Director::with(WeightedRoundRobin, &[(A, 4), (B, 1)]);
    director.apply(&set_thresholds(A, 1, 0));
    assert_eq!(director.syn(flow(0)), A);
    director.apply(&set_weight(B, 2));
    assert_eq!(director.syn(flow(1)), B);
    director.apply(&set_thresholds(A, 0, 0));
    let next: Vec<_> = (2..8).map(|number| director.syn(flow(number))).collect();
    assert_eq!(next.iter().filter(|real| **real == A).count(), 4, "{next:?}");
}

#[test]
fn thresholds_change_at_once_and_bad_ones_are_refused() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    for number in 0..4 {
        director.syn(flow(number));
    }
    let full = |director: &mut Director, upper, lower| {
        director.apply(&set_thresholds(A, upper, lower));
        director.real(A).unwrap().full
    };
    assert!(!full(&mut director, 5, 0));
    assert!(full(&mut director, 4, 0));
    assert!(full(&mut director, 5, 4), "still between the two");
    assert!(!full(&mut director, 6, 5));
    assert!(full(&mut director, 1, 0));
    assert!(!full(&mut director, 0, 0));
    let bad = Thresholds { upper: 1, lower: 2 };
    director.refuses(&set_thresholds(A, 1, 2), &ChangeError::Value(RealValue::Thresholds(bad)));
    let real =
        RealSpec { values: RealValues { thresholds: bad, ..RealValues::default() }, ..spec(B, 1) };
    let add = Change::AddReal { service: "web".to_owned(), real };
    director.refuses(&add, &ChangeError::Value(RealValue::Thresholds(bad)));
    let large = Thresholds { upper: Thresholds::MAX + 1, lower: 0 };
    director.refuses(
        &set_thresholds(A, large.upper, 0),
        &ChangeError::Value(RealValue::Thresholds(large)),
    );
}

#[test]
fn flows_placed_by_hash_stay_where_they_are_when_a_server_fills_up() {
    let mut director = adopting(&[(A, 1), (B, 1)]);
    let before: Vec<_> = (0..40).map(|number| director.ack(flow(number))).collect();
    let mut other = adopting(&[(A, 1), (B, 1)]);
    other.apply(&set_thresholds(A, 1, 0));
    let after: Vec<_> = (0..40).map(|number| other.ack(flow(number))).collect();
    assert_eq!(after, before);
}
