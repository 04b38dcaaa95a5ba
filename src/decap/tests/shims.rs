//! GRE and GUE.

use super::*;
use crate::wire::encap::{MAX_OUTER_LEN, Shim};

const PORT: u16 = 6080;

/// The gate of a host with links of 1,500 bytes.
fn host() -> Gate {
    gate().with_gue_port(Some(PORT)).with_link_mtu(1_500)
}

/// Passes the gate a payload as a socket delivers it.
fn give(gate: &mut Gate, payload: Payload, source: IpAddr, bytes: &[u8]) -> Admission {
    let mut datagram = [&[0; HEADROOM], bytes].concat();
    gate.open_bare(payload, source, 0, HEADROOM, &mut datagram)
}

fn gue(family: Family, packet: &[u8]) -> Vec<u8> {
    [&[0, family.pick(4, 41), 0, 0], packet].concat()
}

#[test]
fn both_variants_of_gue_and_gre_are_delivered_and_counted() {
    for (family, outer) in MIXES {
        let packet = tcp_packet(family, 5).bytes();
        let gre = [&[0, 0, family.pick(0x08, 0x86), family.pick(0x00, 0xdd)], &packet[..]].concat();
        let mut gate = host();
        for (payload, bytes) in [
            (Payload::Gue, &gue(family, &packet)),
            (Payload::Gue, &packet),
            (Payload::Gre, &gre),
            (Payload::Packet(family.pick(4, 6)), &packet),
        ] {
            let start = HEADROOM + bytes.len() - packet.len();
            let expected = Admission::Deliver(start - HEADER_LEN..HEADROOM + bytes.len());
            assert_eq!(give(&mut gate, payload, outer.director(), bytes), expected, "{payload:?}");
        }
        let counters = gate.counters();
        assert_eq!(counters.delivered, 4);
        for (encap, packets) in [(Encap::Ipip, 1), (Encap::Gre, 1), (Encap::Gue, 2)] {
            let bytes = packets * packet.len() as u64;
            assert_eq!(counters.accepted(encap), EncapCounters { packets, bytes }, "{encap:?}");
        }
    }
}

#[test]
fn a_gre_datagram_with_its_outer_header_is_delivered() {
    let packet = udp_packet(Family::V6).bytes();
    let header = Outer {
        source: Family::V4.director(),
        destination: Family::V4.real(11),
        traffic_class: 0,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0,
    };
    let mut room = [0; MAX_OUTER_LEN];
    let len = encap::write(Shim::Gre, &header, 6, [&[], &packet], &mut room).unwrap();
    let mut datagram = [&room[MAX_OUTER_LEN - len..], &packet].concat();
    let mut gate = host();
    assert!(matches!(gate.open(&mut datagram), Admission::Deliver(_)));
    assert_eq!(gate.counters().accepted(Encap::Gre).packets, 1);
}

#[test]
fn bad_headers_have_their_reason_and_strangers_theirs() {
    let family = Family::V4;
    let packet = udp_packet(family).bytes();
    let with = |header: [u8; 4]| [&header[..], &packet].concat();
    let stranger = "203.0.113.99".parse().unwrap();
    for (payload, bytes, refusal) in [
        (Payload::Gue, with([0x20, 4, 0, 0]), Refusal::TunnelHeader),
        (Payload::Gue, with([0x01, 4, 0, 0]), Refusal::TunnelHeader),
        (Payload::Gue, with([0, 4, 0x80, 0]), Refusal::TunnelHeader),
        (Payload::Gue, with([0, 4, 0, 1]), Refusal::TunnelHeader),
        (Payload::Gue, with([0, 17, 0, 0]), Refusal::Unsupported),
        (Payload::Gue, with([0, 41, 0, 0]), Refusal::Malformed),
        (Payload::Gue, vec![0, 4, 0], Refusal::Truncated),
        (Payload::Gue, gue(family, &packet[..packet.len() - 1]), Refusal::Truncated),
        (Payload::Gre, with([0x20, 0, 8, 0]), Refusal::TunnelHeader),
        (Payload::Gre, with([0, 0, 0x65, 0x58]), Refusal::Unsupported),
    ] {
        let mut gate = host();
        let given = give(&mut gate, payload, family.director(), &bytes);
        assert_eq!(given, Admission::Drop(refusal), "{:x?}", &bytes[..3]);
        let given = give(&mut gate, payload, stranger, &bytes);
        assert_eq!(given, Admission::Drop(Refusal::Source));
    }
}

/// Each is refused alone and among merged datagrams.
#[test]
fn versions_and_lengths_that_lie_are_refused_in_gue() {
    for (family, outer) in MIXES {
        let (udp, tcp) = (|| udp_packet(family), || tcp_packet(family, 5));
        let bare = gue(family, &udp().bytes());
        let other_version = [&[0, family.pick(41, 4)], &bare[2..]].concat();
        let edited = |packet: Ip| gue(family, &packet.bytes());
        let mut rows = vec![
            ("the other version", other_version, Refusal::Malformed),
            ("longer than the datagram", edited(udp().claim(1)), Refusal::Truncated),
            ("shorter than the datagram", edited(tcp().claim(-1)), Refusal::Padding),
            ("UDP shorter than its header", edited(udp().set_upper(5, 7)), Refusal::Malformed),
            ("UDP longer than the packet", edited(udp().set_upper(5, 14)), Refusal::Malformed),
            ("a TCP header of 16 bytes", edited(tcp().set_upper(12, 0x40)), Refusal::Malformed),
            ("a TCP header of 60 bytes", edited(tcp().set_upper(12, 0xf0)), Refusal::Malformed),
        ];
        if family == Family::V4 {
            // No ports, so that nothing else is wrong.
            let short_header = edited(udp().protocol(99).set(0, 0x44));
            let short_packet = edited(udp().protocol(99).set(3, 19));
            rows.extend([
                ("a header of 16 bytes", short_header, Refusal::Malformed),
                ("shorter than the header", short_packet, Refusal::Malformed),
            ]);
        }
        for (what, bytes, refusal) in rows {
            let refused = Admission::Drop(refusal);
            assert_eq!(
                give(&mut host(), Payload::Gue, outer.director(), &bytes),
                refused,
                "{what}"
            );
            let mut piece = bytes.clone();
            assert_eq!(host().open_piece(outer.director(), 0, &mut piece), refused, "{what}");
            assert_eq!(piece, bytes, "{what}");
        }
    }
}

#[test]
fn padding_is_zeros_and_no_longer_than_a_link_takes() {
    for (family, outer) in MIXES {
        let packet = udp_packet(family).bytes();
        let most = 1_500 - Encap::Gue.outer_len(outer.director()) - packet.len();
        let padded = |len: usize| gue(family, &[&packet[..], &vec![0; len]].concat());
        let given = |bytes: &[u8]| give(&mut host(), Payload::Gue, outer.director(), bytes);
        for len in [1, most] {
            assert!(matches!(given(&padded(len)), Admission::Deliver(_)), "{len} zeros");
            for at in [0, len / 2, len - 1] {
                let mut padded = padded(len);
                let end = padded.len() - len;
                padded[end + at] = 1;
                assert_eq!(given(&padded), Admission::Drop(Refusal::Padding), "byte {at}");
            }
        }
        assert_eq!(given(&padded(most + 1)), Admission::Drop(Refusal::Padding));
    }
}

/// It would come to the same socket again.
#[test]
fn gue_inside_of_a_tunnel_is_a_tunnel_in_the_tunnel() {
    for (family, outer) in MIXES {
        // The first fragment too: this host would put the datagram together behind the TUN.
        let whole = family.udp(PORT).data(&[7; 16]);
        for packet in [whole.clone(), whole.fragment(0, true)] {
            let packet = packet.bytes();
            let given = |gue_port| {
                let mut gate = gate().with_gue_port(gue_port);
                give(&mut gate, Payload::Packet(family.version()), outer.director(), &packet)
            };
            assert_eq!(given(Some(PORT)), Admission::Drop(Refusal::Unsupported));
            assert!(matches!(given(Some(PORT + 1)), Admission::Deliver(_)));
            assert!(matches!(given(None), Admission::Deliver(_)));
        }
    }
}

/// Datagrams as the kernel merges them: of one length, and the last one shorter.
fn merged(payloads: &[Vec<u8>]) -> (usize, Vec<u8>) {
    (payloads[0].len(), payloads.concat())
}

#[test]
fn each_of_the_merged_datagrams_is_judged_alone() {
    for (family, outer) in MIXES {
        let packets = [tcp_packet(family, 50).bytes(), tcp_packet(family, 50).ttl(1).bytes()];
        let last = udp_packet(family).bytes();
        let bad = [&[0x20, 4, 0, 0][..], &packets[0]].concat();
        let payloads =
            [gue(family, &packets[0]), bad, gue(family, &packets[1]), gue(family, &last)];
        let (piece, mut bytes) = merged(&payloads);
        let (mut gate, mut delivered) = (host(), Vec::new());
        assert!(!gate.refuse_merged(&outer.director(), payloads.len()));
        for bytes in bytes.chunks_mut(piece) {
            match gate.open_piece(outer.director(), 0, bytes) {
                Admission::DeliverPiece(header, packet) => {
                    assert_eq!(header, [0; HEADER_LEN]);
                    delivered.push(bytes[packet].to_vec());
                }
                other => assert_eq!(other, Admission::Drop(Refusal::TunnelHeader)),
            }
        }
        assert_eq!(delivered, [&packets[0][..], &packets[1], &last]);
        let counters = gate.counters();
        assert_eq!((counters.read, counters.delivered, counters.gue_merged), (4, 3, 4));
        assert_eq!(counters.dropped(Refusal::TunnelHeader), 1);
    }
}

#[test]
fn merged_datagrams_keep_marks_padding_and_unfinished_checksums() {
    for (family, outer) in MIXES {
        let packet = partial(tcp_packet(family, 5));
        let mut piece = gue(family, &[&packet[..], &[0; 20]].concat());
        let decision = host().open_piece(outer.director(), 3, &mut piece);
        // A congestion mark, and the packet's sender does not support ECN.
        assert_eq!(decision, Admission::Drop(Refusal::Ecn));
        let decision = host().open_piece(outer.director(), 0, &mut piece);
        let Admission::DeliverPiece(header, range) = decision else { panic!("{decision:?}") };
        assert_eq!(piece[range], packet, "without the padding");
        let (header, _) = virtio::Header::decode(&header).unwrap();
        assert_eq!((header.flags, header.gso_type), (NEEDS_CSUM, virtio::GSO_NONE));
        *piece.last_mut().unwrap() = 1;
        let decision = host().open_piece(outer.director(), 0, &mut piece);
        assert_eq!(decision, Admission::Drop(Refusal::Padding));
    }
}

#[test]
fn merged_datagrams_of_a_stranger_are_refused_together_and_each_counts() {
    for (filtered, each) in [(false, 1), (true, u64::from(filter::SAMPLE))] {
        let mut gate = host();
        gate.set_filtered(filtered);
        assert!(gate.refuse_merged(&"203.0.113.99".parse().unwrap(), 44));
        let counters = gate.counters();
        assert_eq!((counters.read, counters.dropped(Refusal::Source)), (44 * each, 44 * each));
        assert_eq!((counters.filtered, counters.gue_merged), (44 * (each - 1), 44));
    }
}
