//! The interfaces that clients' packets arrive at.

use std::net::IpAddr;

use super::{DesiredDirector, MAIN};
use crate::host::facts::{Facts, Link};
use crate::host::family::Family;
use crate::host::ipv6;
use crate::host::plan::Refusal;
use crate::host::sysctl;

/// The uplinks that were named, else those whose subnets hold the virtual IPs and, for virtual IPs that no subnet holds,
/// those that the default route of their family leaves by; and what is odd about them.
pub(super) fn find<'a>(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> Result<(Vec<&'a Link>, Vec<String>), Refusal> {
    let (links, warnings) = match &desired.uplinks {
        Some(names) => (named(names, &desired.tun, facts)?, Vec::new()),
        None => default(desired, vips, facts)?,
    };
    let address = vips.iter().copied().find(IpAddr::is_ipv6);
    match (address, links.first()) {
        (Some(address), Some(first)) if !links.iter().any(|link| ipv6::speaks(link, facts)) => {
            Err(Refusal::Ipv6Off { address, sysctl: sysctl::conf6(&first.name, "disable_ipv6") })
        }
        _ => Ok((links, warnings)),
    }
}

fn named<'a>(names: &[String], tun: &str, facts: &'a Facts) -> Result<Vec<&'a Link>, Refusal> {
    let mut links: Vec<&Link> = Vec::new();
    for name in names {
        let link = facts.link(name).ok_or_else(|| Refusal::UplinkUnknown(name.clone()))?;
        if link.loopback || link.name == tun {
            return Err(Refusal::UplinkUnfit(name.clone()));
        }
        if !links.contains(&link) {
            links.push(link);
        }
    }
    Ok(links)
}

/// One virtual IP without an uplink is a warning where others have one: IPv6 takes the addresses off an interface that
/// is set down, and the rest must be kept as planned meanwhile.
fn default<'a>(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> Result<(Vec<&'a Link>, Vec<String>), Refusal> {
    let mut links = Distinct::default();
    let mut missing = Vec::new();
    for &vip in vips {
        let mut indices: Vec<u32> = holding(vip, facts);
        if indices.is_empty() {
            indices = default_route_links(Family::of(vip), facts);
        }
        let fit = |link: &&Link| !link.loopback && link.name != desired.tun;
        let ways: Vec<&Link> =
            indices.into_iter().filter_map(|index| facts.link_at(index)).filter(fit).collect();
        if ways.is_empty() {
            missing.push(Refusal::UplinkMissing(vip));
        }
        links.extend(ways);
    }
    match missing.first() {
        Some(refusal) if links.0.is_empty() => Err(refusal.clone()),
        _ => Ok((links.0, missing.iter().map(ToString::to_string).collect())),
    }
}

fn holding(vip: IpAddr, facts: &Facts) -> Vec<u32> {
    let own = facts.addresses.iter().filter(|own| own.subnet.contains(&vip));
    own.map(|own| own.link).collect()
}

fn default_route_links(family: Family, facts: &Facts) -> Vec<u32> {
    facts
        .routes
        .at(MAIN, &family.everywhere())
        .iter()
        .min_by_key(|route| route.priority)
        .map(|route| route.hops.iter().map(|hop| hop.link).collect())
        .unwrap_or_default()
}

/// Interfaces in the order of their first mention, each once.
#[derive(Default)]
pub(super) struct Distinct<'a>(pub(super) Vec<&'a Link>);

impl<'a> Extend<&'a Link> for Distinct<'a> {
    fn extend<I: IntoIterator<Item = &'a Link>>(&mut self, links: I) {
        for link in links {
            if !self.0.contains(&link) {
                self.0.push(link);
            }
        }
    }
}
