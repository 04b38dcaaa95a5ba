//! Every bound, at the bound and one past it; and floods, during which good datagrams still arrive.

use super::*;
use crate::balancer::fragments::{Bounds, MAX_PARTS};

/// A director with small bounds.
fn bounded(waiting: usize, decided: usize, bytes: usize) -> Director {
    let mut director = two();
    director.balancer.tables.fragments =
        Fragments::new(Bounds { waiting, decided, bytes }, Seed(7, 9));
    director
}

/// The oldest datagram with held fragments is evicted.
#[test]
fn waiting_datagrams_at_the_bound_and_one_past_it() {
    for family in FAMILIES {
        let later = |number| four(family, number)[1].clone();
        for (datagrams, sent) in [(3, 2), (4, 1)] {
            let mut director = bounded(3, 3, 1 << 20);
            for number in 0..datagrams {
                assert_eq!(director.forward(&later(number)), Verdict::Hold);
            }
            assert_eq!(director.balancer.snapshot().fragments.waiting, 3);
            assert_eq!(dropped(&director, Reason::FragmentLimit), if sent == 2 { 0 } else { 1 });
            assert_eq!(out(&mut director, &four(family, 0)[0]).len(), sent);
        }
    }
}

#[test]
fn decided_datagrams_at_the_bound_and_one_past_it() {
    for family in FAMILIES {
        for (datagrams, follows) in [(3, true), (4, false)] {
            let mut director = bounded(3, 3, 1 << 20);
            for number in 0..datagrams {
                assert_eq!(out(&mut director, &four(family, number)[0]).len(), 1);
            }
            assert_eq!(director.balancer.snapshot().fragments.decided, 3);
            let verdict = director.forward(&four(family, 0)[1]);
            assert_eq!(verdict != Verdict::Hold, follows);
            assert_eq!(out(&mut director, &four(family, 1)[1]).len(), 1, "a younger one");
        }
        // A datagram that is decided or refused after waiting counts like any other.
        let mut director = bounded(3, 3, 1 << 20);
        for number in 0..3 {
            assert_eq!(out(&mut director, &four(family, number)[0]).len(), 1);
        }
        for number in [3, 4] {
            assert_eq!(director.forward(&four(family, number)[1]), Verdict::Hold);
        }
        assert_eq!(out(&mut director, &four(family, 3)[0]).len(), 2);
        let whole = family.udp(80).data(&[7; 88]).bytes();
        let hostile = piece(&whole, 4, 32..56, true);
        assert_eq!(director.forward(&hostile), Verdict::Drop(Reason::FragmentOverlap));
        let fragments = director.balancer.snapshot().fragments;
        assert_eq!((fragments.waiting, fragments.decided), (0, 3));
        assert_eq!(director.forward(&four(family, 1)[1]), Verdict::Hold, "the second is forgotten");
        assert_eq!(out(&mut director, &four(family, 2)[1]).len(), 1);
    }
}

/// Blocks of 512 bytes: the oldest datagrams' held fragments are dropped until the newest fits.
#[test]
fn held_bytes_at_the_bound_and_one_past_it() {
    for family in FAMILIES {
        let header = family.pick(20, 48);
        let later = |number, len: usize| {
            let whole = family.udp(80).data(&[7; 4_000]).bytes();
            piece(&whole, number, 1_600..1_600 + len - header, false)
        };
        let mut director = bounded(9, 9, 2_048);
        assert_eq!(director.forward(&later(1, 512)), Verdict::Hold);
        assert_eq!(director.forward(&later(2, 512)), Verdict::Hold);
        assert_eq!(director.forward(&later(3, 1_024)), Verdict::Hold);
        assert_eq!((held(&director), dropped(&director, Reason::FragmentLimit)), ((3, 2_048), 0));
        assert_eq!(director.forward(&later(4, 513)), Verdict::Hold);
        assert_eq!((held(&director), dropped(&director, Reason::FragmentLimit)), ((2, 1_537), 2));
        // The whole store for one datagram, and not a byte more.
        assert_eq!(director.forward(&later(5, 2_048)), Verdict::Hold);
        assert_eq!((held(&director), dropped(&director, Reason::FragmentLimit)), ((1, 2_048), 4));
        assert_eq!(director.forward(&later(6, 2_049)), Verdict::Drop(Reason::FragmentLimit));
        assert_eq!((held(&director), dropped(&director, Reason::FragmentLimit)), ((0, 0), 6));
    }
}

/// The oldest datagram is refused even if it is the one that needs more space.
#[test]
fn a_datagram_without_room_for_the_rest_of_it_is_refused() {
    for family in FAMILIES {
        let mut director = bounded(9, 9, 1_024);
        let (old, new) = (four(family, 1), four(family, 2));
        assert_eq!(director.forward(&old[1]), Verdict::Hold);
        assert_eq!(director.forward(&new[1]), Verdict::Hold);
        assert_eq!(director.forward(&old[2]), Verdict::Drop(Reason::FragmentLimit));
        assert_eq!((held(&director).0, dropped(&director, Reason::FragmentLimit)), (1, 2));
        assert_eq!(director.forward(&old[0]), Verdict::Drop(Reason::FragmentLimit));
        assert_eq!(out(&mut director, &new[0]).len(), 2);
    }
}

/// Tiny fragments: as many of one datagram as the bound, in either order, and one more.
#[test]
fn as_many_fragments_of_a_datagram_as_the_bound_and_one_more() {
    for family in FAMILIES {
        for (count, in_order) in
            [(MAX_PARTS, true), (MAX_PARTS, false), (MAX_PARTS + 1, true), (MAX_PARTS + 1, false)]
        {
            let mut director = two();
            let cuts: Vec<usize> = (1..count).map(|unit| unit * 8).collect();
            let whole = family.udp(80).data(&vec![7; count * 8 - 8]).bytes();
            let mut pieces = cut(&whole, 5, &cuts);
            if !in_order {
                pieces.reverse();
            }
            let sent: usize = pieces.iter().map(|piece| out(&mut director, piece).len()).sum();
            let expected = match (count, in_order) {
                (MAX_PARTS, _) | (_, true) => MAX_PARTS,
                (_, false) => 0,
            };
            assert_eq!(sent, expected, "{count} {in_order} {family:?}");
            let counters = director.balancer.counters();
            assert_eq!(counters.dropped(Reason::FragmentLimit), (count - sent) as u64);
            assert_eq!((counters.read, counters.held), (count as u64, 0));
        }
    }
}

/// RFC 1858, RFC 7112: the first fragment has the transport header, all of it.
#[test]
fn a_first_fragment_without_its_transport_header_is_no_packet() {
    for family in FAMILIES {
        let tcp = family.tcp(Flags::SYN).tcp_options(&[1; 8]).data(&[7; 60]).bytes();
        for (end, is_packet) in [(8, false), (16, false), (24, false), (32, true)] {
            let first = piece(&tcp, 5, 0..end, true);
            assert_eq!(Packet::parse(&first).is_ok(), is_packet, "{end} {family:?}");
        }
        // A fragment that would overwrite the flags of the first one.
        assert!(Packet::parse(&piece(&tcp, 5, 8..32, true)).is_err());
        let udp = family.udp(80).data(&[7; 60]).bytes();
        assert!(Packet::parse(&piece(&udp, 5, 0..8, true)).is_ok());
    }
}

/// Reassembled they would be longer than a datagram can be: with the first one's header, which
/// later ones need not have.
#[test]
fn a_datagram_that_would_be_too_long_is_refused() {
    let family = Family::V4;
    let first = family.udp(80).options(&[1; 40]).data(&[7; 8]).identification(5);
    let first = first.fragment(0, true).bytes();
    let whole = family.udp(80).bytes();
    for (end, fits) in [(65_475, true), (65_476, false)] {
        let last = piece(&whole, 5, 65_440..end, false);
        let mut director = two();
        assert_eq!(director.forward(&last), Verdict::Hold);
        assert_eq!(out(&mut director, &first).len(), if fits { 2 } else { 0 });
        assert_eq!(dropped(&director, Reason::Malformed), if fits { 0 } else { 2 });
        let mut director = two();
        assert_eq!(out(&mut director, &first).len(), 1);
        assert_eq!(out(&mut director, &last).len(), usize::from(fits));
    }
}

/// Each flood fills its list; good datagrams arrive nevertheless, also out of order.
#[test]
fn good_datagrams_get_through_beside_floods_of_either_end() {
    for family in FAMILIES {
        for lone in [3, 0] {
            let mut director = two();
            let (mut sent, mut number) = (0, 0);
            for _ in 0..100 {
                let good = family.udp(80).source_port(7).from(family.router()).data(&[7; 88]);
                let pieces = cut(&good.bytes(), 9, &[24, 48, 72]);
                for at in [1, 3, 0, 2] {
                    for _ in 0..25 {
                        number += 1;
                        let _ = out(&mut director, &four(family, number)[lone]);
                    }
                    sent += out(&mut director, &pieces[at]).len();
                }
            }
            let fragments = director.balancer.snapshot().fragments;
            let own = if lone == 0 { 10_000 } else { 0 };
            assert_eq!((sent, director.balancer.counters().tunnelled), (400, 400 + own));
            let Bounds { waiting, decided, bytes } = Bounds::DEFAULT;
            assert!(fragments.bytes <= bytes);
            // The last good datagram has evicted another, and is forgotten.
            let full = if lone == 0 { (0, decided - 1) } else { (waiting, 0) };
            assert_eq!((fragments.waiting, fragments.decided), full);
            director.pass(seconds(60));
            assert_eq!(
                director.balancer.snapshot().fragments,
                snapshot::FragmentsSnapshot::default()
            );
        }
    }
}
