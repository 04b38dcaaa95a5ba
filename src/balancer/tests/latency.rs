//! Latencies are measured from the clients' packets, whatever order those come in.

use super::forged::{Half, open};
use super::*;
use crate::balancer::{LatencySnapshot, TimesSnapshot};

const MILLISECOND: Duration = Duration::from_millis(1);
const DATA: u8 = Flags::ACK | Flags::PSH;

fn director() -> Director {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.pass(MILLISECOND * 5);
    director
}

/// An open connection; its handshake has taken no time.
fn connected(director: &mut Director, number: u32) -> Half {
    open(director, flow(number), 1_000).0
}

impl Director {
    fn latency(&self) -> LatencySnapshot {
        let none = TimesSnapshot::default();
        let latency = self.real(A).unwrap().latency;
        latency.map_or(LatencySnapshot { handshake: none, response: none }, |latency| *latency)
    }

    /// How many responses were timed, and their microseconds.
    fn responses(&self) -> (u64, u64) {
        let TimesSnapshot { count, micros, .. } = self.latency().response;
        (count, micros)
    }
}

impl Half {
    /// Acknowledges `bytes` more bytes.
    fn acknowledges(&mut self, director: &mut Director, bytes: u32) {
        self.acknowledged = self.acknowledged.wrapping_add(bytes);
        self.sends(director, Flags::ACK, 0);
    }
}

#[test]
fn a_handshake_takes_from_its_syn_to_its_acknowledgement() {
    let mut director = director();
    director.syn(flow(1));
    director.pass(MILLISECOND * 30);
    director.ack(flow(1));
    let handshake = director.latency().handshake;
    assert_eq!((handshake.count, handshake.micros), (1, 30_000));
    let p50 = handshake.p50_micros.unwrap();
    assert!((26_250..=33_750).contains(&p50), "{p50}");
    assert_eq!(director.responses().0, 0);
}

#[test]
fn a_repeated_syn_is_not_timed() {
    let mut director = director();
    director.syn(flow(1));
    director.pass(seconds(1));
    director.syn(flow(1));
    director.pass(MILLISECOND);
    director.ack(flow(1));
    assert_eq!(director.latency().handshake.count, 0);
}

#[test]
fn a_response_takes_from_the_request_to_the_acknowledgement_that_moves_on() {
    let mut director = director();
    let mut half = connected(&mut director, 1);
    half.sends(&mut director, DATA, 100);
    director.pass(MILLISECOND * 20);
    half.acknowledges(&mut director, 0);
    assert_eq!(director.responses(), (0, 0), "it acknowledges nothing new");
    director.pass(MILLISECOND * 20);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 40_000));
    half.acknowledges(&mut director, 5_000);
    assert_eq!(director.responses(), (1, 40_000), "the rest of the response");
}

#[test]
fn a_request_of_several_segments_counts_from_its_last_one() {
    let mut director = director();
    let mut half = connected(&mut director, 1);
    half.sends(&mut director, DATA, 1_000);
    director.pass(seconds(1));
    half.sends(&mut director, DATA, 1_000);
    director.pass(MILLISECOND * 7);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 7_000));
}

#[test]
fn numbers_that_wrap_are_followed() {
    let mut director = director();
    let mut half = open(&mut director, flow(1), u32::MAX - 20).0;
    // The harness derives the acknowledgement number from the first sequence number.
    half.acknowledged = half.acknowledged.wrapping_add(1);
    half.sends(&mut director, DATA, 100);
    director.pass(MILLISECOND * 3);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 3_000));
}

#[test]
fn a_repeated_request_is_not_timed() {
    let mut director = director();
    let mut half = connected(&mut director, 1);
    half.sends(&mut director, DATA, 100);
    director.pass(MILLISECOND * 200);
    half.next -= 100;
    half.sends(&mut director, DATA, 100);
    director.pass(MILLISECOND);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (0, 0));
    director.pass(MILLISECOND * 2);
    half.sends(&mut director, DATA, 100);
    director.pass(MILLISECOND * 9);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 9_000), "the next one is");
}

#[test]
fn a_reset_ends_the_measurement_and_a_fin_does_not() {
    let mut director = director();
    let mut half = connected(&mut director, 1);
    half.sends(&mut director, DATA, 100);
    half.sends(&mut director, Flags::RST | Flags::ACK, 0);
    director.pass(MILLISECOND);
    let mut half = connected(&mut director, 2);
    half.sends(&mut director, DATA, 100);
    half.sends(&mut director, Flags::FIN | Flags::ACK, 0);
    director.pass(MILLISECOND * 50);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 50_000));
}

#[test]
fn a_fin_is_no_request() {
    let mut director = director();
    let mut client = connected(&mut director, 1);
    director.pass(MILLISECOND * 5);
    client.sends(&mut director, Flags::ACK | Flags::FIN, 0);
    director.pass(MILLISECOND);
    // The real server's FIN.
    client.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (0, 0));
}

#[test]
fn a_request_with_a_fin_is_one() {
    let mut director = director();
    let mut client = connected(&mut director, 1);
    director.pass(MILLISECOND * 5);
    client.sends(&mut director, DATA | Flags::FIN, 100);
    director.pass(MILLISECOND * 20);
    client.acknowledges(&mut director, 500);
    assert_eq!(director.responses(), (1, 20_000));
}

#[test]
fn a_forged_acknowledgement_is_ignored() {
    let mut director = director();
    let mut half = connected(&mut director, 1);
    half.sends(&mut director, DATA, 100);
    let far = Half { next: half.next.wrapping_add(1 << 30), ..half };
    director.to(&Half { acknowledged: half.acknowledged + 1, ..far }.segment(Flags::ACK).bytes());
    assert_eq!(director.responses(), (0, 0));
    director.pass(MILLISECOND * 4);
    half.acknowledges(&mut director, 1);
    assert_eq!(director.responses(), (1, 4_000));
}

/// A slot is taken for at most ten seconds, and rests for a millisecond.
#[test]
fn slots_are_bounded_in_number_and_time() {
    let mut director = director();
    let mut halves: Vec<_> = (1..=8).map(|number| connected(&mut director, number)).collect();
    director.pass(MILLISECOND);
    for half in &mut halves {
        half.sends(&mut director, DATA, 10);
    }
    director.pass(MILLISECOND);
    for half in &mut halves {
        half.acknowledges(&mut director, 1);
    }
    assert_eq!(director.responses(), (4, 4_000), "one for each slot");
    for half in &mut halves[..4] {
        half.sends(&mut director, DATA, 10);
        half.acknowledges(&mut director, 1);
    }
    assert_eq!(director.responses().0, 4, "they rest");
    director.pass(MILLISECOND);
    for half in &mut halves[..4] {
        half.sends(&mut director, DATA, 10);
    }
    director.pass(seconds(10) - MILLISECOND);
    for half in &mut halves[4..] {
        half.sends(&mut director, DATA, 10);
        half.acknowledges(&mut director, 1);
    }
    assert_eq!(director.responses().0, 4, "taken by the first ones");
    director.pass(MILLISECOND);
    for half in &mut halves[4..] {
        half.sends(&mut director, DATA, 10);
        half.acknowledges(&mut director, 1);
    }
    assert_eq!(director.responses(), (8, 4_000), "given to others");
}

#[test]
fn without_a_moment_nothing_is_measured() {
    let mut balancer = director().balancer;
    for flags in [Flags::SYN, Flags::ACK] {
        balancer.forward(Millis(50), &Packet::parse(&flow(3).tcp(flags)).unwrap());
    }
    let services = balancer.snapshot().services;
    assert!(services.iter().flat_map(|one| &one.reals).all(|real| real.latency.is_none()));
}
