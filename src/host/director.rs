//! What a director needs of its host.

use std::net::IpAddr;

use super::facts::{Facts, Link, sysctl};
use super::plan::{Announcement, MIN_TUN_MTU, OUTER_V4, Plan, Refusal, check_tun, distinct, write};
use super::route::Kind;
use super::step::{Object, PROTOCOL, Step};

/// The main routing table.
const MAIN: u32 = 254;

/// What the configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The TUN's name.
    pub tun: String,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The real servers.
    pub reals: Vec<IpAddr>,
    /// Where clients' packets arrive; none: found from the subnets, else from the default route.
    pub uplinks: Option<Vec<String>>,
    /// Answer ARP for the virtual IPs and announce them.
    pub arp: bool,
    /// Outer source address; none: what the routing table picks.
    pub source: Option<IpAddr>,
    /// A table in which routing daemons find the virtual IPs; 0: none.
    pub announce_table: u32,
    /// Go on although another host answers ARP for a virtual IP.
    pub force: bool,
}

/// The steps that make the host a director.
///
/// # Errors
///
/// A [`Refusal`] says what is in the way and how to mend it.
pub fn plan(wishes: &Wishes, facts: &Facts) -> Result<Plan, Refusal> {
    check_tun(&wishes.tun, facts)?;
    let vips = distinct(&wishes.vips)?;
    check_tables(wishes, &vips, facts)?;
    check_addresses(wishes, &vips, facts)?;
    let uplinks = uplinks(wishes, &vips, facts)?;
    let (egress, mut warnings) = egress(wishes, facts);
    warnings.extend(uplinks.iter().filter_map(|uplink| router(uplink, &wishes.tun, facts)));

    let mut steps = Vec::new();
    for uplink in &uplinks {
        steps.extend(receive(uplink, facts));
    }
    for link in uplinks.iter().chain(&egress).copied().collect::<Distinct<'_>>().0 {
        steps.extend(loose_rp_filter(&link.name, facts));
    }
    let source = source(wishes, facts);
    steps.extend(vips.iter().map(|&vip| route(wishes, vip, MAIN, source)));
    if wishes.announce_table != 0 {
        steps.extend(vips.iter().map(|&vip| route(wishes, vip, wishes.announce_table, source)));
    }
    let announcements = if wishes.arp { announcements(&uplinks, &vips) } else { Vec::new() };
    steps.extend(announcements.iter().filter_map(|one| proxy(one, facts)));

    Ok(Plan {
        tun: wishes.tun.clone(),
        tun_mtu: tun_mtu(wishes, facts),
        on_tun: silent_ipv6(&wishes.tun, facts).into_iter().collect(),
        steps,
        announcements,
        warnings,
        advertised_mss: 0,
    })
}

fn check_tables(wishes: &Wishes, vips: &[IpAddr], facts: &Facts) -> Result<(), Refusal> {
    if (253..=255).contains(&wishes.announce_table) {
        let table = wishes.announce_table;
        return Err(Refusal::TableReserved { key: "announce_table", table });
    }
    let own = facts.link(&wishes.tun).filter(|_| facts.tun_is_ours).map(|link| link.index);
    for route in &facts.routes {
        let address = route.destination.addr();
        let ours = own.is_some() && route.hops.first().map(|hop| hop.link) == own;
        let host_route = route.destination.prefix_len() == route.destination.max_prefix_len();
        let wanted = route.table == MAIN
            || (route.table == wishes.announce_table && wishes.announce_table != 0);
        if wanted && host_route && !ours && vips.contains(&address) {
            return Err(Refusal::RouteExists { address, table: route.table });
        }
    }
    Ok(())
}

fn check_addresses(wishes: &Wishes, vips: &[IpAddr], facts: &Facts) -> Result<(), Refusal> {
    for &vip in vips {
        if let Some((own, link)) = facts.owners(vip).next() {
            return Err(Refusal::VipIsLocal {
                address: vip,
                prefix: own.subnet.prefix_len(),
                link: link.name.clone(),
            });
        }
    }
    match wishes.source {
        Some(source) if facts.owners(source).next().is_none() => {
            Err(Refusal::SourceForeign(source))
        }
        _ => Ok(()),
    }
}

fn uplinks<'a>(
    wishes: &Wishes,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> Result<Vec<&'a Link>, Refusal> {
    let Some(names) = &wishes.uplinks else { return default_uplinks(wishes, vips, facts) };
    let mut links: Vec<&Link> = Vec::new();
    for name in names {
        let link = facts.link(name).ok_or_else(|| Refusal::UplinkUnknown(name.clone()))?;
        if link.loopback || link.name == wishes.tun {
            return Err(Refusal::UplinkUnfit(name.clone()));
        }
        if !links.contains(&link) {
            links.push(link);
        }
    }
    Ok(links)
}

fn default_uplinks<'a>(
    wishes: &Wishes,
    vips: &[IpAddr],
    facts: &'a Facts,
) -> Result<Vec<&'a Link>, Refusal> {
    let holding = |vip: IpAddr| {
        facts.addresses.iter().filter(move |own| own.subnet.contains(&vip)).map(|own| own.link)
    };
    let mut indices: Vec<u32> = vips.iter().flat_map(|&vip| holding(vip)).collect();
    if vips.iter().any(|&vip| holding(vip).next().is_none()) {
        indices.extend(default_route_links(facts));
    }
    let links = indices
        .into_iter()
        .filter_map(|index| facts.link_at(index))
        .filter(|link| !link.loopback && link.name != wishes.tun)
        .collect::<Distinct<'_>>()
        .0;
    if links.is_empty() && !vips.is_empty() { Err(Refusal::UplinkMissing) } else { Ok(links) }
}

fn default_route_links(facts: &Facts) -> Vec<u32> {
    facts
        .routes
        .iter()
        .filter(|route| route.table == MAIN && route.destination.prefix_len() == 0)
        .filter(|route| route.destination.addr().is_ipv4())
        .min_by_key(|route| route.priority)
        .map(|route| route.hops.iter().map(|hop| hop.link).collect())
        .unwrap_or_default()
}

/// The interfaces towards the real servers, and what is odd about the way there.
fn egress<'a>(wishes: &Wishes, facts: &'a Facts) -> (Vec<&'a Link>, Vec<String>) {
    let mut links = Vec::new();
    let mut warnings = Vec::new();
    for real in &wishes.reals {
        match facts.lookups.get(real) {
            Some(lookup) if lookup.kind == Kind::Local => warnings.push(format!(
                "real server {real} is an address of this director; one network namespace cannot be both"
            )),
            Some(lookup) if lookup.kind == Kind::Unicast => {
                links.extend(lookup.link.and_then(|index| facts.link_at(index)));
            }
            _ => warnings.push(format!(
                "there is no route to real server {real}; its packets are lost until there is one"
            )),
        }
    }
    (links, warnings)
}

/// The kernel forwards what comes in by an interface whose own `forwarding` is on, proxy ARP included; the global
/// `ip_forward` would make a router of the host. A proxied answer is otherwise delayed by up to `proxy_delay`.
fn receive(uplink: &Link, facts: &Facts) -> Vec<Step> {
    let name = &uplink.name;
    [
        write(facts, sysctl::conf(name, "forwarding"), "", "1"),
        write(facts, sysctl::neigh(name, "proxy_delay"), "", "0"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Forwarding is for all that arrives there, not only for what goes to the virtual IPs.
fn router(uplink: &Link, tun: &str, facts: &Facts) -> Option<String> {
    let name = &uplink.name;
    (facts.conf(name, "forwarding") == 0).then(|| {
        format!(
            "forwarding is turned on for interface {name}: hosts there can now use this host as a router to its other networks; to let them reach {tun} only: `nft add rule inet filter forward iifname \"{name}\" oifname != \"{tun}\" drop`"
        )
    })
}

/// Replies of real servers to the director's own probes come from the virtual IP, whose route leads to the TUN:
/// strict reverse path filtering drops them, loose does not. What is in force is the larger of `all` and the
/// interface's. A 2 that is there already is kept in the plan: it may be another daemon's, which may go first.
fn loose_rp_filter(link: &str, facts: &Facts) -> Option<Step> {
    let own = facts.conf(link, "rp_filter");
    let all = facts.conf("all", "rp_filter");
    if own.max(all) == 1 || own == 2 {
        write(facts, sysctl::conf(link, "rp_filter"), "", "2")
    } else {
        None
    }
}

/// Router solicitations and multicast reports of the host itself would otherwise come out of a new TUN.
pub(super) fn silent_ipv6(tun: &str, facts: &Facts) -> Option<Step> {
    let fallback = sysctl::conf6("default", "disable_ipv6");
    write(facts, sysctl::conf6(tun, "disable_ipv6"), &fallback, "1")
}

/// The address that the director uses towards the servers: its own connections to a virtual IP would otherwise
/// take some interface's first address.
fn source(wishes: &Wishes, facts: &Facts) -> Option<IpAddr> {
    wishes.source.or_else(|| {
        let towards = wishes.reals.iter().filter_map(|real| facts.lookups.get(real));
        towards.filter(|lookup| lookup.kind == Kind::Unicast).find_map(|lookup| lookup.source)
    })
}

fn route(wishes: &Wishes, address: IpAddr, table: u32, source: Option<IpAddr>) -> Step {
    Step::Add(Object::Route { address, link: wishes.tun.clone(), table, source })
}

fn announcements(uplinks: &[&Link], vips: &[IpAddr]) -> Vec<Announcement> {
    uplinks
        .iter()
        // Taken down, an interface loses its entries; they are made when it is up.
        .filter(|link| link.arp && link.up)
        .flat_map(|link| {
            let announce = |&address| Announcement { link: link.name.clone(), address };
            vips.iter().map(announce)
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

/// With the TUN's MTU at what fits into every tunnel, the kernel itself tells clients "fragmentation needed".
fn tun_mtu(wishes: &Wishes, facts: &Facts) -> u16 {
    let smallest = wishes
        .reals
        .iter()
        .filter_map(|real| facts.lookups.get(real))
        .filter(|lookup| lookup.kind == Kind::Unicast)
        .filter_map(|lookup| {
            let link = facts.link_at(lookup.link?)?;
            Some(lookup.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
        })
        .min()
        .unwrap_or(1500);
    u16::try_from(smallest.saturating_sub(OUTER_V4)).unwrap_or(u16::MAX).max(MIN_TUN_MTU)
}

/// Interfaces in the order of their first mention, each once.
struct Distinct<'a>(Vec<&'a Link>);

impl<'a> FromIterator<&'a Link> for Distinct<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Link>>(links: I) -> Self {
        let mut distinct: Vec<&Link> = Vec::new();
        for link in links {
            if !distinct.contains(&link) {
                distinct.push(link);
            }
        }
        Self(distinct)
    }
}
