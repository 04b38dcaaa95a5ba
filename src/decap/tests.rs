#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use etherparse::{Ipv4Header, Ipv4HeaderSlice, PacketBuilder, TcpOptionElement};

use super::*;
use crate::wire::encap::Outer;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];
const OTHER_VIP: [u8; 4] = [192, 0, 2, 9];
const DIRECTOR: [u8; 4] = [10, 0, 0, 1];
const MSS: u16 = 1440;

fn gate() -> Gate {
    gate_with(MSS)
}

fn gate_with(mss: u16) -> Gate {
    let directors = vec!["10.0.0.0/30".parse().unwrap(), "10.9.0.1/32".parse().unwrap()];
    Gate::new(directors, vec![VIP.into(), OTHER_VIP.into()], Mss { v4: mss, v6: mss })
}

fn tunnelled(source: [u8; 4], traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        source: source.into(),
        destination: [10, 0, 0, 11].into(),
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0,
    };
    let mut datagram = vec![0; 20];
    ipip::write(&outer, 4, inner.len(), &mut datagram).unwrap();
    datagram.extend_from_slice(inner);
    datagram
}

/// A TCP packet with ten bytes of timestamp option, padded to twelve.
fn tcp_packet(data: &[u8]) -> Vec<u8> {
    let options = [TcpOptionElement::Timestamp(1, 2)];
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).tcp(40_000, 80, 7, 1000);
    let builder = builder.ack(9).options(&options).unwrap();
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet
}

fn udp_packet(data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).udp(40_000, 53);
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet
}

/// Leaves in the checksum field what GRO leaves there: the pseudo-header's sum.
fn make_partial(packet: &mut [u8], field: usize) {
    let parsed = Packet::parse(packet).unwrap();
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let sum = pseudo_header(&parsed, length).fold();
    packet[20 + field..22 + field].copy_from_slice(&sum.to_be_bytes());
}

fn delivered(gate: &mut Gate, datagram: &mut [u8]) -> (virtio::Header, Vec<u8>) {
    match gate.open(datagram) {
        Outcome::Deliver(range) => {
            let (header, packet) = virtio::Header::decode(&datagram[range]).unwrap();
            (header, packet.to_vec())
        }
        Outcome::Drop(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// The datagram is refused so, counted so, and left as it was.
fn refused(inner_or_datagram: &[u8], refusal: Refusal) {
    let mut gate = gate();
    let mut datagram = inner_or_datagram.to_vec();
    assert_eq!(gate.open(&mut datagram), Outcome::Drop(refusal));
    assert_eq!(datagram, inner_or_datagram);
    assert_eq!(gate.counters().dropped(refusal), 1);
    assert_eq!((gate.counters().read, gate.counters().dropped_total()), (1, 1));
}

#[test]
fn whole_packets_pass_untouched() {
    for packet in [tcp_packet(b"GET /"), udp_packet(b"query")] {
        let mut gate = gate();
        let (header, inner) = delivered(&mut gate, &mut tunnelled(DIRECTOR, 0, &packet));
        assert_eq!((header, inner), (virtio::Header::default(), packet));
        assert_eq!(gate.counters().delivered, 1);
        assert_eq!(gate.counters().super_packets, 0);
    }
}

#[test]
fn what_follows_the_outer_or_the_inner_packet_is_cut() {
    let packet = udp_packet(b"query");
    let mut padded = tunnelled(DIRECTOR, 0, &[&packet[..], b"inner padding"].concat());
    padded.extend(b"outer padding");
    assert_eq!(delivered(&mut gate(), &mut padded).1, packet);
}

#[test]
fn merged_tcp_becomes_one_super_frame() {
    let mut packet = tcp_packet(&vec![b'x'; 20_000]);
    make_partial(&mut packet, 16);
    let mut gate = gate();
    let (header, inner) = delivered(&mut gate, &mut tunnelled(DIRECTOR, 0, &packet));
    let expected = virtio::Header {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 52,
        gso_size: MSS - 12,
        csum_start: 20,
        csum_offset: 16,
    };
    assert_eq!((header, inner), (expected, packet));
    assert_eq!(gate.counters().super_packets, 1);
}

#[test]
fn a_partial_checksum_of_one_segment_is_no_super_frame() {
    for (len, merged) in [(0, false), (1428, false), (1429, true)] {
        let mut packet = tcp_packet(&vec![b'x'; len]);
        make_partial(&mut packet, 16);
        let (header, _) = delivered(&mut gate(), &mut tunnelled(DIRECTOR, 0, &packet));
        assert_eq!(header.flags, NEEDS_CSUM, "{len} bytes");
        assert_eq!((header.csum_start, header.csum_offset), (20, 16), "{len} bytes");
        assert_eq!(header.gso_type == GSO_TCPV4, merged, "{len} bytes");
        assert_eq!(header.gso_size, if merged { MSS - 12 } else { 0 }, "{len} bytes");
    }
}

#[test]
fn the_mss_decides_the_segment_size_and_has_a_floor() {
    let mut packet = tcp_packet(&[b'x'; 5000]);
    make_partial(&mut packet, 16);
    for (mss, expected) in [(536, 524), (MIN_MSS, 76), (MIN_MSS - 1, 76), (0, 76)] {
        let (header, _) = delivered(&mut gate_with(mss), &mut tunnelled(DIRECTOR, 0, &packet));
        assert_eq!(header.gso_size, expected, "mss {mss}");
    }
}

#[test]
fn merged_udp_is_refused_and_counted() {
    let mut packet = udp_packet(&[b'x'; 3000]);
    make_partial(&mut packet, 6);
    refused(&tunnelled(DIRECTOR, 0, &packet), Refusal::UdpSuperPacket);
}

#[test]
fn udp_whose_checksum_equals_the_pseudo_sum_by_chance_passes() {
    // Payload chosen so that the right checksum is the pseudo-header's sum.
    let packet = (0..=u16::MAX)
        .map(|salt| udp_packet(&salt.to_be_bytes()))
        .find(|packet| {
            let mut partial = packet.clone();
            make_partial(&mut partial, 6);
            partial == *packet
        })
        .unwrap();
    assert_eq!(delivered(&mut gate(), &mut tunnelled(DIRECTOR, 0, &packet)).1, packet);
}

#[test]
fn udp_without_checksum_passes() {
    let mut packet = udp_packet(b"query");
    packet[26..28].fill(0);
    assert_eq!(delivered(&mut gate(), &mut tunnelled(DIRECTOR, 0, &packet)).1, packet);
}

#[test]
fn a_congestion_mark_goes_into_the_inner_header_and_its_checksum() {
    let mut packet = udp_packet(b"query");
    packet[1] = 0xb8 | 2;
    let check = Ipv4HeaderSlice::from_slice(&packet).unwrap().to_header().calc_header_checksum();
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    let (_, inner) = delivered(&mut gate(), &mut tunnelled(DIRECTOR, 3, &packet));
    let header = Ipv4Header::from_slice(&inner).unwrap().0;
    assert_eq!(inner[1], 0xb8 | 3);
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(inner[12..], packet[12..]);
}

#[test]
fn a_congestion_mark_on_a_sender_without_ecn_is_a_loss() {
    refused(&tunnelled(DIRECTOR, 3, &udp_packet(b"query")), Refusal::Ecn);
}

#[test]
fn only_directors_may_send() {
    let packet = udp_packet(b"query");
    for source in [[10, 0, 0, 0], [10, 0, 0, 3], [10, 9, 0, 1]] {
        delivered(&mut gate(), &mut tunnelled(source, 0, &packet));
    }
    for source in [[10, 0, 0, 4], [10, 9, 0, 2], [9, 255, 255, 255], CLIENT, VIP] {
        refused(&tunnelled(source, 0, &packet), Refusal::Source);
    }
}

#[test]
fn only_vips_are_reached() {
    let mut packet = udp_packet(b"query");
    packet[16..20].copy_from_slice(&OTHER_VIP);
    delivered(&mut gate(), &mut tunnelled(DIRECTOR, 0, &packet));
    for destination in [[192, 0, 2, 8], [192, 0, 2, 11], [127, 0, 0, 1], [10, 0, 0, 11]] {
        packet[16..20].copy_from_slice(&destination);
        refused(&tunnelled(DIRECTOR, 0, &packet), Refusal::NotVip);
    }
}

#[test]
fn sources_that_no_client_can_have_are_refused() {
    let mut packet = udp_packet(b"query");
    for source in
        [VIP, OTHER_VIP, [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], Ipv4Addr::UNSPECIFIED.octets()]
    {
        packet[12..16].copy_from_slice(&source);
        refused(&tunnelled(DIRECTOR, 0, &packet), Refusal::BadSource);
    }
}

#[test]
fn inner_fragments_pass_uninterpreted() {
    let whole = udp_packet(&[b'x'; 1000]);
    let mut first = whole[..20 + 504].to_vec();
    first[2..4].copy_from_slice(&524_u16.to_be_bytes());
    first[6] = 0x20;
    make_partial(&mut first, 6); // the first fragment of a datagram that happens to look merged
    let mut later = [&whole[..20], &whole[20 + 504..]].concat();
    let len = u16::try_from(later.len()).unwrap();
    later[2..4].copy_from_slice(&len.to_be_bytes());
    later[6..8].copy_from_slice(&63_u16.to_be_bytes());
    for fragment in [first, later] {
        let (header, inner) = delivered(&mut gate(), &mut tunnelled(DIRECTOR, 0, &fragment));
        assert_eq!((header, inner), (virtio::Header::default(), fragment));
    }
}

#[test]
fn bad_packets_have_their_reason() {
    let packet = udp_packet(b"query");
    let edited = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        tunnelled(DIRECTOR, 0, &packet)
    };
    refused(&[], Refusal::NotIp);
    refused(&edited(0, 0x05), Refusal::NotIp);
    refused(&edited(0, 0x65), Refusal::Truncated);
    refused(&edited(0, 0x44), Refusal::Malformed);
    refused(&edited(2, 0xff), Refusal::Truncated);
    refused(&edited(25, 0), Refusal::Malformed);
    refused(&tunnelled(DIRECTOR, 0, &[]), Refusal::NotIp);
    refused(&tunnelled(DIRECTOR, 0, &packet[..19]), Refusal::Truncated);
    refused(&tunnelled(DIRECTOR, 0, &packet)[..40], Refusal::Truncated);
    let mut gre = tunnelled(DIRECTOR, 0, &packet);
    gre[9] = 47;
    refused(&gre, Refusal::Unsupported);
    let mut routed =
        tunnelled(DIRECTOR, 0, &[&packet[..20], &[131, 3, 4, 0], &packet[20..]].concat());
    routed[20] = 0x46;
    routed[23] += 4;
    refused(&routed, Refusal::SourceRoute);
}

#[test]
fn the_longest_datagram_passes() {
    let mut packet = tcp_packet(&vec![b'x'; 65_535 - 20 - 52]);
    make_partial(&mut packet, 16);
    let mut datagram = tunnelled(DIRECTOR, 0, &packet);
    assert_eq!(datagram.len(), 65_535);
    assert_eq!(delivered(&mut gate(), &mut datagram).1, packet);
}

#[test]
fn a_caller_can_refuse_what_it_could_not_read_whole() {
    let mut gate = gate();
    assert_eq!(gate.refuse(Refusal::Truncated), Outcome::Drop(Refusal::Truncated));
    assert_eq!((gate.counters().read, gate.counters().dropped(Refusal::Truncated)), (1, 1));
}

#[test]
fn every_refusal_has_its_own_name_and_a_meaning() {
    let mut names: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Refusal::ALL.len());
    for (index, refusal) in Refusal::ALL.iter().enumerate() {
        assert_eq!(*refusal as usize, index);
        assert!(refusal.meaning().ends_with('.'), "{}", refusal.meaning());
    }
}
