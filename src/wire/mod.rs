//! Packets as bytes: views, checksums, segmentation, encapsulation. Pure; imports no other module
//! of vstun.
//!
//! Everything here takes byte slices that may come from an attacker and either returns a typed view
//! of them or an error that names what is wrong; nothing panics and nothing allocates.

pub mod checksum;
pub mod coalesce;
pub mod ecn;
pub mod encap;
pub mod frame;
pub mod icmp;
pub mod inquiry;
pub mod packet;
pub(crate) mod reasons;
mod reply;
pub mod segment;
pub mod tcp;
pub mod virtio;

/// Packets for tests: those of the pure layers and those in `tests/` share them.
#[cfg(test)]
#[allow(dead_code)] // each of them needs a part
#[path = "../../tests/packets/build/mod.rs"]
pub(crate) mod build;
#[cfg(test)]
#[path = "../../tests/packets/pieces.rs"]
pub(crate) mod pieces;

pub use packet::{Fragment, Packet, ParseError, Transport, is_host};

/// IP protocol numbers (IANA "Protocol Numbers") that vstun knows by name.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// An IPv4 packet in an IP packet (RFC 2003).
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// An IPv6 packet in an IP packet (RFC 2473, RFC 4213).
    pub const IPV6: u8 = 41;
    /// A fragment of an IPv6 packet.
    pub const IPV6_FRAGMENT: u8 = 44;
    /// Generic Routing Encapsulation.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}
