//! The ways to the real servers: interfaces, source addresses, what fits into the tunnels.

use std::net::IpAddr;

use super::DesiredDirector;
use crate::host::facts::{Facts, Link, Lookup};
use crate::host::family::Family;
use crate::host::plan::{MIN_TUN_MTU, MIN_TUN_MTU_V6, OuterSources};
use crate::host::route::RouteKind;

/// The MTU of a way that is not known: Ethernet's.
const USUAL_MTU: u32 = 1500;

/// The interfaces towards the real servers, and what is odd about the way there.
pub(super) fn links<'a>(
    desired: &DesiredDirector,
    facts: &'a Facts,
) -> (Vec<&'a Link>, Vec<String>) {
    let mut links = Vec::new();
    let mut warnings = Vec::new();
    for real in &desired.reals {
        match facts.lookups.get(real) {
            Some(lookup) if lookup.kind == RouteKind::Local => warnings.push(format!(
                "real server {real} is an address of this director; one network namespace cannot be both"
            )),
            Some(lookup) if lookup.kind == RouteKind::Unicast => {
                links.extend(lookup.link.and_then(|index| facts.link_at(index)));
                if wished(desired, Family::of(*real)).is_none() && lookup.source.is_some_and(is_of_the_link) {
                    warnings.push(format!(
                        "no address but a link-local one leads to real server {real}; its packets are lost until there is another"
                    ));
                }
            }
            _ => warnings.push(format!(
                "there is no route to real server {real}; its packets are lost until there is one"
            )),
        }
    }
    (links, warnings)
}

/// The address that the director uses towards the servers of the family: its own connections to a virtual IP would
/// otherwise take some interface's first address. A route cannot prefer one that is tentative still.
pub(super) fn source(desired: &DesiredDirector, family: Family, facts: &Facts) -> Option<IpAddr> {
    if let Some(wished) = wished(desired, family) {
        let usable = facts.owners(wished).any(|(own, _)| !own.tentative);
        return usable.then_some(wished);
    }
    let reals = desired.reals.iter().filter(|real| Family::of(**real) == family);
    reals.filter_map(|real| unicast(real, facts)).find_map(picked)
}

/// The source of the tunnels to each IPv6 real server that can be reached.
#[must_use]
pub fn outer_sources(desired: &DesiredDirector, facts: &Facts) -> OuterSources {
    let wished = wished(desired, Family::V6);
    let source = |real: &IpAddr| wished.or(picked(unicast(real, facts)?));
    let reals = desired.reals.iter().filter(|real| real.is_ipv6());
    reals
        .filter(|real| unicast(real, facts).is_some())
        .filter_map(|real| Some((*real, source(real)?)))
        .collect()
}

/// With the TUN's MTU at what fits into every tunnel, the kernel itself tells clients "fragmentation needed" and "packet
/// too big". An IPv6 virtual IP bounds how small it may be.
pub(super) fn tun_mtu(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &Facts,
) -> (u16, Vec<String>) {
    let mut warnings = Vec::new();
    let v6 = Family::V6.is_among(vips);
    let least = if v6 { MIN_TUN_MTU_V6 } else { MIN_TUN_MTU };
    let ways = desired.reals.iter().map(|real| (real, path_mtu(real, facts)));
    for (real, mtu) in ways.clone().filter_map(|(real, mtu)| Some((real, mtu?))) {
        let needed = u32::from(MIN_TUN_MTU_V6) + Family::of(*real).header();
        if v6 && mtu < needed {
            warnings.push(format!(
                "the way to real server {real} has an MTU of {mtu}, but IPv6 packets of up to {MIN_TUN_MTU_V6} bytes must fit into its tunnel (RFC 8200 5): longer ones than that leaves room for are lost; it should be {needed} or more"
            ));
        }
    }
    let known = ways.clone().filter_map(|(real, mtu)| Some((real, mtu?)));
    let room = |(real, mtu): (&IpAddr, u32)| mtu.saturating_sub(Family::of(*real).header());
    let smallest = known
        .map(room)
        .min()
        .or_else(|| ways.map(|(real, _)| room((real, USUAL_MTU))).min())
        .unwrap_or_else(|| USUAL_MTU - Family::V4.header());
    (u16::try_from(smallest).unwrap_or(u16::MAX).max(least), warnings)
}

fn path_mtu(real: &IpAddr, facts: &Facts) -> Option<u32> {
    let lookup = unicast(real, facts)?;
    let mtu = facts.mtu(facts.link_at(lookup.link?)?, Family::of(*real));
    Some(lookup.mtu.map_or(mtu, |own| own.min(mtu)))
}

fn wished(desired: &DesiredDirector, family: Family) -> Option<IpAddr> {
    desired.sources.iter().copied().find(|source| Family::of(*source) == family)
}

/// The source that the routing table picks. While the others are tentative, or gone, that is a link-local address: the real
/// server refuses it, routers drop it, and no route into the TUN may prefer it.
fn picked(lookup: &Lookup) -> Option<IpAddr> {
    lookup.source.filter(|source| !is_of_the_link(*source))
}

fn is_of_the_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn unicast<'a>(real: &IpAddr, facts: &'a Facts) -> Option<&'a Lookup> {
    facts.lookups.get(real).filter(|lookup| lookup.kind == RouteKind::Unicast)
}
