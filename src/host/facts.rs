//! The state of the host, as far as plans depend on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::family::Family;
use super::ipsec_policy::IpsecPolicy;
use super::route::{Route, RouteKind};
use super::routes::Routes;
use super::selectors::Selectors;
use super::step::{HostStep, MAIN, Object};
use super::sysctl;

/// Kernel modules that receive tunnelled packets. Over IPv4: `ipip` for protocol 4 and `sit` for
/// protocol 41, both through `tunnel4`, and `ip_gre` for protocol 47. Over IPv6: `ip6_tunnel` for
/// protocols 4 and 41, through `tunnel6`, and `ip6_gre` for protocol 47.
pub const TUNNEL_MODULES: [&str; 7] =
    ["ipip", "sit", "tunnel4", "ip6_tunnel", "tunnel6", "ip_gre", "ip6_gre"];

/// The state of the host at one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every local address.
    pub addresses: Vec<LocalAddress>,
    /// The route lookups for the requested addresses; addresses without a route are missing.
    pub lookups: BTreeMap<IpAddr, Lookup>,
    /// The routes of every table.
    pub routes: Routes,
    /// The routing rules.
    pub rules: Vec<Rule>,
    /// The IPsec policies.
    pub policies: Vec<IpsecPolicy>,
    /// The proxy neighbour entries.
    pub proxies: Proxies,
    /// Kernel settings by their path below `/proc/sys`, with slashes; settings that the kernel
    /// lacks are missing.
    pub sysctls: BTreeMap<String, String>,
    /// The values of settings before this daemon, or the dead one that it takes over from, changed
    /// them.
    pub originals: BTreeMap<String, String>,
    /// The loaded ones of [`TUNNEL_MODULES`].
    pub tunnel_modules: Vec<String>,
    /// Whether the TUN of that name is this process's own: in a later plan, after a reload or a
    /// change of the host.
    pub tun_is_ours: bool,
    /// Whether another program has undone copies of routes: see [`undone`](super::undone).
    pub copies_undone: bool,
}

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is set up; when set down, it loses its proxy neighbour entries.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether it is an Ethernet with ARP and neighbour discovery.
    pub arp: bool,
    /// Its hardware address, if it has six bytes.
    pub mac: Option<[u8; 6]>,
    /// The sort of kernel tunnel, if it is one that could receive our packets.
    pub tunnel: Option<TunnelDevice>,
    /// The index of the interface that it is a port of: a bridge, a bond, a VRF.
    pub master: Option<u32>,
    /// Whether it receives the packets that arrive at its ports, like a bridge or a bond, but not a
    /// VRF.
    pub takes_packets: bool,
}

/// A sort of kernel tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelDevice {
    /// `ipip`: protocol 4 over IPv4.
    Ipip,
    /// `sit`: protocol 41 over IPv4.
    Sit,
    /// `ip6tnl`: protocols 4 and 41 over IPv6.
    Ip6Tnl,
    /// `gre`: protocol 47 over IPv4.
    Gre,
    /// `ip6gre`: protocol 47 over IPv6.
    Ip6Gre,
}

impl TunnelDevice {
    /// The kernel module that it belongs to.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6Tnl => "ip6_tunnel",
            Self::Gre => "ip_gre",
            Self::Ip6Gre => "ip6_gre",
        }
    }
}

/// A local address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalAddress {
    /// The index of its interface.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The subnet it makes reachable on the interface.
    pub subnet: IpNet,
    /// Whether the kernel is still probing whether another host has it (RFC 4862 5.4), or has found
    /// one: no packet may have it as its source, and no route as its preferred one.
    pub tentative: bool,
    /// Whether it is a temporary address of the privacy extensions (RFC 8981): another replaces it
    /// within a day.
    pub temporary: bool,
    /// Whether new connections should not have it as their source (RFC 4862 5.5.4).
    pub deprecated: bool,
    /// Whether it has host scope (IPv4): the kernel picks it as the source of a packet to another
    /// host only if there is no other address.
    pub host_scope: bool,
}

impl LocalAddress {
    /// Whether the host serves the address, but should not connect from it.
    #[must_use]
    pub fn is_only_served(&self) -> bool {
        if self.address.is_ipv6() { self.deprecated } else { self.host_scope }
    }
}

/// The result of the route lookup for one destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lookup {
    /// The type of the route.
    pub kind: RouteKind,
    /// The index of the interface that packets leave by.
    pub link: Option<u32>,
    /// The source address the kernel would use.
    pub source: Option<IpAddr>,
    /// The route's own MTU in bytes, if it has one.
    pub mtu: Option<u32>,
}

/// Proxy neighbour entries: the index of the interface, the address that the kernel answers for,
/// and the protocol number of the entry's creator; 0: none.
pub type Proxies = BTreeMap<(u32, IpAddr), u8>;

/// A routing rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The IP version of the packets that it matches.
    pub family: Family,
    /// Rules are evaluated in the order of their priority.
    pub priority: u32,
    /// The source of the packets; `None`: any.
    pub from: Option<IpNet>,
    /// The table of its lookup; `None`: it has another action.
    pub table: Option<u32>,
    /// Whether it matches anything but the source: interface, mark, ports, a suppressed prefix
    /// length.
    pub special: bool,
    /// What it matches beside the source.
    pub only: Selectors,
    /// The protocol number of its creator.
    pub protocol: u8,
}

impl Facts {
    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The interface with that index.
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

    /// An IPv6 setting of an interface as a number; `None` if the kernel lacks it, or it is not a
    /// number.
    #[must_use]
    pub fn conf6(&self, link: &str, name: &str) -> Option<u32> {
        self.sysctl(&sysctl::conf6(link, name))?.parse().ok()
    }

    /// The MTU of the link for the family, in bytes: for IPv6 a router may have announced a smaller
    /// one (RFC 4861 4.6.4).
    #[must_use]
    pub fn mtu(&self, link: &Link, family: Family) -> u32 {
        match family {
            Family::V4 => link.mtu,
            Family::V6 => self.conf6(&link.name, "mtu").map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        }
    }

    /// Whether the step is in force. A setting that no longer exists was removed with its
    /// interface.
    #[must_use]
    pub fn holds(&self, step: &HostStep) -> bool {
        match step {
            HostStep::Write { sysctl, to, .. } => self.sysctl(sysctl).is_none_or(|now| now == to),
            _ => !self.lacks(step),
        }
    }

    /// Whether the host lacks what the step adds. Settings are not checked.
    #[must_use]
    pub fn lacks(&self, step: &HostStep) -> bool {
        let HostStep::Add(object) = step else { return false };
        let index = |name: &str| self.link(name).map(|link| link.index);
        match object {
            Object::Proxy { address, link } => {
                let there = |index| self.proxies.contains_key(&(index, *address));
                !index(link).is_some_and(there)
            }
            Object::Address { address, link } => {
                let ours = |(own, owner): (&LocalAddress, &Link)| {
                    owner.name == *link && own.is_only_served()
                };
                !self.owners(*address).any(ours)
            }
            // When the address is removed, IPv6 removes the source from a route, IPv4 the whole
            // route.
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
            Object::Copies { .. } => self.copies_undone,
        }
    }

    /// The routes of the table to this single address.
    pub fn routes_to(&self, address: IpAddr, table: u32) -> impl Iterator<Item = &Route> {
        self.routes.at(table, &IpNet::from(address)).iter()
    }

    /// The local addresses with their interfaces' names.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&LocalAddress, &Link)> {
        self.addresses
            .iter()
            .filter(move |own| own.address == address)
            .filter_map(|own| self.link_at(own.link).map(|link| (own, link)))
    }

    /// Whether the address has a subnet, and its interface no other address of the family,
    /// link-local ones aside: the host may be reached by it.
    #[must_use]
    pub fn is_only_of_its_link(&self, own: &LocalAddress) -> bool {
        let family = Family::of(own.address);
        let beside = |other: &LocalAddress| {
            other.link == own.link
                && other.address != own.address
                && Family::of(other.address) == family
                && !is_link_local(other.address)
        };
        own.subnet.prefix_len() < own.subnet.max_prefix_len() && !self.addresses.iter().any(beside)
    }
}

/// Whether the address is valid on one link only.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
