//! The paths to the real servers: interfaces, source addresses, tunnel MTUs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::uplinks;
use crate::host::desired::DesiredDirector;
use crate::host::facts::{Facts, Link, LocalAddress, Lookup};
use crate::host::family::Family;
use crate::host::ipsec;
use crate::host::plan::{LinkMtus, MIN_TUN_MTU, MIN_TUN_MTU_V6, OuterSources, TunnelRoutes};
use crate::host::problem::{Problem, ProblemKind};
use crate::host::refusal::HostRefusal;
use crate::host::route::RouteKind;

/// The MTU of an unknown path: Ethernet's.
const USUAL_MTU: u32 = 1500;

/// The interfaces towards the real servers, and problems of the paths.
pub(super) fn links<'a>(
    desired: &DesiredDirector,
    facts: &'a Facts,
) -> (Vec<&'a Link>, Vec<Problem>) {
    let mut links = Vec::new();
    let mut problems = Vec::new();
    let wrong = |real: &IpAddr, text| Problem::new(ProblemKind::RealServer, real.to_string(), text);
    for real in &desired.reals {
        match facts.lookups.get(real) {
            Some(lookup) if lookup.kind == RouteKind::Local => {
                let owner = facts.owners(*real).next();
                let link = owner.map(|(_, link)| link.name.clone()).unwrap_or_default();
                problems.push(HostRefusal::RealIsLocal { address: *real, link }.into());
            }
            Some(lookup) if lookup.kind == RouteKind::Unicast => {
                links.extend(lookup.link.and_then(|index| facts.link_at(index)));
                let chosen = configured_source(desired, Family::of(*real)).is_some();
                if !chosen && lookup.source.is_some_and(is_ipv6_link_local) {
                    problems.push(wrong(real, format!(
                        "no address but a link-local one leads to real server {real}; its packets \
                         are lost until there is another"
                    )));
                }
            }
            _ => problems.push(wrong(real, format!(
                "there is no route to real server {real}; its packets are lost until there is one: \
                 see `{} route get {real}`",
                Family::of(*real).command()
            ))),
        }
    }
    (links, problems)
}

/// The source of the routes into the TUN: the director's address towards the servers of the family.
/// Otherwise its own connections to a virtual IP would use some interface's first address. A route
/// cannot prefer a tentative address.
pub(super) fn source(desired: &DesiredDirector, family: Family, facts: &Facts) -> Option<IpAddr> {
    if let Some(configured) = configured_source(desired, family) {
        let usable = facts.owners(configured).any(|(own, _)| !own.tentative);
        return usable.then_some(configured);
    }
    let mut reals = desired.reals.iter().filter(|real| Family::of(**real) == family);
    reals.find_map(|real| picked(*real, facts))
}

/// The paths to the reachable real servers.
#[must_use]
pub fn tunnel_routes(desired: &DesiredDirector, facts: &Facts) -> TunnelRoutes {
    let sources = outer_sources(desired, facts);
    let interface = |real: &IpAddr| {
        let link = unicast(real, facts)?.link?;
        ipsec::leaves_plain(sources.get(real).copied(), *real, facts).then_some((*real, link))
    };
    let (uplinks, _) = uplinks::find(desired, &desired.vips, facts);
    let ethernets = uplinks.into_iter().filter(|link| link.mac.is_some());
    let interfaces = desired.reals.iter().filter_map(interface).collect();
    TunnelRoutes {
        sources,
        mtus: link_mtus(desired, facts),
        interfaces,
        uplinks: ethernets.map(|link| (link.index, link.name.clone())).collect(),
    }
}

fn link_mtus(desired: &DesiredDirector, facts: &Facts) -> LinkMtus {
    let mtu = |real: &IpAddr| Some((*real, path_mtu(real, facts)?));
    desired.reals.iter().filter_map(mtu).collect()
}

/// The source of the tunnels to each reachable real server. A source in use is kept while the host
/// has it and the route uses the same interface: the real servers accept it, and may refuse the
/// routing table's new preference.
fn outer_sources(desired: &DesiredDirector, facts: &Facts) -> OuterSources {
    let source = |real: &IpAddr| {
        let lookup = unicast(real, facts)?;
        let source = configured_source(desired, Family::of(*real))
            .or_else(|| kept(desired, real, lookup, facts))
            .or_else(|| picked(*real, facts))?;
        Some((*real, source))
    };
    desired.reals.iter().filter_map(source).collect()
}

/// The source in use, if it can be kept.
fn kept(
    desired: &DesiredDirector,
    real: &IpAddr,
    lookup: &Lookup,
    facts: &Facts,
) -> Option<IpAddr> {
    let known = *desired.known_sources.get(real)?;
    let here = |own: &LocalAddress, link: &Link| {
        !own.tentative && (link.loopback || Some(own.link) == lookup.link)
    };
    facts.owners(known).any(|(own, link)| here(own, link)).then_some(known)
}

/// Sources in use although the routing table prefers others, without duplicate pairs.
pub(super) fn kept_sources(desired: &DesiredDirector, facts: &Facts) -> Vec<Problem> {
    let mut moved: BTreeMap<(IpAddr, IpAddr), Vec<IpAddr>> = BTreeMap::new();
    for real in &desired.reals {
        let Some(lookup) = unicast(real, facts) else { continue };
        if configured_source(desired, Family::of(*real)).is_some() {
            continue;
        }
        if let (Some(old), Some(new)) = (kept(desired, real, lookup, facts), picked(*real, facts))
            && old != new
        {
            moved.entry((old, new)).or_default().push(*real);
        }
    }
    let problem = |((old, new), reals): ((IpAddr, IpAddr), Vec<IpAddr>)| {
        let (first, more) = (reals.first()?, reals.len() - 1);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!(
            "the routing table has come to prefer source {new} towards real server {first}{more}; \
             tunnels keep {old}, which was admitted: let `directors` there admit {new} and \
             restart, or write `source = \"{old}\"`"
        );
        Some(Problem::new(ProblemKind::Source, format!("{old} {new}"), text))
    };
    moved.into_iter().filter_map(problem).collect()
}

/// The TUN's MTU: the size that fits into the tunnel with the most room. The kernel answers clients
/// whose packets fit into no tunnel; the balancer answers for real servers with smaller tunnels. So
/// a small link to one does not limit the packets to all. An IPv6 virtual IP sets a minimum.
pub(super) fn tun_mtu(desired: &DesiredDirector, vips: &[IpAddr], facts: &Facts) -> u16 {
    let room = |real: &IpAddr, mtu: u32| mtu.saturating_sub(outer(desired, real));
    let reals = desired.reals.iter();
    let known = reals.clone().filter_map(|real| Some(room(real, path_mtu(real, facts)?))).max();
    let usual = || reals.map(|real| room(real, USUAL_MTU)).max();
    let largest = known.or_else(usual).unwrap_or_else(|| USUAL_MTU - Family::V4.header());
    u16::try_from(largest).unwrap_or(u16::MAX).max(least(vips))
}

/// Bytes of the headers before a packet to that real server.
fn outer(desired: &DesiredDirector, real: &IpAddr) -> u32 {
    Family::of(*real).header() + desired.shims.get(real).copied().unwrap_or_default()
}

fn least(vips: &[IpAddr]) -> u16 {
    if Family::V6.is_among(vips) { MIN_TUN_MTU_V6 } else { MIN_TUN_MTU }
}

/// Real servers whose tunnels are too small for packets that clients cannot make smaller.
pub(super) fn narrow(desired: &DesiredDirector, vips: &[IpAddr], facts: &Facts) -> Vec<Problem> {
    if !Family::V6.is_among(vips) {
        return Vec::new();
    }
    let problem = |real: &IpAddr| {
        let mtu = path_mtu(real, facts)?;
        let needed = u32::from(MIN_TUN_MTU_V6) + outer(desired, real);
        let text = format!(
            "the path to real server {real} has an MTU of {mtu}: IPv6 packets of up to \
             {MIN_TUN_MTU_V6} bytes, which clients need not make smaller (RFC 8200 5), are sent to \
             it in several pieces; with {needed} or more they are not"
        );
        (mtu < needed).then(|| Problem::new(ProblemKind::RealServer, real.to_string(), text))
    };
    desired.reals.iter().filter_map(problem).collect()
}

fn path_mtu(real: &IpAddr, facts: &Facts) -> Option<u32> {
    let lookup = unicast(real, facts)?;
    let mtu = facts.mtu(facts.link_at(lookup.link?)?, Family::of(*real));
    Some(lookup.mtu.map_or(mtu, |own| own.min(mtu)))
}

fn configured_source(desired: &DesiredDirector, family: Family) -> Option<IpAddr> {
    desired.sources.iter().copied().find(|source| Family::of(*source) == family)
}

/// The source that the routing table picks, or a lasting one instead of a temporary one. While the
/// others are tentative or missing it picks a link-local address, which is useless: the real server
/// refuses it, routers drop it, and no route into the TUN may prefer it.
fn picked(real: IpAddr, facts: &Facts) -> Option<IpAddr> {
    let source = unicast(&real, facts)?.source.filter(|source| !is_ipv6_link_local(*source))?;
    Some(lasting(source, real, facts).unwrap_or(source))
}

/// A lasting address instead of a temporary one of the privacy extensions. Those change daily, and
/// the real servers list their directors. A program may prefer public addresses (RFC 6724 rule 7,
/// RFC 5014). `None`: the address is not temporary, or its interface has no other.
fn lasting(source: IpAddr, real: IpAddr, facts: &Facts) -> Option<IpAddr> {
    let picked = facts.addresses.iter().find(|own| own.address == source && own.temporary)?;
    let usable = |own: &&LocalAddress| {
        own.link == picked.link
            && own.address.is_ipv6()
            && !own.temporary
            && !own.tentative
            && !is_ipv6_link_local(own.address)
    };
    // The order of the kernel's own rules (RFC 6724 5): preferred before deprecated, then the one
    // closest to the destination; of two equal ones that of the subnet chosen by the kernel.
    let rank = |own: &&LocalAddress| {
        let like = common_prefix(own.address, real);
        (!own.deprecated, like, own.subnet == picked.subnet)
    };
    facts.addresses.iter().filter(usable).max_by_key(rank).map(|own| own.address)
}

/// The number of leading bits that two IPv6 addresses share.
fn common_prefix(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// A tunnel with a temporary source address breaks within a day.
pub(super) fn temporary(desired: &DesiredDirector, facts: &Facts) -> Vec<Problem> {
    let sources = outer_sources(desired, facts);
    let is_temporary =
        |source: &IpAddr| facts.addresses.iter().any(|own| own.address == *source && own.temporary);
    let mut found: Vec<IpAddr> = sources.into_values().filter(is_temporary).collect();
    found.sort_unstable();
    found.dedup();
    let problem = |source: IpAddr| {
        let text = format!(
            "tunnels come from {source}, a temporary address of the IPv6 privacy extensions: real \
             servers refuse the next one; give the interface a lasting address, or name one in \
             `source`"
        );
        Problem::new(ProblemKind::Source, source.to_string(), text)
    };
    found.into_iter().map(problem).collect()
}

fn is_ipv6_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn unicast<'a>(real: &IpAddr, facts: &'a Facts) -> Option<&'a Lookup> {
    facts.lookups.get(real).filter(|lookup| lookup.kind == RouteKind::Unicast)
}
