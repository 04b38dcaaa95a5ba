//! An attacker who knows a connection's addresses and ports, but none of its sequence numbers,
//! cannot change it.

use proptest::prelude::*;

use super::*;
use crate::balancer::segment::LATE;
use SchedulerKind::RoundRobin;

/// The client's next sequence number, and the last one that it has acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub(super) flow: Flow,
    pub(super) next: u32,
    pub(super) acknowledged: u32,
}

impl Half {
    pub(super) fn segment(&self, flags: u8) -> Ip {
        self.flow.segment(flags).sequence(self.next).acknowledgement(self.acknowledged)
    }

    pub(super) fn sends(&mut self, director: &mut Director, flags: u8, data: usize) -> IpAddr {
        let packet = self.segment(flags).data(&vec![7; data]).bytes();
        let controls = u32::from(flags & (Flags::SYN | Flags::FIN) != 0);
        self.next = self.next.wrapping_add(u32::try_from(data).unwrap()).wrapping_add(controls);
        director.to(&packet)
    }
}

/// A connection of this flow that begins at this sequence number.
pub(super) fn open(director: &mut Director, flow: Flow, sequence: u32) -> (Half, IpAddr) {
    let mut half = Half { flow, next: sequence, acknowledged: sequence.rotate_left(16) ^ 0x5a5a };
    let syn = half.segment(Flags::SYN).acknowledgement(0).bytes();
    let real = director.to(&syn);
    half.next = half.next.wrapping_add(1);
    assert_eq!(half.sends(director, Flags::ACK, 0), real);
    (half, real)
}

/// A segment with numbers that do not fit the connection.
fn forged(half: &Half, flags: u8, off: u32) -> Vec<u8> {
    let half = Half { next: half.next.wrapping_add(off), ..*half };
    Half { acknowledged: half.acknowledged.wrapping_add(off), ..half }.segment(flags).bytes()
}

const FAR: u32 = 0x4000_0000;

#[test]
fn no_forged_reset_fin_or_bare_segment_changes_the_state() {
    for flags in [Flags::RST, Flags::RST | Flags::ACK, Flags::FIN | Flags::ACK, Flags::FIN, 0] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        let (half, real) = open(&mut director, flow(1), 77);
        assert_eq!(director.to(&forged(&half, flags, FAR)), real);
        assert_eq!(director.states(), ["ESTABLISHED"], "{flags:#x}");
        director.pass(seconds(12));
        assert_eq!(director.states(), ["ESTABLISHED"], "{flags:#x}");
        assert_eq!(director.to(&half.segment(Flags::ACK).bytes()), real);
    }
}

/// Numbers within a window are near; one byte more is not.
#[test]
fn the_windows_end_at_their_bounds() {
    const SEQUENCE: u32 = 4 << 20;
    const ACKNOWLEDGEMENT: u32 = 1 << 20;
    // Acknowledgement numbers are stored in units of 64 KiB.
    const KEPT: u32 = 1 << 16;
    for (sequence, acknowledgement, ends) in [
        (0, 0, true),
        (0, FAR, true),
        (SEQUENCE, ACKNOWLEDGEMENT, true),
        (SEQUENCE.wrapping_neg(), ACKNOWLEDGEMENT.wrapping_neg(), true),
        (SEQUENCE + 1, 0, false),
        ((SEQUENCE + 1).wrapping_neg(), 0, false),
        (1, ACKNOWLEDGEMENT + KEPT, false),
        (1, (ACKNOWLEDGEMENT + KEPT).wrapping_neg(), false),
    ] {
        for start in [0, u32::MAX, 5_000_000] {
            let mut director = Director::with(RoundRobin, &[(A, 1)]);
            let (mut half, _) = open(&mut director, flow(1), start);
            half.next = half.next.wrapping_add(sequence);
            half.acknowledged = half.acknowledged.wrapping_add(acknowledgement);
            director.to(&half.segment(Flags::RST | Flags::ACK).bytes());
            let expected = if ends { "CLOSE" } else { "ESTABLISHED" };
            assert_eq!(director.states(), [expected], "{sequence} {acknowledgement} {start}");
        }
    }
}

#[test]
fn a_reset_without_an_acknowledgement_is_exact_or_nothing() {
    for off in [0, 1, u32::MAX] {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let (half, _) = open(&mut director, flow(1), 9);
        let half = Half { next: half.next.wrapping_add(off), ..half };
        // The helper's segments have the ACK flag.
        director.to(&half.segment(Flags::RST).flags(Flags::RST).bytes());
        assert_eq!(director.states(), [if off == 0 { "CLOSE" } else { "ESTABLISHED" }], "{off}");
    }
}

#[test]
fn a_whole_forged_connection_beside_a_live_one_changes_nothing_for_it() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let (mut half, real) = open(&mut director, flow(1), 1_000_000);
    for start in [3_000_000_000, 4_000_000_000] {
        let (mut other, met) = open(&mut director, flow(1), start);
        assert!(met == real || start > 3_000_000_000, "the live one answers it");
        assert_eq!(other.sends(&mut director, Flags::FIN | Flags::ACK, 0), met);
        other.sends(&mut director, Flags::ACK, 0);
    }
    for number in 10..12 {
        director.syn(flow(number));
    }
    open(&mut director, flow(1), 2_000_000_000);
    assert_eq!(half.sends(&mut director, Flags::ACK, 500), real);
    assert_eq!(half.sends(&mut director, Flags::FIN | Flags::ACK, 0), real);
}

/// A client that closes its direction may receive for long. The first acknowledgement after its FIN
/// may be the connection's last.
#[test]
fn a_half_closed_connection_that_goes_on_stays_where_it_is() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let (mut half, real) = open(&mut director, flow(1), 50);
    half.sends(&mut director, Flags::FIN | Flags::ACK, 0);
    for _ in 0..2 {
        half.acknowledged += 1_448;
        half.sends(&mut director, Flags::ACK, 0);
    }
    assert_eq!(director.states(), ["FIN_WAIT"]);
    let forged = half.segment(Flags::SYN).sequence(FAR).bytes();
    assert_ne!(director.to(&forged), real, "a new connection, where such go");
    half.acknowledged += 1_448;
    assert_eq!(half.sends(&mut director, Flags::ACK, 0), real);
}

#[test]
fn a_connection_that_goes_on_after_its_end_is_restored() {
    for (flags, state) in
        [(Flags::RST | Flags::ACK, "CLOSE"), (Flags::FIN | Flags::ACK, "FIN_WAIT")]
    {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        let (mut half, real) = open(&mut director, flow(1), 50);
        // A correct guess.
        director.to(&half.segment(flags).bytes());
        assert_eq!(director.states(), [state]);
        assert_eq!(half.sends(&mut director, Flags::ACK, 100), real);
        assert_eq!(director.states(), ["ESTABLISHED"]);
        assert_eq!(director.counts(real), (1, 0));
        director.pass(seconds(200));
        assert_eq!(half.sends(&mut director, Flags::ACK, 1), real);
    }
}

/// A reset that has overtaken earlier segments ends its connection all the same.
#[test]
fn segments_that_a_reset_has_overtaken_do_not_restore_the_connection() {
    for data in [0, 300] {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let (mut half, _) = open(&mut director, flow(1), 50);
        let earlier = half.segment(Flags::ACK).data(&vec![7; data]).bytes();
        half.next += u32::try_from(data).unwrap();
        director.to(&half.segment(Flags::RST | Flags::ACK).bytes());
        for _ in 0..3 {
            director.to(&earlier);
            assert_eq!(director.states(), ["CLOSE"], "{data}");
            director.pass(LATE / 4);
        }
        director.apply(&add_real(B, 1));
        director.apply(&set_weight(A, 0));
        assert_eq!(director.to(&half.segment(Flags::SYN).sequence(FAR).bytes()), B, "{data}");
    }
}

/// It ends the handshake, which no acknowledgement completes afterwards, unless the client goes on.
#[test]
fn a_reset_that_overtakes_the_end_of_its_handshake_leaves_no_connection() {
    for data in [None, Some(0), Some(1)] {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let mut half = Half { flow: flow(1), next: 50, acknowledged: 99 };
        half.sends(&mut director, Flags::SYN, 0);
        half.sends(&mut director, Flags::RST | Flags::ACK, 0);
        half.sends(&mut director, Flags::ACK, 0);
        assert_eq!(director.states(), ["SYN_RECV"]);
        if let Some(data) = data {
            half.sends(&mut director, Flags::ACK, data);
        }
        director.pass(seconds(100));
        let alive = data.map(|_| "ESTABLISHED");
        assert_eq!(director.states(), Vec::from_iter(alive), "{data:?}");
    }
}

/// Acknowledgements show that a client still receives once they can no longer be late; they prolong
/// nothing until then.
#[test]
fn a_client_that_goes_on_receiving_after_a_forged_reset_is_restored() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let (mut half, real) = open(&mut director, flow(1), 50);
    director.to(&half.segment(Flags::RST | Flags::ACK).bytes());
    let mut passed = Duration::ZERO;
    while director.states() == ["CLOSE"] {
        half.acknowledged += 1_448;
        assert_eq!(half.sends(&mut director, Flags::ACK, 0), real);
        director.pass(Duration::from_millis(10));
        passed += Duration::from_millis(10);
        assert!(passed <= LATE + Duration::from_millis(500), "{passed:?}");
    }
    assert!(passed >= LATE, "{passed:?}");
    assert_eq!(director.states(), ["ESTABLISHED"]);
}

#[test]
fn a_reset_connection_goes_at_its_time_whatever_follows() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let (half, _) = open(&mut director, flow(1), 50);
    let reset = half.segment(Flags::RST | Flags::ACK).bytes();
    director.to(&reset);
    for _ in 0..9 {
        director.pass(seconds(1));
        assert_eq!(director.states(), ["CLOSE"]);
        director.to(&forged(&half, Flags::ACK, FAR));
        director.to(&reset);
    }
    director.pass(seconds(2));
    assert_eq!(director.states(), [""; 0]);
}

/// Honest clients reuse a port as soon as they may: a new real server gets its share of such
/// connections at once.
#[test]
fn a_port_used_again_is_the_scheduler_s_at_once() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let mut sequence = 1;
    let mut all = |director: &mut Director| {
        let mut met = [0; 2];
        for number in 0..20 {
            sequence = u32::wrapping_add(sequence, 100_000_000);
            let (mut half, real) = open(director, flow(number), sequence);
            half.sends(director, Flags::ACK | Flags::PSH, 300);
            half.sends(director, Flags::FIN | Flags::ACK, 0);
            half.sends(director, Flags::ACK, 0);
            met[usize::from(real == B)] += 1;
        }
        met
    };
    assert_eq!(all(&mut director), [20, 0]);
    director.apply(&add_real(B, 1));
    for _ in 0..3 {
        assert_eq!(all(&mut director), [10, 10]);
    }
    assert_eq!(director.connections(), 20, "no entry of the ended connections is left");
}

/// A real server's reset is not seen: the director takes the connection for alive. The next ones
/// from the same port are tracked nevertheless.
#[test]
fn a_port_whose_connection_the_real_server_ended_is_free_again_after_the_next() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let (_, real) = open(&mut director, flow(1), 5);
    let (mut second, met) = open(&mut director, flow(1), 1_000_000_000);
    assert_eq!(met, real);
    second.sends(&mut director, Flags::FIN | Flags::ACK, 0);
    let mut met = Vec::new();
    for number in 2..6_u32 {
        let (mut next, real) = open(&mut director, flow(1), number * 500_000_000);
        next.sends(&mut director, Flags::FIN | Flags::ACK, 0);
        met.push(real);
    }
    assert!(met.contains(&A) && met.contains(&B), "{met:?}");
    assert_eq!(director.connections(), 2, "the one that may live and the last");
    director.pass(seconds(1_000));
    assert_eq!((director.connections(), director.counts(A)), (0, (0, 0)));
}

/// The client's segments go to the former connection when the current one has ended.
#[test]
fn a_former_connection_outlives_the_one_opened_beside_it() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let (mut half, real) = open(&mut director, flow(1), 5);
    director.syn(flow(2));
    director.to(&half.segment(Flags::SYN).sequence(FAR).bytes());
    assert_eq!(director.states().len(), 3);
    for _ in 0..3 {
        director.pass(seconds(50));
        assert_eq!(half.sends(&mut director, Flags::ACK, 10), real);
    }
    assert_eq!(director.states(), ["ESTABLISHED"], "the handshakes are over");
    half.sends(&mut director, Flags::FIN | Flags::ACK, 10);
    assert_eq!(director.states(), ["FIN_WAIT"]);
}

#[test]
fn a_super_frame_and_a_first_fragment_move_the_position_by_what_they_carry() {
    for data in [0, 60_000] {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        let (mut half, real) = open(&mut director, flow(1), 4_000_000_000);
        for _ in 0..100 {
            assert_eq!(half.sends(&mut director, Flags::ACK, data), real);
        }
        // Exact, as required of a reset without an acknowledgement.
        director.to(&half.segment(Flags::RST).flags(Flags::RST).bytes());
        assert_eq!(director.states(), ["CLOSE"], "{data}");
    }
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let (half, _) = open(&mut director, flow(0), 10);
    let fragment =
        |half: &Half, flags| half.segment(flags).data(&[7; 12]).fragment(0, true).bytes();
    director.to(&fragment(&Half { next: half.next.wrapping_add(FAR), ..half }, Flags::RST));
    assert_eq!(director.states(), ["ESTABLISHED"]);
    director.pass(seconds(31));
    director.to(&fragment(&half, Flags::RST));
    assert_eq!(director.states(), ["CLOSE"]);
}

/// An error that quotes a flow goes to the flow's real server, and changes nothing in the director.
#[test]
fn a_forged_icmp_error_changes_no_connection() {
    for number in [0, 1] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        let (half, real) = open(&mut director, flow(number), 5);
        let answer = half.segment(Flags::ACK).backwards().bytes();
        let family = flow(number).family();
        let error = family.icmp_error(family.pick((3, 1), (1, 3)), &answer);
        let error = error.from(family.router()).bytes();
        let before = director.balancer.connections(director.now, 0, 9).0;
        director.pass(seconds(5));
        assert_eq!(director.to(&error), real);
        let (after, _) = director.balancer.connections(director.now, 0, 9);
        assert_eq!(after[0].expires + seconds(5), before[0].expires, "it lives no longer");
        assert_eq!((after[0].state, after.len()), (before[0].state, 1));
    }
}

/// What the client has done to a connection before the attack.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Handshake,
    Established,
    Idle,
    HalfClosed,
}

/// An attacker's segment.
#[derive(Clone, Debug)]
struct Attack {
    flags: u8,
    number: u32,
    /// Its number goes on from the one before.
    goes_on: bool,
    data: usize,
    /// It is the first fragment of a datagram.
    fragment: bool,
}

fn attack() -> impl Strategy<Value = Attack> {
    let data = prop_oneof![Just(0), 1_usize..1_400];
    (any::<u8>(), any::<u32>(), any::<bool>(), data, prop::bool::weighted(0.2)).prop_map(
        |(flags, number, goes_on, data, fragment)| {
            let data = if fragment { data.next_multiple_of(8) + 4 } else { data };
            Attack { flags, number, goes_on, data, fragment }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever an attacker sends, in every state of the connection and with every scheduler: it
    /// stays at its real server.
    #[test]
    fn a_live_connection_stays_at_its_real_server_whatever_others_send(
        scheduler in prop::sample::select(SchedulerKind::ALL.to_vec()),
        stage in prop::sample::select(vec![
            Stage::Handshake, Stage::Established, Stage::Idle, Stage::HalfClosed,
        ]),
        family in 0_u32..2,
        start: u32,
        before in prop::collection::vec(attack(), 0..4),
        attacks in prop::collection::vec((attack(), 0_u64..8), 1..12),
    ) {
        let mut director = Director::with(scheduler, &[(A, 50), (B, 50), (C, 50)]);
        let flow = flow(family);
        // An attacker keeps to its own numbers, or uses new ones. None of them is the client's.
        let far = |sequence: u32| {
            let distance = sequence.wrapping_sub(start);
            if distance.wrapping_add(FAR / 4) < FAR / 2 { sequence ^ 0x8000_0000 } else { sequence }
        };
        let mut at = far(start ^ 0x8000_0000);
        let mut send = |director: &mut Director, attack: &Attack| {
            at = if attack.goes_on { at } else { far(attack.number) };
            let packet = flow.segment(Flags::ACK).flags(attack.flags & 0x3f).sequence(at)
                .acknowledgement(at.rotate_left(9) ^ FAR).data(&vec![6; attack.data]);
            let packet = if attack.fragment { packet.fragment(0, true) } else { packet };
            at = at.wrapping_add(u32::try_from(attack.data).unwrap());
            at = at.wrapping_add(u32::from(attack.flags & (Flags::SYN | Flags::FIN) != 0));
            director.forward(&packet.bytes());
        };
        for attack in &before {
            send(&mut director, attack);
        }
        let mut half = Half { flow, next: start, acknowledged: start.rotate_left(16) };
        let real = half.sends(&mut director, Flags::SYN, 0);
        if !matches!(stage, Stage::Handshake) {
            prop_assert_eq!(half.sends(&mut director, Flags::ACK, 0), real);
            prop_assert_eq!(half.sends(&mut director, Flags::ACK | Flags::PSH, 700), real);
        }
        match stage {
            Stage::Idle => director.pass(seconds(90)),
            Stage::HalfClosed => {
                half.sends(&mut director, Flags::FIN | Flags::ACK, 0);
                for _ in 0..2 {
                    half.acknowledged = half.acknowledged.wrapping_add(2_896);
                    prop_assert_eq!(half.sends(&mut director, Flags::ACK, 0), real);
                }
            }
            Stage::Handshake | Stage::Established => {}
        }
        for (attack, pause) in &attacks {
            send(&mut director, attack);
            director.pass(seconds(*pause));
            // Other connections open and close.
            let other = director.syn(super::flow(100 + u32::from(attack.flags)));
            prop_assert!([A, B, C].contains(&other));
        }
        half.acknowledged = half.acknowledged.wrapping_add(1_448);
        prop_assert_eq!(half.sends(&mut director, Flags::ACK, 0), real);
        if !matches!(stage, Stage::HalfClosed) {
            prop_assert_eq!(half.sends(&mut director, Flags::ACK | Flags::PSH, 60_000), real);
        }
    }
}

/// The attacker's SYN comes before the client's, its own connection ends, and it opens another one
/// while the client's handshake is in progress.
#[test]
fn a_handshake_stays_beside_forged_connections_that_begin_and_end() {
    for scheduler in SchedulerKind::ALL {
        for end in [0, Flags::FIN | Flags::ACK, Flags::RST] {
            let mut director = Director::with(scheduler, &[(A, 1), (B, 1), (C, 1)]);
            let mut forged = Half { flow: flow(1), next: FAR, acknowledged: 0 };
            let syn = forged.segment(Flags::SYN).acknowledgement(0).bytes();
            director.to(&syn);
            let mut half = Half { flow: flow(1), next: 7, acknowledged: 0 };
            let real = half.sends(&mut director, Flags::SYN, 0);
            director.to(&syn);
            forged.next += 1;
            let bare = |flags| forged.segment(Flags::ACK).flags(flags).bytes();
            director.to(&bare(Flags::ACK));
            director.to(&bare(end));
            director.to(&syn);
            half.acknowledged = 99;
            assert_eq!(half.sends(&mut director, Flags::ACK, 0), real, "{scheduler:?} {end:#x}");
            assert_eq!(half.sends(&mut director, Flags::ACK, 700), real, "{scheduler:?} {end:#x}");
        }
    }
}
