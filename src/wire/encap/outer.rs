//! The fields of the outer IP header.

use std::net::IpAddr;

/// The fields of the outer header. Both addresses are of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outer {
    /// The director.
    pub source: IpAddr,
    /// The real server.
    pub destination: IpAddr,
    /// DSCP and ECN: see [`crate::wire::ecn::encapsulate`].
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's DF flag; without meaning for IPv6, whose routers never fragment.
    pub dont_fragment: bool,
    /// IPv4 identification; without meaning for IPv6.
    pub identification: u16,
    /// IPv6 flow label, 20 bits; without meaning for IPv4. One label for one inner flow lets
    /// routers spread tunnels over equal paths (RFC 6438).
    pub flow_label: u32,
}
