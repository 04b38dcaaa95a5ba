//! Encapsulation: the outer headers that carry a client's packet to a real server.

use std::net::IpAddr;
use std::ops::Range;

use super::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};

pub mod ipip;
pub mod pieces;

/// The longest outer header that any encapsulation here writes, in bytes: IPv6 without extension
/// headers.
pub const MAX_OUTER_LEN: usize = IPV6_HEADER_LEN;

/// Length in bytes of the outer header towards a real server of that address's family.
#[must_use]
pub fn outer_len(real: IpAddr) -> usize {
    if real.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN }
}

/// What the outer header says. Both addresses are of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outer {
    /// The director.
    pub source: IpAddr,
    /// The real server.
    pub destination: IpAddr,
    /// DSCP and ECN: see [`super::ecn::encapsulate`].
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 DF; IPv6 has no other way.
    pub dont_fragment: bool,
    /// IPv4 identification; without meaning for IPv6.
    pub identification: u16,
    /// IPv6 flow label, 20 bits; without meaning for IPv4. One label for one inner flow lets
    /// routers spread tunnels over equal paths (RFC 6438).
    pub flow_label: u32,
}

/// A tunnelled datagram whose outer header has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Who sent it.
    pub source: IpAddr,
    /// The outer DSCP and ECN.
    pub traffic_class: u8,
    /// The inner packet's IP version, as the protocol number says.
    pub inner_version: u8,
    /// Where in the datagram the inner packet is.
    pub inner: Range<usize>,
}
