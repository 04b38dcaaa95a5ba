//! What the host looks like, as far as a plan depends on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::route::{Kind, Route};
use super::step::{Object, Step};

/// The state of the host at one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every local address.
    pub addresses: Vec<Address>,
    /// What the routing tables say about the addresses asked for; those without a route are not in here.
    pub lookups: BTreeMap<IpAddr, Lookup>,
    /// The routes of every table.
    pub routes: Vec<Route>,
    /// The routing rules.
    pub rules: Vec<Rule>,
    /// The proxy neighbour entries.
    pub proxies: Vec<Proxy>,
    /// Kernel settings by their path below `/proc/sys`, with slashes; those the kernel lacks are not in here.
    pub sysctls: BTreeMap<String, String>,
    /// A kernel module that takes tunnelled packets is loaded (`ipip`, or `tunnel4` that it and `sit` stand on).
    pub tunnel_module: Option<String>,
    /// The TUN of that name is this process's own: a second plan after a reload, or after a change of the host.
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
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether it is an Ethernet that speaks ARP.
    pub arp: bool,
    /// Its hardware address, where it is six bytes long.
    pub mac: Option<[u8; 6]>,
    /// Whether it is a tunnel of the kernel's `ipip` module.
    pub ipip: bool,
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
}

/// The answer of the routing tables for one destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lookup {
    /// The kind of the route that was hit.
    pub kind: Kind,
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
    /// Rules are asked in the order of their priority.
    pub priority: u32,
    /// Packets from here; none: from anywhere.
    pub from: Option<IpNet>,
    /// The table it leads to; none: it does something else.
    pub table: Option<u32>,
    /// Whether it looks at anything but the source: interface, mark, ports, a suppressed prefix length.
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

    /// Whether the host lacks what the step makes. What a step does to settings and copies is not looked at.
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
            Object::Route { address, table, .. } => {
                let to = IpNet::from(*address);
                !self.routes.iter().any(|r| r.table == *table && r.destination == to)
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

    /// The local addresses with their interfaces' names.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&Address, &Link)> {
        self.addresses
            .iter()
            .filter(move |own| own.address == address)
            .filter_map(|own| self.link_at(own.link).map(|link| (own, link)))
    }
}

/// Paths of kernel settings.
pub mod sysctl {
    /// An IPv4 setting of an interface, `all` or `default`.
    #[must_use]
    pub fn conf(link: &str, name: &str) -> String {
        format!("net/ipv4/conf/{link}/{name}")
    }

    /// A setting of an interface's IPv4 neighbour table.
    #[must_use]
    pub fn neigh(link: &str, name: &str) -> String {
        format!("net/ipv4/neigh/{link}/{name}")
    }

    /// An IPv6 setting of an interface, `all` or `default`.
    #[must_use]
    pub fn conf6(link: &str, name: &str) -> String {
        format!("net/ipv6/conf/{link}/{name}")
    }
}

/// The settings of an interface (or `all`, or `default`) that plans look at.
#[must_use]
pub fn sysctls_of(link: &str) -> [String; 6] {
    [
        sysctl::conf(link, "forwarding"),
        sysctl::conf(link, "rp_filter"),
        sysctl::conf(link, "arp_ignore"),
        sysctl::conf(link, "arp_announce"),
        sysctl::neigh(link, "proxy_delay"),
        sysctl::conf6(link, "disable_ipv6"),
    ]
}
