//! The kernel's routes for replies from virtual IPs.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;

use super::{gather, messages, routes};
use crate::host::replies::Reply;
use crate::host::{Family, RouteKind};
use crate::sys::netlink::Netlink;
use crate::sys::netlink::packet_route::route::{RouteFlags, RouteMessage};

/// The result of a lookup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReplyLookup {
    /// A route into an interface.
    Link {
        /// The interface's index.
        link: u32,
        /// Whether it has a router.
        router: bool,
        /// Its destinations, if the kernel reports them.
        prefix: Option<IpNet>,
        /// Its table.
        table: u32,
    },
    /// The kernel drops such packets, or has no route for them.
    Refused(&'static str),
    /// To this host itself.
    Local,
}

/// The route of each reply; replies that the kernel cannot judge are left out.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn reply_routes(replies: Vec<Reply>) -> Result<Vec<(Reply, ReplyLookup)>> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let mut found = Vec::with_capacity(replies.len());
    for reply in replies {
        let mut request = messages::reply_request(&reply);
        // The route itself and not what follows from it for this destination.
        request.header.flags |= RouteFlags::FibMatch;
        let lookup = match netlink.lookup(request).await {
            Ok(message) => of_message(&message),
            Err(error) => of_error(error.raw_os_error().unwrap_or_default()),
        };
        found.extend(lookup.map(|lookup| (reply, lookup)));
    }
    Ok(found)
}

fn of_message(message: &RouteMessage) -> Option<ReplyLookup> {
    let route = routes::route(message)?;
    Some(match route.kind {
        RouteKind::Unicast => {
            let hop = route.hops.first()?;
            let (link, router) = (hop.link, hop.gateway.is_some());
            let prefix = Some(route.destination);
            ReplyLookup::Link { link, router, prefix, table: messages::table(message) }
        }
        RouteKind::Local => ReplyLookup::Local,
        kind => ReplyLookup::Refused(name(kind)?),
    })
}

/// What `ip route` calls a route that drops.
fn name(kind: RouteKind) -> Option<&'static str> {
    match kind {
        RouteKind::Blackhole => Some("blackhole"),
        RouteKind::Unreachable => Some("unreachable"),
        RouteKind::Prohibit => Some("prohibit"),
        _ => None,
    }
}

/// The error that the kernel returns for a route that drops (`fib_props`).
fn of_error(errno: i32) -> Option<ReplyLookup> {
    match errno {
        libc::EINVAL => Some(ReplyLookup::Refused("blackhole")),
        libc::EHOSTUNREACH | libc::ENETUNREACH => Some(ReplyLookup::Refused("unreachable")),
        libc::EACCES => Some(ReplyLookup::Refused("prohibit")),
        _ => None,
    }
}

/// A route that drops packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DroppingRoute {
    /// `blackhole`, `unreachable` or `prohibit`.
    pub(crate) kind: &'static str,
    /// Its destinations.
    pub(crate) net: IpNet,
    /// Its table.
    pub(crate) table: u32,
}

/// The routes of this host that drop packets, default routes aside; of copies the originals.
///
/// # Errors
/// The routes cannot be read.
pub(crate) async fn dropping(copies: Option<u32>) -> Result<Vec<DroppingRoute>> {
    let mut found = Vec::new();
    for family in gather::families() {
        found.extend(dropping_of(family, copies).await?);
    }
    found.retain(|route| route.net.prefix_len() > 0);
    Ok(found)
}

async fn dropping_of(family: Family, copies: Option<u32>) -> Result<Vec<DroppingRoute>> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let mut found = Vec::new();
    let keep = |message: RouteMessage| {
        let Some(route) = routes::listed(&message) else { return };
        let original = Some(route.table) != copies && route.protocol != BY_KERNEL;
        if let (Some(kind), true) = (name(route.kind), original) {
            found.push(DroppingRoute { kind, net: route.destination, table: route.table });
        }
    };
    netlink.routes(&messages::version(family), keep).await?;
    Ok(found)
}

/// `RTPROT_KERNEL`: the kernel makes such a route for what it has no other one for.
const BY_KERNEL: u8 = 2;

/// The route of that kind with the longest prefix that contains this host, and its table; of copies
/// the original.
///
/// # Errors
/// The routes cannot be read.
pub(crate) async fn refusing(
    host: IpAddr,
    kind: &str,
    copies: Option<u32>,
) -> Result<Option<(IpNet, u32)>> {
    let all = dropping_of(Family::of(host), copies).await?;
    let fit = all.iter().filter(|route| route.kind == kind && route.net.contains(&host));
    let best = fit.max_by_key(|route| route.net.prefix_len());
    Ok(best.map(|route| (route.net, route.table)))
}

/// How the kernel refuses packets of this host to another one; `None`: it sends them.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn refusal(to: IpAddr) -> Result<Option<&'static str>> {
    Ok(match towards(to).await? {
        Some(ReplyLookup::Refused(kind)) => Some(kind),
        _ => None,
    })
}

/// The kernel's route for packets of this host to another one.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn towards(to: IpAddr) -> Result<Option<ReplyLookup>> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let mut request = messages::lookup_request(to);
    request.header.flags |= RouteFlags::FibMatch | RouteFlags::LookupTable;
    Ok(match netlink.lookup(request).await {
        Ok(message) => of_message(&message),
        Err(error) => of_error(error.raw_os_error().unwrap_or_default()),
    })
}

/// The names of the interfaces of the routes to these hosts; hosts without one are left out.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn links_towards(hosts: &[IpAddr]) -> Result<Vec<(IpAddr, u32)>> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let lookups = gather::lookups(&netlink, hosts).await;
    let unicast = lookups.into_iter().filter(|(_, lookup)| lookup.kind == RouteKind::Unicast);
    Ok(unicast.filter_map(|(host, lookup)| Some((host, lookup.link?))).collect())
}
