//! The configured host set-up of either role.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::plan::OuterSources;

/// The configured host set-up of a director.
#[derive(Clone, Debug, Default)]
pub struct DesiredDirector {
    /// The TUN's name.
    pub tun: String,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The ports of the services there.
    pub served: Vec<ServedPorts>,
    /// The real servers.
    pub reals: Vec<IpAddr>,
    /// Bytes between the outer IP header and the packet, for each real server with GRE or GUE.
    pub shims: BTreeMap<IpAddr, u32>,
    /// The uplinks, where clients' packets arrive; `None`: found by the subnets, else by the
    /// default route.
    pub uplinks: Option<Vec<String>>,
    /// Whether to answer ARP and neighbour discovery for the virtual IPs and announce them.
    pub arp: bool,
    /// Outer source addresses, at most one of each family; without one the routing table picks it.
    pub sources: Vec<IpAddr>,
    /// The outer sources in use, which the real servers accept: kept even if the routing table
    /// starts to prefer another.
    pub known_sources: OuterSources,
    /// A table with the virtual IPs for routing daemons; 0: none.
    pub announce_table: u32,
    /// Virtual IPs that are captured but not announced: neither answered for nor in
    /// `announce_table`.
    pub withdrawn: BTreeSet<IpAddr>,
    /// Whether real servers on directly connected networks get routes with themselves as gateway.
    pub neighbour_routes: bool,
    /// Whether to go on although another host answers for a virtual IP.
    pub force: bool,
}

/// Ports that a service listens on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServedPorts {
    /// The virtual IP.
    pub vip: IpAddr,
    /// The number of the protocol.
    pub protocol: u8,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

/// The configured host set-up of a real server.
#[derive(Clone, Debug, Default)]
pub struct DesiredRealServer {
    /// The TUN's name.
    pub tun: String,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The directors; their families decide how long the outer headers may be.
    pub directors: Vec<IpNet>,
    /// The most bytes that directors write between the outer IP header and the packet.
    pub shim: u32,
    /// Whether directors use GRE.
    pub gre: bool,
    /// Whether to advertise an MSS that leaves space for the tunnel's header.
    pub mss_route: bool,
    /// The priority of the rules for these routes.
    pub rule_priority: u32,
    /// The table of these routes.
    pub table: u32,
}
