//! Encapsulation: the outer headers that carry a client's packet to a real server.

use std::net::IpAddr;
use std::ops::Range;

pub mod ipip;

/// The longest outer header that any encapsulation here writes, in bytes: IPv6 without extension headers.
pub const MAX_OUTER_LEN: usize = 40;

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
}

/// A tunnelled datagram whose outer header has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it was sent to.
    pub destination: IpAddr,
    /// The outer DSCP and ECN.
    pub traffic_class: u8,
    /// Where in the datagram the inner packet is.
    pub inner: Range<usize>,
}
