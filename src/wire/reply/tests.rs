#![allow(clippy::unwrap_used)]

use std::net::Ipv6Addr;

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};

use super::super::packet::MAX_PACKET_LEN;
use super::*;
use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, Family, HOP_BY_HOP, Ip};
use crate::wire::tcp::Flags;

const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn udp(family: Family, data_len: usize) -> Ip {
    family.udp(53).data(&vec![7; data_len])
}

fn tcp(family: Family, flags: u8, data_len: usize) -> Ip {
    family.tcp(flags).sequence(5).acknowledgement(99).data(&vec![7; data_len])
}

type Builder = fn(&Packet<'_>, &mut Vec<u8>) -> Option<()>;

fn too_big_for_1400(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    packet_too_big(packet, 1_400, out)
}

/// The answer, whose IP header is right and goes from the VIP to the client.
fn answer_to(request: &Ip, builder: Builder) -> Vec<u8> {
    let bytes = request.clone().bytes();
    let request = Packet::parse(&bytes).unwrap();
    let mut out = b"left from before".to_vec();
    builder(&request, &mut out).unwrap();
    if request.version() == 4 {
        let ip = Ipv4HeaderSlice::from_slice(&out).unwrap();
        assert_eq!((ip.ttl(), ip.slice().len()), (64, 20));
        assert_eq!(usize::from(ip.total_len()), out.len());
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    } else {
        let ip = Ipv6HeaderSlice::from_slice(&out).unwrap();
        assert_eq!((ip.hop_limit(), ip.flow_label()), (64, Ipv6FlowLabel::ZERO));
        assert_eq!(usize::from(ip.payload_length()), out.len() - 40);
    }
    let answer = Packet::parse(&out).unwrap();
    assert_eq!((answer.source, answer.destination), (request.destination, request.source));
    out
}

fn no_answer(request: Ip, builder: Builder) {
    let bytes = request.bytes();
    let mut out = b"left from before".to_vec();
    assert_eq!(builder(&Packet::parse(&bytes).unwrap(), &mut out), None);
    assert!(out.is_empty(), "nothing left to be sent by mistake");
}

/// Type, code, the four bytes after the checksum, and the data of an ICMP message whose checksum
/// etherparse finds right.
fn icmp(answer: &[u8]) -> (u8, u8, [u8; 4], &[u8]) {
    let packet = Packet::parse(answer).unwrap();
    match (packet.source, packet.destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            assert_eq!(packet.protocol, 1);
            let icmp = Icmpv4Slice::from_slice(packet.payload()).unwrap();
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8(), &answer[28..])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            assert_eq!(packet.protocol, 58);
            let icmp = Icmpv6Slice::from_slice(packet.payload()).unwrap();
            assert!(icmp.is_checksum_valid(source.octets(), destination.octets()));
            (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8(), &answer[48..])
        }
        mixed => panic!("{mixed:?}"),
    }
}

#[test]
fn an_echo_reply_repeats_the_request() {
    for family in FAMILIES {
        for data_len in [0, 1, 56, family.pick(65_507, 65_527)] {
            let data = vec![b'x'; data_len];
            let answer = answer_to(&family.icmp_echo(&data).traffic_class(0xb8 | 1), echo_reply);
            let expected = (family.echo_reply(), 0, [0x12, 0x34, 0, 5], &data[..]);
            assert_eq!(icmp(&answer), expected);
            let traffic_class = Packet::parse(&answer).unwrap().traffic_class;
            assert_eq!(traffic_class, 0xb8, "the DSCP of the request, without ECN");
            assert!(answer.len() <= MAX_PACKET_LEN);
        }
    }
}

#[test]
fn an_answer_has_neither_options_nor_extension_headers() {
    for (family, request) in [
        (Family::V4, Family::V4.icmp_echo(b"ping").options(&[7, 4, 0, 0])),
        (Family::V6, Family::V6.icmp_echo(b"ping").extension(HOP_BY_HOP, &PADDED)),
        // Some hosts send them as an atomic fragment (RFC 6946).
        (Family::V6, Family::V6.icmp_echo(b"ping").fragment(0, false)),
    ] {
        let answer = answer_to(&request, echo_reply);
        assert_eq!(answer.len(), family.header_len() + 8 + 4);
        assert_eq!(icmp(&answer).3, b"ping");
    }
    let reset =
        answer_to(&tcp(Family::V6, Flags::ACK, 1).extension(DESTINATION_OPTIONS, &PADDED), reset);
    assert_eq!(reset.len(), 60);
}

#[test]
fn only_whole_echo_requests_are_echoed() {
    for family in FAMILIES {
        for kind in (0..=u8::MAX).filter(|&kind| kind != family.echo_request()) {
            no_answer(family.icmp_echo(b"not a request").icmp_type(kind), echo_reply);
        }
        no_answer(family.icmp_echo(b"no such code").icmp_code(1), echo_reply);
        no_answer(udp(family, 10), echo_reply);
        no_answer(family.icmp_echo(b"12345678").fragment(0, true), echo_reply);
        no_answer(family.icmp_echo(b"").protocol(family.pick(58, 1)), echo_reply);
    }
}

/// RFC 1812 section 4.3.2.3, RFC 4443 sections 2.4 (c) and 3.1.
#[test]
fn port_unreachable_quotes_as_much_as_576_or_1280_bytes_hold() {
    for family in FAMILIES {
        let (room, headers) = family.pick((576, 28), (1_280, 48));
        // The headers of the answer and of the quoted packet.
        let fits = room - 2 * headers;
        for data_len in [0, 10, fits - 1, fits, fits + 1, 60_000] {
            let packet = udp(family, data_len);
            let bytes = packet.clone().bytes();
            let answer = answer_to(&packet, port_unreachable);
            let quoted = bytes.len().min(room - headers);
            assert_eq!(answer.len(), headers + quoted, "{data_len} bytes");
            let (kind, code) = family.port_unreachable();
            assert_eq!(icmp(&answer), (kind, code, [0; 4], &bytes[..quoted]));
            let traffic_class = Packet::parse(&answer).unwrap().traffic_class;
            assert_eq!(traffic_class, 0xc0, "internetwork control");
        }
    }
}

#[test]
fn a_quote_has_the_extension_headers_as_they_were() {
    let packet = udp(Family::V6, 5).extension(HOP_BY_HOP, &PADDED);
    let bytes = packet.clone().bytes();
    assert_eq!(icmp(&answer_to(&packet, port_unreachable)).3, bytes);
}

/// RFC 1191 section 4, RFC 4443 section 3.2: 16 bits behind two of zero, and 32.
#[test]
fn too_big_names_the_mtu() {
    for family in FAMILIES {
        for request in [udp(family, 1_472), tcp(family, Flags::ACK, 1_472)] {
            let answer = answer_to(&request, too_big_for_1400);
            let (kind, code) = family.too_big();
            let (said_kind, said_code, rest, quoted) = icmp(&answer);
            assert_eq!((said_kind, said_code, rest), (kind, code, [0, 0, 0x05, 0x78]));
            assert_eq!(quoted, &request.bytes()[..quoted.len()]);
            let room = family.pick(576, 1_280);
            assert_eq!(answer.len(), room);
        }
    }
}

/// RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e).
#[test]
fn errors_are_sent_only_where_they_are_allowed() {
    for builder in [port_unreachable as Builder, too_big_for_1400] {
        for family in FAMILIES {
            for kind in 0..=u8::MAX {
                no_answer(family.icmp_echo(&[0; 16]).icmp_type(kind), builder);
            }
            no_answer(udp(family, 16).fragment(8, true), builder);
            answer_to(&udp(family, 16).fragment(0, true), builder);
        }
        no_answer(udp(Family::V4, 10).to([224, 0, 0, 1]), builder);
        no_answer(udp(Family::V6, 10).to([0xff0e, 0, 0, 0, 0, 0, 0, 1]), builder);
        for no_host in no_hosts() {
            let family = if no_host.is_ipv4() { Family::V4 } else { Family::V6 };
            no_answer(udp(family, 10).from(no_host), builder);
        }
    }
}

/// Sources that are not the address of a single host.
fn no_hosts() -> Vec<IpAddr> {
    let v4 = [[0; 4], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]];
    let v6 = [
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
        Ipv6Addr::from([0xff0e, 0, 0, 0, 0, 0, 0, 1]),
    ];
    v4.into_iter().map(IpAddr::from).chain(v6.into_iter().map(IpAddr::from)).collect()
}

#[test]
fn a_reset_follows_rfc_9293() {
    const ACK: u8 = Flags::ACK;
    const SYN: u8 = Flags::SYN;
    const FIN: u8 = Flags::FIN;
    // The segment's flags and data length; the reset's sequence, acknowledgement and whether it has
    // ACK.
    let cases = [
        (ACK, 0, (99, 0, false)),
        (ACK | SYN, 0, (99, 0, false)),
        (ACK | FIN, 1448, (99, 0, false)),
        (SYN, 0, (0, 1, true)),
        (SYN, 10, (0, 11, true)),
        (FIN, 0, (0, 1, true)),
        (SYN | FIN, 10, (0, 12, true)),
        (0, 0, (0, 0, true)),
        (0, 65_495, (0, 65_495, true)),
    ];
    for family in FAMILIES {
        for sequence in [5, u32::MAX] {
            for (flags, data_len, (seq, ack, has_ack)) in cases {
                let segment = tcp(family, flags, data_len).sequence(sequence);
                let answer = answer_to(&segment, reset);
                assert_eq!(answer.len(), family.header_len() + 20);
                let tcp = TcpHeaderSlice::from_slice(&answer[family.header_len()..]).unwrap();
                let ack = if has_ack { sequence.wrapping_add(ack) } else { 0 };
                assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_000));
                assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (seq, ack));
                assert_eq!((tcp.rst(), tcp.ack(), tcp.syn()), (true, has_ack, false), "{flags:#x}");
                let check = if family == Family::V4 {
                    let ip = Ipv4HeaderSlice::from_slice(&answer).unwrap();
                    assert!(ip.dont_fragment());
                    tcp.calc_checksum_ipv4(&ip, &[])
                } else {
                    tcp.calc_checksum_ipv6(&Ipv6HeaderSlice::from_slice(&answer).unwrap(), &[])
                };
                assert_eq!(tcp.checksum(), check.unwrap());
            }
        }
    }
}

#[test]
fn the_longest_segment_of_ipv6_is_acknowledged_whole() {
    let answer = answer_to(&tcp(Family::V6, 0, 65_515), reset);
    let tcp = TcpHeaderSlice::from_slice(&answer[40..]).unwrap();
    assert_eq!(tcp.acknowledgment_number(), 5 + 65_515);
}

#[test]
fn only_segments_that_are_no_reset_are_reset() {
    for family in FAMILIES {
        no_answer(tcp(family, Flags::RST, 0), reset);
        no_answer(tcp(family, Flags::RST | Flags::ACK, 0), reset);
        no_answer(udp(family, 10), reset);
        no_answer(tcp(family, Flags::ACK, 40).fragment(24, false), reset);
        no_answer(tcp(family, Flags::SYN, 4).fragment(0, true), reset);
    }
    for no_host in no_hosts() {
        let family = if no_host.is_ipv4() { Family::V4 } else { Family::V6 };
        no_answer(tcp(family, Flags::ACK, 0).from(no_host), reset);
    }
}

#[test]
fn a_first_fragment_with_an_ack_is_answered_as_the_whole_segment() {
    for family in FAMILIES {
        let whole = tcp(family, Flags::ACK | Flags::FIN, 4);
        let first = whole.clone().fragment(0, true);
        assert_eq!(answer_to(&first, reset), answer_to(&whole, reset));
        let (first, whole) = (first.bytes(), whole.bytes());
        let reset_of = |bytes: &[u8]| {
            let mut out = Vec::new();
            reset_receiver(&Packet::parse(bytes).unwrap(), &mut out).unwrap();
            assert!(out.len() <= bytes.len(), "it takes the fragment's place");
            out
        };
        assert_eq!(reset_of(&first), reset_of(&whole));
    }
}

/// The receiver's end of a connection accepts it: RFC 9293 section 3.10.7.4, first check.
#[test]
fn hanging_up_takes_the_segment_s_own_ends_and_sequence_number() {
    for family in FAMILIES {
        for (flags, len) in [
            (Flags::ACK, 0),
            (Flags::ACK | Flags::PSH, 1_448),
            (Flags::ACK | Flags::FIN, 7),
            (0, 60_000),
        ] {
            let segment = tcp(family, flags, len).sequence(u32::MAX);
            let bytes = segment.clone().bytes();
            let mut out = Vec::with_capacity(MAX_RESET_LEN);
            let room = out.as_ptr();
            reset_receiver(&Packet::parse(&bytes).unwrap(), &mut out).unwrap();
            assert_eq!((out.len(), out.as_ptr()), (family.header_len() + 20, room));
            assert!(out.len() <= bytes.len(), "it takes the segment's place");
            let reset = Packet::parse(&out).unwrap();
            assert_eq!((reset.source, reset.destination), (family.client(), family.vip()));
            let check = if family == Family::V4 {
                let ip = Ipv4HeaderSlice::from_slice(&out).unwrap();
                assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
                TcpHeaderSlice::from_slice(&out[20..]).unwrap().calc_checksum_ipv4(&ip, &[])
            } else {
                let ip = Ipv6HeaderSlice::from_slice(&out).unwrap();
                TcpHeaderSlice::from_slice(&out[40..]).unwrap().calc_checksum_ipv6(&ip, &[])
            };
            let tcp = TcpHeaderSlice::from_slice(&out[family.header_len()..]).unwrap();
            assert_eq!(tcp.checksum(), check.unwrap());
            assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
            assert_eq!((tcp.sequence_number(), tcp.rst(), tcp.ack()), (u32::MAX, true, false));
        }
        no_answer(tcp(family, Flags::RST, 0), reset_receiver);
        no_answer(udp(family, 10), reset_receiver);
        no_answer(tcp(family, Flags::ACK, 40).fragment(24, false), reset_receiver);
    }
}

#[test]
fn a_buffer_with_room_never_grows() {
    for family in FAMILIES {
        let mut out = Vec::with_capacity(family.pick(MAX_ERROR_LEN_V4, MAX_ERROR_LEN_V6));
        let room = (out.as_ptr(), out.capacity());
        let echo = family.icmp_echo(&[7; 548]);
        for packet in [udp(family, 60_000), tcp(family, Flags::SYN, 0), echo] {
            let bytes = packet.bytes();
            let packet = Packet::parse(&bytes).unwrap();
            for builder in [port_unreachable, too_big_for_1400, reset, echo_reply] as [Builder; 4] {
                let _ = builder(&packet, &mut out);
                assert_eq!((out.as_ptr(), out.capacity()), room);
            }
        }
        let longest = family.icmp_echo(&vec![7; family.pick(65_507, 65_527)]).bytes();
        let mut out = Vec::with_capacity(MAX_PACKET_LEN);
        let room = (out.as_ptr(), out.capacity());
        echo_reply(&Packet::parse(&longest).unwrap(), &mut out).unwrap();
        assert_eq!((out.as_ptr(), out.capacity()), room);
    }
}
