//! SYNs that lead to no connection make a real server suspicious, and nothing more.

use super::*;
use crate::balancer::handshakes::{
    BRIEFEST, FEWEST, FORGOTTEN_AFTER, MAX_WAITING, PAUSE, Suspicion, UNANSWERED, UNANSWERED_FOR,
};

const MILLISECOND: Duration = Duration::from_millis(1);

impl Director {
    fn suspicions(&mut self) -> Vec<Suspicion> {
        std::iter::from_fn(|| self.balancer.suspicion(self.now)).collect()
    }

    /// SYNs of these clients, spread over that time; the last one comes at its end.
    fn syns(&mut self, clients: std::ops::Range<u32>, over: Duration) {
        let pause = over / (clients.end - clients.start - 1).max(1);
        for number in clients.clone() {
            if number > clients.start {
                self.pass(pause);
            }
            self.syn(flow(number));
        }
    }
}

fn director() -> Director {
    Director::with(SchedulerKind::RoundRobin, &[(A, 1)])
}

#[test]
fn unanswered_syns_make_a_real_server_suspicious_from_their_bounds_on() {
    for (syns, over, suspicious) in [
        (UNANSWERED, UNANSWERED_FOR * 2, true),
        (UNANSWERED - 1, UNANSWERED_FOR * 2, false),
        (UNANSWERED * 10, UNANSWERED_FOR - MILLISECOND * 80, false),
    ] {
        let mut director = director();
        director.syns(0..syns, over);
        assert_eq!(director.suspicions().len(), usize::from(suspicious), "{syns} in {over:?}");
    }
    let mut director = director();
    director.syns(0..UNANSWERED - 1, Duration::ZERO);
    director.pass(UNANSWERED_FOR - MILLISECOND);
    director.syn(flow(20));
    assert_eq!(director.suspicions(), []);
    director.pass(MILLISECOND);
    director.syn(flow(21));
    let suspicion = Suspicion {
        service: "web".to_owned(),
        address: A,
        syns: UNANSWERED + 1,
        lasting: UNANSWERED_FOR,
    };
    assert_eq!(director.suspicions(), [suspicion]);
    assert_eq!(director.real(A).unwrap().state, RealState::Up, "it takes flows as before");
}

/// A director after that many handshakes, one after the other, of that duration.
fn used_to(handshakes: u32, taking: Duration) -> Director {
    let mut director = director();
    for number in 1_000..1_000 + handshakes {
        director.syn(flow(number));
        director.pass(taking);
        director.to(&flow(number).tcp(Flags::ACK));
    }
    assert_eq!(director.suspicions(), []);
    director
}

#[test]
fn where_handshakes_end_soon_few_unanswered_syns_are_suspicious() {
    for (syns, over, suspicious) in [
        (FEWEST, BRIEFEST + MILLISECOND * 4, true),
        (FEWEST - 1, BRIEFEST * 2, false),
        (FEWEST * 10, BRIEFEST - MILLISECOND, false),
    ] {
        let mut director = used_to(100, MILLISECOND);
        director.syns(0..syns, over);
        assert_eq!(director.suspicions().len(), usize::from(suspicious), "{syns} in {over:?}");
    }
    // There are no recent rows yet, or clients are far away.
    for mut director in [used_to(2, MILLISECOND), used_to(100, UNANSWERED_FOR)] {
        director.syns(0..FEWEST, BRIEFEST * 3);
        assert_eq!(director.suspicions(), []);
    }
}

/// Clients with long round trips overlap, so rows of several SYNs are usual.
#[test]
fn rows_as_long_as_those_of_late_are_not_suspicious() {
    let mut director = used_to(100, MILLISECOND);
    for number in 0..20 {
        let first = number * 10;
        director.syns(first..first + 3, BRIEFEST / 2);
        director.to(&flow(first).tcp(Flags::ACK));
    }
    director.syns(1_000_000..1_000_005, BRIEFEST * 2);
    assert_eq!(director.suspicions(), [], "five are not twice as long as three");
    director.syn(flow(1_000_005));
    assert_eq!(director.suspicions().len(), 1);
}

/// A client's kernel retransmits its SYN; each one counts as unanswered.
#[test]
fn a_syn_that_is_sent_again_counts() {
    let mut director = director();
    for suspicious in [0, 1, 1] {
        (0..UNANSWERED / 2).for_each(|number| assert_eq!(director.syn(flow(number)), A));
        assert_eq!(director.suspicions().len(), suspicious);
        director.pass(seconds(1));
    }
    assert_eq!(director.connections(), UNANSWERED as usize / 2);
}

#[test]
fn one_handshake_that_ends_clears_the_real_server() {
    let mut director = director();
    director.syns(0..100, UNANSWERED_FOR / 2);
    director.to(&flow(50).tcp(Flags::ACK));
    director.pass(UNANSWERED_FOR);
    director.syns(100..100 + UNANSWERED - 1, Duration::ZERO);
    assert_eq!(director.suspicions(), []);
    // Packets of established connections do not show that new ones succeed.
    director.pass(UNANSWERED_FOR);
    director.to(&flow(50).tcp(Flags::ACK));
    director.syn(flow(200));
    assert_eq!(director.suspicions().len(), 1);
}

#[test]
fn a_flood_of_syns_makes_one_suspicion_a_pause() {
    let mut director = Director::new(100_000);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)])));
    let mut suspicions = Vec::new();
    for number in 0..50_000 {
        if number % 10 == 0 {
            director.pass(MILLISECOND);
        }
        director.syn(flow(number));
        suspicions.extend(director.suspicions());
    }
    let of = |real| suspicions.iter().filter(|one| one.address == real).count();
    let most = usize::try_from(5_000 / PAUSE.as_millis()).unwrap() + 1;
    assert!((1..=most).contains(&of(A)) && (1..=most).contains(&of(B)), "{suspicions:?}");
}

#[test]
fn old_syns_are_forgotten() {
    for (pause, suspicious) in [(FORGOTTEN_AFTER, 1), (FORGOTTEN_AFTER + MILLISECOND, 0)] {
        let mut director = director();
        director.syns(0..UNANSWERED - 1, Duration::ZERO);
        director.pass(pause);
        director.syn(flow(20));
        assert_eq!(director.suspicions().len(), suspicious, "{pause:?}");
    }
}

#[test]
fn no_more_suspicions_wait_than_their_bound() {
    let reals: Vec<_> = (1..=u8::try_from(MAX_WAITING + 1).unwrap())
        .map(|last| (IpAddr::from([10, 0, 1, last]), 1))
        .collect();
    for count in [MAX_WAITING, MAX_WAITING + 1] {
        let mut director = Director::with(SchedulerKind::RoundRobin, &reals[..count]);
        let syns = u32::try_from(count).unwrap() * UNANSWERED;
        director.syns(0..syns / UNANSWERED * (UNANSWERED - 1), Duration::ZERO);
        director.pass(UNANSWERED_FOR);
        director.syns(10_000..10_000 + syns / UNANSWERED, Duration::ZERO);
        assert_eq!(director.suspicions().len(), MAX_WAITING, "{count}");
    }
}

#[test]
fn a_real_server_that_is_gone_is_not_suspicious() {
    let mut director = director();
    director.syns(0..UNANSWERED, UNANSWERED_FOR * 2);
    director.apply(&remove_real(A));
    director.pass(seconds(1_000));
    assert_eq!(director.connections(), 0);
    assert_eq!(director.suspicions(), []);
}
