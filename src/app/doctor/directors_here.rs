//! A real server's routes to its directors.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::app::host::reply_lookup::{self, ReplyLookup};
use crate::doctor::{LostDirector, LostWay, RouteLeads, StrayDirector};
use crate::host::{Facts, Link, MAIN, sysctl};
use crate::sys::sysctl as settings;

/// The directors on this host's own networks whose packets its reverse path filter drops, since a
/// route of the main table leads elsewhere. `copies`: the table of the real server's own routes.
///
/// # Errors
/// There is no netlink.
pub(super) async fn strays(
    directors: &[IpNet],
    host: &Facts,
    copies: Option<u32>,
) -> anyhow::Result<Vec<StrayDirector>> {
    let mut found = Vec::new();
    let alone = |net: &&IpNet| net.addr().is_ipv4() && net.prefix_len() == net.max_prefix_len();
    for director in directors.iter().filter(alone).map(IpNet::addr) {
        let here: Vec<u32> = networks(director, host).collect();
        let mut inputs = here.iter().filter_map(|link| host.link_at(*link));
        let Some(input) = inputs.find(|link| link.up) else { continue };
        let filter = filter_of(&input.name).max(filter_of("all"));
        let (leads, route) = match reply_lookup::towards(director).await? {
            Some(ReplyLookup::Link { link, prefix: Some(net), table: MAIN, .. })
                if filter == STRICT && !here.contains(&link) =>
            {
                let Some(link) = host.link_at(link) else { continue };
                (RouteLeads::To(link.name.clone()), net)
            }
            Some(ReplyLookup::Refused(kind)) if filter > 0 => {
                match reply_lookup::refusing(director, kind, copies).await? {
                    Some((net, MAIN)) => (RouteLeads::Nowhere(kind), net),
                    _ => continue,
                }
            }
            _ => continue,
        };
        found.push(StrayDirector { director, input: input.name.clone(), leads, route });
    }
    Ok(found)
}

/// The directors to which this host has no way. Of a network of directors nothing is known.
///
/// # Errors
/// There is no netlink.
pub(super) async fn lost(directors: &[IpNet], host: &Facts) -> anyhow::Result<Vec<LostDirector>> {
    let mut found = Vec::new();
    let alone = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
    for director in directors.iter().filter(alone).map(IpNet::addr) {
        let links = || networks(director, host).filter_map(|link| host.link_at(link));
        let works = |link: &&Link| link.up && link.carrier;
        let why = match links().find(|link| !works(link)) {
            Some(link) if !links().any(|link| works(&link)) => {
                let name = link.name.clone();
                if link.up { LostWay::NoCarrier(name) } else { LostWay::Down(name) }
            }
            _ => match reply_lookup::towards(director).await? {
                // No route of an operator's drops them.
                Some(ReplyLookup::Refused(kind))
                    if reply_lookup::refusing(director, kind, None).await?.is_none() =>
                {
                    let filter = |link: &Link| filter_of(&link.name).max(filter_of("all"));
                    let mut up = host.links.iter().filter(|link| link.up && link.arp);
                    let filtered = director.is_ipv4() && up.any(|link| filter(link) > 0);
                    LostWay::NoRoute { filtered }
                }
                _ => continue,
            },
        };
        found.push(LostDirector { director, why });
    }
    Ok(found)
}

/// The value of `rp_filter` that lets in only what the route to its source would take back.
const STRICT: u32 = 1;

fn filter_of(link: &str) -> u32 {
    let setting = sysctl::conf(link, "rp_filter");
    settings::read(&setting).ok().and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The interfaces with an address in a network of the director's.
fn networks(director: IpAddr, host: &Facts) -> impl Iterator<Item = u32> {
    let own = host.addresses.iter().filter(move |own| {
        let alone = own.subnet.prefix_len() == own.subnet.max_prefix_len();
        !alone && own.subnet.contains(&director)
    });
    own.map(|own| own.link)
}
