//! What the outer IP header says.

use std::net::IpAddr;

/// What the outer header says. Both addresses are of one family.
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
    /// IPv4 DF; IPv6 has no other way.
    pub dont_fragment: bool,
    /// IPv4 identification; without meaning for IPv6.
    pub identification: u16,
    /// IPv6 flow label, 20 bits; without meaning for IPv4. One label for one inner flow lets
    /// routers spread tunnels over equal paths (RFC 6438).
    pub flow_label: u32,
}
