//! Persistence: the guarantees of templates.

mod model;

use std::collections::BTreeSet;

use super::*;
use SchedulerKind::RoundRobin;

/// The persistence of a test, with each address as a client.
fn persistence(timeout: u64) -> Persistence {
    Persistence {
        timeout: seconds(timeout),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    }
}

fn set(persistence: Option<Persistence>) -> Change {
    let policy = Policy { persistence, ..Policy::default() };
    Change::SetPolicy { service: "web".to_owned(), policy }
}

/// A director whose service listens on two ports, with persistence.
fn director(capacity: u32, persistence: Persistence) -> Director {
    let mut director = Director::new(capacity);
    let listens = listens(&["192.0.2.10:80/tcp", "192.0.2.10:443/tcp", "192.0.2.10:80/udp"]);
    let policy = Policy { persistence: Some(persistence), ..Policy::default() };
    let spec = ServiceSpec { listens, policy, ..web(RoundRobin, &[(A, 1), (B, 1), (C, 1)]) };
    director.apply(&Change::AddService(spec));
    director
}

/// The packet of a client's flow from another source port.
fn segment(flow: Flow, from: u16, flags: u8) -> Vec<u8> {
    flow.segment(flags).source_port(from).bytes()
}

fn templates(director: &Director) -> usize {
    director.balancer.snapshot().templates
}

fn templates_of(director: &Director, address: IpAddr) -> u64 {
    director.real(address).unwrap().templates
}

#[test]
fn a_client_s_flows_go_to_one_real_server_on_every_port_of_the_service() {
    let mut director = director(1_000, persistence(360));
    for client in 0..6 {
        let real = director.connect(flow(client));
        assert_eq!(real, [A, B, C][client as usize % 3], "the scheduler chooses once");
        let secure = Flow { client, port: 443 };
        for from in 1..20 {
            assert_eq!(director.to(&segment(secure, from, Flags::SYN)), real);
            assert_eq!(director.to(&segment(flow(client), from, Flags::SYN)), real);
        }
        assert_eq!(director.to(&flow(client).udp()), real);
    }
    assert_eq!(templates(&director), 6);
    assert_eq!([A, B, C].map(|real| templates_of(&director, real)), [2, 2, 2]);
}

#[test]
fn another_service_of_the_same_client_has_a_template_of_its_own() {
    let mut director = director(1_000, persistence(360));
    let policy = Policy { persistence: Some(persistence(360)), ..Policy::default() };
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        policy,
        ..web(RoundRobin, &[(B, 1), (A, 1)])
    };
    director.apply(&Change::AddService(mail));
    assert_eq!(director.connect(flow(0)), A);
    assert_eq!(director.connect(Flow { client: 0, port: 25 }), B);
    assert_eq!(templates(&director), 2);
}

#[test]
fn clients_of_one_network_are_one_client() {
    let mut director =
        director(1_000, Persistence { prefix_v4: 24, prefix_v6: 120, ..persistence(360) });
    // 198.18.0.0 to .255 and 2001:db8:c::0 to ::ff, and the first of the next networks.
    let (v4, v6) = (director.connect(flow(0)), director.connect(flow(1)));
    assert_ne!(v4, v6);
    for client in 2..256 {
        assert_eq!(director.syn(flow(client)), if client % 2 == 0 { v4 } else { v6 });
    }
    assert_eq!(templates(&director), 2);
    director.syn(flow(256));
    director.syn(flow(257));
    assert_eq!(templates(&director), 4);
}

#[test]
fn a_template_outlives_its_connections_by_its_time_from_the_last_new_one() {
    let mut director = director(1_000, persistence(360));
    let real = director.syn(flow(0));
    assert_eq!(director.to(&flow(0).tcp(Flags::RST | Flags::ACK)), real);
    director.pass(seconds(359));
    assert_eq!(director.connections(), 0);
    assert_eq!(director.to(&segment(flow(0), 9, Flags::SYN)), real, "armed anew");
    director.pass(seconds(359));
    assert_eq!(templates(&director), 1);
    director.pass(seconds(1));
    assert_eq!((templates(&director), director.connections()), (0, 0));
    assert_ne!(director.to(&segment(flow(0), 10, Flags::SYN)), real, "the next one's turn");
}

#[test]
fn a_template_lives_while_a_flow_of_its_client_does() {
    let mut director = director(1_000, persistence(1));
    let real = director.connect(flow(0));
    for _ in 0..50 {
        director.pass(seconds(100));
        assert_eq!(director.ack(flow(0)), real);
        assert_eq!(templates(&director), 1);
    }
    assert_eq!(director.to(&segment(flow(0), 9, Flags::SYN)), real);
    // The flows expire 60 and 900 seconds from now; the template within a minute after the later
    // one.
    director.pass(seconds(899));
    assert_eq!((templates(&director), director.connections()), (1, 1));
    director.pass(seconds(61));
    assert_eq!((templates(&director), director.connections()), (0, 0));
    assert_eq!(director.balancer.next_deadline(), None);
}

#[test]
fn a_port_used_again_stays_with_its_client_s_real_server() {
    let mut director = director(1_000, persistence(360));
    let real = director.connect(flow(0));
    director.to(&flow(0).tcp(Flags::FIN | Flags::ACK));
    assert_eq!(director.syn(flow(0)), real);
    assert_eq!(director.real(real).unwrap().connections, 2);
}

#[test]
fn weight_zero_keeps_persistent_clients_or_moves_them() {
    for quiescent in Quiescent::ALL {
        let mut director = director(1_000, Persistence { quiescent, ..persistence(360) });
        let real = director.connect(flow(0));
        director.apply(&set_weight(real, 0));
        let next = director.to(&segment(flow(0), 9, Flags::SYN));
        assert_eq!(next == real, quiescent == Quiescent::Keep, "{quiescent:?}");
        assert_eq!(director.ack(flow(0)), real, "the old flow stays");
        let named = [A, B, C].map(|real| templates_of(&director, real));
        assert_eq!((templates(&director), named.iter().sum()), (1, 1), "{quiescent:?}");
        assert_eq!(templates_of(&director, next), 1);
        director.apply(&set_weight(real, 1));
        assert_eq!(director.to(&segment(flow(0), 10, Flags::SYN)), next, "where it went last");
    }
}

#[test]
fn draining_keeps_or_moves_persistent_clients_and_a_dead_server_always_moves_them() {
    let draining = AdminState::Draining { deadline: None };
    let rows = [
        (draining, Quiescent::Keep, true),
        (draining, Quiescent::Move, false),
        (AdminState::Down, Quiescent::Keep, false),
        (AdminState::Disabled, Quiescent::Keep, false),
        (AdminState::Up, Quiescent::Move, true),
    ];
    for (state, quiescent, stays) in rows {
        let mut director = director(1_000, Persistence { quiescent, ..persistence(360) });
        assert_eq!(director.connect(flow(0)), A);
        director.apply(&Change::SetState { service: "web".to_owned(), address: A, state });
        let next = director.to(&segment(flow(0), 9, Flags::SYN));
        assert_eq!(next == A, stays, "{state:?} {quiescent:?}");
        assert_eq!(templates_of(&director, next), 1, "{state:?} {quiescent:?}");
    }
}

#[test]
fn a_removed_real_server_s_clients_are_scheduled_anew_whatever_quiescent_is() {
    let mut director = director(1_000, persistence(360));
    assert_eq!(director.connect(flow(0)), A);
    assert_eq!(director.to(&flow(2).udp()), B);
    director.apply(&remove_real(A));
    let next = director.to(&segment(flow(0), 9, Flags::SYN));
    assert_ne!(next, A);
    assert_eq!(
        (templates_of(&director, A), templates_of(&director, next)),
        (0, 1 + u64::from(next == B))
    );
    assert_eq!(director.ack(flow(0)), A, "its connection goes on");
    // B leaves the list with its last flow, although a template names it: that ends the removal.
    // Its ID is reused only when no template names it.
    director.apply(&remove_real(B));
    director.pass(seconds(301));
    assert!(director.real(B).is_none());
    director.apply(&add_real(B, 1));
    assert_eq!(templates_of(&director, B), 0);
    director.pass(seconds(2_000));
    assert_eq!(templates(&director), 0);
    assert_eq!(director.balancer.registry.reals.iter().count(), 2);
}

#[test]
fn a_service_with_a_reused_index_has_no_old_templates() {
    let mut director = director(1_000, persistence(360));
    assert_eq!(director.syn(flow(0)), A);
    director.apply(&remove_web());
    let policy = Policy { persistence: Some(persistence(360)), ..Policy::default() };
    director.apply(&Change::AddService(ServiceSpec { policy, ..web(RoundRobin, &[(B, 1)]) }));
    assert_eq!(director.to(&segment(flow(0), 9, Flags::SYN)), B);
    assert_eq!(templates_of(&director, B), 1);
    assert_eq!(templates(&director), 1);
}

#[test]
fn switched_on_and_off_while_flows_live() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    assert_eq!(director.connect(flow(0)), A);
    assert_eq!(templates(&director), 0);
    director.apply(&set(Some(persistence(10))));
    let real = director.to(&segment(flow(0), 9, Flags::SYN));
    assert_eq!(real, B, "connections of before have no template");
    director.apply(&set(None));
    assert_eq!(director.to(&segment(flow(0), 10, Flags::SYN)), A);
    assert_eq!(director.to(&segment(flow(0), 11, Flags::SYN)), B);
    director.pass(seconds(130));
    assert_eq!(templates(&director), 0);
}

#[test]
fn a_full_real_server_keeps_its_persistent_clients() {
    let mut director = director(1_000, persistence(360));
    let thresholds = Thresholds { upper: 1, lower: 0 };
    let service = "web".to_owned();
    director.apply(&Change::SetReal {
        service,
        address: A,
        value: RealValue::Thresholds(thresholds),
    });
    assert_eq!(director.connect(flow(0)), A);
    assert!(director.real(A).unwrap().full);
    assert_eq!(director.to(&segment(flow(0), 9, Flags::SYN)), A);
    assert!((2..20).all(|client| director.syn(flow(client)) != A), "others pass it over");
}

#[test]
fn there_is_room_for_a_quarter_as_many_templates_as_connections() {
    for (connections, expected) in [(0, 0), (1, 1), (4, 1), (5, 2), (1_000_000, 250_000)] {
        let balancer = Director::new(connections).balancer;
        assert_eq!(balancer.snapshot().templates_capacity, expected, "{connections}");
    }
}

#[test]
fn without_room_for_a_template_the_hash_keeps_a_client_together() {
    let mut director = director(40, persistence(360));
    let known: Vec<_> = (0..10).map(|client| director.syn(flow(client))).collect();
    assert_eq!(templates(&director), 10);
    assert_eq!(director.balancer.counters().without_template, 0);
    let mut seen = BTreeSet::new();
    for client in 10..20 {
        let real = director.syn(flow(client));
        seen.insert(real);
        assert_eq!(director.to(&segment(flow(client), 9, Flags::SYN)), real, "{client}");
    }
    assert_eq!((templates(&director), seen.len()), (10, 3), "the hash spreads them");
    assert_eq!(director.balancer.counters().without_template, 20);
    for (client, real) in (0..).zip(known) {
        assert_eq!(director.to(&segment(flow(client), 9, Flags::SYN)), real, "known clients stay");
    }
}

#[test]
fn flows_without_an_entry_follow_their_client_too() {
    let mut director = director(4, persistence(360));
    let real = director.syn(flow(0));
    for from in 1..4 {
        director.to(&segment(flow(0), from, Flags::SYN));
    }
    assert_eq!(director.connections(), 4);
    for from in 10..40 {
        assert_eq!(director.to(&segment(flow(0), from, Flags::SYN)), real, "by the template");
        assert_eq!(director.to(&segment(flow(0), from, Flags::ACK)), real);
    }
    let other = director.syn(flow(2));
    for from in 10..40 {
        assert_eq!(director.to(&segment(flow(2), from, Flags::SYN)), other, "by the client's hash");
        assert_eq!(director.to(&segment(flow(2), from, Flags::ACK)), other);
    }
}

#[test]
fn one_turn_leaves_time_for_templates_however_many_connections_are_due() {
    let connections = u32::try_from(table::EXPIRE_BUDGET).unwrap() * 2;
    let mut director = director(connections, persistence(60));
    // UDP, so that the newest expire first, like templates.
    director.apply(&Change::SetTimeouts(Timeouts { udp: seconds(60), ..Timeouts::DEFAULT }));
    for client in 0..connections / 4 {
        for from in 0..4 {
            director.to(&flow(client).datagram().source_port(from).bytes());
        }
    }
    director.now = director.now.after(seconds(60));
    director.balancer.expire(director.now);
    let requeued = table::EXPIRE_BUDGET / 4;
    let left = connections as usize - (table::EXPIRE_BUDGET - requeued);
    assert_eq!(director.connections(), left);
    let freed = connections as usize / 4 - templates(&director);
    assert!(freed > 0 && freed <= requeued, "{freed} templates went in the same turn");
}
