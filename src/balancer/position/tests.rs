//! The windows at their bounds, and against plain arithmetic over whole numbers.

use proptest::prelude::*;

use super::*;

fn segment(sequence: u32, acknowledgement: u32, data: u32, flags: u8) -> SegmentFields {
    let flags = Flags(flags);
    let end = sequence.wrapping_add(data);
    SegmentFields { sequence, end, acknowledgement, flags }
}

/// The shorter distance between two numbers.
fn distance(number: u32, other: u32) -> u64 {
    let ahead = u64::from(number.wrapping_sub(other));
    ahead.min((1 << 32) - ahead)
}

proptest! {
    #[test]
    fn a_fitting_segment_is_exact_or_within_both_windows(
        next: u32,
        acknowledged: u32,
        sequence in prop_oneof![any::<u32>(), 0_u32..10_000_000],
        acknowledgement in prop_oneof![any::<u32>(), 0_u32..3_000_000],
        flags: u8,
    ) {
        let (sequence, acknowledgement) =
            (next.wrapping_add(sequence), acknowledged.wrapping_add(acknowledgement));
        let position = Position { next, acknowledged: upper(acknowledged), opening: false };
        let segment = segment(sequence, acknowledgement, 0, flags);
        let kept = |number: u32| number & 0xffff_0000;
        let near = distance(sequence, next) <= u64::from(SEQUENCE_WINDOW)
            && distance(kept(acknowledgement), kept(acknowledged))
                <= u64::from(ACKNOWLEDGEMENT_WINDOW);
        let expected = sequence == next || near && Flags(flags).ack();
        prop_assert_eq!(position.fits(&segment), expected);
    }

    /// Losses, retransmissions and duplicates within the windows never lose the client.
    #[test]
    fn a_client_that_keeps_to_the_windows_always_fits(
        start: u32,
        steps in prop::collection::vec(
            (-4_000_000_i32..4_000_000, 0_u32..64_000, 0_u32..900_000),
            1..50,
        ),
    ) {
        let mut position = Position::after(&segment(start, 0, 0, Flags::SYN));
        let mut acknowledged = start ^ 0x1234_5678;
        let first = segment(start.wrapping_add(1), acknowledged, 0, Flags::ACK);
        prop_assert!(position.fits(&first));
        position = position.moved_by(&first);
        for (back, data, more) in steps {
            acknowledged = acknowledged.wrapping_add(more);
            let sequence = position.next.wrapping_add_signed(back);
            let segment = segment(sequence, acknowledged, data, Flags::ACK);
            prop_assert!(position.fits(&segment));
            let next = position.moved_by(&segment);
            prop_assert!(!position.is_extended_by(&segment) || next.next == segment.end);
            position = next;
        }
    }
}

#[test]
fn after_a_syn_a_segment_in_its_window_fits_whatever_it_acknowledges() {
    for start in [0, 7, u32::MAX] {
        let position = Position::after(&segment(start, 0, 0, Flags::SYN));
        let first = start.wrapping_add(1);
        let ack = |off: u32| segment(first.wrapping_add(off), 0xdead_beef, 0, Flags::ACK);
        assert!(position.fits(&ack(0)) && position.fits(&ack(OPENING_WINDOW)));
        assert!(!position.fits(&ack(OPENING_WINDOW + 1)));
        assert!(!position.fits(&ack((OPENING_WINDOW + 1).wrapping_neg())));
        assert!(position.is_after_syn(&segment(start, 0, 0, Flags::SYN)));
        assert!(!position.moved_by(&ack(0)).opening);
        assert!(position.moved_by(&segment(first, 0, 0, Flags::FIN)).opening);
    }
}

/// Data in a SYN may be refused and sent again: the client is at most after it, at least before it.
#[test]
fn data_in_a_syn_does_not_move_the_position() {
    let syn = SegmentFields { end: 1_401, ..segment(0, 0, 0, Flags::SYN) };
    let position = Position::after(&syn);
    assert_eq!(position.next, 1);
    for next in [1, 1_401] {
        assert!(position.fits(&segment(next, 5, 0, Flags::ACK)), "{next}");
    }
}
