#![allow(clippy::unwrap_used)]

use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, PacketBuilder, TcpHeaderSlice};

use super::*;
use crate::wire::tcp::Flags;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];

fn udp(source: [u8; 4], destination: [u8; 4], data_len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(source, destination, 60).udp(40_000, 53);
    let mut packet = vec![0; builder.size(data_len)];
    builder.write_to_slice(&mut packet, &vec![7; data_len]).unwrap();
    packet
}

fn echo(kind: u8, code: u8, data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60);
    let builder = builder.icmpv4_raw(kind, code, [0x12, 0x34, 0, 7]);
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet[1] = 0xb8 | 1;
    packet
}

fn tcp(flags: u8, sequence: u32, acknowledgement: u32, data_len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).tcp(40_000, 80, sequence, 500);
    let mut packet = vec![0; builder.size(data_len)];
    builder.write_to_slice(&mut packet, &vec![7; data_len]).unwrap();
    packet[28..32].copy_from_slice(&acknowledgement.to_be_bytes());
    packet[33] = flags;
    packet
}

type Builder = fn(&Packet<'_>, &mut Vec<u8>) -> Option<()>;

/// The answer, whose IP header is right and goes from the VIP to the client.
fn answer_to(bytes: &[u8], builder: Builder) -> Vec<u8> {
    let mut out = b"left from before".to_vec();
    builder(&Packet::parse(bytes).unwrap(), &mut out).unwrap();
    let ip = Ipv4HeaderSlice::from_slice(&out).unwrap();
    assert_eq!((ip.source(), ip.destination()), (VIP, CLIENT));
    assert_eq!((ip.ttl(), ip.slice().len()), (64, 20));
    assert_eq!(usize::from(ip.total_len()), out.len());
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    assert!(Packet::parse(&out).is_ok());
    out
}

fn no_answer(bytes: &[u8], builder: Builder) {
    let mut out = b"left from before".to_vec();
    assert_eq!(builder(&Packet::parse(bytes).unwrap(), &mut out), None);
    assert!(out.is_empty(), "nothing left to be sent by mistake");
}

fn icmp(answer: &[u8]) -> Icmpv4Slice<'_> {
    let icmp = Icmpv4Slice::from_slice(&answer[20..]).unwrap();
    let expected = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.checksum(), expected);
    icmp
}

#[test]
fn an_echo_reply_repeats_the_request() {
    for data_len in [0, 1, 56, 65_507] {
        let data = vec![b'x'; data_len];
        let answer = answer_to(&echo(8, 0, &data), echo_reply);
        let echo = IcmpEchoHeader { id: 0x1234, seq: 7 };
        assert_eq!(icmp(&answer).icmp_type(), Icmpv4Type::EchoReply(echo));
        assert_eq!(icmp(&answer).payload(), data);
        assert_eq!(answer[1], 0xb8, "the DSCP of the request, without ECN");
    }
}

#[test]
fn an_echo_reply_drops_ip_options() {
    let request = echo(8, 0, b"ping");
    let mut with_options = [&request[..20], &[7, 4, 0, 0], &request[20..]].concat();
    with_options[0] = 0x46;
    with_options[3] += 4;
    assert_eq!(icmp(&answer_to(&with_options, echo_reply)).payload(), b"ping");
}

#[test]
fn only_whole_echo_requests_are_echoed() {
    no_answer(&echo(0, 0, b"reply"), echo_reply);
    no_answer(&echo(8, 1, b"no such code"), echo_reply);
    no_answer(&udp(CLIENT, VIP, 10), echo_reply);
    let mut fragment = echo(8, 0, b"12345678");
    fragment[6] = 0x20;
    no_answer(&fragment, echo_reply);
}

#[test]
fn port_unreachable_quotes_up_to_576_bytes_in_all() {
    for (data_len, answer_len) in [(10, 66), (520, 576), (521, 576), (60_000, 576)] {
        let packet = udp(CLIENT, VIP, data_len);
        let answer = answer_to(&packet, port_unreachable);
        assert_eq!(answer.len(), answer_len, "{data_len} bytes");
        let expected = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        assert_eq!(icmp(&answer).icmp_type(), expected);
        assert_eq!(icmp(&answer).payload(), &packet[..answer_len - 28]);
        assert_eq!(answer[1], 0xc0, "internetwork control");
    }
}

#[test]
fn fragmentation_needed_names_the_mtu() {
    let answer =
        answer_to(&udp(CLIENT, VIP, 1472), |packet, out| packet_too_big(packet, 1480, out));
    let code = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1480 };
    assert_eq!(icmp(&answer).icmp_type(), Icmpv4Type::DestinationUnreachable(code));
}

#[test]
fn errors_are_sent_only_where_rfc_1122_allows() {
    no_answer(&echo(8, 0, b"ping"), port_unreachable);
    no_answer(&echo(3, 3, &udp(VIP, CLIENT, 8)), port_unreachable);
    no_answer(&udp(CLIENT, [224, 0, 0, 1], 10), port_unreachable);
    let nobody = [[0; 4], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]];
    for source in nobody {
        no_answer(&udp(source, VIP, 10), port_unreachable);
    }
    let mut later = udp(CLIENT, VIP, 16);
    later[7] = 9;
    no_answer(&later, port_unreachable);
    later[6..8].copy_from_slice(&[0x20, 0]);
    answer_to(&later, port_unreachable);
}

#[test]
fn a_reset_follows_rfc_9293() {
    const ACK: u8 = Flags::ACK;
    const SYN: u8 = Flags::SYN;
    const FIN: u8 = Flags::FIN;
    // The segment's flags and data length; the reset's sequence, acknowledgement and whether it has ACK.
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
    for sequence in [5, u32::MAX] {
        for (flags, data_len, (seq, ack, has_ack)) in cases {
            let answer = answer_to(&tcp(flags, sequence, 99, data_len), reset);
            let ip = Ipv4HeaderSlice::from_slice(&answer).unwrap();
            let tcp = TcpHeaderSlice::from_slice(&answer[20..]).unwrap();
            let ack = if has_ack { sequence.wrapping_add(ack) } else { 0 };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_000));
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (seq, ack));
            assert_eq!((tcp.rst(), tcp.ack(), tcp.syn()), (true, has_ack, false), "{flags:#x}");
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(&ip, &[]).unwrap());
            assert_eq!((answer.len(), ip.dont_fragment()), (40, true));
        }
    }
}

#[test]
fn nothing_is_reset_but_whole_segments_that_are_no_reset() {
    no_answer(&tcp(Flags::RST, 5, 99, 0), reset);
    no_answer(&tcp(Flags::RST | Flags::ACK, 5, 99, 0), reset);
    no_answer(&udp(CLIENT, VIP, 10), reset);
    let mut fragment = tcp(Flags::ACK, 5, 99, 4);
    fragment[6] = 0x20;
    no_answer(&fragment, reset);
    let mut from_nobody = tcp(Flags::ACK, 5, 99, 0);
    from_nobody[12] = 127;
    no_answer(&from_nobody, reset);
}

#[test]
fn a_buffer_with_room_never_grows() {
    let mut out = Vec::with_capacity(MAX_ERROR_LEN_V4);
    let packets = [udp(CLIENT, VIP, 60_000), tcp(Flags::SYN, 5, 0, 0), echo(8, 0, &[7; 548])];
    let room = (out.as_ptr(), out.capacity());
    for packet in &packets {
        let packet = Packet::parse(packet).unwrap();
        for builder in [port_unreachable, reset, echo_reply] as [Builder; 3] {
            let _ = builder(&packet, &mut out);
            assert_eq!((out.as_ptr(), out.capacity()), room);
        }
    }
}
