//! The members of a table: their index type, and the bytes of them that are hashed.

use std::net::IpAddr;

/// A real server's index in a table's members.
pub(super) type MemberIndex = u16;

/// An address of either family as 16 bytes, in network order; IPv4 in its mapped form.
pub(super) fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
