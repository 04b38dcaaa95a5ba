//! When flood mode begins and ends.

use super::*;

#[test]
fn one_new_flow_more_than_the_mark_in_a_second_is_a_flood() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 0);
    flood(&mut director, 0, RATE);
    assert_eq!(director.flood(), snapshot::FloodSnapshot::default());
    director.pass(seconds(1));
    flood(&mut director, 1_000, RATE);
    assert!(!director.flood().active, "another second, another hundred");
    director.syn(flow(1));
    assert_eq!(
        director.flood(),
        snapshot::FloodSnapshot { active: true, floods: 1, without_entry: 1 }
    );
    assert_eq!(director.connections(), 2 * RATE as usize, "the one above the mark has no entry");
}

#[test]
fn a_table_in_use_to_the_mark_makes_new_flows_a_flood() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 90);
    director.apply(&marks(0, 90));
    for number in 0..900 {
        director.connect(flow(number));
    }
    assert!(!director.flood().active);
    director.syn(flow(900));
    assert!(director.flood().active);
    assert_eq!((director.connections(), director.balancer.counters().without_entry), (900, 1));
}

#[test]
fn a_mark_of_zero_is_ignored() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 0);
    director.apply(&marks(0, 0));
    flood(&mut director, 0, 2_000);
    assert_eq!((director.flood().active, director.connections()), (false, 1_000));
    assert_eq!(director.evicted(), 0);
}

#[test]
fn the_mode_ends_after_calm_and_not_while_the_rate_is_above_half() {
    let mut director = flooded(10_000);
    for second in 0..30 {
        flood(&mut director, (second + 1) * 1_000, RATE / 2 + 1);
        director.pass(seconds(1));
        assert!(director.flood().active, "second {second}");
    }
    let start = director.now;
    while director.flood().active {
        flood(&mut director, 100_000, RATE / 2);
        director.pass(seconds(1));
        assert!(start.until(director.now) <= FLOOD_INTERVAL);
    }
    assert!(start.until(director.now) >= FLOOD_INTERVAL);
    let notices = director.balancer.flood_notices();
    let said: Vec<_> = notices.iter().map(|notice| (notice.entered, notice.new_flows)).collect();
    assert_eq!(said, [(true, RATE + 1), (false, 0)]);
    assert_eq!(director.balancer.flood_notices(), []);
    assert_eq!(director.flood().floods, 1);
}

/// Calm is judged over its whole time: bursts sustain the mode at the same cost as an even stream.
#[test]
fn half_the_mark_on_average_ends_the_mode_and_one_more_does_not() {
    let all = 10 * RATE / 2;
    for (flows, over) in [(all, true), (all + 1, false)] {
        let mut director = flooded(10_000);
        director.pass(seconds(8));
        flood(&mut director, 1_000, flows);
        director.pass(FLOOD_INTERVAL - seconds(8));
        assert_eq!(!director.flood().active, over, "{flows} in a burst");
    }
}

#[test]
fn after_a_flood_the_mode_lasts_no_longer_than_twice_the_calm() {
    for second in 0..10 {
        let mut director = flooded(10_000);
        director.pass(seconds(second));
        flood(&mut director, 1_000, 100 * RATE);
        let end = director.now;
        while director.flood().active {
            director.pass(seconds(1));
        }
        let lasted = end.until(director.now);
        assert!(
            FLOOD_INTERVAL < lasted && lasted <= FLOOD_INTERVAL * 2,
            "{lasted:?} after second {second}"
        );
    }
}

#[test]
fn an_idle_director_still_sees_that_a_flood_is_over_and_then_sleeps() {
    let mut director = flooded(10_000);
    director.pass(FLOOD_INTERVAL);
    assert!(!director.flood().active);
    director.pass(seconds(900));
    assert_eq!(director.balancer.next_deadline(), None);
}

#[test]
fn the_mode_ends_when_the_table_is_an_eighth_below_the_mark() {
    let mut director = watchful(1_000, SchedulerKind::RoundRobin, 80);
    director.apply(&marks(0, 80));
    for number in 0..800 {
        director.connect(flow(number));
    }
    director.syn(flow(900));
    let close = |director: &mut Director, numbers: std::ops::Range<u32>| {
        for number in numbers {
            director.to(&flow(number).tcp(Flags::RST));
        }
        director.pass(seconds(11));
    };
    close(&mut director, 0..100);
    assert_eq!(director.connections(), 700);
    director.pass(FLOOD_INTERVAL * 3);
    assert!(director.flood().active, "700 are not below seven eighths of 800");
    close(&mut director, 100..101);
    director.pass(FLOOD_INTERVAL * 2);
    assert!(!director.flood().active);
}

#[test]
fn a_policy_without_marks_ends_the_mode() {
    let mut director = flooded(10_000);
    director.apply(&marks(0, 0));
    director.pass(seconds(2));
    assert!(!director.flood().active);
}

#[test]
fn a_removed_service_takes_its_flood_with_it() {
    let mut director = flooded(10_000);
    director.apply(&remove_web());
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    director.pass(seconds(2));
    assert_eq!(director.flood(), snapshot::FloodSnapshot::default());
    let notices = director.balancer.flood_notices();
    assert_eq!(notices.len(), 1, "the old service's: {notices:?}");
    director.pass(seconds(900));
    assert_eq!(director.balancer.next_deadline(), None, "no check for its end is due");
}

#[test]
fn another_service_is_not_in_flood_mode() {
    let mut director = flooded(10_000);
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        ..web(SchedulerKind::RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(mail));
    let before = director.connections();
    director.syn(Flow { client: 1, port: 25 });
    assert_eq!(director.connections(), before + 1);
    assert!(!director.balancer.snapshot().services[1].flood.active);
}
