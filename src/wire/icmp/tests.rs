#![allow(clippy::unwrap_used)]

use etherparse::PacketBuilder;

use super::*;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];
const ROUTER: [u8; 4] = [203, 0, 113, 1];

/// A TCP packet from the VIP to the client.
fn from_real_server() -> Vec<u8> {
    let builder = PacketBuilder::ipv4(VIP, CLIENT, 60).tcp(80, 40_000, 1, 500);
    let mut packet = vec![0; builder.size(100)];
    builder.write_to_slice(&mut packet, &[7; 100]).unwrap();
    packet
}

fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(ROUTER, VIP, 60).icmpv4_raw(kind, 4, [0, 0, 5, 0xdc]);
    let mut packet = vec![0; builder.size(quoted.len())];
    builder.write_to_slice(&mut packet, quoted).unwrap();
    packet
}

fn quote_of(kind: u8, quoted: &[u8]) -> Option<Quote> {
    quote(&Packet::parse(&error(kind, quoted)).unwrap())
}

fn flow_to_client(protocol: u8) -> Option<Quote> {
    Some(Quote {
        source: VIP.into(),
        destination: CLIENT.into(),
        protocol,
        source_port: 80,
        destination_port: 40_000,
    })
}

#[test]
fn the_flow_quoted_by_each_kind_of_error() {
    for kind in 0..=u8::MAX {
        let expected = [3, 4, 11, 12].contains(&kind).then(|| flow_to_client(6)).flatten();
        assert_eq!(quote_of(kind, &from_real_server()), expected, "type {kind}");
        let packet = error(kind, &from_real_server());
        assert_eq!(is_error(&Packet::parse(&packet).unwrap()), expected.is_some());
    }
}

#[test]
fn eight_bytes_of_the_transport_suffice_and_seven_do_not() {
    let quoted = from_real_server();
    assert_eq!(quote_of(3, &quoted[..28]), flow_to_client(6));
    for len in 0..28 {
        assert_eq!(quote_of(3, &quoted[..len]), None, "{len} bytes");
    }
}

#[test]
fn quoted_udp_and_options_and_wrong_lengths() {
    let mut quoted = from_real_server();
    quoted[9] = protocol::UDP;
    assert_eq!(quote_of(3, &quoted), flow_to_client(17));
    quoted[2..4].fill(0xff);
    assert_eq!(quote_of(3, &quoted), flow_to_client(17), "longer than what is quoted");
    quoted[2..4].fill(0);
    assert_eq!(quote_of(3, &quoted), flow_to_client(17), "in another byte order, say");
    let mut with_options = [&quoted[..20], &[1; 40], &quoted[20..28]].concat();
    with_options[0] = 0x4f;
    assert_eq!(quote_of(3, &with_options), flow_to_client(17));
    assert_eq!(quote_of(3, &with_options[..67]), None, "seven bytes after the options");
}

#[test]
fn a_quote_without_ports_names_no_flow() {
    let edited = |at: usize, value: u8| {
        let mut quoted = from_real_server();
        quoted[at] = value;
        quote_of(3, &quoted)
    };
    assert_eq!(edited(6, 0x20), flow_to_client(6), "the first fragment has them");
    assert_eq!(edited(7, 1), None, "a later fragment");
    assert_eq!(edited(6, 0x10), None, "a later fragment");
    assert_eq!(edited(9, protocol::ICMP), None);
    assert_eq!(edited(9, 132), None, "SCTP");
    assert_eq!(edited(0, 0x65), None);
    assert_eq!(edited(0, 0x44), None);
}

#[test]
fn an_error_in_fragments_is_not_believed() {
    let mut packet = error(3, &from_real_server()[..96]);
    packet[6] = 0x20;
    let packet = Packet::parse(&packet).unwrap();
    assert_eq!((quote(&packet), checksum_ok(&packet)), (None, false));
}

#[test]
fn the_checksum_covers_every_byte() {
    let good = error(3, &from_real_server()[..29]);
    assert!(checksum_ok(&Packet::parse(&good).unwrap()));
    for at in 20..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!checksum_ok(&Packet::parse(&bad).unwrap()), "byte {at}");
    }
    assert!(!checksum_ok(&Packet::parse(&from_real_server()).unwrap()), "not ICMP");
}
