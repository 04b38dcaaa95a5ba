//! The frames of marked packets.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader,
};

use crate::model::{Listen, Protocol};

/// The TTL of clients' packets, as most systems choose it.
const TTL: u8 = 64;

/// The window of their segments.
const WINDOW: u16 = 64_240;

/// What marked packets have in common. No translation of addresses changes it: it is the sequence
/// number, followed by the acknowledgement number, of segments, and the payload of datagrams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark(pub u32);

impl Mark {
    /// Sequence number and acknowledgement number of a segment. The latter means nothing in a SYN.
    fn numbers(self, kind: MarkedPacket) -> (u32, u32) {
        let later = u32::from(kind == MarkedPacket::Second);
        (self.0.wrapping_add(later), !self.0)
    }

    /// The eight bytes of it in such a packet.
    pub(super) fn bytes(self, kind: MarkedPacket) -> [u8; 8] {
        let (first, second) = self.numbers(kind);
        ((u64::from(first) << 32) | u64::from(second)).to_be_bytes()
    }
}

/// A client's packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MarkedPacket {
    /// The first one of a flow: a SYN, or a datagram.
    First,
    /// The end of a TCP handshake.
    Second,
}

/// A client's packet to the first port of a listen. `None`: the source is of another family, or TCP
/// alone has such a packet.
#[must_use]
pub fn client_packet(
    kind: MarkedPacket,
    (source, port): (IpAddr, u16),
    listen: &Listen,
    mark: Mark,
) -> Option<Vec<u8>> {
    let upper = match listen.protocol {
        Protocol::Tcp => segment(kind, (source, port), listen, mark)?,
        Protocol::Udp if kind == MarkedPacket::First => datagram((source, port), listen, mark)?,
        Protocol::Udp => return None,
    };
    let mut packet = header(source, listen, upper.len())?;
    packet.extend(upper);
    Some(packet)
}

fn header(source: IpAddr, listen: &Listen, len: usize) -> Option<Vec<u8>> {
    let protocol = IpNumber(listen.protocol.number());
    let len = u16::try_from(len).ok()?;
    Some(match (source, listen.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header =
                Ipv4Header::new(len, TTL, protocol, from.octets(), to.octets()).ok()?;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6Header {
            payload_length: len,
            next_header: protocol,
            hop_limit: TTL,
            source: from.octets(),
            destination: to.octets(),
            ..Ipv6Header::default()
        }
        .to_bytes()
        .to_vec(),
        _ => return None,
    })
}

fn segment(
    kind: MarkedPacket,
    (source, port): (IpAddr, u16),
    listen: &Listen,
    mark: Mark,
) -> Option<Vec<u8>> {
    let (sequence, acknowledged) = mark.numbers(kind);
    let mut header = TcpHeader::new(port, listen.ports.first, sequence, WINDOW);
    header.acknowledgment_number = acknowledged;
    match kind {
        MarkedPacket::First => header.syn = true,
        MarkedPacket::Second => header.ack = true,
    }
    header.checksum = match (source, listen.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]).ok()?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]).ok()?
        }
        _ => return None,
    };
    Some(header.to_bytes().to_vec())
}

fn datagram((source, port): (IpAddr, u16), listen: &Listen, mark: Mark) -> Option<Vec<u8>> {
    let payload = mark.bytes(MarkedPacket::First);
    let mut header = UdpHeader {
        source_port: port,
        destination_port: listen.ports.first,
        length: 16,
        checksum: 0,
    };
    header.checksum = match (source, listen.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &payload).ok()?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &payload).ok()?
        }
        _ => return None,
    };
    Some([header.to_bytes().as_slice(), &payload].concat())
}

/// A packet in an Ethernet frame.
#[must_use]
pub fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let six = packet.first().is_some_and(|first| first >> 4 == 6);
    let ether_type = if six { EtherType::IPV6 } else { EtherType::IPV4 };
    let mut frame = Ethernet2Header { source, destination, ether_type }.to_bytes().to_vec();
    frame.extend(packet);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Packet;

    #[test]
    fn packets_are_whole_in_both_families_and_transports() {
        for (source, listen) in [
            ("198.51.100.7", "192.0.2.10:80/tcp"),
            ("198.51.100.7", "192.0.2.10:53/udp"),
            ("2001:db8::7", "[2001:db8::10]:80/tcp"),
            ("2001:db8::7", "[2001:db8::10]:53/udp"),
        ] {
            let (source, listen) = (source.parse().expect("an address"), listen.parse::<Listen>());
            let listen = listen.expect("a listen");
            let tcp = listen.protocol == Protocol::Tcp;
            let mark = Mark(0x0102_0304);
            let first = client_packet(MarkedPacket::First, (source, 50_000), &listen, mark);
            let bytes = first.expect("a packet");
            let packet = Packet::parse(&bytes).expect("a whole packet");
            assert_eq!(packet.protocol, listen.protocol.number());
            assert_eq!((packet.source, packet.destination), (source, listen.address));
            let ports = [0xc3, 0x50, 0, if tcp { 80 } else { 53 }];
            assert!(packet.payload().starts_with(&ports), "{packet:?}");
            let at = if tcp { 4 } else { 8 };
            assert_eq!(packet.payload()[at..at + 8], mark.bytes(MarkedPacket::First));
            let second = client_packet(MarkedPacket::Second, (source, 50_000), &listen, mark);
            assert_eq!(second.is_some(), tcp);
            if let Some(second) = &second {
                let packet = Packet::parse(second).expect("a whole packet");
                assert_eq!(packet.payload()[4..12], mark.bytes(MarkedPacket::Second));
            }
            let other = "203.0.113.1".parse::<IpAddr>().expect("an address");
            let mixed = client_packet(MarkedPacket::First, (other, 1), &listen, mark);
            assert_eq!(mixed.is_some(), source.is_ipv4());
            let frame = ethernet([1; 6], [2; 6], &bytes);
            let ether_type = if source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
            assert_eq!(
                (&frame[..6], &frame[6..12], &frame[12..14]),
                (&[1; 6][..], &[2; 6][..], &ether_type[..])
            );
        }
    }
}
