//! ICMP (RFC 792): what an error quotes, and the answers that are ICMP.
//!
//! An error that reaches the director is about a packet which a real server sent straight to a client.
//! The packet quoted inside names the flow, seen from the real server: source = VIP, destination = client.

use std::net::IpAddr;

use etherparse::Ipv4HeaderSlice;

use super::checksum::Sum;
use super::packet::ICMP_HEADER_LEN;
use super::{Fragment, Packet, Transport, protocol};

pub use super::reply::{MAX_ERROR_LEN, echo_reply, fragmentation_needed, port_unreachable};

/// ICMP type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
/// ICMP type of a destination unreachable error.
pub const DESTINATION_UNREACHABLE: u8 = 3;

/// The flow that an ICMP error quotes, as the quoted packet has it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quote {
    /// Who sent the quoted packet: the VIP, where a real server sent it.
    pub source: IpAddr,
    /// Whom it was for: the client, where a real server sent it.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: u8,
    /// The quoted packet's source port.
    pub source_port: u16,
    /// The quoted packet's destination port.
    pub destination_port: u16,
}

/// What a tunnel error quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelQuote {
    /// The real server that the tunnelled packet was for.
    pub destination: IpAddr,
    /// The client's flow in it, from client to VIP, where enough was quoted: RFC 792 asks for only eight
    /// bytes after the outer header; most systems send far more (RFC 1812 section 4.3.2.3).
    pub inner: Option<Quote>,
}

/// Whether an ICMP type is an error that quotes a packet: destination unreachable, source quench,
/// time exceeded, parameter problem. Redirect is not: it concerns routers, not flows.
#[must_use]
pub fn is_error(kind: u8) -> bool {
    matches!(kind, DESTINATION_UNREACHABLE | 4 | 11 | 12)
}

/// Whether `packet` is a whole ICMP message with a right checksum.
///
/// A frame from a TUN may carry a partial checksum: complete it first ([`super::segment::complete_checksum`]).
#[must_use]
pub fn checksum_ok(packet: &Packet<'_>) -> bool {
    matches!(packet.transport, Transport::Icmp { .. })
        && packet.fragment == Fragment::Whole
        && Sum::of(packet.payload()).checksum() == 0
}

/// The flow that an ICMP error quotes. `None` for anything but an error about TCP or UDP, or when the
/// quote is a later fragment or has fewer than the eight transport bytes of RFC 792.
#[must_use]
pub fn quote(packet: &Packet<'_>) -> Option<Quote> {
    match packet.transport {
        Transport::Icmp { kind, .. } if is_error(kind) && packet.fragment == Fragment::Whole => {
            flow(packet.payload().get(ICMP_HEADER_LEN..)?)
        }
        _ => None,
    }
}

/// What the error about a tunnelled packet quotes; `quoted_outer` starts with the outer IP header, as an
/// `IP_RECVERR` error queue delivers it. `None` when that is no IPIP header.
#[must_use]
pub fn tunnel_quote(quoted_outer: &[u8]) -> Option<TunnelQuote> {
    let outer = Ipv4HeaderSlice::from_slice(quoted_outer).ok()?;
    if outer.protocol().0 != protocol::IPIP || outer.fragments_offset().value() != 0 {
        return None;
    }
    let inner = quoted_outer.get(outer.slice().len()..).and_then(flow);
    Some(TunnelQuote { destination: outer.destination_addr().into(), inner })
}

/// The flow of a quoted packet. Its total length is not believed: what is quoted is cut off, and some
/// systems return the field in their own byte order.
fn flow(quoted: &[u8]) -> Option<Quote> {
    let header = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let number = header.protocol().0;
    if header.fragments_offset().value() != 0 || !matches!(number, protocol::TCP | protocol::UDP) {
        return None;
    }
    // TCP and UDP both start with the ports.
    let (transport, _) = quoted.get(header.slice().len()..)?.split_first_chunk::<8>()?;
    Some(Quote {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: number,
        source_port: u16::from_be_bytes([transport[0], transport[1]]),
        destination_port: u16::from_be_bytes([transport[2], transport[3]]),
    })
}

#[cfg(test)]
mod tests;
