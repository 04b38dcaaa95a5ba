//! A plan of the host's set-up, and the types of its parts.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::facts::Facts;
use super::problem::Problem;
use super::refusal::HostRefusal;
use super::step::{HostStep, Object};

/// The smallest MTU of a TUN: what every IPv4 host must accept (RFC 791).
pub const MIN_TUN_MTU: u16 = 576;

/// The smallest MTU of a TUN with an IPv6 virtual IP: what every link must carry (RFC 8200 5);
/// below it the kernel turns IPv6 off on the interface.
pub const MIN_TUN_MTU_V6: u16 = 1280;

/// The source address of tunnelled packets for each real server with a unicast route: its
/// `directors` have to include it. If it is missing, the kernel fills in an IPv4 source under
/// `IP_HDRINCL`, but sends an unspecified IPv6 source unchanged under `IPV6_HDRINCL`.
pub type OuterSources = BTreeMap<IpAddr, IpAddr>;

/// The MTU in bytes towards each real server with a unicast route: the interface's, or the route's
/// if that is smaller.
pub type LinkMtus = BTreeMap<IpAddr, u32>;

/// Sources, MTUs and interfaces from a director to its real servers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TunnelRoutes {
    /// The tunnels' source addresses.
    pub sources: OuterSources,
    /// The MTUs.
    pub mtus: LinkMtus,
    /// The indexes of the interfaces.
    pub interfaces: BTreeMap<IpAddr, u32>,
    /// The uplinks that are Ethernets, by index, with their names: where the fast path may be.
    pub uplinks: BTreeMap<u32, String>,
}

/// The MSS in bytes that clients learn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AdvertisedMss {
    /// For IPv4 virtual IPs.
    pub v4: u16,
    /// For IPv6 virtual IPs.
    pub v6: u16,
}

/// The changes to the host, in this order: `on_tun`, the TUN up, `steps`, `announcements`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostPlan {
    /// The TUN's name. The TUN is created between planning and carrying out.
    pub tun: String,
    /// The TUN's MTU in bytes.
    pub tun_mtu: u16,
    /// Settings of the TUN that must be in force before it is up.
    pub on_tun: Vec<HostStep>,
    /// All other steps.
    pub steps: Vec<HostStep>,
    /// Addresses to probe (RFC 5227, RFC 4862 5.4) before the first step, and to announce after the
    /// last.
    pub announcements: Vec<Announcement>,
    /// Warnings that do not prevent a start.
    pub warnings: Vec<String>,
    /// The problems of the host: items that the plan leaves out because of them, and parts that
    /// will not work.
    pub problems: Vec<Problem>,
    /// The interfaces that clients' packets arrive at (director).
    pub uplinks: Vec<String>,
    /// The virtual IPs that the TUN captures (director).
    pub captured: Vec<IpAddr>,
    /// The MSS that this host's kernel advertises for the virtual IPs (real server).
    pub advertised_mss: AdvertisedMss,
    /// The paths to the real servers (director).
    pub tunnel_routes: TunnelRoutes,
    /// The largest MTU of this host's links in bytes (real server).
    pub link_mtu: u32,
}

impl HostPlan {
    /// The plan, if no problem in it prevents a first start.
    ///
    /// # Errors
    ///
    /// The first [`HostRefusal`].
    pub fn whole(self) -> Result<Self, HostRefusal> {
        match self.problems.iter().find_map(|problem| problem.refusal.clone()) {
            Some(refusal) => Err(refusal),
            None => Ok(self),
        }
    }

    /// The plan without these announcements.
    #[must_use]
    pub fn without(mut self, unwanted: &[Announcement]) -> Self {
        let unwanted: HashSet<(&str, IpAddr)> =
            unwanted.iter().map(|one| (one.link.as_str(), one.address)).collect();
        self.announcements.retain(|one| !unwanted.contains(&(one.link.as_str(), one.address)));
        self.steps.retain(|step| match step {
            HostStep::Add(Object::Proxy { address, link }) => {
                !unwanted.contains(&(link.as_str(), *address))
            }
            _ => true,
        });
        self
    }
}

/// An address for which an interface answers ARP or neighbour discovery.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Announcement {
    /// The interface's name.
    pub link: String,
    /// The virtual IP.
    pub address: IpAddr,
}

/// The rules for the TUN of either role.
pub(super) fn check_tun(tun: &str, facts: &Facts) -> Result<(), HostRefusal> {
    // dev_valid_name(): IFNAMSIZ is 16 with the closing zero.
    let fits = (1..16).contains(&tun.len()) && tun != "." && tun != "..";
    if !fits || tun.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '%' | '\0')) {
        return Err(HostRefusal::TunName(tun.to_owned()));
    }
    if facts.link(tun).is_some() && !facts.tun_is_ours {
        return Err(HostRefusal::TunExists(tun.to_owned()));
    }
    Ok(())
}

/// The virtual IPs, sorted, without duplicates.
pub(super) fn distinct(vips: &[IpAddr]) -> Vec<IpAddr> {
    let mut vips = vips.to_vec();
    vips.sort_unstable();
    vips.dedup();
    vips
}

/// A write to an existing setting; its current value comes from the facts, or is `fallback` if the
/// interface does not exist yet.
pub(super) fn write(facts: &Facts, sysctl: String, fallback: &str, to: &str) -> Option<HostStep> {
    let from = facts.sysctl(&sysctl).or_else(|| facts.sysctl(fallback))?.to_owned();
    Some(HostStep::Write { sysctl, from, to: to.to_owned(), beside: BTreeMap::new() })
}
