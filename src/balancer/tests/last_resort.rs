//! A service's last resort: a real server that takes new flows while no other can.

use super::*;

fn with_last_resort(scheduler: SchedulerKind, policy: Policy) -> Director {
    let spec = web(scheduler, &[(A, 50), (B, 50)]);
    let mut director = Director::new(1_000);
    let policy = Policy { flood: FloodMarks::OFF, ..policy };
    director.apply(&Change::AddService(ServiceSpec { policy, ..spec }));
    let real = RealSpec::last_resort(C);
    director.apply(&Change::AddReal { service: "web".to_owned(), real });
    director
}

#[test]
fn it_takes_flows_only_while_no_other_server_can() {
    for scheduler in SchedulerKind::ALL {
        let name = scheduler.name();
        let mut director = with_last_resort(scheduler, Policy::default());
        let first: Vec<_> = (0..20).map(|number| director.syn(flow(number))).collect();
        assert!(!first.contains(&C), "{name}: {first:?}");
        director.apply(&set_health(A, Health::Down));
        assert_ne!(director.syn(flow(20)), C, "{name}");
        director.apply(&set_weight(B, 0));
        assert_eq!(director.syn(flow(21)), C, "{name}");
        director.apply(&set_health(A, Health::Up));
        assert_ne!(director.syn(flow(22)), C, "{name}");
        assert_eq!(director.ack(flow(21)), C, "{name}: its connections go on");
    }
}

#[test]
fn it_is_passed_over_where_it_is_down_or_disabled_itself() {
    let mut director = with_last_resort(SchedulerKind::RoundRobin, Policy::default());
    for real in [A, B] {
        director.apply(&set_health(real, Health::Down));
    }
    assert_eq!(director.syn(flow(1)), C);
    director.apply(&set_state(C, AdminState::Disabled));
    director.resets(&flow(2).tcp(Flags::SYN));
    director.apply(&set_state(C, AdminState::Up));
    assert_eq!(director.syn(flow(2)), C);
}

#[test]
fn a_persistent_client_leaves_it_as_soon_as_another_server_is_up() {
    let persistence = Persistence {
        timeout: seconds(300),
        prefix_v4: Persistence::PREFIX_V4,
        prefix_v6: Persistence::PREFIX_V6,
        quiescent: Quiescent::Keep,
    };
    let policy = Policy { persistence: Some(persistence), ..Policy::default() };
    let mut director = with_last_resort(SchedulerKind::RoundRobin, policy);
    for real in [A, B] {
        director.apply(&set_health(real, Health::Down));
    }
    assert_eq!(director.syn(flow(1)), C);
    director.apply(&set_health(A, Health::Up));
    assert_eq!(director.to(&flow(1).udp()), A);
}

#[test]
fn it_takes_the_overflow() {
    let mut director = with_last_resort(SchedulerKind::Overflow, Policy::default());
    for real in [A, B] {
        director.apply(&set_weight(real, 1));
    }
    // Two each: until the active connections exceed the weight.
    let all: Vec<_> = (0..6).map(|number| director.connect(flow(number))).collect();
    assert_eq!(all, [A, A, B, B, C, C]);
}

#[test]
fn without_fallback_a_hash_refuses_as_long_as_others_are_there() {
    let policy = Policy { fallback: false, ..Policy::default() };
    let mut director = with_last_resort(SchedulerKind::SourceHashing, policy);
    director.apply(&set_state(A, AdminState::Disabled));
    let mut refused = 0;
    for number in 0..20 {
        match director.forward(&flow(number).tcp(Flags::SYN)) {
            Verdict::Tunnel(tunnel) => assert_eq!(tunnel.real, B),
            _ => refused += 1,
        }
    }
    assert!(refused > 0, "half of the clients belong to A");
}

#[test]
fn a_real_server_becomes_the_last_resort_and_an_ordinary_one_again() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (C, 1)]);
    let service = || "web".to_owned();
    let become_other = |director: &mut Director, real: RealSpec| {
        director.apply(&remove_real(C));
        director.apply(&Change::AddReal { service: service(), real });
    };
    become_other(&mut director, RealSpec::last_resort(C));
    assert!((0..10).all(|number| director.syn(flow(number)) == A));
    become_other(&mut director, RealSpec::new(C, 1));
    assert!((10..14).any(|number| director.syn(flow(number)) == C));
}
