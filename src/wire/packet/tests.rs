#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::build::{
    DESTINATION_OPTIONS, FAMILIES, FRAGMENT, Family, HOP_BY_HOP, Ip, ROUTING,
};
use crate::wire::tcp::Flags;

const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn udp(family: Family, data_len: usize) -> Ip {
    family.udp(53).data(&vec![7; data_len])
}

fn parse(bytes: &[u8]) -> Result<Fragment, ParseError> {
    Packet::parse(bytes).map(|packet| packet.fragment)
}

fn fragment_of(packet: Ip) -> Result<Fragment, ParseError> {
    parse(&packet.bytes())
}

#[test]
fn every_field_is_where_rfc_791_and_rfc_8200_have_it() {
    for family in FAMILIES {
        let built = udp(family, 10).traffic_class(0xb9).flow_label(family.pick(0, 0xf_edcb));
        let bytes = built.append(b"link padding").bytes();
        let packet = Packet::parse(&bytes).unwrap();
        let header_len = family.header_len();
        assert_eq!((packet.source, packet.destination), (family.client(), family.vip()));
        assert_eq!((packet.protocol, usize::from(packet.header_len)), (17, header_len));
        assert_eq!(
            (packet.version(), packet.traffic_class, packet.ttl),
            (family.version(), 0xb9, 60)
        );
        assert!(packet.dont_fragment);
        assert_eq!(packet.fragment, Fragment::Whole);
        assert_eq!(packet.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
        assert_eq!(packet.bytes(), &bytes[..header_len + 18]);
        assert_eq!(packet.payload(), &bytes[header_len..header_len + 18]);
        assert_eq!(packet.wire_len(), header_len + 18);
        assert_eq!((packet.wire_packets(), packet.wire_bytes()), (1, header_len as u64 + 18));
        let split = packet.split_into(OnWire { packets: 3, bytes: 90, longest: 40 });
        assert_eq!((split.wire_packets(), split.wire_bytes(), split.wire_len()), (3, 90, 40));
        assert_eq!(split.bytes(), packet.bytes());
    }
}

#[test]
fn extension_headers_move_what_follows_by_their_length() {
    let bytes = udp(Family::V6, 10)
        .extension(HOP_BY_HOP, &PADDED)
        .extension(ROUTING, &[2, 0, 0, 0, 0, 0])
        .extension(DESTINATION_OPTIONS, &[[1, 12].as_slice(), &[0; 12]].concat())
        .bytes();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.protocol, packet.header_len), (17, 40 + 32));
    assert_eq!(packet.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
    assert_eq!((packet.bytes(), packet.payload()), (&bytes[..], &bytes[72..]));
}

#[test]
fn the_longest_chain_s_transport_is_found() {
    let whole = |len: usize| [&[1, u8::try_from(len - 4).unwrap()], &vec![0; len - 4][..]].concat();
    let with = |len| udp(Family::V6, 1).extension(DESTINATION_OPTIONS, &whole(len)).bytes();
    let bytes = with(extension::MAX_LEN);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(usize::from(packet.header_len), IPV6_HEADER_LEN + extension::MAX_LEN);
    assert!(matches!(packet.transport, Transport::Udp { .. }));
    assert_eq!(parse(&with(extension::MAX_LEN + 8)), Err(ParseError::ExtensionHeader));
}

#[test]
fn versions_other_than_4_and_6_are_no_ip() {
    let version = |nibble: u8| fragment_of(udp(Family::V4, 10).set(0, nibble << 4 | 5));
    assert_eq!(parse(&[]), Err(ParseError::NotIp));
    assert_eq!(version(6), Err(ParseError::Truncated), "its header is longer");
    for nibble in [0, 1, 2, 3, 5, 7, 8, 15] {
        assert_eq!(version(nibble), Err(ParseError::NotIp), "version {nibble}");
    }
}

#[test]
fn every_truncation_is_truncated() {
    for packet in [
        udp(Family::V4, 10).options(&[1; 40]),
        udp(Family::V6, 10),
        udp(Family::V6, 10).extension(HOP_BY_HOP, &PADDED).extension(DESTINATION_OPTIONS, &PADDED),
        udp(Family::V6, 16).fragment(0, true),
    ] {
        let bytes = packet.bytes();
        assert!(parse(&bytes).is_ok());
        for len in 1..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Err(ParseError::Truncated), "{len} bytes");
        }
    }
}

/// Here the length field is reduced: the packet is whole, its headers are not.
#[test]
fn every_header_that_runs_out_of_the_length_is_malformed() {
    let packet = || udp(Family::V6, 0).extension(HOP_BY_HOP, &PADDED).fragment(0, true);
    for missing in 1..24 {
        let cut = fragment_of(packet().claim(-missing));
        assert_eq!(cut, Err(ParseError::Malformed), "{missing} bytes less");
    }
    let nothing = fragment_of(packet().claim(-24));
    assert_eq!(nothing, Err(ParseError::ExtensionHeader), "the payload length of a jumbogram");
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    for family in FAMILIES {
        let edited = |length: u8| fragment_of(udp(family, 10).set_upper(5, length));
        let short = fragment_of(udp(family, 0).claim(-1));
        assert_eq!(short, Err(ParseError::Malformed), "no room for UDP");
        assert_eq!(edited(0), Err(ParseError::Malformed), "RFC 2675's zero");
        assert_eq!(edited(7), Err(ParseError::Malformed), "UDP length below its header");
        assert_eq!(edited(8), Ok(Fragment::Whole));
        assert_eq!(edited(18), Ok(Fragment::Whole), "all there is");
        assert_eq!(edited(19), Err(ParseError::Malformed), "UDP length beyond the packet");
    }
    let edited = |at, value| fragment_of(udp(Family::V4, 10).set(at, value));
    assert_eq!(edited(0, 0x44), Err(ParseError::Malformed), "header of four words");
    let without_ports = udp(Family::V4, 10).protocol(99);
    assert_eq!(fragment_of(without_ports.set(0, 0x44)), Err(ParseError::Malformed));
    assert_eq!(edited(3, 19), Err(ParseError::Malformed), "total shorter than the header");
}

/// A fixed header alone is a packet if no header has to follow.
#[test]
fn a_payload_of_no_bytes() {
    let empty = |protocol| udp(Family::V6, 0).protocol(protocol).claim(-8).bytes();
    for (protocol, expected) in [
        (59, Ok(Fragment::Whole)),
        (17, Err(ParseError::Malformed)),
        (6, Err(ParseError::Malformed)),
        (58, Err(ParseError::Malformed)),
        (HOP_BY_HOP, Err(ParseError::ExtensionHeader)),
        (DESTINATION_OPTIONS, Err(ParseError::Malformed)),
    ] {
        assert_eq!(parse(&empty(protocol)), expected, "{protocol}");
    }
    let none = empty(59);
    let packet = Packet::parse(&none).unwrap();
    assert_eq!((packet.bytes().len(), packet.payload().len()), (40, 0));
    assert_eq!((packet.protocol, packet.transport), (59, Transport::Other), "no next header");
}

#[test]
fn the_longest_packets_are_whole() {
    for (family, len) in [(Family::V4, 65_535), (Family::V6, MAX_PACKET_LEN)] {
        let bytes = udp(family, len - family.header_len() - UDP_HEADER_LEN).bytes();
        assert_eq!(bytes.len(), len);
        assert_eq!(Packet::parse(&bytes).unwrap().bytes().len(), len);
    }
}

#[test]
fn options_are_walked_and_source_routes_refused() {
    let with = |options: &[u8]| fragment_of(udp(Family::V4, 10).options(options));
    assert_eq!(with(&[7, 4, 0, 0]), Ok(Fragment::Whole), "record route");
    assert_eq!(with(&[148, 4, 0, 0]), Ok(Fragment::Whole), "router alert");
    assert_eq!(with(&[1, 0, 131, 3]), Ok(Fragment::Whole), "after the end");
    for source_route in [131, 137] {
        assert_eq!(with(&[source_route, 3, 4, 0]), Err(ParseError::SourceRoute));
        let after_another = with(&[1, 7, 3, 4, source_route, 3, 4, 0]);
        assert_eq!(after_another, Err(ParseError::SourceRoute));
    }
    for bad in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        assert_eq!(with(&bad), Err(ParseError::Malformed), "{bad:?}");
    }
}

#[test]
fn the_reserved_flag_is_ignored() {
    let with = |flags| fragment_of(udp(Family::V4, 8).set(6, flags));
    assert_eq!(with(0x80), Ok(Fragment::Whole));
    assert_eq!(with(0xa0), Ok(Fragment::First));
}

#[test]
fn only_the_first_fragment_has_a_transport_header() {
    for family in FAMILIES {
        // The length is the whole datagram's.
        let first = udp(family, 8).set_upper(4, 15).fragment(0, true).bytes();
        let parsed = Packet::parse(&first).unwrap();
        assert_eq!(parsed.fragment, Fragment::First);
        assert_eq!(parsed.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
        for (offset, more) in [(8, true), (8, false), (32_768, false)] {
            let later = udp(family, 8).fragment(offset, more).bytes();
            let parsed = Packet::parse(&later).unwrap();
            assert_eq!((parsed.fragment, parsed.transport), (Fragment::Later, Transport::Other));
            assert_eq!(parsed.payload(), &later[later.len() - 16..]);
        }
    }
}

/// RFC 6946 section 4: a fragment that is all there is.
#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let bytes = udp(Family::V6, 3).fragment(0, false).bytes();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.fragment, packet.header_len), (Fragment::Whole, 48));
    assert_eq!(packet.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
    let too_long = udp(Family::V6, 3).fragment(0, false).set_upper(5, 12);
    assert_eq!(fragment_of(too_long), Err(ParseError::Malformed), "no datagram's first part");
    let empty = udp(Family::V6, 0).fragment(0, false).protocol(59).claim(-8);
    assert_eq!(fragment_of(empty), Err(ParseError::Malformed), "a fragment of nothing");
}

#[test]
fn a_fragment_that_no_sender_cuts_is_malformed() {
    for family in FAMILIES {
        let at_8 = |len: usize, more| fragment_of(udp(family, len - 8).fragment(8, more));
        assert_eq!(at_8(16, true), Ok(Fragment::Later));
        for len in 17..24 {
            assert_eq!(at_8(len, true), Err(ParseError::Malformed), "{len} are not whole units");
            assert_eq!(at_8(len, false), Ok(Fragment::Later), "the last may be odd");
        }
        let empty = udp(family, 0).fragment(8, false).claim(-8);
        assert_eq!(fragment_of(empty), Err(ParseError::Malformed), "nothing in it");
    }
}

/// RFC 8200 section 4.5: headers after the fragment header are part of what is cut up.
#[test]
fn whole_units_are_counted_from_behind_the_fragment_header() {
    let cut = |data_len| {
        udp(Family::V6, data_len).fragment(0, true).extension(DESTINATION_OPTIONS, &PADDED)
    };
    assert_eq!(fragment_of(cut(8)), Ok(Fragment::First));
    assert_eq!(fragment_of(cut(7)), Err(ParseError::Malformed));
}

#[test]
fn a_datagram_that_would_grow_past_65535_bytes_is_malformed() {
    // IPv4 counts 20 bytes of header: 8188 units of eight leave 11 bytes. IPv6 counts none: 8190
    // units leave 15.
    for (family, offset, left) in [(Family::V4, 8_188 * 8, 11), (Family::V6, 8_190 * 8, 15)] {
        let of = |len: usize| fragment_of(udp(family, len - 8).fragment(offset, false));
        assert_eq!(of(left), Ok(Fragment::Later));
        assert_eq!(of(left + 1), Err(ParseError::Malformed));
    }
    // Headers before the fragment header are in each fragment, and so count.
    let of = |len: usize| {
        let packet = udp(Family::V6, len - 8).extension(HOP_BY_HOP, &PADDED);
        fragment_of(packet.fragment(8_189 * 8, false))
    };
    assert_eq!((of(15), of(16)), (Ok(Fragment::Later), Err(ParseError::Malformed)));
    assert_eq!(fragment_of(udp(Family::V6, 0).fragment(65_528, true)), Err(ParseError::Malformed));
}

#[test]
fn a_tcp_fragment_over_the_flags_is_malformed() {
    for family in FAMILIES {
        let at = |offset, more| fragment_of(udp(family, 8).protocol(6).fragment(offset, more));
        assert_eq!(at(8, false), Err(ParseError::Malformed));
        assert_eq!(at(8, true), Err(ParseError::Malformed));
        assert_eq!(at(16, false), Ok(Fragment::Later));
        assert_eq!(at(0, true), Err(ParseError::Malformed), "flags cut off");
    }
    let cut =
        udp(Family::V6, 8).protocol(6).fragment(8, false).extension(DESTINATION_OPTIONS, &PADDED);
    assert_eq!(fragment_of(cut), Ok(Fragment::Later), "what is there, if it is, is not TCP");
}

#[test]
fn a_fragment_in_a_fragment_is_refused() {
    let twice = udp(Family::V6, 8).fragment(0, true).extension(FRAGMENT, &[0, 1, 0, 0, 0, 9]);
    assert_eq!(fragment_of(twice), Err(ParseError::ExtensionHeader));
}

#[test]
fn a_short_tcp_or_icmp_header_is_malformed() {
    for family in FAMILIES {
        let tcp = || family.tcp(Flags::ACK);
        assert_eq!(fragment_of(tcp()), Ok(Fragment::Whole));
        assert_eq!(fragment_of(tcp().claim(-1)), Err(ParseError::Malformed), "nineteen bytes");
        for data_offset in [0x00, 0x40, 0x60, 0xf0] {
            let bent = fragment_of(tcp().set_upper(12, data_offset));
            assert_eq!(bent, Err(ParseError::Malformed), "data offset {data_offset:#x}");
        }
        let icmp = || family.icmp_echo(b"");
        assert_eq!(fragment_of(icmp()), Ok(Fragment::Whole), "eight bytes");
        assert_eq!(fragment_of(icmp().claim(-1)), Err(ParseError::Malformed), "seven bytes");
    }
}

#[test]
fn each_family_has_an_icmp_of_its_own() {
    for family in FAMILIES {
        let kind = family.echo_request();
        let own = family.icmp_echo(b"ping");
        let bytes = own.clone().bytes();
        assert_eq!(Packet::parse(&bytes).unwrap().transport, Transport::Icmp { kind, code: 0 });
        let bytes = own.protocol(family.pick(58, 1)).bytes();
        assert_eq!(Packet::parse(&bytes).unwrap().transport, Transport::Other, "the other one's");
    }
}

#[test]
fn protocols_without_ports_are_other_whatever_their_payload() {
    for family in FAMILIES {
        for protocol in [4, 41, 47, 50, 59, 132, 253, 255] {
            let bytes = udp(family, 0).protocol(protocol).bytes();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.protocol, packet.transport), (protocol, Transport::Other));
        }
        for protocol in [51, 135, 139, 140] {
            let parsed = fragment_of(udp(family, 0).protocol(protocol));
            let expected = family.pick(Ok(Fragment::Whole), Err(ParseError::Unsupported));
            assert_eq!(parsed, expected, "{protocol} is a header of IPv6 alone");
        }
    }
}

#[test]
fn dont_fragment_is_a_bit_of_ipv4_and_always_so_in_ipv6() {
    for family in FAMILIES {
        for bit in [false, true] {
            let bytes = udp(family, 1).dont_fragment(bit).bytes();
            let expected = family.pick(bit, true);
            assert_eq!(Packet::parse(&bytes).unwrap().dont_fragment, expected);
        }
    }
}
