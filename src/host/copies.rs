//! The MSS clamp: a table with the routes of packets from a virtual IP, but a smaller MSS.
//!
//! The MSS in the SYN-ACK limits the segments from client to server, and the director never sees
//! it. The kernel takes it from the route's `advmss`, so packets from the virtual IP get their own
//! routes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::DesiredRealServer;
use super::facts::{Facts, Link, Rule};
use super::family::Family;
use super::plan::AdvertisedMss;
use super::refusal::HostRefusal;
use super::route::{Route, RouteKind, attribute, metric};
use super::routes::RouteEvent;
use super::step::{LOCAL, PROTOCOL, is_kernel_table};

/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// The smallest MSS ever advertised (RFC 9293 3.7.1).
const MIN_MSS: u32 = 536;
/// The kernel's bound on `RTAX_ADVMSS`.
const MAX_MSS: u32 = 65_535 - 40;

/// A change of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteChange {
    /// Add the route, or replace the one with the same key.
    Replace(Route),
    /// Remove the route.
    Remove(Route),
}

/// Checks that the table and the priority are free.
pub(super) fn check(desired: &DesiredRealServer, facts: &Facts) -> Result<(), HostRefusal> {
    let table = desired.table;
    if table == 0 || is_kernel_table(table) {
        return Err(HostRefusal::TableReserved { key: "table", table });
    }
    let concerned = |family: Family| family.is_among(&desired.vips);
    let foreign =
        |route: &Route| route.protocol != PROTOCOL && concerned(Family::of_net(&route.destination));
    if facts.routes.of_table(table).any(foreign) {
        return Err(HostRefusal::TableUsed(table));
    }
    let priority = desired.rule_priority;
    let blocked = |rule: &Rule| {
        rule.protocol != PROTOCOL
            && concerned(rule.family)
            && (rule.priority == priority || rule.table == Some(LOCAL) && rule.priority >= priority)
    };
    if priority == 0 || facts.rules.iter().any(blocked) {
        return Err(HostRefusal::Priority(priority));
    }
    Ok(())
}

/// The input of copies: the configuration, the host, and what was computed once for all routes.
#[derive(Clone, Debug)]
pub struct Copier<'a> {
    desired: &'a DesiredRealServer,
    facts: &'a Facts,
    /// The tables in which packets from a virtual IP are looked up after ours, in order, for each
    /// of [`Family::BOTH`].
    tables: [Vec<u32>; 2],
    /// See [`tunnel_room`].
    room: Option<u32>,
}

impl<'a> Copier<'a> {
    /// A copier for these facts.
    #[must_use]
    pub fn new(desired: &'a DesiredRealServer, facts: &'a Facts) -> Self {
        let mut copier = Self::with_room(desired, facts, None);
        copier.room = tunnel_room(desired, facts, &copier.tables);
        copier
    }

    /// As [`Self::new`], if the size that fits into the tunnels is known.
    #[must_use]
    pub fn with_room(desired: &'a DesiredRealServer, facts: &'a Facts, room: Option<u32>) -> Self {
        let tables = Family::BOTH.map(|family| tables(family, desired, facts));
        Self { desired, facts, tables, room }
    }

    /// The routes of the table, IPv4 first. Narrow scopes and long prefixes come first, since a
    /// gateway must be reachable by an existing route.
    #[must_use]
    pub fn wanted(&self) -> Vec<Route> {
        let mut all = Vec::new();
        for family in self.families() {
            let first = all.len();
            for destination in self.destinations(family) {
                all.extend(self.wanted_at(destination));
            }
            in_order(all.get_mut(first..).unwrap_or_default());
        }
        all
    }

    /// The table's routes to one destination.
    #[must_use]
    pub fn wanted_at(&self, destination: IpNet) -> Vec<Route> {
        let family = Family::of_net(&destination);
        if !family.is_among(&self.desired.vips) {
            return Vec::new();
        }
        let tables = self.tables_of(family);
        self.copies_at(destination, tables)
    }

    /// The destination's routes of these tables, earlier tables first. Whether a route counts
    /// depends only on routes of earlier tables that cover it.
    fn copies_at(&self, destination: IpNet, tables: &[u32]) -> Vec<Route> {
        let Some((table, earlier)) = tables.split_last() else { return Vec::new() };
        let mut copies = self.copies_at(destination, earlier);
        let first = copies.len();
        let mut routes: Vec<&Route> = self.facts.routes.at(*table, &destination).iter().collect();
        routes.retain(|route| copied(route, self.desired, self.facts));
        if routes.is_empty() || self.is_hidden(destination, earlier) {
            return copies;
        }
        // Among routes of one metric the kernel uses routers in the order of their preference.
        routes.sort_by_key(|route| (route.priority, preference(route)));
        // A lookup that hits a throw leaves the table: the routes after it are never used.
        let throw =
            routes.iter().position(|route| is_plain(route) && route.kind == RouteKind::Throw);
        routes.truncate(throw.map_or(routes.len(), |throw| throw + 1));
        for route in routes {
            let copy = self.copy(route);
            copies.extend(apart(copy, &copies));
        }
        drop_throws(&mut copies, first);
        copies
    }

    /// Whether a lookup always ends in the earlier tables before it reaches this destination.
    fn is_hidden(&self, destination: IpNet, earlier: &[u32]) -> bool {
        let family = Family::of_net(&destination);
        if !earlier.iter().any(|table| self.facts.routes.has(*table, family)) {
            return false;
        }
        let wider = std::iter::successors(Some(destination.trunc()), IpNet::supernet);
        let mut covering = wider.flat_map(|net| {
            // The kernel uses the lowest metric.
            let copies = self.copies_at(net, earlier).into_iter().filter(is_plain);
            copies.min_by_key(|other| other.priority)
        });
        covering.next().is_some_and(|other| other.kind != RouteKind::Throw)
    }

    /// Whether copies of other destinations depend on that table's routes, because they may hide
    /// routes of a later table.
    #[must_use]
    pub fn hides_others(&self, table: u32, family: Family) -> bool {
        let later = self.tables_of(family).iter().skip_while(|one| **one != table).skip(1);
        later.into_iter().any(|later| self.facts.routes.has(*later, family))
    }

    /// The size in bytes that fits into the tunnels from the directors; `None` if unknown.
    #[must_use]
    pub fn room(&self) -> Option<u32> {
        self.room
    }

    /// Whether the size that fits into the tunnels may change with this route.
    #[must_use]
    pub fn may_change_room(&self, route: &Route) -> bool {
        let to = &route.destination;
        self.desired.directors.iter().any(|net| {
            // Among routes within the range, the smallest MTU counts; among routes that contain the
            // range, the longest prefix.
            let room = route_mtu(route, self.facts)
                .map(|mtu| mtu.saturating_sub(outer_of(self.desired, net)));
            let narrow = self.room.is_none() || room.is_some_and(|room| Some(room) <= self.room);
            let hidden = || {
                let tables = self.tables_of(Family::of_net(net));
                let longest = route_to(net, self.facts, tables);
                longest.is_some_and(|route| route.destination.prefix_len() > to.prefix_len())
            };
            net.contains(to) && narrow || to.contains(net) && !hidden()
        })
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        let vips = &self.desired.vips;
        Family::BOTH.into_iter().filter(|family| family.is_among(vips))
    }

    fn tables_of(&self, family: Family) -> &[u32] {
        let [v4, v6] = &self.tables;
        if family == Family::V4 { v4 } else { v6 }
    }

    fn destinations(&self, family: Family) -> BTreeSet<IpNet> {
        let tables = self.tables_of(family).iter();
        tables.flat_map(|table| self.facts.routes.destinations(*table, family)).collect()
    }

    fn copy(&self, route: &Route) -> Route {
        let (table, protocol) = (self.desired.table, PROTOCOL);
        let mut copy = Route { table, protocol, ..route.clone() };
        if let Some(mss) = self.mss(route) {
            let own = advmss(route).unwrap_or(MAX_MSS);
            copy.metrics.insert(metric::ADVMSS, mss.min(own));
        }
        copy
    }

    /// The MSS for the packets in the other direction. With the outer headers they must not exceed
    /// the route's MTU, nor the size that fits into the tunnels.
    fn mss(&self, route: &Route) -> Option<u32> {
        let back = route_mtu(route, self.facts)?.saturating_sub(outer(self.desired));
        let packet = self.room.map_or(back, |room| room.min(back));
        let headers = Family::of_net(&route.destination).header() + TCP_HEADER;
        Some(packet.saturating_sub(headers).clamp(MIN_MSS, MAX_MSS))
    }
}

/// The routes of the table, IPv4 first.
#[must_use]
pub fn wanted(desired: &DesiredRealServer, facts: &Facts) -> Vec<Route> {
    Copier::new(desired, facts).wanted()
}

/// Whether the route applies to all sources and traffic classes.
fn is_plain(route: &(impl std::borrow::Borrow<Route> + ?Sized)) -> bool {
    let route = route.borrow();
    route.tos == 0 && route.from.is_none()
}

/// Narrow scopes and long prefixes first.
fn in_order(routes: &mut [Route]) {
    routes.sort_by_key(|route| {
        (std::cmp::Reverse(route.scope), std::cmp::Reverse(route.destination.prefix_len()))
    });
}

/// Whether a packet from a virtual IP that leaves this host could use the route.
fn copied(route: &Route, desired: &DesiredRealServer, facts: &Facts) -> bool {
    let tun = facts.link(&desired.tun).map(|link| link.index);
    let through_tun = tun.is_some() && route.hops.iter().any(|hop| Some(hop.link) == tun);
    let out = !matches!(route.kind, RouteKind::Local | RouteKind::Other(_));
    let for_vips = route.from.is_none_or(|net| desired.vips.iter().any(|vip| net.contains(vip)));
    let on_link_only = match route.destination.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(to) => to.is_unicast_link_local() || to.is_multicast(),
    };
    out && for_vips && !through_tun && !on_link_only
}

/// The copy with a unique key. IPv4 uses the first of several routes with one key. IPv6 has routes
/// that differ only in their next hop, such as default routers: added by hand they would become one
/// multipath route, or the later would replace the earlier. With ascending metrics they keep their
/// order, and the kernel still skips a router that does not answer (RFC 4191 3.2).
fn apart(mut copy: Route, others: &[Route]) -> Option<Route> {
    // A throw is dropped later: see `drop_throws`.
    let kept = |other: &&Route| other.kind != RouteKind::Throw;
    let taken = |key| others.iter().filter(kept).any(|other| other.key() == key);
    while taken(copy.key()) {
        match Family::of_net(&copy.destination) {
            Family::V4 => return None,
            Family::V6 => copy.priority = copy.priority.checked_add(1)?,
        }
    }
    Some(copy)
}

/// The order among routers of one metric (RFC 4191 2.1): high, medium, low.
fn preference(route: &Route) -> u8 {
    let raw = route.rest.iter().chain(route.hops.iter().flat_map(|hop| &hop.rest));
    let value = raw.filter(|raw| raw.kind == attribute::PREF).find_map(|raw| raw.value.first());
    match value {
        Some(1) => 0,
        Some(3) => 2,
        _ => 1,
    }
}

/// The changes from the table's current routes to the planned ones.
#[must_use]
pub fn changes(desired: &DesiredRealServer, facts: &Facts) -> Vec<RouteChange> {
    let ours = |route: &&Route| route.protocol == PROTOCOL;
    let there: Vec<&Route> = facts.routes.of_table(desired.table).filter(ours).collect();
    difference(there, wanted(desired, facts))
}

/// The changes from one set of routes of the table to another.
pub fn difference<'a>(
    there: impl IntoIterator<Item = &'a Route>,
    wanted: Vec<Route>,
) -> Vec<RouteChange> {
    let mut there: HashMap<_, _> =
        there.into_iter().map(|route| (route.key(), (route, false))).collect();
    let mut changes = Vec::new();
    for copy in wanted {
        let known = there.get_mut(&copy.key()).map(|(known, kept)| {
            *kept = true;
            *known
        });
        if known != Some(&copy) {
            changes.push(RouteChange::Replace(copy));
        }
    }
    // New ones before old ones: a packet in between finds one or the other.
    let extra = there.into_values().filter(|(_, kept)| !kept);
    let mut extra: Vec<Route> = extra.map(|(route, _)| route.clone()).collect();
    extra.sort_by_key(Route::key);
    changes.extend(extra.into_iter().map(RouteChange::Remove));
    changes
}

/// Computes changes from route events, if the table was up to date before them: `facts` are as
/// before the events, except for the table itself, and `room` is the size that fitted into the
/// tunnels. The cost depends on the events' own destinations, not on the number of routes.
///
/// `None`: the events concern more than their own destinations, or are ambiguous. Then the host has
/// to be read again, and `facts` must not be used any more.
#[must_use]
pub fn follow(
    desired: &DesiredRealServer,
    facts: &mut Facts,
    room: Option<u32>,
    events: &[RouteEvent],
) -> Option<Vec<RouteChange>> {
    let alone = |facts: &Facts, route: &Route| {
        let copier = Copier::with_room(desired, facts, room);
        !copier.hides_others(route.table, Family::of_net(&route.destination))
            && !copier.may_change_room(route)
            && route.table != desired.table
    };
    let destinations: BTreeSet<IpNet> =
        events.iter().map(|event| event.route().destination.trunc()).collect();
    let wanted = |facts: &Facts| -> Vec<Route> {
        let copier = Copier::with_room(desired, facts, room);
        destinations.iter().flat_map(|to| copier.wanted_at(*to)).collect()
    };
    let before = wanted(facts);
    for event in events {
        let route = event.route();
        let there = facts.routes.at(route.table, &route.destination);
        if !there.iter().chain([route]).all(|route| alone(facts, route)) {
            return None;
        }
        facts.routes.follow(event.clone()).ok()?;
        if !alone(facts, route) {
            return None;
        }
    }
    let mut after = wanted(facts);
    in_order(&mut after);
    Some(difference(&before, after))
}

/// Whether the inputs of copies other than routes are the same: rules, interfaces, their MTUs.
#[must_use]
pub fn same_inputs(one: &Facts, other: &Facts) -> bool {
    let mtus = |facts: &Facts| -> Vec<u32> {
        facts.links.iter().map(|link| facts.mtu(link, Family::V6)).collect()
    };
    one.rules == other.rules && one.links == other.links && mtus(one) == mtus(other)
}

/// Rules that packets from the virtual IPs may match after ours and that no copy can represent.
#[must_use]
pub fn unseen_rules(desired: &DesiredRealServer, facts: &Facts) -> Vec<u32> {
    let later = facts.rules.iter().filter(|rule| rule.priority > desired.rule_priority);
    let later = later.filter(|rule| rule.family.is_among(&desired.vips));
    later.filter(|rule| rule.special || rule.table.is_none()).map(|rule| rule.priority).collect()
}

/// The MSS that clients of the virtual IPs learn: the smallest of all routes that leave the host.
pub(super) fn advertised_mss(desired: &DesiredRealServer, facts: &Facts) -> AdvertisedMss {
    let copier = Copier::new(desired, facts);
    let usual = 1500 - if desired.mss_route { outer(desired) } else { 0 };
    let of = |family: Family| {
        let plain = |route: &Route| {
            let mtu = route_mtu(route, facts)?;
            Some(mtu.saturating_sub(family.header() + TCP_HEADER).clamp(MIN_MSS, MAX_MSS))
        };
        // Routes hidden by another table are included: at worst the MSS is too small.
        let routes = copier.tables_of(family).iter().flat_map(|table| {
            let all = facts.routes.within(*table, family.everywhere());
            all.filter(|route| copied(route, desired, facts))
        });
        let smallest = routes
            .filter_map(|route| match desired.mss_route {
                true => copier.mss(route).map(|mss| advmss(route).unwrap_or(MAX_MSS).min(mss)),
                false => plain(route),
            })
            .min()
            .unwrap_or_else(|| usual - family.header() - TCP_HEADER);
        u16::try_from(smallest).unwrap_or(u16::MAX)
    };
    AdvertisedMss { v4: of(Family::V4), v6: of(Family::V6) }
}

/// The size in bytes that fits into the tunnels from the directors: the smallest MTU of the routes
/// back to them, less the outer header. A range of directors also includes the routes within it,
/// since any of its addresses may be in use. `None` if there is no route to any.
fn tunnel_room(
    desired: &DesiredRealServer,
    facts: &Facts,
    [v4, v6]: &[Vec<u32>; 2],
) -> Option<u32> {
    let room = |net: &IpNet| {
        let tables = if Family::of_net(net) == Family::V4 { v4 } else { v6 };
        let inside = tables.iter().flat_map(|table| facts.routes.within(*table, *net));
        let mtus = route_to(net, facts, tables)
            .into_iter()
            .chain(inside)
            .filter_map(|route| route_mtu(route, facts));
        Some(mtus.min()?.saturating_sub(outer_of(desired, net)))
    };
    desired.directors.iter().filter_map(room).min()
}

/// The route to a whole range.
fn route_to<'a>(net: &IpNet, facts: &'a Facts, tables: &[u32]) -> Option<&'a Route> {
    let covering = |table: &u32| {
        let mut routes = facts.routes.covering(*table, *net);
        routes.find(|route| route.kind == RouteKind::Unicast)
    };
    tables.iter().find_map(covering)
}

/// Bytes of the headers before the packets of directors of the range.
fn outer_of(desired: &DesiredRealServer, net: &IpNet) -> u32 {
    Family::of_net(net).header() + desired.shim
}

/// Bytes of the longest headers that a director may send before a packet.
fn outer(desired: &DesiredRealServer) -> u32 {
    let headers = desired.directors.iter().map(|net| outer_of(desired, net));
    headers.max().unwrap_or_else(|| Family::V4.header())
}

/// The tables in which packets from a virtual IP are looked up after ours, in order.
fn tables(family: Family, desired: &DesiredRealServer, facts: &Facts) -> Vec<u32> {
    let from_vip = |rule: &Rule| match rule.from {
        None => true,
        // A rule for one of several virtual IPs counts for all of them: they share one table.
        Some(net) => desired.vips.iter().any(|vip| net.contains(vip)),
    };
    let mut rules: Vec<&Rule> = facts
        .rules
        .iter()
        .filter(|rule| rule.family == family && rule.protocol != PROTOCOL)
        .filter(|rule| rule.priority > desired.rule_priority)
        .filter(|rule| !rule.special && from_vip(rule))
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut tables = Vec::new();
    for table in rules.into_iter().filter_map(|rule| rule.table) {
        if table != LOCAL && table != desired.table && !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

/// A throw in an earlier table continues with the next table: that table's route for the same
/// prefix replaces it.
fn drop_throws(copies: &mut Vec<Route>, earlier: usize) {
    // With any metric: otherwise the lower one would win.
    let key = |route: &Route| (route.destination, route.from, route.tos);
    let later: Vec<_> = copies.iter().skip(earlier).map(key).collect();
    let mut position = 0;
    copies.retain(|route| {
        position += 1;
        position > earlier || route.kind != RouteKind::Throw || !later.contains(&key(route))
    });
}

fn advmss(route: &Route) -> Option<u32> {
    route.metrics.get(&metric::ADVMSS).copied()
}

/// The smallest MTU of the route's next hops, or its own if that is smaller, in bytes; `None`
/// without a next hop.
fn route_mtu(route: &Route, facts: &Facts) -> Option<u32> {
    if route.kind != RouteKind::Unicast {
        return None;
    }
    let family = Family::of_net(&route.destination);
    let mtu = |link: &Link| facts.mtu(link, family);
    // With `nexthop_compat_mode` off the kernel does not report where a nexthop object leads. The
    // worst case is the interface with the smallest MTU.
    let link = if route.hops.is_empty() && route.nexthop.is_some() {
        facts.links.iter().filter(|link| !link.loopback).map(mtu).min()?
    } else {
        route.hops.iter().filter_map(|hop| facts.link_at(hop.link)).map(mtu).min()?
    };
    Some(route.metrics.get(&metric::MTU).map_or(link, |mtu| link.min(*mtu)))
}
