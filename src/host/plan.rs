//! What a plan is, and why there may be none.

use std::net::IpAddr;

use super::facts::Facts;
use super::step::Step;

/// Bytes of the outer IPv4 header.
pub const OUTER_V4: u32 = 20;

/// The smallest MTU a TUN gets: what every IPv4 host must accept (RFC 791).
pub const MIN_TUN_MTU: u16 = 576;

/// What is to be done to the host, in this order: `on_tun`, the TUN up, `steps`, `announcements`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The TUN's name. It is made between planning and carrying out.
    pub tun: String,
    /// The TUN's MTU in bytes.
    pub tun_mtu: u16,
    /// Settings of the TUN that must hold before it is up.
    pub on_tun: Vec<Step>,
    /// Everything else.
    pub steps: Vec<Step>,
    /// Addresses to be probed for (RFC 5227) before the first step, and announced after the last.
    pub announcements: Vec<Announcement>,
    /// What the operator should know; nothing that keeps the program from running.
    pub warnings: Vec<String>,
    /// The MSS in bytes that this host's kernel tells clients of the virtual IPs (real server).
    pub advertised_mss: u16,
}

/// An address that an interface answers ARP for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The interface's name.
    pub link: String,
    /// The virtual IP.
    pub address: IpAddr,
}

/// Why there is no plan; nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The TUN's name is taken.
    #[error(
        "interface {0:?} exists already: is another daemon using it? stop it, choose another tun name, or remove it with `ip link del {0}`"
    )]
    TunExists(String),
    /// The name can be no interface's.
    #[error(
        "{0:?} can be no interface's name; use 1 to 15 bytes without spaces, slashes and colons"
    )]
    TunName(String),
    /// Local delivery comes before every route: the TUN would never see a packet.
    #[error(
        "virtual IP {address} is a local address of this director (interface {link}), so its packets would never be balanced; remove it with `ip addr del {address}/{prefix} dev {link}`"
    )]
    VipIsLocal {
        /// The virtual IP.
        address: IpAddr,
        /// Its prefix length there.
        prefix: u8,
        /// The interface's name.
        link: String,
    },
    /// The interface would answer ARP for it whatever its `arp_ignore`.
    #[error(
        "virtual IP {address} is an address of interface {link}, so this server would answer ARP for it and clients would go round the director; remove it with `ip addr del {address}/{prefix} dev {link}`"
    )]
    VipOnLink {
        /// The virtual IP.
        address: IpAddr,
        /// Its prefix length there.
        prefix: u8,
        /// The interface's name.
        link: String,
    },
    /// The capture has no place.
    #[error(
        "there is a route to virtual IP {address} in table {table} already; remove it with `ip route del {address} table {table}`"
    )]
    RouteExists {
        /// The virtual IP.
        address: IpAddr,
        /// The table.
        table: u32,
    },
    /// No interface of that name.
    #[error("there is no interface {0:?} to be an uplink; `ip link` lists them")]
    UplinkUnknown(String),
    /// The interface can be no uplink.
    #[error("interface {0:?} cannot be an uplink; name the one that clients' packets arrive at")]
    UplinkUnfit(String),
    /// Nothing to guess the uplinks from.
    #[error(
        "no interface's subnet holds a virtual IP and there is no default route; name the interfaces that clients' packets arrive at in `uplinks`"
    )]
    UplinkMissing,
    /// The outer source must be an address of this host.
    #[error("source {0} is no address of this host; `ip addr` lists them")]
    SourceForeign(IpAddr),
    /// The kernel's own tables.
    #[error("{key} = {table} is a table of the kernel's own; use another number")]
    TableReserved {
        /// The configuration key.
        key: &'static str,
        /// The table.
        table: u32,
    },
    /// Copies would mix with somebody else's routes.
    #[error("routing table {0} is in use by others; choose another `table`")]
    TableUsed(u32),
    /// Its place in the order of rules is taken, or it would come before local delivery.
    #[error("rule priority {0} is taken or not above that of the local table; choose another")]
    Priority(u32),
    /// Not yet.
    #[error("virtual IP {0}: IPv6 is not supported yet; use an IPv4 address")]
    Ipv6(IpAddr),
}

/// What holds for the TUN of either role.
pub(super) fn check_tun(tun: &str, facts: &Facts) -> Result<(), Refusal> {
    // dev_valid_name(): IFNAMSIZ is 16 with the closing zero.
    let fits = (1..16).contains(&tun.len()) && tun != "." && tun != "..";
    if !fits || tun.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '%' | '\0')) {
        return Err(Refusal::TunName(tun.to_owned()));
    }
    if facts.link(tun).is_some() && !facts.tun_is_ours {
        return Err(Refusal::TunExists(tun.to_owned()));
    }
    Ok(())
}

/// Virtual IPs in order, each once.
pub(super) fn distinct(vips: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
    let mut vips = vips.to_vec();
    vips.sort_unstable();
    vips.dedup();
    match vips.iter().find(|vip| vip.is_ipv6()) {
        Some(vip) => Err(Refusal::Ipv6(*vip)),
        None => Ok(vips),
    }
}

/// A write to a setting that the kernel has; its value now is taken from the facts, or from `default` where the
/// interface does not exist yet.
pub(super) fn write(facts: &Facts, sysctl: String, fallback: &str, to: &str) -> Option<Step> {
    let from = facts.sysctl(&sysctl).or_else(|| facts.sysctl(fallback))?.to_owned();
    Some(Step::Write { sysctl, from, to: to.to_owned() })
}
