#![allow(clippy::unwrap_used)]

mod checksums;
mod inquiries;
mod refused;
mod shims;

use etherparse::Ipv4HeaderSlice;

use super::offload::pseudo_header;
use super::*;
use crate::wire::build::{
    DESTINATION_OPTIONS, FAMILIES, FRAGMENT, Family, HOP_BY_HOP, Ip, MIXES, ROUTING,
};
use crate::wire::encap::{Outer, ipip};

mod senders;
mod strangers;

const MSS: Mss = Mss { v4: 1440, v6: 1420 };
/// Bytes before a datagram whose outer header the kernel has removed.
const HEADROOM: usize = 64;
const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// Ten bytes of timestamp option, padded to twelve.
const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// Virtual IPs beside those of the builder.
const OTHER_VIPS: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn gate() -> Gate {
    gate_with(MSS)
}

fn gate_with(mss: Mss) -> Gate {
    let directors = ["10.0.0.0/30", "10.9.0.1/32", "fd00::/126", "fd09::1/128"];
    let directors = directors.map(|text| text.parse().unwrap()).to_vec();
    let vips = FAMILIES.map(Family::vip).into_iter().chain(OTHER_VIPS.map(address));
    Gate::new(directors, vips.collect(), mss)
}

/// A datagram in the tunnel. The outer protocol number is that of the inner packet's version.
fn tunnelled(source: IpAddr, traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        source,
        destination: if source.is_ipv4() { Family::V4 } else { Family::V6 }.real(11),
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0x1_2345,
    };
    let mut datagram = vec![0; Encap::Ipip.outer_len(source)];
    let version = inner.first().map_or(4, |first| if first >> 4 == 6 { 6 } else { 4 });
    ipip::write(&outer, version, inner.len(), &mut datagram).unwrap();
    datagram.extend_from_slice(inner);
    datagram
}

fn from_director(outer: Family, inner: &[u8]) -> Vec<u8> {
    tunnelled(outer.director(), 0, inner)
}

/// A TCP packet with a timestamp.
fn tcp_packet(family: Family, data_len: usize) -> Ip {
    family.tcp(0x10).tcp_options(&TIMESTAMP).data(&vec![b'x'; data_len])
}

fn udp_packet(family: Family) -> Ip {
    family.udp(53).data(b"query")
}

/// Puts the pseudo-header's sum into the checksum field, as GRO does.
fn partial(packet: Ip) -> Vec<u8> {
    let (at, mut packet) = (packet.header_len(), packet.bytes());
    let parsed = Packet::parse(&packet).unwrap();
    let field = if parsed.protocol == 6 { 16 } else { 6 };
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let sum = pseudo_header(&parsed, length).fold();
    packet[at + field..at + field + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The datagram as Linux delivers it without its outer header.
fn without_header(datagram: &[u8]) -> (Opened, Vec<u8>) {
    let opened = encap::open(datagram).unwrap();
    let bytes = [&[0; HEADROOM], &datagram[opened.inner.clone()]].concat();
    (Opened { inner: HEADROOM..bytes.len(), ..opened }, bytes)
}

/// The delivered part of a datagram, by both entry points.
fn delivered(gate: &mut Gate, datagram: &[u8]) -> (virtio::Header, Vec<u8>) {
    let (opened, mut payload) = without_header(datagram);
    let mut whole = datagram.to_vec();
    let frame = |outcome, bytes: &[u8]| match outcome {
        Admission::Deliver(range) => {
            let (header, packet) = virtio::Header::decode(&bytes[range]).unwrap();
            (header, packet.to_vec())
        }
        other => panic!("refused: {other:?}"),
    };
    let outcome = gate.open(&mut whole);
    let by_header = frame(outcome, &whole);
    let outcome = gate.open_payload(&opened, &mut payload);
    assert_eq!(frame(outcome, &payload), by_header);
    assert!(passes_the_filter(opened.source), "the kernel refuses it");
    by_header
}

/// Whether the kernel lets a packet from that source pass that is not in the sample.
fn passes_the_filter(source: IpAddr) -> bool {
    let outer = if source.is_ipv4() { filter::OuterVersion::V4 } else { filter::OuterVersion::V6 };
    let program = filter::program(gate().directors(), outer).unwrap();
    filter::tests::passes(&program, source, 1)
}

/// Asserts that the datagram is refused, counted and left unchanged, by both entry points where the
/// outer header is valid.
fn refused(datagram: &[u8], refusal: Refusal) {
    let mut gate = gate();
    let mut bytes = datagram.to_vec();
    assert_eq!(gate.open(&mut bytes), Admission::Drop(refusal));
    assert_eq!(bytes, datagram);
    let mut read = 1;
    if encap::open(datagram).is_ok() {
        let (opened, payload) = without_header(datagram);
        let mut bytes = payload.clone();
        assert_eq!(gate.open_payload(&opened, &mut bytes), Admission::Drop(refusal));
        assert_eq!(bytes, payload);
        assert_eq!(passes_the_filter(opened.source), refusal != Refusal::Source);
        read = 2;
    }
    assert_eq!(gate.counters().dropped(refusal), read);
    assert_eq!((gate.counters().read, gate.counters().dropped_total()), (read, read));
}

#[test]
fn whole_packets_pass_untouched() {
    for (family, outer) in MIXES {
        for packet in [tcp_packet(family, 5), udp_packet(family), family.icmp_echo(b"ping")] {
            let (packet, mut gate) = (packet.bytes(), gate());
            let (header, inner) = delivered(&mut gate, &from_director(outer, &packet));
            assert_eq!((header, inner), (virtio::Header::default(), packet));
            assert_eq!((gate.counters().read, gate.counters().delivered), (2, 2));
            assert_eq!(gate.counters().super_packets, 0);
        }
    }
}

#[test]
fn padding_behind_the_outer_or_the_inner_packet_is_cut() {
    for (family, outer) in MIXES {
        let packet = udp_packet(family).bytes();
        let padded = udp_packet(family).append(b"inner padding").bytes();
        let padded = [&from_director(outer, &padded)[..], b"outer padding"].concat();
        assert_eq!(delivered(&mut gate(), &padded).1, packet);
    }
}

/// The protocol number gives the inner version (RFC 2003 section 3.1, RFC 4213 section 3.5).
#[test]
fn a_packet_of_another_version_than_the_outer_header_says_is_malformed() {
    for (family, outer) in MIXES {
        let mut datagram = from_director(outer, &udp_packet(family).bytes());
        datagram[outer.pick(9, 6)] = family.pick(41, 4);
        refused(&datagram, Refusal::Malformed);
    }
}

/// RFC 6040 figure 4, on packets: a row per inner field; columns are the outer Not-ECT, ECT(0),
/// ECT(1), CE.
#[test]
fn congestion_marks_are_combined_by_rfc_6040_in_every_mix() {
    let figure: [(u8, [Option<u8>; 4]); 4] = [
        (0, [Some(0), Some(0), Some(0), None]),
        (2, [Some(2), Some(2), Some(1), Some(3)]),
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];
    for (family, outer) in MIXES {
        for (inner, row) in figure {
            for (mark, expected) in [0, 2, 1, 3].into_iter().zip(row) {
                let of = |ecn| {
                    let packet = udp_packet(family).traffic_class(0xb8 | ecn);
                    packet.flow_label(family.pick(0, 0xf_edcb)).bytes()
                };
                // The outer DSCP differs, and is removed with the outer header (RFC 2983).
                let datagram = tunnelled(outer.director(), 0x28 | mark, &of(inner));
                match expected {
                    // The whole packet: IPv4's checksum, the DSCP and the flow label stay right.
                    Some(ecn) => assert_eq!(delivered(&mut gate(), &datagram).1, of(ecn)),
                    None => refused(&datagram, Refusal::Ecn),
                }
            }
        }
    }
}

#[test]
fn a_header_checksum_that_was_wrong_stays_wrong() {
    let packet = udp_packet(Family::V4).traffic_class(2).set(10, 0x55).bytes();
    let (_, inner) = delivered(&mut gate(), &tunnelled(Family::V4.director(), 3, &packet));
    let header = Ipv4HeaderSlice::from_slice(&inner).unwrap();
    assert_ne!(header.header_checksum(), header.to_header().calc_header_checksum());
}

#[test]
fn inner_fragments_pass_uninterpreted() {
    for (family, outer) in MIXES {
        // The first fragment of a datagram that by chance looks merged, and a later one.
        let first = partial(family.udp(53).data(&[b'x'; 496]).fragment(0, true));
        let later = family.udp(53).data(&[b'x'; 101]).fragment(504, false).bytes();
        for fragment in [first, later] {
            let (header, inner) = delivered(&mut gate(), &from_director(outer, &fragment));
            assert_eq!((header, inner), (virtio::Header::default(), fragment));
        }
    }
}

/// Linux's tunnels write an encapsulation limit into an extension header of the outer packet (RFC
/// 2473 section 4.1.1).
#[test]
fn an_outer_header_with_extension_headers_is_opened() {
    let limit = [4, 1, 4, 1, 1, 0];
    for family in FAMILIES {
        let packet = udp_packet(family).bytes();
        let outer = || {
            let shell = Family::V6.udp(0).from(Family::V6.director()).to(Family::V6.real(11));
            let shell = shell.protocol(family.pick(4, 41)).data(&packet);
            // Without the builder's UDP header.
            (shell, packet.len())
        };
        let wrapped = |shell: Ip, inner_len: usize| {
            let (at, bytes) = (shell.header_len(), shell.claim(-8).bytes());
            let datagram = [&bytes[..at], &bytes[at + 8..]].concat();
            assert_eq!(datagram.len(), at + inner_len);
            datagram
        };
        let (shell, len) = outer();
        let datagram = wrapped(shell.extension(DESTINATION_OPTIONS, &limit), len);
        assert_eq!(delivered(&mut gate(), &datagram).1, packet);
        let (shell, len) = outer();
        let datagram = wrapped(shell.fragment(0, false), len);
        assert_eq!(delivered(&mut gate(), &datagram).1, packet, "an atomic fragment");
        let (shell, len) = outer();
        let routed = shell.extension(DESTINATION_OPTIONS, &PADDED).extension(ROUTING, &[0; 6]);
        refused(&wrapped(routed, len), Refusal::SourceRoute);
    }
    let fragment =
        Family::V6.udp(0).from(Family::V6.director()).protocol(41).data(&[0; 8]).fragment(0, true);
    refused(&fragment.bytes(), Refusal::Malformed);
}

#[test]
fn the_longest_datagram_passes() {
    for (family, outer) in MIXES {
        // The largest values of the outer and of the inner length field.
        let room = outer.pick(65_515, 65_535);
        let data_len = room - family.header_len() - 32;
        let packet = partial(tcp_packet(family, data_len));
        assert_eq!(packet.len(), room);
        assert_eq!(delivered(&mut gate(), &from_director(outer, &packet)).1, packet);
    }
}

/// A payload without space for the virtio-net header is a bug of the caller: it is refused, and
/// nothing before it is overwritten.
#[test]
fn a_payload_without_headroom_is_refused() {
    let packet = udp_packet(Family::V6).bytes();
    for room in [0, HEADER_LEN - 1, HEADER_LEN] {
        let mut bytes = [&vec![0; room][..], &packet].concat();
        let outer = Opened {
            source: Family::V6.director(),
            traffic_class: 0,
            encap: Encap::Ipip,
            inner_version: 6,
            inner: room..bytes.len(),
        };
        let fits = matches!(gate().open_payload(&outer, &mut bytes), Admission::Deliver(_));
        assert_eq!(fits, room == HEADER_LEN, "{room} bytes");
        let beyond = Opened { inner: room..bytes.len() + 1, ..outer };
        let outcome = gate().open_payload(&beyond, &mut bytes);
        let refusal = if room == HEADER_LEN { Refusal::Truncated } else { Refusal::Malformed };
        assert_eq!(outcome, Admission::Drop(refusal));
    }
}

#[test]
fn a_caller_can_refuse_what_it_could_not_read_whole() {
    let mut gate = gate();
    assert_eq!(gate.refuse(Refusal::Truncated), Admission::Drop(Refusal::Truncated));
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
