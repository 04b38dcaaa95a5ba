//! What the host looks like, as far as a plan depends on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::family::Family;
use super::route::{Route, RouteKind};
use super::routes::Routes;
use super::step::{MAIN, Object, Step};
use super::sysctl;

/// Kernel modules that take tunnelled packets: over IPv4 `ipip` those of protocol 4 and `sit` those
/// of protocol 41, both by way of `tunnel4`; over IPv6 `ip6_tunnel` both, by way of `tunnel6`.
pub const TUNNEL_MODULES: [&str; 5] = ["ipip", "sit", "tunnel4", "ip6_tunnel", "tunnel6"];

/// The state of the host at one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every local address.
    pub addresses: Vec<Address>,
    /// What the routing tables say about the addresses asked for; those without a route are not in
    /// here.
    pub lookups: BTreeMap<IpAddr, Lookup>,
    /// The routes of every table.
    pub routes: Routes,
    /// The routing rules.
    pub rules: Vec<Rule>,
    /// The proxy neighbour entries.
    pub proxies: Vec<Proxy>,
    /// Kernel settings by their path below `/proc/sys`, with slashes; those the kernel lacks are
    /// not in here.
    pub sysctls: BTreeMap<String, String>,
    /// What settings were before this daemon, or the dead one that it takes over from, changed
    /// them.
    pub originals: BTreeMap<String, String>,
    /// Those of [`TUNNEL_MODULES`] that are loaded.
    pub tunnel_modules: Vec<String>,
    /// The TUN of that name is this process's own: a second plan after a reload, or after a change
    /// of the host.
    pub tun_is_ours: bool,
}

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is set up; taken down, it loses its proxy neighbour entries.
    pub up: bool,
    /// Whether there is somebody at the other end of its cable.
    pub carrier: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether it is an Ethernet that speaks ARP and neighbour discovery.
    pub arp: bool,
    /// Its hardware address, where it is six bytes long.
    pub mac: Option<[u8; 6]>,
    /// The kind of kernel tunnel it is, where it is one that could take our packets.
    pub tunnel: Option<Tunnel>,
    /// The number of the interface that it is a port of: a bridge, a bond, a VRF.
    pub master: Option<u32>,
    /// Whether it takes the packets that arrive at its ports, as a bridge or a bond does, and a VRF
    /// does not.
    pub takes_packets: bool,
}

/// A kind of tunnel of the kernel's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tunnel {
    /// `ipip`: protocol 4 over IPv4.
    Ipip,
    /// `sit`: protocol 41 over IPv4.
    Sit,
    /// `ip6tnl`: protocols 4 and 41 over IPv6.
    Ip6Tnl,
}

impl Tunnel {
    /// The kernel module that it belongs to.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6Tnl => "ip6_tunnel",
        }
    }
}

/// A local address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The number of its interface.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The subnet it makes reachable on the interface.
    pub subnet: IpNet,
    /// Whether the kernel is still finding out if another host has it (RFC 4862 5.4), or has found
    /// one: no packet may have it as its source, and no route as its preferred one.
    pub tentative: bool,
    /// Whether it is one of the privacy extensions' (RFC 8981): another takes its place within a
    /// day.
    pub temporary: bool,
    /// Whether new connections should not have it as their source (RFC 4862 5.5.4).
    pub deprecated: bool,
}

/// The answer of the routing tables for one destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lookup {
    /// The kind of the route that was hit.
    pub kind: RouteKind,
    /// The number of the interface that packets leave by.
    pub link: Option<u32>,
    /// The source address the kernel would use.
    pub source: Option<IpAddr>,
    /// The route's own MTU in bytes, where it has one.
    pub mtu: Option<u32>,
}

/// A proxy neighbour entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// The number of its interface.
    pub link: u32,
    /// The address that is answered for.
    pub address: IpAddr,
    /// Who made it; 0: not said.
    pub protocol: u8,
}

/// A routing rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The packets it is for.
    pub family: Family,
    /// Rules are asked in the order of their priority.
    pub priority: u32,
    /// Packets from here; none: from anywhere.
    pub from: Option<IpNet>,
    /// The table it leads to; none: it does something else.
    pub table: Option<u32>,
    /// Whether it looks at anything but the source: interface, mark, ports, a suppressed prefix
    /// length.
    pub special: bool,
    /// Who made it.
    pub protocol: u8,
}

impl Facts {
    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The interface of that number.
    #[must_use]
    pub fn link_at(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The setting's value.
    #[must_use]
    pub fn sysctl(&self, path: &str) -> Option<&str> {
        self.sysctls.get(path).map(String::as_str)
    }

    /// An IPv4 setting of an interface as a number; a kernel that lacks it counts as 0.
    #[must_use]
    pub fn conf(&self, link: &str, name: &str) -> u32 {
        self.sysctl(&sysctl::conf(link, name)).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// An IPv6 setting of an interface as a number; none where the kernel lacks it, or shows no
    /// number.
    #[must_use]
    pub fn conf6(&self, link: &str, name: &str) -> Option<u32> {
        self.sysctl(&sysctl::conf6(link, name))?.parse().ok()
    }

    /// The largest packet of the family that leaves by the link, in bytes: a router may have
    /// announced less for IPv6 than the link has (RFC 4861 4.6.4).
    #[must_use]
    pub fn mtu(&self, link: &Link, family: Family) -> u32 {
        match family {
            Family::V4 => link.mtu,
            Family::V6 => self.conf6(&link.name, "mtu").map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        }
    }

    /// Whether the step is in force. A setting that the kernel does not have any more went with its
    /// interface.
    #[must_use]
    pub fn holds(&self, step: &Step) -> bool {
        match step {
            Step::Write { sysctl, to, .. } => self.sysctl(sysctl).is_none_or(|now| now == to),
            _ => !self.lacks(step),
        }
    }

    /// Whether the host lacks what the step makes. What a step does to settings and copies is not
    /// looked at.
    #[must_use]
    pub fn lacks(&self, step: &Step) -> bool {
        let Step::Add(object) = step else { return false };
        let index = |name: &str| self.link(name).map(|link| link.index);
        match object {
            Object::Proxy { address, link } => {
                let index = index(link);
                !self.proxies.iter().any(|p| Some(p.link) == index && p.address == *address)
            }
            Object::Address { address, link } => {
                !self.owners(*address).any(|(_, owner)| owner.name == *link)
            }
            // IPv6 takes the source out of a route when the address goes, IPv4 the whole route.
            Object::Route { address, table, source, .. } => {
                !self.routes_to(*address, *table).any(|route| route.source == *source)
            }
            Object::Neighbour { address, link, source } => {
                let made = |route: &Route| {
                    let hop = route.hops.first();
                    hop.is_some_and(|hop| {
                        hop.gateway == Some(*address) && Some(hop.link) == index(link)
                    }) && route.source == *source
                };
                !self.routes_to(*address, MAIN).any(made)
            }
            Object::Rule { from, table, priority } => {
                let from = Some(IpNet::from(*from));
                !self.rules.iter().any(|rule| {
                    rule.from == from && rule.table == Some(*table) && rule.priority == *priority
                })
            }
            Object::Copies { .. } => false,
        }
    }

    /// The routes of the table that are for this address alone.
    pub fn routes_to(&self, address: IpAddr, table: u32) -> impl Iterator<Item = &Route> {
        self.routes.at(table, &IpNet::from(address)).iter()
    }

    /// The local addresses with their interfaces' names.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&Address, &Link)> {
        self.addresses
            .iter()
            .filter(move |own| own.address == address)
            .filter_map(|own| self.link_at(own.link).map(|link| (own, link)))
    }
}
