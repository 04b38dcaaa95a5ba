//! The encapsulations and their overhead, which only this file knows.

use std::net::IpAddr;

use super::{gre, gue};
use crate::wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, UDP_HEADER_LEN};

/// How packets to a real server are encapsulated.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Encap {
    /// IP in IP: only the outer IP header.
    #[default]
    Ipip,
    /// Generic Routing Encapsulation.
    Gre,
    /// Generic UDP Encapsulation.
    Gue,
}

impl Encap {
    /// All, in the order of their overhead.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Gre, Self::Gue];

    /// The name in configuration and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Gue => "gue",
        }
    }

    /// Bytes between the outer IP header and the inner packet.
    #[inline]
    #[must_use]
    pub const fn shim_len(self) -> usize {
        match self {
            Self::Ipip => 0,
            Self::Gre => gre::HEADER_LEN,
            Self::Gue => UDP_HEADER_LEN + gue::HEADER_LEN,
        }
    }

    /// Bytes before the inner packet towards a real server of that address's family.
    #[inline]
    #[must_use]
    pub const fn outer_len(self, real: IpAddr) -> usize {
        self.shim_len() + if real.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN }
    }
}

/// The longest shim, in bytes.
pub const MAX_SHIM_LEN: usize = Encap::Gue.shim_len();

/// The most bytes that any encapsulation here writes before the inner packet: an IPv6 header
/// without extension headers, and the longest shim.
pub const MAX_OUTER_LEN: usize = IPV6_HEADER_LEN + MAX_SHIM_LEN;
