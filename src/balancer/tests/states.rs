//! What happens to flows when their real server drains, goes down, is disabled, or is removed.

use super::*;
use crate::model::RealState;
use SchedulerKind::RoundRobin;

const DRAIN: AdminState = AdminState::Draining { deadline: None };

fn drain(after: u64) -> AdminState {
    AdminState::Draining { deadline: Some(seconds(after)) }
}

fn resetting() -> Change {
    set_policy(Policy { existing: Existing::Reset, ..Policy::default() })
}

/// A director of A and B with one TCP connection of each family, both at A, and one UDP flow there.
fn settled() -> Director {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 0)]);
    for number in 0..2 {
        assert_eq!(director.connect(flow(number)), A);
    }
    assert_eq!(director.to(&flow(9).udp()), A);
    director.apply(&set_weight(B, 1));
    director
}

fn segment(number: u32) -> Ip {
    flow(number).segment(Flags::ACK | Flags::PSH).sequence(7_000 + number).acknowledgement(99)
}

fn data(number: u32) -> Vec<u8> {
    segment(number).data(b"more").bytes()
}

#[test]
fn a_server_that_is_not_up_takes_nothing_new_and_keeps_its_flows() {
    for state in [DRAIN, AdminState::Down, AdminState::Disabled] {
        let mut director = settled();
        director.apply(&set_state(A, state));
        assert_eq!(director.real(A).unwrap().state.name(), state.name());
        for number in 0..2 {
            assert_eq!(director.to(&data(number)), A, "{state:?}");
        }
        for number in 2..6 {
            assert_eq!(director.syn(flow(number)), B, "{state:?}");
        }
        director.apply(&set_state(A, AdminState::Up));
        assert!((10..12).any(|number| director.syn(flow(number)) == A), "{state:?}");
    }
}

#[test]
fn a_syn_on_a_connection_of_a_server_that_is_not_up_goes_elsewhere() {
    for state in [DRAIN, AdminState::Down, AdminState::Disabled] {
        let mut director = settled();
        director.apply(&set_weight(B, 0));
        assert_eq!(director.syn(flow(5)), A);
        director.apply(&set_weight(B, 1));
        director.apply(&set_state(A, state));
        for number in [0, 5] {
            assert_eq!(director.syn(flow(number)), B, "{state:?}");
        }
        let kept = "the established one may be alive, since the SYN may be forged";
        assert_eq!((director.counts(A), director.counts(B)), ((2, 1), (2, 0)), "{state:?}: {kept}");
    }
}

#[test]
fn at_the_deadline_the_client_and_the_real_server_get_resets() {
    let mut director = settled();
    director.apply(&set_state(A, drain(30)));
    assert_eq!(director.real(A).unwrap().deadline, Some(seconds(30)));
    director.pass(seconds(30) - Duration::from_millis(1));
    assert_eq!(director.to(&data(0)), A);
    director.pass(Duration::from_millis(1));
    for number in 0..2 {
        assert_eq!(director.ends(&data(number)), Some((A, 7_000 + number)));
    }
    assert_eq!(director.real(A).unwrap().deadline, Some(Duration::ZERO));
    let counters = director.balancer.counters();
    assert_eq!((counters.ended, counters.replied()), (2, 2));
    assert_eq!(counters.read, counters.tunnelled + counters.replied());
}

#[test]
fn a_super_frame_is_one_packet_of_the_connection_that_it_ends() {
    let mut director = settled();
    director.apply(&set_state(A, drain(0)));
    let large = segment(0).data(&[7; 60_000]).bytes();
    assert_eq!(director.ends(&large), Some((A, 7_000)));
    assert_eq!(director.balancer.answers.server_reset.len(), 40);
    assert_eq!(director.ends(&segment(1).bytes()), Some((A, 7_001)));
    assert_eq!(director.balancer.answers.server_reset.len(), 60);
}

#[test]
fn an_ended_connection_counts_as_closed_and_goes_soon() {
    let mut director = settled();
    director.apply(&set_state(A, drain(0)));
    assert_eq!(director.counts(A), (2, 1));
    director.ends(&data(0));
    director.ends(&data(1));
    assert_eq!(director.counts(A), (0, 3));
    director.pass(seconds(11));
    assert_eq!(director.counts(A), (0, 1));
}

/// If the reset does not fit the real server's position, the real server answers it. The client's
/// reply to that answer has to arrive.
#[test]
fn the_client_s_own_reset_goes_on_to_the_real_server() {
    let mut director = settled();
    director.apply(&set_state(A, drain(0)));
    assert_eq!(director.to(&flow(0).tcp(Flags::RST)), A);
    director.ends(&data(1));
    assert_eq!(director.to(&flow(1).tcp(Flags::RST)), A);
    assert_eq!(director.balancer.counters().ended, 1);
}

#[test]
fn packets_after_an_end_are_answered_within_the_rate() {
    let limits = Limits { connections: 10, refusals_per_second: 2 };
    let mut director = settled();
    director.balancer = Balancer::new(limits, Seed(1, 2));
    director.apply(&Change::AddService(web(RoundRobin, &[(A, 1)])));
    for number in 0..5 {
        director.connect(flow(number));
    }
    director.apply(&set_state(A, drain(0)));
    for number in 0..5 {
        assert_eq!(director.ends(&data(number)), Some((A, 7_000 + number)), "each has its answer");
    }
    assert!(director.ends(&data(0)).is_some());
    assert!(director.ends(&data(1)).is_some());
    assert_eq!(director.forward(&data(2)), Verdict::Drop(Reason::NoConnection));
    assert_eq!(director.balancer.counters().ended, 5);
}

#[test]
fn past_its_deadline_a_port_used_again_and_datagrams_go_elsewhere_at_once() {
    let mut director = settled();
    director.apply(&set_state(A, drain(10)));
    assert_eq!(director.to(&flow(9).udp()), A);
    director.pass(seconds(10));
    assert_eq!(director.syn(flow(0)), B);
    assert_eq!(director.to(&flow(9).udp()), B);
    assert_eq!((director.counts(A), director.counts(B)), ((2, 0), (1, 1)), "it may live");
    director.apply(&set_weight(B, 0));
    director.apply(&set_state(B, drain(0)));
    assert_eq!(director.forward(&flow(9).udp()), Verdict::Reply, "no server is left");
}

#[test]
fn down_with_reset_resets_the_client_alone_and_disabled_both() {
    for (change, resets) in [
        (set_state(A, AdminState::Down), false),
        (set_health(A, Health::Down), false),
        (set_state(A, AdminState::Disabled), true),
    ] {
        let mut director = settled();
        director.apply(&resetting());
        director.apply(&change);
        for number in 0..2 {
            let expected = resets.then_some((A, 7_000 + number));
            assert_eq!(director.ends(&data(number)), expected, "{change:?}");
        }
        assert_eq!(director.to(&flow(9).udp()), B, "{change:?}");
        assert_eq!(director.balancer.counters().ended, 2);
    }
}

#[test]
fn datagrams_never_stay_at_a_server_that_is_down() {
    let mut director = settled();
    director.apply(&set_health(A, Health::Down));
    assert_eq!(director.to(&flow(9).udp()), B);
    assert_eq!(director.to(&data(0)), A, "a connection may hold data");
    director.apply(&set_health(A, Health::Up));
    assert_eq!(director.to(&flow(9).udp()), B, "and it stays there");
}

#[test]
fn a_changed_reset_policy_applies_at_once() {
    let mut director = settled();
    director.apply(&set_state(A, AdminState::Disabled));
    assert_eq!(director.to(&data(0)), A);
    director.apply(&resetting());
    assert_eq!(director.ends(&data(0)), Some((A, 7_000)));
}

#[test]
fn health_does_not_change_the_operator_s_state() {
    let mut director = settled();
    director.apply(&set_state(A, AdminState::Disabled));
    director.apply(&set_health(A, Health::Down));
    director.apply(&set_health(A, Health::Up));
    assert_eq!(director.real(A).unwrap().state, RealState::Disabled);
    assert_eq!(director.syn(flow(5)), B);
    director.apply(&set_health(A, Health::Down));
    director.apply(&set_state(A, AdminState::Up));
    assert_eq!(director.real(A).unwrap().state, RealState::Down);
    director.apply(&set_health(A, Health::Up));
    assert_eq!(director.real(A).unwrap().state, RealState::Up);
}

#[test]
fn the_service_s_deadline_holds_for_draining_and_removal_and_a_drain_may_name_its_own() {
    let policy = Policy { drain_deadline: Some(seconds(60)), ..Policy::default() };
    let deadline = |director: &Director| director.real(A).unwrap().deadline;
    let mut director = settled();
    director.apply(&set_policy(policy));
    director.apply(&set_state(A, DRAIN));
    assert_eq!(deadline(&director), Some(seconds(60)));
    director.apply(&set_state(A, drain(5)));
    assert_eq!(deadline(&director), Some(seconds(5)));
    director.apply(&set_state(A, AdminState::Up));
    assert_eq!(deadline(&director), None);
    director.apply(&remove_real(A));
    assert_eq!(deadline(&director), Some(seconds(60)));
    director.pass(seconds(20));
    director.apply(&remove_real(A));
    assert_eq!(deadline(&director), Some(seconds(40)), "another removal gives no more time");
    director.pass(seconds(40));
    assert_eq!(director.ends(&data(0)), Some((A, 7_000)));
}

#[test]
fn a_removed_one_that_comes_back_has_its_connections_and_no_deadline() {
    let mut director = settled();
    director.apply(&set_policy(Policy { drain_deadline: Some(seconds(60)), ..Policy::default() }));
    director.apply(&remove_real(A));
    let removed = director.real(A).unwrap();
    assert_eq!((removed.state, removed.removed), (RealState::Draining, true));
    director.apply(&add_real(A, 1));
    let back = director.real(A).unwrap();
    assert_eq!((back.state, back.removed, back.deadline), (RealState::Up, false, None));
    assert_eq!((back.connections, director.counts(A)), (3, (2, 1)));
    director.pass(seconds(61));
    assert_eq!(director.to(&data(0)), A);
}

/// The previous wanted state went with the removal.
#[test]
fn a_server_added_again_has_its_configured_state() {
    for state in [AdminState::Up, DRAIN, AdminState::Disabled] {
        let mut director = settled();
        director.apply(&set_state(A, AdminState::Disabled));
        director.apply(&remove_real(A));
        let real = RealSpec { state, ..spec(A, 1) };
        director.apply(&Change::AddReal { service: "web".to_owned(), real });
        assert_eq!(director.real(A).unwrap().state.name(), state.name());
    }
}

/// No check has passed since.
#[test]
fn a_server_added_again_with_its_connections_keeps_its_health() {
    let mut director = settled();
    director.apply(&set_health(A, Health::Down));
    director.apply(&remove_real(A));
    director.apply(&add_real(A, 1));
    assert_eq!(director.real(A).unwrap().state, RealState::Down);
    director.apply(&set_health(A, Health::Up));
    assert_eq!(director.real(A).unwrap().state, RealState::Up);
}

/// As before its removal, whatever its service's deadline and slow start.
#[test]
fn a_restored_server_has_its_previous_state() {
    for (state, health) in [
        (AdminState::Up, Health::Up),
        (AdminState::Up, Health::Down),
        (DRAIN, Health::Up),
        (drain(30), Health::Up),
        (AdminState::Disabled, Health::Up),
    ] {
        let mut director = settled();
        director.apply(&set_state(A, state));
        director.apply(&set_health(A, health));
        let policy = Policy {
            drain_deadline: Some(seconds(9)),
            slow_start: seconds(60),
            ..Policy::default()
        };
        director.apply(&set_policy(policy));
        let before = director.real(A).unwrap();
        director.apply(&remove_real(A));
        director.apply(&add_real(A, 1));
        let (service, saved) = ("web".to_owned(), before.saved_state());
        director.apply(&Change::RestoreState { service, address: A, saved });
        assert_eq!(director.real(A).unwrap(), before, "{state:?} {health:?}");
    }
    let (service, saved) = ("web".to_owned(), settled().real(A).unwrap().saved_state());
    // A removed real server may have been freed meanwhile.
    let mut settled = settled();
    let before = settled.balancer.snapshot();
    settled.apply(&Change::RestoreState { service, address: C, saved });
    assert_eq!(settled.balancer.snapshot(), before);
}

#[test]
fn a_server_that_drains_from_the_start_takes_nothing() {
    let mut director = Director::new(100);
    let reals = vec![RealSpec { state: drain(30), ..spec(A, 1) }, spec(B, 1)];
    director.apply(&Change::AddService(ServiceSpec { reals, ..web(RoundRobin, &[]) }));
    let real = director.real(A).unwrap();
    assert_eq!((real.state, real.deadline), (RealState::Draining, Some(seconds(30))));
    for number in 0..4 {
        assert_eq!(director.syn(flow(number)), B);
    }
}

#[test]
fn only_adding_restores_a_removed_server() {
    let mut director = settled();
    director.apply(&remove_real(A));
    let error = ChangeError::Removed { service: "web".to_owned(), address: A };
    director.refuses(&set_state(A, AdminState::Up), &error);
    director.apply(&set_state(A, drain(3)));
    assert_eq!(director.real(A).unwrap().deadline, Some(seconds(3)));
    director.apply(&resetting());
    director.apply(&set_state(A, AdminState::Down));
    assert_eq!(director.ends(&data(0)), None);
}

#[test]
fn an_unknown_server_has_no_state() {
    let mut director = settled();
    let error = ChangeError::NoReal { service: "web".to_owned(), address: C };
    director.refuses(&set_state(C, AdminState::Down), &error);
    director.refuses(&set_health(C, Health::Down), &error);
}

/// Otherwise its new connection would be reset at once, again and again.
#[test]
fn a_persistent_client_leaves_a_server_past_its_deadline_whatever_quiescent_says() {
    let persistence = Persistence {
        timeout: seconds(300),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    for state in [drain(10), AdminState::Down, AdminState::Disabled] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 0)]);
        let policy = Policy { persistence: Some(persistence), ..Policy::default() };
        director.apply(&set_policy(policy));
        for number in 0..2 {
            assert_eq!(director.connect(flow(number)), A);
        }
        director.apply(&set_weight(B, 1));
        director.apply(&set_state(A, state));
        if let AdminState::Draining { .. } = state {
            director.pass(Duration::from_millis(9_999));
            let last = flow(0).segment(Flags::SYN).source_port(3).bytes();
            assert_eq!(director.to(&last), A, "it has a millisecond left");
            director.pass(Duration::from_millis(1));
        }
        for number in 0..2 {
            let again = flow(number).segment(Flags::SYN).source_port(1).bytes();
            assert_eq!(director.to(&again), B, "{state:?}");
        }
        director.apply(&set_state(A, AdminState::Up));
        let again = flow(0).segment(Flags::SYN).source_port(2).bytes();
        assert_eq!(director.to(&again), B, "{state:?}: it is remembered where it went");
    }
}

/// Without a fallback an existing flow can only be its real server's, and is ended like that
/// server's connections.
#[test]
fn an_existing_flow_of_a_server_past_its_deadline_is_not_adopted() {
    let dead = AdminState::Down;
    for (state, existing, resets) in [
        (drain(1), Existing::Keep, true),
        (AdminState::Disabled, Existing::Reset, true),
        (dead, Existing::Reset, false),
    ] {
        let mut director = Director::with(SchedulerKind::SourceHashing, &[(A, 1)]);
        let unknown = Some(Unknown::Adopt);
        let policy = Policy { fallback: false, unknown, existing, ..Policy::default() };
        director.apply(&set_policy(policy));
        director.apply(&set_state(A, state));
        director.pass(seconds(2));
        for number in 0..2 {
            // Twice: the first packet leaves nothing.
            for _ in 0..2 {
                let ended = director.ends(&data(number));
                assert_eq!(ended, resets.then_some((A, 7_000 + number)), "{state:?}");
            }
            if resets {
                assert_eq!(director.to(&flow(number).tcp(Flags::RST)), A, "the client's reset");
            }
        }
        assert_eq!(director.connections(), 0, "{state:?}");
        assert_eq!(director.balancer.snapshot().templates, 0);
    }
}

/// Its sender is unknown, so the answers count against the rate of all refusals.
#[test]
fn existing_flows_are_ended_within_the_rate_of_resets() {
    let mut director = Director::with(SchedulerKind::SourceHashing, &[(A, 1)]);
    let (unknown, existing) = (Some(Unknown::Adopt), Existing::Reset);
    director.apply(&set_policy(Policy { fallback: false, unknown, existing, ..Policy::default() }));
    director.apply(&set_state(A, AdminState::Disabled));
    for number in 0..1_000 {
        assert!(director.ends(&data(number)).is_some());
    }
    assert_eq!(director.forward(&data(1_000)), Verdict::Drop(Reason::NoConnection));
    director.pass(seconds(1));
    assert!(director.ends(&data(1_000)).is_some());
}
