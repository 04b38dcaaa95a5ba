//! Connections follow their listens in turns, and no packet or listing shows how far they are.

use super::*;
use crate::balancer::table::EXPIRE_BUDGET;
use crate::balancer::{FlowQuery, Flush, Selection};

/// Another service with the listens of `web` and these real servers.
fn other(reals: &[(IpAddr, u32)], policy: Policy) -> Change {
    let spec = web(SchedulerKind::RoundRobin, reals);
    Change::AddService(ServiceSpec { name: "other".to_owned(), policy, ..spec })
}

/// A director with connections of `web` whose listens `other` has taken, and where each of them is;
/// one entry is looked at in a turn.
fn following(connections: u32, policy: Policy) -> (Director, Vec<IpAddr>) {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&set_policy(policy));
    let homes = (0..connections).map(|number| director.connect(flow(number))).collect();
    director.balancer.follow_at_most(1);
    let batch = [remove_web(), other(&[(B, 1), (A, 1)], policy)];
    director.balancer.apply_all(director.now, &batch).unwrap();
    assert!(director.balancer.follows_listens());
    (director, homes)
}

fn settle(director: &mut Director) {
    while director.balancer.follows_listens() {
        assert_eq!(director.balancer.next_deadline(), Some(director.now), "it wants another turn");
        director.balancer.expire(director.now);
    }
}

fn active(director: &Director) -> u64 {
    let services = director.balancer.snapshot().services;
    services.iter().flat_map(|service| &service.reals).map(|real| real.active).sum()
}

#[test]
fn a_turn_moves_no_more_connections_than_it_may_however_many_there_are() {
    const FLOWS: u32 = 12_000;
    let mut director = Director::new(FLOWS);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)])));
    (0..FLOWS).for_each(|number| assert_ne!(director.connect(flow(number)), C));
    let batch = [remove_web(), other(&[(A, 1), (B, 1)], Policy::default())];
    director.balancer.apply_all(director.now, &batch).unwrap();
    let mut before = 0;
    let most = EXPIRE_BUDGET as u64;
    loop {
        let after = active(&director);
        assert!(after - before <= most, "from {before} to {after}");
        before = after;
        if !director.balancer.follows_listens() {
            break;
        }
        director.balancer.expire(director.now);
    }
    assert_eq!(before, u64::from(FLOWS));
}

/// The flow of [`flow`] with that number.
fn query(number: u32) -> FlowQuery {
    let packet = flow(number).tcp(Flags::ACK);
    let packet = Packet::parse(&packet).unwrap();
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    FlowQuery {
        protocol: Protocol::Tcp,
        client: (packet.source, header.source_port).into(),
        virtual_address: (packet.destination, header.destination_port).into(),
    }
}

#[test]
fn a_packet_finds_its_connection_in_the_service_that_listens_there_now() {
    let (mut director, homes) = following(6, Policy::default());
    for (number, home) in (0..6).zip(&homes).rev() {
        // An explanation takes it along too.
        if number % 3 > 0 {
            let explained = director.balancer.explain(director.now, &query(number));
            assert_eq!(explained.service.as_deref(), Some("other"));
            assert_eq!(explained.real, Some(*home));
        }
        assert_eq!(director.ack(flow(number)), *home);
    }
    assert!(director.balancer.follows_listens(), "packets were faster");
    settle(&mut director);
    assert_eq!((director.counts(A), director.counts(B)), ((3, 0), (3, 0)));
    assert_eq!(director.balancer.registry.reals.iter().count(), 2, "those of web are gone");
}

#[test]
fn listings_and_flush_count_a_connection_for_the_service_that_listens_there_now() {
    let (mut director, _) = following(6, Policy::default());
    let of = |director: &Director, service: &str| {
        let which = Selection { service: Some(service.to_owned()), ..Selection::default() };
        director.balancer.selected(director.now, 0, usize::MAX, &which).0.len()
    };
    assert_eq!((of(&director, "web"), of(&director, "other")), (0, 6));
    let which = Flush { service: Some("other".to_owned()), real: Some(A) };
    assert_eq!(director.balancer.flush(&which, 0).connections, 3);
    assert_eq!(of(&director, "other"), 3);
    settle(&mut director);
    assert_eq!((director.counts(A), director.counts(B)), ((0, 0), (3, 0)));
}

#[test]
fn a_real_server_that_is_removed_meanwhile_waits_for_its_connections() {
    let (mut director, homes) = following(6, Policy::default());
    // No connection has come to it yet.
    assert_eq!(director.counts(B), (0, 0));
    let removed = Change::RemoveReal { service: "other".to_owned(), address: B };
    director.apply(&removed);
    settle(&mut director);
    assert_eq!(director.real(B).map(|real| (real.removed, real.active)), Some((true, 3)));
    for (number, home) in (0..).zip(homes) {
        assert_eq!(director.ack(flow(number)), home);
    }
}

#[test]
fn a_persistent_client_keeps_its_real_server_before_its_connection_has_followed() {
    let persistence = Persistence {
        timeout: seconds(300),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let policy =
        Policy { persistence: Some(persistence), flood: FloodMarks::OFF, ..Policy::default() };
    let (mut director, homes) = following(6, policy);
    // The same client's datagrams are another flow of it.
    for number in [5, 3, 1, 4, 2, 0] {
        assert_eq!(director.to(&flow(number).udp()), homes[number as usize], "{number}");
    }
    assert!(director.balancer.follows_listens());
    settle(&mut director);
    director.check_ids();
    for (number, home) in (0..).zip(homes) {
        assert_eq!(director.ack(flow(number)), home);
    }
    let of = |real: snapshot::RealSnapshot| (real.active, real.inactive, real.templates);
    assert_eq!([A, B].map(|real| director.real(real).map(of)), [Some((3, 3, 3)); 2]);
}

#[test]
fn an_entry_that_expires_before_it_has_followed_is_not_missed() {
    let (mut director, _) = following(4, Policy::default());
    director.pass(seconds(901));
    assert_eq!((director.connections(), director.balancer.follows_listens()), (0, false));
    director.check_ids();
}
