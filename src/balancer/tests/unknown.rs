//! Flows without an entry: refused or adopted; and SYNs on an entry whose real server is not up.

use std::collections::BTreeMap;

use super::*;
use SchedulerKind::RoundRobin;

#[test]
fn an_existing_flow_is_adopted_and_established_when_it_goes_on() {
    let mut director = adopting(&[(A, 1), (B, 1)]);
    let mut shares = BTreeMap::new();
    for number in 0..200 {
        let real = director.ack(flow(number));
        *shares.entry(real).or_insert(0) += 1;
        assert_eq!(director.ack(flow(number)), real, "it has an entry");
    }
    assert!(shares[&A] > 60 && shares[&B] > 60, "{shares:?}");
    assert_eq!(director.counts(A), (shares[&A], 0), "active from the first packet on");
    director.pass(seconds(2));
    for number in 0..200 {
        director.ack(flow(number));
    }
    assert!(director.states().iter().all(|state| *state == "ESTABLISHED"));
    assert_eq!(director.counts(A), (shares[&A], 0));
    director.pass(seconds(899));
    assert_eq!(director.connections(), 200, "for as long as any established one");
    director.pass(seconds(1));
    assert_eq!(director.connections(), 0);
}

#[test]
fn two_directors_adopt_each_other_s_flows_at_the_same_real_servers() {
    let (mut one, mut other) = (adopting(&[(A, 2), (B, 1)]), adopting(&[(A, 2), (B, 1)]));
    // The other director has had other flows meanwhile.
    for number in 500..520 {
        other.connect(flow(number));
    }
    for number in 0..500 {
        assert_eq!(one.ack(flow(number)), other.ack(flow(number)), "client {number}");
    }
}

#[test]
fn a_fin_is_adopted_and_a_reset_is_forwarded_without_an_entry() {
    let mut director = adopting(&[(A, 1)]);
    assert_eq!(director.to(&flow(1).tcp(Flags::FIN | Flags::ACK)), A);
    assert_eq!(director.states(), ["SYNACK"]);
    assert_eq!(director.to(&flow(2).tcp(Flags::RST)), A);
    assert_eq!(director.connections(), 1);
}

#[test]
fn a_syn_with_ack_belongs_to_no_flow() {
    let mut director = adopting(&[(A, 1)]);
    director.resets(&flow(1).tcp(Flags::SYN | Flags::ACK));
    assert_eq!(director.connections(), 0);
}

#[test]
fn new_connections_and_datagrams_are_scheduled_as_ever() {
    let mut director = adopting(&[(A, 1), (B, 1)]);
    assert_eq!([1, 2, 3, 4].map(|number| director.syn(flow(number))), [A, B, A, B]);
    assert_eq!([5, 6].map(|number| director.to(&flow(number).udp())), [A, B]);
}

#[test]
fn the_scheduler_s_default_applies_unless_configured() {
    for scheduler in SchedulerKind::ALL {
        let mut director = Director::with(scheduler, &[(A, 1)]);
        let adopts = Unknown::suiting(scheduler) == Unknown::Adopt;
        let verdict = director.forward(&flow(1).tcp(Flags::ACK));
        assert_eq!(verdict != Verdict::Reply, adopts, "{}", scheduler.name());
        for unknown in Unknown::ALL {
            director.apply(&set_policy(Policy { unknown: Some(unknown), ..Policy::default() }));
            let verdict = director.forward(&flow(2).tcp(Flags::ACK));
            assert_eq!(verdict == Verdict::Reply, unknown == Unknown::Reset, "{unknown:?}");
            director.forward(&flow(2).tcp(Flags::RST));
            director.pass(seconds(10));
        }
    }
}

#[test]
fn an_error_about_an_existing_flow_finds_its_real_server() {
    let mut director = adopting(&[(A, 1), (B, 1)]);
    for number in 0..20 {
        let family = flow(number).family();
        let quote = flow(number).segment(Flags::ACK).backwards().bytes();
        let error = family.icmp_error(family.too_big(), &quote).from(flow(number).source());
        let real = director.to(&error.bytes());
        assert_eq!(director.connections(), 0, "an error opens nothing");
        assert_eq!(director.ack(flow(number)), real);
        director.pass(seconds(60));
    }
    let quote = flow(0).datagram().backwards().bytes();
    let error = Family::V4.icmp_error(Family::V4.too_big(), &quote).from(flow(0).source());
    assert_eq!(director.forward(&error.bytes()), Verdict::Drop(Reason::IcmpNoFlow), "no UDP");
}

#[test]
fn adopted_flows_of_a_full_table_go_by_the_hash_without_an_entry() {
    let mut director = adopting(&[(A, 1), (B, 1)]);
    let hashed: Vec<_> = (0..50).map(|number| director.ack(flow(number))).collect();
    let mut small = Director::new(1);
    let (unknown, flood) = (Some(Unknown::Adopt), FloodMarks::OFF);
    let policy = Policy { unknown, flood, ..Policy::default() };
    let spec = ServiceSpec { policy, ..web(RoundRobin, &[(A, 1), (B, 1)]) };
    small.apply(&Change::AddService(spec));
    let placed: Vec<_> = (0..50).map(|number| small.ack(flow(number))).collect();
    assert_eq!(placed, hashed);
    assert_eq!((small.connections(), small.balancer.counters().without_entry), (1, 49));
}

#[test]
fn adopted_flows_of_a_persistent_client_are_together_and_its_next_ones_with_them() {
    let mut director = adopting(&[(A, 1), (B, 1), (C, 1)]);
    let persistence = Persistence {
        timeout: seconds(60),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    director.apply(&set_policy(Policy {
        unknown: Some(Unknown::Adopt),
        persistence: Some(persistence),
        ..Policy::default()
    }));
    for number in 0..30 {
        let from = |port, flags| flow(number).segment(flags).source_port(port).bytes();
        let real = director.to(&from(1, Flags::ACK));
        assert_eq!(director.to(&from(2, Flags::ACK)), real);
        assert_eq!(director.to(&from(3, Flags::SYN)), real);
    }
    assert_eq!(director.balancer.snapshot().templates, 30);
}

#[test]
fn a_syn_on_a_connection_of_a_real_server_that_is_not_up_is_another_s() {
    let draining = AdminState::Draining { deadline: None };
    for (state, moves) in [
        (draining, true),
        (AdminState::Down, true),
        (AdminState::Disabled, true),
        (AdminState::Up, false),
    ] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        assert_eq!(director.connect(flow(1)), A);
        director.apply(&Change::SetState { service: "web".to_owned(), address: A, state });
        assert_eq!(director.syn(flow(1)) == B, moves, "{state:?}");
        let expected = if moves { 2 } else { 1 };
        assert_eq!(director.connections(), expected, "{state:?}: the old one may live");
    }
}

#[test]
fn a_syn_on_a_connection_of_a_removed_real_server_is_another_s() {
    for flags in [&[Flags::SYN][..], &[Flags::SYN, Flags::ACK]] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        for &flags in flags {
            director.to(&flow(1).tcp(flags));
        }
        director.connect(flow(2));
        assert_eq!(director.connect(flow(3)), A);
        director.apply(&remove_real(A));
        assert_eq!(director.syn(flow(1)), B, "{flags:?}");
        let expected = if flags.len() == 1 { 3 } else { 4 };
        assert_eq!(director.connections(), expected, "in place of a mere handshake");
        assert_eq!(director.ack(flow(1)), B);
        assert_eq!(director.ack(flow(3)), A, "other packets go on");
    }
}
