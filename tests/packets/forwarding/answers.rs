//! The director's own answers, byte by byte.

use std::net::IpAddr;

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};
use vstun::wire::Packet;
use vstun::wire::tcp::Flags;

use super::build::{FAMILIES, Family};
use super::{Director, Reply, Sent};

impl Director {
    /// The answer to `bytes`, which is a well-formed packet from the VIP to the client.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(self.take(bytes), Reply);
        let [Sent::ToClient(reply)] = &self.sent[..] else { panic!("{:?}", self.sent) };
        let reply = reply.clone();
        if reply[0] >> 4 == 4 {
            let ip = Ipv4HeaderSlice::from_slice(&reply).unwrap();
            assert_eq!(usize::from(ip.total_len()), reply.len());
            assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            assert_eq!((ip.ihl(), ip.ttl()), (5, 64));
        } else {
            let ip = Ipv6HeaderSlice::from_slice(&reply).unwrap();
            assert_eq!(usize::from(ip.payload_length()), reply.len() - 40);
            assert_eq!(ip.hop_limit(), 64);
        }
        let packet = Packet::parse(&reply).unwrap();
        let family = if packet.version() == 4 { Family::V4 } else { Family::V6 };
        assert_eq!((packet.source, packet.destination), (family.vip(), family.client()));
        reply
    }
}

fn director(family: Family) -> Director {
    Director::new(family, family)
}

/// Type and code, the four bytes after the checksum, and the data of a message whose checksum is
/// right.
fn icmp(reply: &[u8]) -> ((u8, u8), [u8; 4], &[u8]) {
    let packet = Packet::parse(reply).unwrap();
    match (packet.source, packet.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            assert_eq!(packet.protocol, 58);
            let icmp = Icmpv6Slice::from_slice(packet.payload()).unwrap();
            assert!(icmp.is_checksum_valid(source.octets(), destination.octets()));
            ((icmp.type_u8(), icmp.code_u8()), icmp.bytes5to8(), &reply[48..])
        }
        _ => {
            assert_eq!(packet.protocol, 1);
            let icmp = Icmpv4Slice::from_slice(packet.payload()).unwrap();
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            ((icmp.type_u8(), icmp.code_u8()), icmp.bytes5to8(), &reply[28..])
        }
    }
}

/// RFC 9293 section 3.10.7.1: the sender accepts the reset's numbers.
#[test]
fn resets_carry_the_numbers_that_their_receiver_expects() {
    const SEQUENCE: u32 = 0xffff_fff0;
    const ACKNOWLEDGED: u32 = 0x1234_5678;
    let all = |count: u32| SEQUENCE.wrapping_add(count);
    for family in FAMILIES {
        let segment = |flags| {
            let segment = family.tcp(flags).sequence(SEQUENCE);
            segment.acknowledgement(ACKNOWLEDGED).destination_port(443)
        };
        for (name, packet, sequence, acknowledgement) in [
            ("SYN", segment(Flags::SYN), 0, Some(all(1))),
            ("SYN with data", segment(Flags::SYN).data(b"early"), 0, Some(all(6))),
            ("FIN", segment(Flags::FIN).data(&[1; 100]), 0, Some(all(101))),
            ("nothing", segment(0), 0, Some(all(0))),
            ("data", segment(Flags::PSH).data(&[1; 100]), 0, Some(all(100))),
            ("ACK", segment(Flags::ACK).data(&[1; 100]), ACKNOWLEDGED, None),
            ("FIN and ACK", segment(Flags::FIN | Flags::ACK), ACKNOWLEDGED, None),
            ("SYN and ACK", segment(Flags::SYN | Flags::ACK), ACKNOWLEDGED, None),
        ] {
            let reply = director(family).answer(&packet.bytes());
            let reset = TcpHeaderSlice::from_slice(&reply[family.header_len()..]).unwrap();
            assert_eq!((reset.source_port(), reset.destination_port()), (443, 40_000), "{name}");
            assert!(reset.rst() && !reset.syn() && !reset.fin() && !reset.psh(), "{name}");
            assert_eq!(reset.sequence_number(), sequence, "{name}");
            let acknowledged = reset.ack().then(|| reset.acknowledgment_number());
            assert_eq!(acknowledged, acknowledgement, "{name}");
            let check = if family == Family::V4 {
                reset.calc_checksum_ipv4(&Ipv4HeaderSlice::from_slice(&reply).unwrap(), &[])
            } else {
                reset.calc_checksum_ipv6(&Ipv6HeaderSlice::from_slice(&reply).unwrap(), &[])
            };
            assert_eq!(check.unwrap(), reset.checksum(), "{name}");
            assert_eq!(reply.len(), family.header_len() + 20, "{name}");
        }
    }
}

#[test]
fn port_unreachable_quotes_the_datagram_as_far_as_576_or_1280_bytes_go() {
    for (family, rows) in [
        (Family::V4, &[(0, 28), (8, 36), (520, 548), (521, 548), (1_400, 548)][..]),
        (Family::V6, &[(0, 48), (8, 56), (1_184, 1_232), (1_185, 1_232), (1_400, 1_232)]),
    ] {
        for &(data, quoted) in rows {
            let datagram = family.udp(80).data(&vec![7; data]).bytes();
            let reply = director(family).answer(&datagram);
            let expected = (family.port_unreachable(), [0; 4], &datagram[..quoted]);
            assert_eq!(icmp(&reply), expected, "{data} bytes");
        }
    }
}

#[test]
fn an_echo_reply_repeats_the_request() {
    for family in FAMILIES {
        let longest = vec![9; family.pick(65_507, 65_527)];
        for data in [&b""[..], b"ping", &[7; 1_472], &longest] {
            let request = family.icmp_echo(data).bytes();
            let reply = director(family).answer(&request);
            let expected = ((family.echo_reply(), 0), [0x12, 0x34, 0, 5], data);
            assert_eq!(icmp(&reply), expected);
        }
    }
}
