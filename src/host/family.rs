//! The two IP versions.

use std::net::IpAddr;

use ipnet::IpNet;

/// An IP version.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address's family.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The range's family.
    #[must_use]
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    /// Bytes of its header without options or extension headers.
    #[must_use]
    pub fn header(self) -> u32 {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// The name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The command that shows and changes its addresses, routes and rules.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip -6",
        }
    }

    /// The range of all its addresses.
    #[must_use]
    pub fn everywhere(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Self::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        }
    }

    /// Whether one of the addresses belongs to it.
    #[must_use]
    pub fn is_among(self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| Self::of(*address) == self)
    }
}
