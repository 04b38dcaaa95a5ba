//! Reached drain deadlines cause one notice each.

use super::*;

fn drain(after: u64) -> AdminState {
    AdminState::Draining { deadline: Some(seconds(after)) }
}

/// A and B, with two connections each, one of each family.
fn settled() -> Director {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    for number in 0..4 {
        director.connect(flow(number));
    }
    assert_eq!((director.counts(A), director.counts(B)), ((2, 0), (2, 0)));
    director
}

/// The notices since the last call.
fn reached_deadlines(director: &mut Director) -> Vec<(IpAddr, u64)> {
    let notices = director.balancer.deadline_notices();
    assert!(notices.iter().all(|notice| *notice.service == *"web"));
    notices.iter().map(|notice| (notice.address, notice.connections)).collect()
}

#[test]
fn a_reached_deadline_causes_one_notice() {
    let mut director = settled();
    director.apply(&set_state(A, drain(30)));
    director.pass(seconds(30) - Duration::from_millis(1));
    assert_eq!(reached_deadlines(&mut director), []);
    let due = director.now.after(Duration::from_millis(1));
    assert_eq!(director.balancer.next_deadline(), Some(due), "the loop wakes for it");
    director.pass(Duration::from_millis(1));
    assert_eq!(reached_deadlines(&mut director), [(A, 2)]);
    director.pass(seconds(3_600));
    director.apply(&set_weight(A, 3));
    director.pass(seconds(1));
    assert_eq!(reached_deadlines(&mut director), []);
}

#[test]
fn the_next_drain_has_a_deadline_of_its_own() {
    let mut director = settled();
    for _ in 0..2 {
        director.apply(&set_state(A, drain(30)));
        director.pass(seconds(30));
        assert_eq!(reached_deadlines(&mut director), [(A, 2)]);
        director.apply(&set_state(A, AdminState::Up));
    }
}

#[test]
fn each_deadline_causes_a_notice_at_its_time() {
    let mut director = settled();
    director.apply(&set_state(B, drain(20)));
    director.apply(&set_state(A, drain(10)));
    director.pass(seconds(10));
    assert_eq!(reached_deadlines(&mut director), [(A, 2)]);
    director.pass(seconds(10));
    assert_eq!(reached_deadlines(&mut director), [(B, 2)]);
}

#[test]
fn a_cancelled_or_postponed_deadline_causes_no_notice() {
    let mut director = settled();
    director.apply(&set_state(A, drain(10)));
    director.apply(&set_state(B, drain(10)));
    director.apply(&set_state(A, AdminState::Up));
    director.apply(&set_state(B, drain(20)));
    director.pass(seconds(19));
    assert_eq!(reached_deadlines(&mut director), []);
    director.pass(seconds(1));
    assert_eq!(reached_deadlines(&mut director), [(B, 2)]);
}

#[test]
fn the_service_s_deadline_applies_to_removed_servers_and_initial_drains() {
    let mut director = settled();
    director.apply(&set_policy(Policy { drain_deadline: Some(seconds(60)), ..Policy::default() }));
    director.apply(&remove_real(A));
    let state = AdminState::Draining { deadline: None };
    let real = RealSpec { state, ..spec(C, 1) };
    director.apply(&Change::AddReal { service: "web".to_owned(), real });
    director.pass(seconds(60));
    assert_eq!(reached_deadlines(&mut director), [(A, 2), (C, 0)]);
}

#[test]
fn a_freed_real_server_causes_no_notice() {
    let mut director = settled();
    director.apply(&set_policy(Policy { drain_deadline: Some(seconds(60)), ..Policy::default() }));
    director.apply(&remove_real(A));
    director.apply(&remove_web());
    director.pass(seconds(60));
    assert_eq!(reached_deadlines(&mut director), []);
    // A real server that reuses its ID does not have its deadline.
    director.pass(seconds(900));
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(C, 1)])));
    director.pass(seconds(60));
    assert_eq!(reached_deadlines(&mut director), []);
}
