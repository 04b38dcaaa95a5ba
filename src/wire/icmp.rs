//! ICMP of both families (RFC 792, RFC 4443): what an error quotes, and the answers that are ICMP.
//!
//! An ICMP error for a VIP arrives at the director. It is about a packet that a real server sent
//! directly to a client. The packet quoted inside names the flow, seen from the real server: source
//! = VIP, destination = client.

mod tunnel;

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::checksum::Sum;
use super::packet::{ICMP_HEADER_LEN, IPV6_HEADER_LEN, extension};
use super::{Fragment, Packet, Transport, protocol};

pub use super::reply::{SizeProbe, echo_reply, packet_too_big, port_unreachable};
pub use tunnel::{Quoted, QuotedPacket, TunnelCause, TunnelReport, report_v4, report_v6};

/// The flow that an ICMP error quotes, in the direction of the quoted packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quote {
    /// The quoted packet's source: the VIP if a real server sent it.
    pub source: IpAddr,
    /// The quoted packet's destination: the client if a real server sent it.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: u8,
    /// The quoted packet's source port.
    pub source_port: u16,
    /// The quoted packet's destination port.
    pub destination_port: u16,
}

/// Whether the packet is an ICMP error that quotes another. IPv4: destination unreachable, source
/// quench, time exceeded, parameter problem; a redirect is not, because it concerns routes and not
/// flows. IPv6: destination unreachable, packet too big, time exceeded, parameter problem.
#[must_use]
pub fn is_error(packet: &Packet<'_>) -> bool {
    let Transport::Icmp { kind, .. } = packet.transport else { return false };
    match packet.source {
        IpAddr::V4(_) => matches!(kind, 3 | 4 | 11 | 12),
        IpAddr::V6(_) => matches!(kind, 1..=4),
    }
}

/// Whether the packet concerns only the hosts of one link: neighbour discovery (RFC 4861 section
/// 4), multicast listener discovery (RFC 2710 section 3, RFC 3810 section 5). A kernel sends it on
/// a new TUN as on any interface.
#[must_use]
pub fn concerns_the_link(packet: &Packet<'_>) -> bool {
    match packet.transport {
        Transport::Icmp { kind, .. } => packet.source.is_ipv6() && matches!(kind, 130..=137 | 143),
        _ => false,
    }
}

/// The identifier of an echo request, which tells the pings of one host apart; `None` for anything
/// else.
#[must_use]
pub fn echo_identifier(packet: &Packet<'_>) -> Option<u16> {
    let request = if packet.source.is_ipv4() { 8 } else { 128 };
    let Transport::Icmp { kind, code: 0 } = packet.transport else { return None };
    let (header, _) = packet.payload().split_first_chunk::<ICMP_HEADER_LEN>()?;
    (kind == request).then(|| u16::from_be_bytes([header[4], header[5]]))
}

/// Whether `packet` is a whole ICMP message with a right checksum.
///
/// A frame from a TUN may carry a partial checksum: complete it first
/// ([`super::segment::complete_checksum`]).
#[must_use]
pub fn checksum_ok(packet: &Packet<'_>) -> bool {
    let message = packet.payload();
    let pseudo = match packet.source {
        IpAddr::V4(_) => Sum::default(),
        // RFC 4443 section 2.3.
        IpAddr::V6(_) => {
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            Sum::pseudo_header(packet.source, packet.destination, packet.protocol, length)
        }
    };
    matches!(packet.transport, Transport::Icmp { .. })
        && packet.fragment == Fragment::Whole
        && pseudo.add_bytes(message).checksum() == 0
}

/// The flow that an ICMP error quotes. `None` for anything but an error about TCP or UDP, or when
/// the quote is a later fragment or has fewer than the eight transport bytes of RFC 792.
#[must_use]
pub fn quote(packet: &Packet<'_>) -> Option<Quote> {
    if !is_error(packet) || packet.fragment != Fragment::Whole {
        return None;
    }
    let quoted = packet.payload().get(ICMP_HEADER_LEN..)?;
    let parts = match packet.source {
        IpAddr::V4(_) => transport_v4(quoted)?,
        IpAddr::V6(_) => transport_v6(quoted)?,
    };
    Some(quote_of(parts)?.0)
}

/// The parts of a quoted packet: source, destination, protocol and transport header.
type Parts<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

/// The flow, and the four bytes after the ports. TCP and UDP both start with the ports.
fn quote_of((source, destination, protocol, transport): Parts<'_>) -> Option<(Quote, u32)> {
    let (header, _) = transport.split_first_chunk::<8>()?;
    let [a, b, c, d, rest @ ..] = *header;
    let quote = Quote {
        source,
        destination,
        protocol,
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
    };
    matches!(protocol, protocol::TCP | protocol::UDP).then_some((quote, u32::from_be_bytes(rest)))
}

/// Source, destination, protocol and transport header of a quoted packet. Its length field is
/// ignored: the quote is truncated, and some systems return this field in their own byte order.
fn transport_v4(quoted: &[u8]) -> Option<Parts<'_>> {
    let header = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let transport = quoted.get(header.slice().len()..)?;
    let addresses = (header.source_addr().into(), header.destination_addr().into());
    (header.fragments_offset().value() == 0).then_some((
        addresses.0,
        addresses.1,
        header.protocol().0,
        transport,
    ))
}

/// The same for IPv6. The whole chain of extension headers must be quoted.
fn transport_v6(quoted: &[u8]) -> Option<Parts<'_>> {
    let header = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let upper = quoted.get(IPV6_HEADER_LEN..)?;
    let chain = extension::walk(header.next_header().0, upper).ok()?;
    let transport = upper.get(chain.len..)?;
    let later = chain.piece.is_some_and(|(piece, _)| piece.offset > 0);
    let addresses = (header.source_addr().into(), header.destination_addr().into());
    (!later).then_some((addresses.0, addresses.1, chain.protocol, transport))
}

#[cfg(test)]
mod tests;
