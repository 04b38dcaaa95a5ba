//! The interfaces on which clients' packets arrive.

use std::net::IpAddr;

use crate::host::desired::DesiredDirector;
use crate::host::facts::{Facts, Link};
use crate::host::family::Family;
use crate::host::ipv6;
use crate::host::problem::{Problem, ProblemKind};
use crate::host::refusal::HostRefusal;
use crate::host::step::MAIN;
use crate::host::sysctl;

/// The configured uplinks; otherwise those whose subnets contain the virtual IPs and, for virtual
/// IPs in no subnet, those of the family's default route. Also returns their problems.
pub(super) fn find<'a>(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> (Vec<&'a Link>, Vec<Problem>) {
    let (links, mut problems) = match &desired.uplinks {
        Some(names) => named(names, &desired.tun, facts),
        None => default(desired, vips, facts),
    };
    let address = vips.iter().copied().find(IpAddr::is_ipv6);
    if let (Some(address), Some(first)) = (address, links.first())
        && !links.iter().any(|link| ipv6::is_on(link, facts))
    {
        let sysctl = sysctl::conf6(&first.name, "disable_ipv6");
        problems.push(HostRefusal::Ipv6Off { address, sysctl }.into());
    }
    problems.extend(links.iter().filter_map(|link| unfit(link, facts)));
    if desired.arp {
        problems.extend(links.iter().filter_map(|link| unanswering(link)));
    }
    (links, problems)
}

fn named<'a>(names: &[String], tun: &str, facts: &'a Facts) -> (Vec<&'a Link>, Vec<Problem>) {
    let mut links = Distinct::default();
    let mut problems = Vec::new();
    for name in names {
        match facts.link(name) {
            None => problems.push(HostRefusal::UplinkUnknown(name.clone()).into()),
            Some(link) if link.loopback || link.name == tun => {
                problems.push(HostRefusal::UplinkUnfit(name.clone()).into());
            }
            Some(link) => links.extend([link]),
        }
    }
    (links.0, problems)
}

/// The problem of an existing uplink.
fn unfit(link: &Link, facts: &Facts) -> Option<Problem> {
    let name = &link.name;
    let master = link.master.and_then(|index| facts.link_at(index));
    let text = if let Some(master) = master.filter(|master| master.takes_packets) {
        let master = &master.name;
        format!(
            "uplink {name} is a port of {master}, which takes the packets that arrive there; name \
             {master} in `uplinks`"
        )
    } else if !link.up {
        format!(
            "uplink {name} is down: nothing arrives and nothing is announced there; \
             `ip link set {name} up`"
        )
    } else if !link.carrier {
        format!(
            "uplink {name} has no carrier: nothing arrives and nothing is announced there; look at \
             the cable"
        )
    } else {
        return None;
    };
    Some(Problem::new(ProblemKind::Uplink, name, text))
}

/// The problem of an uplink on which neither ARP nor neighbour discovery is answered
/// (`IFF_NOARP`). An interface without a hardware address needs none.
fn unanswering(link: &Link) -> Option<Problem> {
    let name = &link.name;
    let silent = link.up && link.carrier && !link.arp && link.mac.is_some();
    let text = format!(
        "uplink {name} answers no ARP and no neighbour discovery, so no host there finds the \
         virtual IPs; `ip link set {name} arp on`, or `arp = false` where routers have a route"
    );
    silent.then(|| Problem::new(ProblemKind::Uplink, name, text))
}

/// A virtual IP without an uplink does not prevent a start if others have one: IPv6 removes the
/// addresses of an interface that is set down, and the rest must be kept as planned meanwhile.
fn default<'a>(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> (Vec<&'a Link>, Vec<Problem>) {
    let mut links = Distinct::default();
    let mut missing: Vec<Problem> = Vec::new();
    for &vip in vips {
        let mut indices: Vec<u32> = holding(vip, facts);
        if indices.is_empty() {
            indices = default_route_links(Family::of(vip), facts);
        }
        let fit = |link: &&Link| !link.loopback && link.name != desired.tun;
        let fitting: Vec<&Link> =
            indices.into_iter().filter_map(|index| facts.link_at(index)).filter(fit).collect();
        if fitting.is_empty() {
            missing.push(HostRefusal::UplinkMissing(vip).into());
        }
        links.extend(fitting);
    }
    if !links.0.is_empty() {
        missing.iter_mut().for_each(|problem| problem.refusal = None);
    }
    (links.0, missing)
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

/// Interfaces in the order of their first mention, without duplicates.
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
