//! Slow start: a real server that comes up gets no more than its current share of the weight.

use super::*;
use SchedulerKind::{
    LeastConnections, NeverQueue, Overflow, RoundRobin, ShortestExpectedDelay, TwoChoices,
    WeightedLeastConnections, WeightedRoundRobin,
};

const RAMP: u64 = 100;

/// Schedulers that compare loads.
const BY_LOAD: [SchedulerKind; 4] =
    [LeastConnections, WeightedLeastConnections, ShortestExpectedDelay, NeverQueue];
/// Schedulers that give turns.
const BY_TURNS: [SchedulerKind; 2] = [RoundRobin, WeightedRoundRobin];

/// Three real servers with `each` held connections, and C, which is added now and starts slowly.
fn joined(scheduler: SchedulerKind, each: u32) -> Director {
    let mut director = Director::new(100_000);
    let (tcp_established, tcp_idle) = (seconds(10_000), seconds(10_000));
    let timeouts = Timeouts { tcp_established, tcp_idle, ..Timeouts::DEFAULT };
    director.apply(&Change::SetTimeouts(timeouts));
    let policy = Policy { slow_start: seconds(RAMP), ..Policy::default() };
    let reals = vec![spec(A, 1), spec(B, 1)];
    director.apply(&Change::AddService(ServiceSpec { policy, reals, ..web(scheduler, &[]) }));
    for number in 0..2 * each {
        director.connect(flow(number));
    }
    director.apply(&add_real(C, 1));
    director
}

#[test]
fn load_schedulers_do_not_flood_a_fresh_server() {
    for scheduler in BY_LOAD {
        let mut director = joined(scheduler, 500);
        let mut opened = 1_000;
        for second in 1..=RAMP {
            director.pass(seconds(1));
            for _ in 0..20 {
                director.connect(flow(opened));
                opened += 1;
            }
            let (fresh, _) = director.counts(C);
            let (most, _) = director.counts(A).max(director.counts(B));
            // Its current share of the others' load, and the connection that reached it.
            let allowed = most * second / RAMP + 1;
            assert!(fresh <= allowed, "{}: {fresh} after {second} s", scheduler.name());
            assert!(fresh + 21 >= allowed, "{}: {fresh} after {second} s", scheduler.name());
        }
        for _ in 0..100 {
            director.connect(flow(opened));
            opened += 1;
        }
        let counts = [A, B, C].map(|real| director.counts(real).0);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}

#[test]
fn two_choices_do_not_flood_a_fresh_server() {
    let mut director = joined(TwoChoices, 500);
    for number in 1_000..1_400 {
        director.connect(flow(number));
    }
    // Both draws would have to hit a thousandth of a weight.
    assert!(director.counts(C).0 <= 1, "{:?}", director.counts(C));
    director.pass(seconds(RAMP / 4));
    for number in 1_400..2_400 {
        director.connect(flow(number));
    }
    // Both draws hit it once in 81 times; otherwise it is not above a quarter of the others' load.
    // One of them does 17 times in 81, which gives it 210 in all.
    let ((fresh, _), (others, _)) =
        (director.counts(C), director.counts(A).min(director.counts(B)));
    assert!(fresh <= others / 4 + 30, "{fresh} beside {others}");
    assert!(fresh >= 170, "{fresh} beside {others}");
}

/// C's share of 400 new connections after that many of a hundred seconds of slow start.
fn turns(scheduler: SchedulerKind, after: u64) -> u64 {
    let mut director = joined(scheduler, 1);
    director.pass(seconds(after));
    for number in 2..402 {
        director.connect(flow(number));
    }
    director.real(C).unwrap().connections
}

#[test]
fn turns_are_taken_as_the_weight_grows() {
    for scheduler in BY_TURNS {
        // A share of s beside two of 1: 400 × s ÷ (2 + s).
        for (after, expected) in
            [(0, 0), (1, 1), (25, 44), (50, 80), (75, 109), (100, 133), (500, 133)]
        {
            let got = turns(scheduler, after);
            assert!(got.abs_diff(expected) <= 1, "{} after {after} s: {got}", scheduler.name());
        }
    }
}

#[test]
fn servers_that_come_up_together_share_by_weight() {
    for scheduler in BY_LOAD.into_iter().chain(BY_TURNS) {
        let mut director = joined(scheduler, 0);
        for real in [A, B] {
            director.apply(&remove_real(real));
            director.apply(&add_real(real, 1));
        }
        director.pass(seconds(1));
        for number in 0..300 {
            director.connect(flow(number));
        }
        for real in [A, B, C] {
            let got = director.real(real).unwrap().connections;
            assert!((99..=101).contains(&got), "{} {real}: {got}", scheduler.name());
        }
    }
}

#[test]
fn a_single_server_takes_all() {
    // Overflow is full one past the weight.
    for scheduler in SchedulerKind::ALL.into_iter().filter(|&kind| kind != Overflow) {
        let mut director = joined(scheduler, 1);
        director.apply(&set_state(A, AdminState::Down));
        director.apply(&set_state(B, AdminState::Disabled));
        for number in 10..20 {
            assert_eq!(director.connect(flow(number)), C, "{}", scheduler.name());
        }
    }
}

/// Thousandths of its weight that A has `after` seconds from a change that makes it available.
fn grown(before: &[Change], change: &Change, after: u64) -> Option<u32> {
    let mut director = Director::with(WeightedLeastConnections, &[(A, 1), (B, 1)]);
    director.connect(flow(0));
    director.apply(&set_policy(Policy { slow_start: seconds(RAMP), ..Policy::default() }));
    for change in before {
        director.apply(change);
    }
    director.apply(change);
    director.pass(seconds(after));
    director.real(A).unwrap().effective_weight
}

#[test]
fn every_way_to_come_up_is_a_slow_start() {
    let up = || set_state(A, AdminState::Up);
    let drain = AdminState::Draining { deadline: None };
    for (before, change) in [
        (set_state(A, AdminState::Down), up()),
        (set_state(A, AdminState::Disabled), up()),
        (set_state(A, drain), up()),
        (set_health(A, Health::Down), set_health(A, Health::Up)),
        (set_weight(A, 0), set_weight(A, 1)),
        (remove_real(A), add_real(A, 1)),
    ] {
        let at = |after| grown(std::slice::from_ref(&before), &change, after);
        assert_eq!(at(0), Some(1), "{change:?}");
        assert_eq!(at(40), Some(400), "{change:?}");
        assert_eq!(at(99), Some(990), "{change:?}");
        assert_eq!(at(100), None, "{change:?}");
    }
}

#[test]
fn a_server_that_is_up_already_or_not_up_yet_does_not_start() {
    for change in [
        set_state(A, AdminState::Up),
        set_health(A, Health::Up),
        set_weight(A, 5),
        set_state(A, AdminState::Disabled),
    ] {
        assert_eq!(grown(&[], &change, 0), None, "{change:?}");
    }
    let down = [set_state(A, AdminState::Disabled), set_health(A, Health::Down)];
    assert_eq!(grown(&down, &set_state(A, AdminState::Up), 0), None);
    assert_eq!(grown(&down, &set_health(A, Health::Up), 0), None);
}

#[test]
fn a_new_weight_grows_along_and_another_fall_begins_anew() {
    let fall = [set_state(A, AdminState::Down)];
    let mut director = Director::with(WeightedRoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&set_policy(Policy { slow_start: seconds(RAMP), ..Policy::default() }));
    director.apply(&fall[0]);
    director.apply(&set_state(A, AdminState::Up));
    director.pass(seconds(50));
    director.apply(&set_weight(A, 7));
    let weight = |director: &Director| director.real(A).unwrap().effective_weight;
    assert_eq!(weight(&director), Some(3_500));
    director.apply(&fall[0]);
    assert_eq!(weight(&director), None);
    director.apply(&set_state(A, AdminState::Up));
    assert_eq!(weight(&director), Some(7));
}

#[test]
fn a_service_s_first_real_servers_have_all_of_their_weight() {
    let mut director = Director::new(10);
    let policy = Policy { slow_start: seconds(RAMP), ..Policy::default() };
    let first = web(WeightedLeastConnections, &[(A, 1), (B, 2)]);
    director.apply(&Change::AddService(ServiceSpec { policy, ..first }));
    for real in [A, B] {
        assert_eq!(director.real(real).unwrap().effective_weight, None);
    }
}

#[test]
fn without_a_slow_start_a_fresh_server_has_all_at_once() {
    let mut director = Director::with(WeightedLeastConnections, &[(A, 1)]);
    director.apply(&add_real(B, 1));
    assert_eq!(director.real(B).unwrap().effective_weight, None);
}

#[test]
fn a_server_below_its_threshold_again_does_not_start() {
    let mut director = Director::with(WeightedLeastConnections, &[(A, 1), (B, 1)]);
    director.apply(&set_policy(Policy { slow_start: seconds(RAMP), ..Policy::default() }));
    let thresholds = |upper| Change::SetReal {
        service: "web".to_owned(),
        address: A,
        value: RealValue::Thresholds(Thresholds { upper, lower: 0 }),
    };
    director.apply(&thresholds(1));
    director.connect(flow(0));
    assert!(director.real(A).unwrap().full);
    director.apply(&thresholds(0));
    let real = director.real(A).unwrap();
    assert_eq!((real.full, real.effective_weight), (false, None));
}
