//! ICMP errors about tunnelled packets: what they say, and what they quote of the packet that was
//! in the tunnel.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{Quote, quote_of, transport_v4, transport_v6};
use crate::wire::packet::{ICMP_HEADER_LEN, IPV6_HEADER_LEN, extension};
use crate::wire::{Packet, protocol};

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Nobody takes tunnelled packets there: protocol unreachable, or unrecognized next header.
    ProtocolUnreachable,
    /// The host does not answer its neighbours.
    HostUnreachable,
    /// A firewall or a policy on the way refuses it.
    Prohibited,
    /// Destination unreachable for another reason, by ICMP code.
    Unreachable(u8),
    /// Fragmentation needed, or packet too big: the next hop's MTU in bytes.
    PathMtu(u16),
    /// Time exceeded.
    TimeExceeded,
    /// Another type.
    Other(u8),
}

/// What an ICMP error quotes of the packet in the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quoted {
    /// The client's packet: its flow, and the four bytes after its ports, of TCP the sequence
    /// number.
    Flow(Quote, u32),
    /// So little that it names no flow. RFC 792 asks for no more than eight bytes after the outer
    /// IPv4 header.
    TooShort,
    /// Something else: a fragment, or no TCP and no UDP.
    Other,
}

/// An ICMP error about a tunnelled packet, as it came. Anybody can send one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelReport {
    /// Where the packet had been sent, it says: a real server.
    pub real: IpAddr,
    /// What the error says.
    pub cause: Cause,
    /// What it quotes of the packet.
    pub quoted: Quoted,
}

/// The error in an IPv4 packet. `None` where it is none about IP in IP, or its checksum is wrong.
#[must_use]
pub fn report_v4(bytes: &[u8]) -> Option<TunnelReport> {
    let packet = Packet::parse(bytes).ok()?;
    if packet.version() != 4 || !super::checksum_ok(&packet) {
        return None;
    }
    let (header, quoted) = packet.payload().split_first_chunk::<ICMP_HEADER_LEN>()?;
    let cause = cause_v4(*header)?;
    let outer = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let inner = quoted.get(outer.slice().len()..)?;
    if outer.fragments_offset().value() != 0 {
        return None;
    }
    let real = outer.destination_addr().into();
    Some(TunnelReport { real, cause, quoted: inside(outer.protocol().0, inner)? })
}

/// The error in an ICMPv6 message whose checksum has been verified.
#[must_use]
pub fn report_v6(message: &[u8]) -> Option<TunnelReport> {
    let (header, quoted) = message.split_first_chunk::<ICMP_HEADER_LEN>()?;
    let cause = cause_v6(*header)?;
    let outer = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let upper = quoted.get(IPV6_HEADER_LEN..)?;
    // What does not fit the path goes in fragments; the first one shows what is inside.
    let chain = extension::walk(outer.next_header().0, upper).ok()?;
    if chain.piece.is_some_and(|(piece, _)| piece.offset > 0) {
        return None;
    }
    let real = outer.destination_addr().into();
    Some(TunnelReport { real, cause, quoted: inside(chain.protocol, upper.get(chain.len..)?)? })
}

/// What is quoted of the packet inside. Other encapsulations than IP in IP have their place here.
fn inside(protocol: u8, inner: &[u8]) -> Option<Quoted> {
    let parts = match protocol {
        protocol::IPIP => transport_v4(inner),
        protocol::IPV6 => transport_v6(inner),
        _ => return None,
    };
    Some(match parts {
        Some(parts) => match quote_of(parts) {
            Some((quote, rest)) => Quoted::Flow(quote, rest),
            None if parts.3.len() < 8 => Quoted::TooShort,
            None => Quoted::Other,
        },
        None if inner.len() < IPV6_HEADER_LEN => Quoted::TooShort,
        None => Quoted::Other,
    })
}

/// RFC 792, RFC 1812 section 5.2.7.1.
fn cause_v4([kind, code, .., high, low]: [u8; ICMP_HEADER_LEN]) -> Option<Cause> {
    Some(match (kind, code) {
        (3, 1) => Cause::HostUnreachable,
        (3, 2) => Cause::ProtocolUnreachable,
        // RFC 1191 section 4.
        (3, 4) => Cause::PathMtu(u16::from_be_bytes([high, low])),
        (3, 9 | 10 | 13) => Cause::Prohibited,
        (3, code) => Cause::Unreachable(code),
        (11, _) => Cause::TimeExceeded,
        (4 | 12, _) => Cause::Other(kind),
        _ => return None,
    })
}

/// RFC 4443 section 3.
fn cause_v6([kind, code, _, _, mtu @ ..]: [u8; ICMP_HEADER_LEN]) -> Option<Cause> {
    Some(match (kind, code) {
        (1, 1 | 5 | 6) => Cause::Prohibited,
        (1, 3) => Cause::HostUnreachable,
        (1, code) => Cause::Unreachable(code),
        (2, _) => Cause::PathMtu(u16::try_from(u32::from_be_bytes(mtu)).unwrap_or(u16::MAX)),
        (3, _) => Cause::TimeExceeded,
        (4, 1) => Cause::ProtocolUnreachable,
        (4, _) => Cause::Other(kind),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wire::build::{Family, MIXES};
    use crate::wire::encap::{Outer, ipip};
    use crate::wire::tcp::Flags;

    /// An error about a tunnelled segment, of whose inner packet so many bytes are quoted.
    fn error(inner: Family, outer: Family, quoted: usize) -> Vec<u8> {
        let packet = inner.tcp(Flags::ACK).sequence(77).data(&[7; 600]).bytes();
        let header = Outer {
            source: outer.director(),
            destination: outer.real(11),
            traffic_class: 0,
            ttl: 64,
            dont_fragment: true,
            identification: 0,
            flow_label: 5,
        };
        let mut room = [0; 40];
        let len = ipip::write(&header, inner.pick(4, 6), packet.len(), &mut room).unwrap();
        let quote = [&room[40 - len..], &packet[..quoted]].concat();
        outer.icmp_error(outer.pick((3, 4), (2, 0)), &quote).from(outer.router()).bytes()
    }

    fn report(outer: Family, packet: &[u8]) -> Option<TunnelReport> {
        match outer {
            Family::V4 => report_v4(packet),
            Family::V6 => report_v6(&packet[40..]),
        }
    }

    #[test]
    fn a_quote_names_its_flow_from_eight_bytes_of_transport_on() {
        for (inner, outer) in MIXES {
            let enough = inner.header_len() + 8;
            for quoted in [0, 8, inner.header_len(), enough - 1, enough, enough + 100] {
                let found = report(outer, &error(inner, outer, quoted)).unwrap();
                assert_eq!(found.real, outer.real(11));
                assert!(matches!(found.cause, Cause::PathMtu(_)), "{found:?}");
                match found.quoted {
                    Quoted::Flow(quote, sequence) => {
                        assert!(quoted >= enough);
                        assert_eq!((quote.source, sequence), (inner.client(), 77));
                    }
                    kind => assert!(quoted < enough && kind == Quoted::TooShort, "{kind:?}"),
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_and_another_protocol_are_no_report() {
        let mut packet = error(Family::V4, Family::V4, 28);
        assert!(report_v4(&packet).is_some());
        packet[30] ^= 1;
        assert_eq!(report_v4(&packet), None);
        let plain = Family::V4.tcp(Flags::ACK).bytes();
        assert_eq!(report_v4(&Family::V4.icmp_error((3, 4), &plain).bytes()), None);
        assert_eq!(report_v4(&[]), None);
        assert_eq!(report_v6(&[]), None);
    }
}
