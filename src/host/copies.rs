//! The MSS clamp: a table that says about packets from a virtual IP what a lookup says today, with a smaller MSS.
//!
//! The size of segments from client to server is set by the MSS in the SYN-ACK, which the director never sees. The
//! kernel takes it from the route's `advmss`, so packets from the virtual IP get routes of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::facts::{Facts, Rule};
use super::family::Family;
use super::plan::{Mss, Refusal};
use super::realserver::DesiredRealServer;
use super::route::{Route, RouteKind, attribute, metric};
use super::step::PROTOCOL;

/// The local table. Its rule comes first, and its routes are none to be copied.
const LOCAL: u32 = 255;
/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// The smallest MSS ever advertised (RFC 9293 3.7.1).
const MIN_MSS: u32 = 536;
/// The kernel's bound on `RTAX_ADVMSS`.
const MAX_MSS: u32 = 65_535 - 40;

/// What has to be done to the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Make the route, in the place of one with the same key if there is one.
    Replace(Route),
    /// Take the route away.
    Remove(Route),
}

/// Whether the table and the priority are free for us.
pub(super) fn check(desired: &DesiredRealServer, facts: &Facts) -> Result<(), Refusal> {
    let table = desired.table;
    if table == 0 || (253..=255).contains(&table) {
        return Err(Refusal::TableReserved { key: "table", table });
    }
    let concerned = |family: Family| family.is_among(&desired.vips);
    let foreign = |route: &&Route| {
        route.table == table
            && route.protocol != PROTOCOL
            && concerned(Family::of_net(&route.destination))
    };
    if facts.routes.iter().any(|route| foreign(&route)) {
        return Err(Refusal::TableUsed(table));
    }
    let priority = desired.rule_priority;
    let blocked = |rule: &Rule| {
        rule.protocol != PROTOCOL
            && concerned(rule.family)
            && (rule.priority == priority || rule.table == Some(LOCAL) && rule.priority >= priority)
    };
    if priority == 0 || facts.rules.iter().any(blocked) {
        return Err(Refusal::Priority(priority));
    }
    Ok(())
}

/// The routes that the table should hold, those of IPv4 first.
#[must_use]
pub fn wanted(desired: &DesiredRealServer, facts: &Facts) -> Vec<Route> {
    let concerned = Family::BOTH.into_iter().filter(|family| family.is_among(&desired.vips));
    concerned.flat_map(|family| wanted_of(family, desired, facts)).collect()
}

fn wanted_of(family: Family, desired: &DesiredRealServer, facts: &Facts) -> Vec<Route> {
    let mut copies: Vec<Route> = Vec::new();
    for table in tables(family, desired, facts) {
        let earlier = copies.len();
        let mut routes: Vec<&Route> = facts
            .routes
            .iter()
            .filter(|route| route.table == table && Family::of_net(&route.destination) == family)
            .filter(|route| copied(route, desired, facts) && !hidden(route, &copies))
            .collect();
        // Among routes of one metric the kernel asks routers in the order of their preference.
        routes.sort_by_key(|route| (route.priority, preference(route)));
        for route in routes {
            let copy = copy(route, desired, facts);
            let apart = apart(copy, copies.get(earlier..).unwrap_or_default());
            copies.extend(apart);
        }
        drop_throws(&mut copies, earlier);
    }
    // A gateway must be reachable by a route that is there already: narrow scopes and long prefixes first.
    copies.sort_by_key(|route| {
        (std::cmp::Reverse(route.scope), std::cmp::Reverse(route.destination.prefix_len()))
    });
    copies
}

/// Whether a packet from a virtual IP that leaves this host could take it.
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

/// The copy under a key that none of the others has. IPv4 uses the first of several with one key. IPv6 has routes that
/// differ in nothing but where they go, default routers for one: made again by hand they would become one multipath
/// route, or the later would replace the earlier. One after the other by metric they keep their order, and a router that
/// does not answer is passed over still (RFC 4191 3.2).
fn apart(mut copy: Route, others: &[Route]) -> Option<Route> {
    let taken = |key| others.iter().any(|other| other.key() == key);
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

/// The changes that lead from what the table holds to what it should hold.
#[must_use]
pub fn changes(desired: &DesiredRealServer, facts: &Facts) -> Vec<Change> {
    let wanted = wanted(desired, facts);
    let there: BTreeMap<_, _> = facts
        .routes
        .iter()
        .filter(|route| route.table == desired.table && route.protocol == PROTOCOL)
        .map(|route| (route.key(), route))
        .collect();
    let extra = there
        .values()
        .filter(|route| !wanted.iter().any(|copy| copy.key() == route.key()))
        .map(|route| Change::Remove((*route).clone()));
    let new = wanted.iter().filter(|copy| there.get(&copy.key()) != Some(copy));
    // New before old: a packet in between finds one or the other.
    new.cloned().map(Change::Replace).chain(extra.collect::<Vec<_>>()).collect()
}

/// Rules that packets from the virtual IPs may meet after ours and that no copy can stand for.
#[must_use]
pub fn unseen_rules(desired: &DesiredRealServer, facts: &Facts) -> Vec<u32> {
    let later = facts.rules.iter().filter(|rule| rule.priority > desired.rule_priority);
    let later = later.filter(|rule| rule.family.is_among(&desired.vips));
    later.filter(|rule| rule.special || rule.table.is_none()).map(|rule| rule.priority).collect()
}

/// The MSS that clients of the virtual IPs are told: the smallest of all routes that leave the host.
pub(super) fn advertised_mss(desired: &DesiredRealServer, facts: &Facts) -> Mss {
    let outer = if desired.mss_route { outer(desired) } else { 0 };
    let of = |family: Family| {
        let smallest = wanted_of(family, desired, facts)
            .iter()
            .filter_map(|route| match desired.mss_route {
                true => advmss(route),
                false => mss(route, facts, 0),
            })
            .min()
            .unwrap_or_else(|| 1500 - outer - family.header() - TCP_HEADER);
        u16::try_from(smallest).unwrap_or(u16::MAX)
    };
    Mss { v4: of(Family::V4), v6: of(Family::V6) }
}

/// Bytes of the longest outer header that a director may send.
fn outer(desired: &DesiredRealServer) -> u32 {
    let headers = desired.directors.iter().map(|net| Family::of_net(net).header());
    headers.max().unwrap_or_else(|| Family::V4.header())
}

/// The tables that a packet from a virtual IP is looked up in after ours, in order.
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

/// Whether a lookup of the earlier tables always ends before it comes to this route's destination.
fn hidden(route: &Route, earlier: &[Route]) -> bool {
    earlier
        .iter()
        .filter(|other| other.destination.contains(&route.destination))
        .filter(|other| other.tos == 0 && other.from.is_none())
        .max_by_key(|other| other.destination.prefix_len())
        .is_some_and(|other| other.kind != RouteKind::Throw)
}

/// A throw of an earlier table says "go on to the next": the next table's route for the same prefix takes its place.
fn drop_throws(copies: &mut Vec<Route>, earlier: usize) {
    // Whatever its metric: between the two the lower one would win.
    let place = |route: &Route| (route.destination, route.from, route.tos);
    let later: Vec<_> = copies.iter().skip(earlier).map(place).collect();
    let mut position = 0;
    copies.retain(|route| {
        position += 1;
        position > earlier || route.kind != RouteKind::Throw || !later.contains(&place(route))
    });
}

fn copy(route: &Route, desired: &DesiredRealServer, facts: &Facts) -> Route {
    let mut copy = Route { table: desired.table, protocol: PROTOCOL, ..route.clone() };
    if let Some(mss) = mss(route, facts, outer(desired)) {
        let own = advmss(route).unwrap_or(MAX_MSS);
        copy.metrics.insert(metric::ADVMSS, mss.min(own));
    }
    copy
}

fn advmss(route: &Route) -> Option<u32> {
    route.metrics.get(&metric::ADVMSS).copied()
}

/// The smallest MTU of the ways out, less what the headers take; none where there is no way out.
fn mss(route: &Route, facts: &Facts, outer: u32) -> Option<u32> {
    let family = Family::of_net(&route.destination);
    let links = route.hops.iter().filter_map(|hop| facts.link_at(hop.link));
    let link = links.map(|link| facts.mtu(link, family)).min()?;
    let mtu = route.metrics.get(&metric::MTU).map_or(link, |mtu| link.min(*mtu));
    let headers = outer + family.header() + TCP_HEADER;
    (route.kind == RouteKind::Unicast).then(|| mtu.saturating_sub(headers).clamp(MIN_MSS, MAX_MSS))
}
