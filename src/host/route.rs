//! A route of the kernel's tables, complete enough to be copied.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// A route. The fields that routing depends on are parsed; attributes that are only copied
/// (encapsulation, realms, router preference) stay raw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The destination.
    pub destination: IpNet,
    /// The source of its packets (IPv6 source-specific routing); `None`: any.
    pub from: Option<IpNet>,
    /// The type of service; 0: any.
    pub tos: u8,
    /// Its table.
    pub table: u32,
    /// The protocol number of its creator.
    pub protocol: u8,
    /// `rtm_scope`: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// What happens to the packet.
    pub kind: RouteKind,
    /// Its metric: of equal prefixes the lowest is used.
    pub priority: u32,
    /// Source address for packets without one.
    pub source: Option<IpAddr>,
    /// The ID of a nexthop object; `hops` then has its content.
    pub nexthop: Option<u32>,
    /// Next hops; more than one: multipath.
    pub hops: Vec<Hop>,
    /// `RTAX_*` metrics by number, see [`metric`].
    pub metrics: BTreeMap<u16, u32>,
    /// TCP congestion control on this route.
    pub congestion: Option<String>,
    /// Attributes that are only copied.
    pub rest: Vec<Raw>,
}

/// One next hop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// The index of the interface.
    pub link: u32,
    /// The router, of either family.
    pub gateway: Option<IpAddr>,
    /// Weight minus one, as in the kernel.
    pub weight: u8,
    /// Whether the gateway is on the link, with any address.
    pub onlink: bool,
    /// Attributes that are only copied.
    pub rest: Vec<Raw>,
}

/// A netlink attribute: number and bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Raw {
    /// `RTA_*`, with its flag bits.
    pub kind: u16,
    /// The payload in the kernel's own layout.
    pub value: Vec<u8>,
}

/// `rtm_type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteKind {
    /// To a gateway or a link.
    Unicast,
    /// To this host.
    Local,
    /// Silently dropped.
    Blackhole,
    /// Refused with an ICMP error.
    Unreachable,
    /// Refused with another ICMP error.
    Prohibit,
    /// On to the next rule.
    Throw,
    /// Broadcast, multicast, NAT …
    Other(u8),
}

/// `RTA_*`, the numbers of copied attributes that are read nevertheless.
pub(super) mod attribute {
    /// The preference of a router (RFC 4191), one byte.
    pub(in crate::host) const PREF: u16 = 20;
}

/// `RTAX_*`, the numbers of route metrics.
pub mod metric {
    /// A bit for each metric that path MTU discovery must not change.
    pub const LOCK: u16 = 1;
    /// MTU in bytes.
    pub const MTU: u16 = 2;
    /// The MSS to advertise in bytes.
    pub const ADVMSS: u16 = 8;
}

impl RouteKind {
    /// From `rtm_type`.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Unicast,
            2 => Self::Local,
            6 => Self::Blackhole,
            7 => Self::Unreachable,
            8 => Self::Prohibit,
            9 => Self::Throw,
            other => Self::Other(other),
        }
    }

    /// To `rtm_type`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unicast => 1,
            Self::Local => 2,
            Self::Blackhole => 6,
            Self::Unreachable => 7,
            Self::Prohibit => 8,
            Self::Throw => 9,
            Self::Other(other) => other,
        }
    }
}

/// What distinguishes routes of a table: destination, source, traffic class, metric.
pub type RouteKey = (IpNet, Option<IpNet>, u8, u32);

impl Route {
    /// The key that distinguishes routes of a table.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        (self.destination, self.from, self.tos, self.priority)
    }
}
