//! What a director needs of its host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Address, Facts, Link};
use super::family::Family;
use super::ipv6;
use super::plan::{Announcement, HostPlan, Mss, Refusal, check_tun, distinct, write};
use super::step::{MAIN, Object, PROTOCOL, Step};
use super::sysctl::conf;
use uplinks::Distinct;

mod egress;
mod forwarding;
mod neighbours;
mod uplinks;

pub use egress::outer_sources;

/// What the configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct DesiredDirector {
    /// The TUN's name.
    pub tun: String,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The real servers.
    pub reals: Vec<IpAddr>,
    /// Where clients' packets arrive; none: found from the subnets, else from the default route.
    pub uplinks: Option<Vec<String>>,
    /// Answer ARP and neighbour discovery for the virtual IPs and announce them.
    pub arp: bool,
    /// Outer source addresses, at most one of each family; none: what the routing table picks.
    pub sources: Vec<IpAddr>,
    /// A table in which routing daemons find the virtual IPs; 0: none.
    pub announce_table: u32,
    /// Virtual IPs that are captured and not announced: neither answered for nor in `announce_table`.
    pub withdrawn: BTreeSet<IpAddr>,
    /// Give real servers on directly connected networks routes of their own, by way of themselves.
    pub neighbour_routes: bool,
    /// Go on although another host answers for a virtual IP.
    pub force: bool,
}

/// The steps that make the host a director.
///
/// # Errors
///
/// A [`Refusal`] says what is in the way and how to mend it.
pub fn plan(desired: &DesiredDirector, facts: &Facts) -> Result<HostPlan, Refusal> {
    check_tun(&desired.tun, facts)?;
    let vips = distinct(&desired.vips);
    ipv6::check(&vips, &desired.tun, facts)?;
    check_addresses(desired, &vips, facts)?;
    check_tables(desired, &vips, facts)?;
    let (uplinks, mut warnings) = uplinks::find(desired, &vips, facts)?;
    let families: Vec<Family> =
        Family::BOTH.into_iter().filter(|family| family.is_among(&vips)).collect();
    let (egress, unreachable) = egress::links(desired, facts);
    warnings.extend(unreachable);
    warnings.extend(egress::temporary(desired, facts));
    let (tun_mtu, small) = egress::tun_mtu(desired, &vips, facts);
    warnings.extend(small);
    warnings.extend(forwarding::warnings(desired, &uplinks, &families, facts));

    let mut steps = Vec::new();
    if families.contains(&Family::V4) {
        steps.extend(uplinks.iter().flat_map(|uplink| forwarding::v4(uplink, facts)));
        let mut links = Distinct::default();
        links.extend(uplinks.iter().copied().chain(egress));
        steps.extend(links.0.iter().filter_map(|link| loose_rp_filter(&link.name, facts)));
    }
    if families.contains(&Family::V6) {
        steps.extend(forwarding::v6(desired, &uplinks, facts));
    }
    steps.extend(vips.iter().map(|&vip| route(desired, vip, MAIN, facts)));
    let told: Vec<IpAddr> =
        vips.iter().copied().filter(|vip| !desired.withdrawn.contains(vip)).collect();
    if desired.announce_table != 0 {
        steps.extend(told.iter().map(|&vip| route(desired, vip, desired.announce_table, facts)));
    }
    let announcements =
        if desired.arp { announcements(&uplinks, &told, facts) } else { Vec::new() };
    steps.extend(announcements.iter().filter_map(|one| proxy(one, facts)));
    steps.extend(hiding(desired, facts));

    Ok(HostPlan {
        tun: desired.tun.clone(),
        tun_mtu,
        on_tun: ipv6::on_tun(&desired.tun, &vips, facts),
        steps,
        announcements,
        warnings,
        advertised_mss: Mss::default(),
        outer_sources: outer_sources(desired, facts),
        link_mtu: 0,
    })
}

/// The steps of a plan that hide routes of others. Also where there can be no plan they are to be there while these say so, and
/// no longer.
#[must_use]
pub fn hiding(desired: &DesiredDirector, facts: &Facts) -> Vec<Step> {
    if desired.neighbour_routes {
        neighbours::routes(&desired.reals, facts).collect()
    } else {
        Vec::new()
    }
}

fn check_tables(desired: &DesiredDirector, vips: &[IpAddr], facts: &Facts) -> Result<(), Refusal> {
    if (253..=255).contains(&desired.announce_table) {
        let table = desired.announce_table;
        return Err(Refusal::TableReserved { key: "announce_table", table });
    }
    let own = facts.link(&desired.tun).filter(|_| facts.tun_is_ours).map(|link| link.index);
    for route in facts.routes.iter() {
        let address = route.destination.addr();
        let ours = own.is_some() && route.hops.first().map(|hop| hop.link) == own;
        let host_route = route.destination.prefix_len() == route.destination.max_prefix_len();
        let wanted = route.table == MAIN
            || (route.table == desired.announce_table && desired.announce_table != 0);
        if wanted && host_route && !ours && vips.contains(&address) {
            return Err(Refusal::RouteExists { address, table: route.table });
        }
    }
    Ok(())
}

fn check_addresses(
    desired: &DesiredDirector,
    vips: &[IpAddr],
    facts: &Facts,
) -> Result<(), Refusal> {
    for &vip in vips {
        if let Some((own, link)) = facts.owners(vip).next() {
            return Err(Refusal::VipIsLocal {
                address: vip,
                prefix: own.subnet.prefix_len(),
                link: link.name.clone(),
            });
        }
    }
    if let Some((address, own, link)) = vips.iter().find_map(|vip| anycast(*vip, facts)) {
        return Err(Refusal::VipIsAnycast { address, subnet: own, link });
    }
    match desired.sources.iter().find(|source| facts.owners(**source).next().is_none()) {
        Some(foreign) => Err(Refusal::SourceForeign(*foreign)),
        None => Ok(()),
    }
}

/// A router has the address with a subnet's prefix and zeros (RFC 4291 2.6.1), except where links have but two ends
/// (RFC 6164): turned into one, this host would deliver packets for it to itself.
fn anycast(vip: IpAddr, facts: &Facts) -> Option<(IpAddr, IpNet, String)> {
    let first = |own: &&Address| {
        vip.is_ipv6() && own.subnet.network() == vip && own.subnet.prefix_len() < 127
    };
    let own = facts.addresses.iter().find(first)?;
    Some((vip, own.subnet, facts.link_at(own.link)?.name.clone()))
}

/// Replies of real servers to the director's own probes come from the virtual IP, whose route leads to the TUN:
/// strict reverse path filtering drops them, loose does not. What is in force is the larger of `all` and the
/// interface's. A 2 that is there already is kept in the plan: it may be another daemon's, which may go first. IPv6 has
/// no such filter.
fn loose_rp_filter(link: &str, facts: &Facts) -> Option<Step> {
    let own = facts.conf(link, "rp_filter");
    let all = facts.conf("all", "rp_filter");
    if own.max(all) == 1 || own == 2 {
        write(facts, conf(link, "rp_filter"), "", "2")
    } else {
        None
    }
}

fn route(desired: &DesiredDirector, address: IpAddr, table: u32, facts: &Facts) -> Step {
    let source = egress::source(desired, Family::of(address), facts);
    Step::Add(Object::Route { address, link: desired.tun.clone(), table, source })
}

fn announcements(uplinks: &[&Link], vips: &[IpAddr], facts: &Facts) -> Vec<Announcement> {
    uplinks
        .iter()
        // Taken down, an interface loses its entries; they are made when it is up.
        .filter(|link| link.arp && link.up)
        .flat_map(|link| {
            let heard = |vip: &&IpAddr| vip.is_ipv4() || ipv6::speaks(link, facts);
            let announce = |&address| Announcement { link: link.name.clone(), address };
            vips.iter().filter(heard).map(announce)
        })
        .collect()
}

/// An entry of somebody else's does the same work and must outlive us.
fn proxy(announcement: &Announcement, facts: &Facts) -> Option<Step> {
    let Announcement { link, address } = announcement;
    let index = facts.link(link)?.index;
    let foreign = facts
        .proxies
        .iter()
        .any(|p| p.link == index && p.address == *address && p.protocol != PROTOCOL);
    (!foreign).then(|| Step::Add(Object::Proxy { address: *address, link: link.clone() }))
}
