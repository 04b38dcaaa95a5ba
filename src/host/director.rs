//! Plans a director's host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::DesiredDirector;
use super::facts::{Facts, Link, LocalAddress};
use super::family::Family;
use super::ipv6;
use super::plan::{AdvertisedMss, Announcement, HostPlan, check_tun, distinct, write};
use super::problem::Problem;
use super::refusal::HostRefusal;
use super::step::{HostStep, MAIN, Object, PROTOCOL, is_kernel_table};
use super::sysctl::conf;
use uplinks::Distinct;

mod egress;
mod forwarding;
mod neighbours;
mod uplinks;

pub use egress::tunnel_routes;

/// The steps that make the host a director.
///
/// # Errors
///
/// A [`HostRefusal`] names the obstacle and its remedy.
pub fn plan(desired: &DesiredDirector, facts: &Facts) -> Result<HostPlan, HostRefusal> {
    plan_items(desired, facts)?.whole()
}

/// As [`plan`], item by item: impossible items are left out and reported as problems.
///
/// # Errors
///
/// The TUN's name cannot be used.
pub fn plan_items(desired: &DesiredDirector, facts: &Facts) -> Result<HostPlan, HostRefusal> {
    check_tun(&desired.tun, facts)?;
    let mut problems = Vec::new();
    let all_vips = distinct(&desired.vips);
    let vips = usable(desired, &all_vips, facts, &mut problems);
    let (uplinks, without) = uplinks::find(desired, &vips, facts);
    problems.extend(without);
    let families: Vec<Family> =
        Family::BOTH.into_iter().filter(|family| family.is_among(&all_vips)).collect();
    let (egress, unreachable) = egress::links(desired, facts);
    problems.extend(unreachable);
    let tun_mtu = egress::tun_mtu(desired, &all_vips, facts);
    problems.extend(egress::narrow(desired, &all_vips, facts));
    problems.extend(egress::kept_sources(desired, facts));
    problems.extend(egress::temporary(desired, facts));
    let (warnings, silent) = forwarding::warnings(desired, &uplinks, &families, facts);
    problems.extend(silent);

    let announced: Vec<IpAddr> =
        vips.iter().copied().filter(|vip| !desired.withdrawn.contains(vip)).collect();
    let announcements =
        if desired.arp { announcements(&uplinks, &announced, facts) } else { Vec::new() };
    let mut steps = settings(desired, &uplinks, &egress, &families, facts);
    steps.extend(routes(desired, &vips, MAIN, facts, &mut problems));
    if desired.announce_table != 0 {
        steps.extend(routes(desired, &announced, desired.announce_table, facts, &mut problems));
    }
    steps.extend(announcements.iter().filter_map(|one| proxy(one, facts)));
    steps.extend(hiding(desired, facts));

    Ok(HostPlan {
        tun: desired.tun.clone(),
        tun_mtu,
        on_tun: ipv6::on_tun(&desired.tun, &all_vips, facts),
        steps,
        announcements,
        warnings,
        problems,
        uplinks: uplinks.iter().map(|link| link.name.clone()).collect(),
        captured: vips,
        advertised_mss: AdvertisedMss::default(),
        tunnel_routes: tunnel_routes(desired, facts),
        link_mtu: 0,
    })
}

/// The virtual IPs that the host can serve.
fn usable(
    desired: &DesiredDirector,
    all_vips: &[IpAddr],
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    let mut vips = all_vips.to_vec();
    if let Err(refusal) = ipv6::check(&vips, &desired.tun, facts) {
        vips.retain(IpAddr::is_ipv4);
        problems.push(refusal.into());
    }
    vips.retain(|vip| match check_address(*vip, facts) {
        Ok(()) => true,
        Err(refusal) => {
            problems.push(refusal.into());
            false
        }
    });
    let foreign = |source: &&IpAddr| facts.owners(**source).next().is_none();
    let foreign = desired.sources.iter().filter(foreign);
    problems.extend(foreign.map(|source| HostRefusal::SourceForeign(*source).into()));
    if is_kernel_table(desired.announce_table) {
        let table = desired.announce_table;
        problems.push(HostRefusal::TableReserved { key: "announce_table", table }.into());
    }
    vips
}

/// Kernel settings, before any announcement.
fn settings(
    desired: &DesiredDirector,
    uplinks: &[&Link],
    egress: &[&Link],
    families: &[Family],
    facts: &Facts,
) -> Vec<HostStep> {
    let mut steps = Vec::new();
    if families.contains(&Family::V4) {
        steps.extend(uplinks.iter().flat_map(|uplink| forwarding::v4(uplink, facts)));
        let mut links = Distinct::default();
        links.extend(uplinks.iter().chain(egress).copied());
        steps.extend(links.0.iter().filter_map(|link| loose_rp_filter(&link.name, facts)));
    }
    if families.contains(&Family::V6) {
        steps.extend(forwarding::v6(desired, uplinks, facts));
    }
    steps
}

/// The routes of the virtual IPs in the table, except where another program has one.
fn routes(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    table: u32,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Vec<HostStep> {
    let own = facts.link(&desired.tun).filter(|_| facts.tun_is_ours).map(|link| link.index);
    let ours = |hop: Option<u32>| own.is_some() && hop == own;
    let sources = Family::BOTH.map(|family| egress::source(desired, family, facts));
    let mut steps = Vec::with_capacity(vips.len());
    for &address in vips {
        let mut there = facts.routes_to(address, table);
        if there.any(|route| !ours(route.hops.first().map(|hop| hop.link))) {
            problems.push(HostRefusal::RouteExists { address, table }.into());
        } else {
            let [v4, v6] = sources;
            let source = if address.is_ipv4() { v4 } else { v6 };
            let link = desired.tun.clone();
            steps.push(HostStep::Add(Object::Route { address, link, table, source }));
        }
    }
    steps
}

/// The steps of a plan that hide other programs' routes. They are in force exactly while this
/// returns them, even if no plan is possible.
#[must_use]
pub fn hiding(desired: &DesiredDirector, facts: &Facts) -> Vec<HostStep> {
    if desired.neighbour_routes {
        neighbours::routes(&desired.reals, facts).collect()
    } else {
        Vec::new()
    }
}

fn check_address(vip: IpAddr, facts: &Facts) -> Result<(), HostRefusal> {
    if let Some((own, link)) = facts.owners(vip).next() {
        let (prefix, link) = (own.subnet.prefix_len(), link.name.clone());
        let needed = facts.is_only_of_its_link(own);
        return Err(HostRefusal::VipIsLocal { address: vip, prefix, link, needed });
    }
    match anycast(vip, facts) {
        Some((address, subnet, link)) => Err(HostRefusal::VipIsAnycast { address, subnet, link }),
        None => Ok(()),
    }
}

/// A router has the address with a subnet's prefix and zeros (RFC 4291 2.6.1), except on
/// point-to-point links (RFC 6164): as a router, this host would deliver packets for it locally.
fn anycast(vip: IpAddr, facts: &Facts) -> Option<(IpAddr, IpNet, String)> {
    let first = |own: &&LocalAddress| {
        vip.is_ipv6() && own.subnet.network() == vip && own.subnet.prefix_len() < 127
    };
    let own = facts.addresses.iter().find(first)?;
    Some((vip, own.subnet, facts.link_at(own.link)?.name.clone()))
}

/// Real servers' replies to the director's own probes come from the virtual IP, whose route leads
/// to the TUN: strict reverse path filtering drops them, loose does not. The larger of `all` and
/// the interface's value applies. An existing 2 stays in the plan: another daemon may have set it,
/// and may undo it first. IPv6 has no such filter.
fn loose_rp_filter(link: &str, facts: &Facts) -> Option<HostStep> {
    let own = facts.conf(link, "rp_filter");
    let all = facts.conf("all", "rp_filter");
    if own.max(all) == 1 || own == 2 {
        write(facts, conf(link, "rp_filter"), "", "2")
    } else {
        None
    }
}

fn announcements(uplinks: &[&Link], vips: &[IpAddr], facts: &Facts) -> Vec<Announcement> {
    uplinks
        .iter()
        // Without a carrier an interface loses its entries. They are added when it is back and no
        // other host has the address.
        .filter(|link| link.arp && link.up && link.carrier)
        .flat_map(|link| {
            let answers = |vip: &&IpAddr| vip.is_ipv4() || ipv6::is_on(link, facts);
            let announce = |&address| Announcement { link: link.name.clone(), address };
            vips.iter().filter(answers).map(announce)
        })
        .collect()
}

/// An entry of another program has the same effect and must outlive this daemon.
fn proxy(announcement: &Announcement, facts: &Facts) -> Option<HostStep> {
    let Announcement { link, address } = announcement;
    let index = facts.link(link)?.index;
    let there = facts.proxies.get(&(index, *address));
    let foreign = there.is_some_and(|protocol| *protocol != PROTOCOL);
    (!foreign).then(|| HostStep::Add(Object::Proxy { address: *address, link: link.clone() }))
}
