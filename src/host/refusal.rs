//! The reasons why there may be no plan.

use std::net::IpAddr;

use ipnet::IpNet;

use super::family::Family;

/// Why there is no plan; then nothing has changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HostRefusal {
    /// The TUN's name is in use.
    #[error(
        "interface {0:?} exists already: is another daemon using it? stop it, choose another tun \
         name, or remove it with `ip link del {0}`"
    )]
    TunExists(String),
    /// The name is not valid for an interface.
    #[error(
        "{0:?} cannot be an interface's name; use 1 to 15 bytes without spaces, slashes and colons"
    )]
    TunName(String),
    /// Local delivery precedes all routes, so the TUN would get no packet.
    #[error(
        "virtual IP {address} is a local address of this director (interface {link}), so its \
         packets would never be balanced; {}",
        removal(*address, *prefix, link, *needed)
    )]
    VipIsLocal {
        /// The virtual IP.
        address: IpAddr,
        /// Its prefix length there.
        prefix: u8,
        /// The interface's name.
        link: String,
        /// Whether the interface has no other address of that family.
        needed: bool,
    },
    /// Every router of the subnet has this address, and the director becomes a router.
    #[error(
        "virtual IP {address} is the subnet-router anycast address of interface {link} (RFC 4291 \
         2.6.1), which this director has itself once it forwards; choose another address of \
         {subnet}"
    )]
    VipIsAnycast {
        /// The virtual IP.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
        /// The interface's name.
        link: String,
    },
    /// The interface would answer for it: ARP whatever its `arp_ignore`, neighbour discovery for
    /// its own addresses.
    #[error(
        "virtual IP {address} is an address of interface {link}, so this server would answer {} \
         for it and clients would go round the director; {}",
        resolution(*address),
        removal(*address, *prefix, link, *needed)
    )]
    VipOnLink {
        /// The virtual IP.
        address: IpAddr,
        /// Its prefix length there.
        prefix: u8,
        /// The interface's name.
        link: String,
        /// Whether the interface has no other address of that family.
        needed: bool,
    },
    /// A route of another program prevents the capture.
    #[error(
        "there is a route to virtual IP {address} in table {table} already; remove it with \
         `{} route del {address} table {table}`",
        Family::of(*address).command()
    )]
    RouteExists {
        /// The virtual IP.
        address: IpAddr,
        /// The table.
        table: u32,
    },
    /// One network namespace cannot be both: packets tunnelled to itself never leave, and the real
    /// server's virtual IP is a local address of the director.
    #[error(
        "real server {address} is an address of this director's host{}, and one network namespace \
         cannot be both; let the real server be another host, or a container with a network of its \
         own",
        on_link(link)
    )]
    RealIsLocal {
        /// The real server.
        address: IpAddr,
        /// The interface's name; empty if a route says that the address is local.
        link: String,
    },
    /// No interface of that name.
    #[error("there is no interface {0:?} to be an uplink; `ip link` lists them")]
    UplinkUnknown(String),
    /// The interface cannot be an uplink.
    #[error("interface {0:?} cannot be an uplink; name the one that clients' packets arrive at")]
    UplinkUnfit(String),
    /// The uplinks cannot be guessed.
    #[error(
        "no interface's subnet holds virtual IP {0} and there is no default route for it; name the \
         interfaces that clients' packets arrive at in `uplinks`"
    )]
    UplinkMissing(IpAddr),
    /// The outer source is not an address of this host.
    #[error("source {0} is not an address of this host; `ip addr` lists them")]
    SourceForeign(IpAddr),
    /// The kernel's own tables.
    #[error("{key} = {table} is a table of the kernel's own; use another number")]
    TableReserved {
        /// The configuration key.
        key: &'static str,
        /// The table.
        table: u32,
    },
    /// Copies would mix with other programs' routes.
    #[error("routing table {0} is in use by others; choose another `table`")]
    TableUsed(u32),
    /// Its priority is in use, or precedes local delivery.
    #[error(
        "rule priority {0} is taken or not above that of the local table; choose another, or put \
         that table's rule back with `ip rule add lookup local pref 0`; see `ip rule`"
    )]
    Priority(u32),
    /// Packets of the family cannot arrive.
    #[error(
        "virtual IP {address} is IPv6, which is off on this host; turn it on with \
         `sysctl -w {sysctl}=0`"
    )]
    Ipv6Off {
        /// The virtual IP.
        address: IpAddr,
        /// The setting that turns it off.
        sysctl: String,
    },
    /// As [`Self::Ipv6Off`], but permanent.
    #[error(
        "virtual IP {0} is IPv6, which this kernel lacks (there is no sysctl \
         net.ipv6.conf.all.disable_ipv6); boot it without `ipv6.disable=1`, or load its module ipv6"
    )]
    Ipv6Missing(IpAddr),
}

impl HostRefusal {
    /// Whether the obstacle may disappear by itself, as at boot, when an interface, an address or a
    /// route is not there yet.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::UplinkUnknown(_) | Self::UplinkMissing(_) | Self::SourceForeign(_))
    }
}

fn on_link(link: &str) -> String {
    if link.is_empty() { String::new() } else { format!(" (interface {link})") }
}

/// What to do about a virtual IP that is an address of the host. Without the only address of an
/// interface the host may be cut off.
fn removal(address: IpAddr, prefix: u8, link: &str, needed: bool) -> String {
    if needed {
        format!("it is the only address of {link}, so choose another virtual IP")
    } else {
        format!("remove it with `ip addr del {address}/{prefix} dev {link}`")
    }
}

/// The protocol that resolves the address.
#[must_use]
pub fn resolution(address: IpAddr) -> &'static str {
    match Family::of(address) {
        Family::V4 => "ARP",
        Family::V6 => "neighbour discovery",
    }
}
