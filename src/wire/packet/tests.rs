#![allow(clippy::unwrap_used)]

use etherparse::PacketBuilder;

use super::*;

fn udp(data_len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([198, 51, 100, 7], [192, 0, 2, 10], 60).udp(40_000, 53);
    let mut packet = vec![0; builder.size(data_len)];
    builder.write_to_slice(&mut packet, &vec![7; data_len]).unwrap();
    packet
}

/// A packet of `protocol` whose flags and fragment offset word is `flags_and_offset`.
fn fragment(protocol: u8, flags_and_offset: u16, payload_len: usize) -> Vec<u8> {
    let mut packet = udp(payload_len - 8);
    packet[9] = protocol;
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    packet
}

/// The packet with `options` after its fixed header.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut packet = [&udp(10)[..20], options, &udp(10)[20..]].concat();
    packet[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    packet[3] += u8::try_from(options.len()).unwrap();
    packet
}

fn parse(bytes: &[u8]) -> Result<Fragment, ParseError> {
    Packet::parse(bytes).map(|packet| packet.fragment)
}

#[test]
fn every_field_is_where_rfc_791_has_it() {
    let mut bytes = udp(10);
    bytes[1] = 0xb9;
    bytes[6] = 0x40;
    bytes.extend(b"link padding");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.source, IpAddr::from([198, 51, 100, 7]));
    assert_eq!(packet.destination, IpAddr::from([192, 0, 2, 10]));
    assert_eq!((packet.protocol, packet.header_len), (17, 20));
    assert_eq!((packet.traffic_class, packet.ttl), (0xb9, 60));
    assert!(packet.dont_fragment);
    assert_eq!(packet.fragment, Fragment::Whole);
    assert_eq!(packet.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
    assert_eq!(packet.bytes(), &bytes[..38]);
    assert_eq!(packet.payload(), &bytes[20..38]);
}

#[test]
fn versions_other_than_4_and_6_are_no_ip() {
    let version = |nibble: u8| {
        let mut packet = udp(10);
        packet[0] = nibble << 4 | 5;
        parse(&packet)
    };
    assert_eq!(parse(&[]), Err(ParseError::NotIp));
    assert_eq!(version(6), Err(ParseError::Truncated), "its header is longer");
    for nibble in [0, 1, 2, 3, 5, 7, 8, 15] {
        assert_eq!(version(nibble), Err(ParseError::NotIp), "version {nibble}");
    }
}

#[test]
fn every_truncation_is_truncated() {
    let packet = with_options(&[1; 40]);
    for len in 1..packet.len() {
        assert_eq!(parse(&packet[..len]), Err(ParseError::Truncated), "{len} bytes");
    }
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let edited = |at: usize, value: u8| {
        let mut packet = udp(10);
        packet[at] = value;
        parse(&packet)
    };
    assert_eq!(edited(0, 0x44), Err(ParseError::Malformed), "header of four words");
    assert_eq!(edited(3, 19), Err(ParseError::Malformed), "total shorter than the header");
    assert_eq!(edited(3, 27), Err(ParseError::Malformed), "no room for UDP");
    assert_eq!(edited(25, 7), Err(ParseError::Malformed), "UDP length below its header");
    assert_eq!(edited(25, 8), Ok(Fragment::Whole));
    assert_eq!(edited(25, 18), Ok(Fragment::Whole), "all there is");
    assert_eq!(edited(25, 19), Err(ParseError::Malformed), "UDP length beyond the packet");
}

#[test]
fn options_are_walked_and_source_routes_refused() {
    assert_eq!(parse(&with_options(&[7, 4, 0, 0])), Ok(Fragment::Whole), "record route");
    assert_eq!(parse(&with_options(&[148, 4, 0, 0])), Ok(Fragment::Whole), "router alert");
    assert_eq!(parse(&with_options(&[1, 0, 131, 3])), Ok(Fragment::Whole), "after the end");
    for source_route in [131, 137] {
        let first = with_options(&[source_route, 3, 4, 0]);
        assert_eq!(parse(&first), Err(ParseError::SourceRoute));
        let after_another = with_options(&[1, 7, 3, 4, source_route, 3, 4, 0]);
        assert_eq!(parse(&after_another), Err(ParseError::SourceRoute));
    }
    for bad in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        assert_eq!(parse(&with_options(&bad)), Err(ParseError::Malformed), "{bad:?}");
    }
}

#[test]
fn the_reserved_flag_is_ignored() {
    assert_eq!(parse(&fragment(17, 0x8000, 16)), Ok(Fragment::Whole));
    assert_eq!(parse(&fragment(17, 0xa000, 16)), Ok(Fragment::First));
}

#[test]
fn only_the_first_fragment_has_a_transport_header() {
    let mut first = fragment(17, 0x2000, 16);
    first[24..26].copy_from_slice(&4000_u16.to_be_bytes());
    let parsed = Packet::parse(&first).unwrap();
    assert_eq!(parsed.fragment, Fragment::First);
    assert_eq!(parsed.transport, Transport::Udp { source_port: 40_000, destination_port: 53 });
    for flags_and_offset in [0x2001, 0x0001, 0x1000] {
        let later = fragment(17, flags_and_offset, 16);
        let parsed = Packet::parse(&later).unwrap();
        assert_eq!((parsed.fragment, parsed.transport), (Fragment::Later, Transport::Other));
    }
}

#[test]
fn a_fragment_that_no_sender_cuts_is_malformed() {
    assert_eq!(parse(&fragment(17, 0x2001, 16)), Ok(Fragment::Later));
    assert_eq!(parse(&fragment(17, 0x2001, 17)), Err(ParseError::Malformed), "not whole units");
    assert_eq!(parse(&fragment(17, 0x0001, 17)), Ok(Fragment::Later), "the last may be odd");
    let mut empty = fragment(17, 0x0001, 8);
    empty[3] = 20;
    assert_eq!(parse(&empty), Err(ParseError::Malformed), "nothing in it");
}

#[test]
fn a_datagram_that_would_grow_past_65535_bytes_is_malformed() {
    // 20 bytes of header, 8188 units of eight: 11 bytes are left.
    assert_eq!(parse(&fragment(17, 8188, 11)), Ok(Fragment::Later));
    assert_eq!(parse(&fragment(17, 8188, 12)), Err(ParseError::Malformed));
    assert_eq!(parse(&fragment(17, 0x1fff, 8)), Err(ParseError::Malformed));
}

#[test]
fn a_tcp_fragment_over_the_flags_is_malformed() {
    assert_eq!(parse(&fragment(6, 1, 16)), Err(ParseError::Malformed));
    assert_eq!(parse(&fragment(6, 2, 16)), Ok(Fragment::Later));
    assert_eq!(parse(&fragment(6, 0x2000, 16)), Err(ParseError::Malformed), "flags cut off");
}

#[test]
fn a_short_tcp_or_icmp_header_is_malformed() {
    let builder = PacketBuilder::ipv4([198, 51, 100, 7], [192, 0, 2, 10], 60).tcp(1, 2, 3, 4);
    let mut packet = vec![0; builder.size(0)];
    builder.write_to_slice(&mut packet, &[]).unwrap();
    assert_eq!(parse(&packet), Ok(Fragment::Whole));
    for data_offset in [0x40, 0x60] {
        packet[32] = data_offset;
        assert_eq!(parse(&packet), Err(ParseError::Malformed), "data offset {data_offset:#x}");
    }
    let mut icmp = udp(0);
    icmp[9] = 1;
    assert_eq!(parse(&icmp), Ok(Fragment::Whole), "eight bytes");
    icmp[3] = 27;
    assert_eq!(parse(&icmp), Err(ParseError::Malformed), "seven bytes");
}
