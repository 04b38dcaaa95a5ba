//! Services without a real server for new connections: the notices, and the reasons of drops.

use super::*;
use SchedulerKind::{RoundRobin, SourceHashing};

/// The notices about `web` since the last call, as text.
fn notices(director: &mut Director) -> Vec<String> {
    let text = |notice: OutageNotice| {
        assert_eq!(&*notice.service, "web");
        notice.outage.map_or_else(|| "served".to_owned(), |outage| outage.to_string())
    };
    director.balancer.outage_notices().into_iter().map(text).collect()
}

/// The reason that `explain` gives for the flow.
fn asked(director: &mut Director, flow: Flow) -> Why {
    director.balancer.explain(director.now, &query(flow)).why
}

fn query(flow: Flow) -> FlowQuery {
    format!("tcp {}:40000 192.0.2.10:{}", flow.source(), flow.port).parse().unwrap()
}

fn set_health(address: IpAddr, health: Health) -> Change {
    Change::SetHealth { service: "web".to_owned(), address, health }
}

#[test]
fn a_service_is_out_when_its_last_real_server_goes_whatever_takes_it_out() {
    let rests = |thousandths| Change::SetLoad {
        service: "web".to_owned(),
        address: B,
        load: Load { thousandths, ..Load::default() },
    };
    let drain = AdminState::Draining { deadline: None };
    for (out, back, why) in [
        (set_weight(B, 0), set_weight(B, 1), "1 down, 1 of weight 0"),
        (set_state(B, AdminState::Disabled), set_state(B, AdminState::Up), "1 down, 1 disabled"),
        (set_state(B, drain), set_state(B, AdminState::Up), "1 down, 1 draining"),
        (set_health(B, Health::Down), set_health(B, Health::Up), "2 down"),
        (rests(0), rests(1_000), "1 down, 1 out of rotation by its agent or check"),
    ] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        assert_eq!(notices(&mut director), [""; 0], "it is served from the start");
        director.apply(&set_health(A, Health::Down));
        assert_eq!(notices(&mut director), [""; 0], "B serves");
        director.apply(&out);
        assert_eq!(notices(&mut director), [why]);
        let listed = director.balancer.snapshot().services[0].outage;
        assert_eq!(listed.map(|outage| outage.to_string()).as_deref(), Some(why));
        director.apply(&out);
        assert_eq!(notices(&mut director), [""; 0], "once");
        director.apply(&back);
        assert_eq!(notices(&mut director), ["served"], "{why}");
        assert_eq!(director.balancer.snapshot().services[0].outage, None);
    }
}

#[test]
fn a_service_that_begins_without_a_real_server_is_out_from_the_start() {
    let mut director = Director::with(RoundRobin, &[]);
    assert_eq!(notices(&mut director), ["none is configured"]);
    // Out and back within one batch is neither.
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let batch = [set_weight(A, 0), set_weight(A, 2)];
    director.balancer.apply_all(director.now, &batch).unwrap();
    assert_eq!(notices(&mut director), [""; 0]);
}

/// Removing another service in the middle of a batch does not refresh the services before its end.
#[test]
fn out_and_back_within_one_batch_is_no_outage_even_around_the_removal_of_another_service() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let other = ServiceSpec {
        name: "other".to_owned(),
        listens: listens(&["192.0.2.11:80/tcp"]),
        ..web(RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(other));
    let removal = Change::RemoveService { service: "other".to_owned() };
    let batch = [set_weight(A, 0), removal, set_weight(A, 2)];
    director.balancer.apply_all(director.now, &batch).unwrap();
    assert_eq!(notices(&mut director), [""; 0]);
}

#[test]
fn a_removed_real_server_serves_nothing_new() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 0)]);
    director.connect(flow(0));
    director.apply(&remove_real(A));
    assert_eq!(notices(&mut director), ["1 of weight 0"], "of the configured real servers");
    director.apply(&remove_web());
    assert_eq!(notices(&mut director), [""; 0], "a service that is gone needs no notice");
}

/// No answer is allowed, so that each refusal is a drop.
fn mute(scheduler: SchedulerKind) -> Director {
    let limits = Limits { connections: 1_000, refusals_per_second: 0 };
    let mut director = Director { balancer: Balancer::new(limits, Seed(3, 5)), now: Millis(1_000) };
    director.apply(&Change::AddService(web(scheduler, &[(A, 1), (B, 1)])));
    director
}

/// The real server that the flow's hash names.
fn own_of(director: &mut Director) -> IpAddr {
    director.balancer.explain(director.now, &query(flow(20))).real.unwrap()
}

fn drops(director: &mut Director, reason: Reason, why: Why) {
    let flow = flow(20);
    assert_eq!(asked(director, flow), why);
    assert_eq!(director.forward(&flow.tcp(Flags::SYN)), Verdict::Drop(reason));
}

#[test]
fn the_reason_of_a_drop_shows_whether_all_are_full_or_out() {
    for scheduler in [RoundRobin, SourceHashing] {
        let mut director = mute(scheduler);
        director.apply(&set_weight(B, 0));
        let (service, value) =
            ("web".to_owned(), RealValue::Thresholds(Thresholds { upper: 1, lower: 0 }));
        director.apply(&Change::SetReal { service, address: A, value });
        director.syn(flow(0));
        drops(&mut director, Reason::RealServersFull, Why::RealServersFull);
        director.apply(&set_state(A, AdminState::Disabled));
        drops(&mut director, Reason::NoRealServer, Why::NoRealServer);
    }
}

#[test]
fn a_flow_whose_own_real_server_is_out_has_no_fallback_where_there_is_none() {
    let mut director = mute(SourceHashing);
    director.apply(&set_policy(Policy { fallback: false, ..Policy::default() }));
    let own = own_of(&mut director);
    director.apply(&set_state(own, AdminState::Disabled));
    drops(&mut director, Reason::NoFallback, Why::NoFallback);
    let other = if own == A { B } else { A };
    director.apply(&set_weight(other, 0));
    drops(&mut director, Reason::NoRealServer, Why::NoRealServer);
}
