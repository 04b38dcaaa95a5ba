//! The MSS clamp: a table that says about packets from a virtual IP what a lookup says today, with a smaller MSS.
//!
//! The size of segments from client to server is set by the MSS in the SYN-ACK, which the director never sees. The
//! kernel takes it from the route's `advmss`, so packets from the virtual IP get routes of their own.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::facts::{Facts, Rule};
use super::plan::{OUTER_V4, Refusal};
use super::realserver::Wishes;
use super::route::{Kind, Route, metric};
use super::step::PROTOCOL;

/// The local table. Its rule comes first, and its routes are none to be copied.
const LOCAL: u32 = 255;
/// Bytes of an IPv4 and a TCP header without options.
const INNER_V4: u32 = 40;
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
pub(super) fn check(wishes: &Wishes, facts: &Facts) -> Result<(), Refusal> {
    let table = wishes.table;
    if table == 0 || (253..=255).contains(&table) {
        return Err(Refusal::TableReserved { key: "table", table });
    }
    let foreign = |route: &&Route| route.table == table && route.protocol != PROTOCOL;
    if facts.routes.iter().any(|route| foreign(&route)) {
        return Err(Refusal::TableUsed(table));
    }
    let priority = wishes.rule_priority;
    let blocked = |rule: &Rule| {
        rule.protocol != PROTOCOL
            && (rule.priority == priority || rule.table == Some(LOCAL) && rule.priority >= priority)
    };
    if priority == 0 || facts.rules.iter().any(blocked) {
        return Err(Refusal::Priority(priority));
    }
    Ok(())
}

/// The routes that the table should hold.
#[must_use]
pub fn wanted(wishes: &Wishes, facts: &Facts) -> Vec<Route> {
    let tun = facts.link(&wishes.tun).map(|link| link.index);
    let mut copies: Vec<Route> = Vec::new();
    for table in tables(wishes, facts) {
        let earlier = copies.len();
        for route in facts.routes.iter().filter(|route| route.table == table) {
            let through_tun = tun.is_some() && route.hops.iter().any(|hop| Some(hop.link) == tun);
            let copied = !matches!(route.kind, Kind::Local | Kind::Other(_));
            let v4 = route.destination.addr().is_ipv4();
            let (before, same) = copies.split_at(earlier);
            if copied
                && v4
                && !through_tun
                && !hidden(&route.destination, before)
                && !same.iter().any(|copy| copy.key() == route.key())
            {
                copies.push(copy(route, wishes.table, facts));
            }
        }
        drop_throws(&mut copies, earlier);
    }
    // A gateway must be reachable by a route that is there already: narrow scopes and long prefixes first.
    copies.sort_by_key(|route| {
        (std::cmp::Reverse(route.scope), std::cmp::Reverse(route.destination.prefix_len()))
    });
    copies
}

/// The changes that lead from what the table holds to what it should hold.
#[must_use]
pub fn changes(wishes: &Wishes, facts: &Facts) -> Vec<Change> {
    let wanted = wanted(wishes, facts);
    let there: BTreeMap<_, _> = facts
        .routes
        .iter()
        .filter(|route| route.table == wishes.table && route.protocol == PROTOCOL)
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
pub fn unseen_rules(wishes: &Wishes, facts: &Facts) -> Vec<u32> {
    let later = facts.rules.iter().filter(|rule| rule.priority > wishes.rule_priority);
    later.filter(|rule| rule.special || rule.table.is_none()).map(|rule| rule.priority).collect()
}

/// The MSS in bytes that clients of the virtual IPs are told: the smallest of all routes that leave the host.
pub(super) fn advertised_mss(wishes: &Wishes, facts: &Facts) -> u16 {
    let overhead = if wishes.mss_route { OUTER_V4 + INNER_V4 } else { INNER_V4 };
    let smallest = wanted(wishes, facts)
        .iter()
        .filter_map(
            |route| if wishes.mss_route { advmss(route) } else { mss(route, facts, INNER_V4) },
        )
        .min()
        .unwrap_or(1500 - overhead);
    u16::try_from(smallest).unwrap_or(u16::MAX)
}

/// The tables that a packet from a virtual IP is looked up in after ours, in order.
fn tables(wishes: &Wishes, facts: &Facts) -> Vec<u32> {
    let from_vip = |rule: &Rule| match rule.from {
        None => true,
        // A rule for one of several virtual IPs counts for all of them: they share one table.
        Some(net) => wishes.vips.iter().any(|vip| net.contains(vip)),
    };
    let mut rules: Vec<&Rule> = facts
        .rules
        .iter()
        .filter(|rule| rule.priority > wishes.rule_priority && rule.protocol != PROTOCOL)
        .filter(|rule| !rule.special && from_vip(rule))
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut tables = Vec::new();
    for table in rules.into_iter().filter_map(|rule| rule.table) {
        if table != LOCAL && table != wishes.table && !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

/// Whether a lookup of the earlier tables always ends before it comes to this destination.
fn hidden(destination: &IpNet, earlier: &[Route]) -> bool {
    earlier
        .iter()
        .filter(|route| route.destination.contains(destination) && route.tos == 0)
        .max_by_key(|route| route.destination.prefix_len())
        .is_some_and(|route| route.kind != Kind::Throw)
}

/// A throw of an earlier table says "go on to the next": the next table's route for the same prefix takes its place.
fn drop_throws(copies: &mut Vec<Route>, earlier: usize) {
    let later: Vec<_> = copies.iter().skip(earlier).map(Route::key).collect();
    let mut position = 0;
    copies.retain(|route| {
        position += 1;
        position > earlier || route.kind != Kind::Throw || !later.contains(&route.key())
    });
}

fn copy(route: &Route, table: u32, facts: &Facts) -> Route {
    let mut copy = Route { table, protocol: PROTOCOL, ..route.clone() };
    if let Some(mss) = mss(route, facts, OUTER_V4 + INNER_V4) {
        let own = advmss(route).unwrap_or(MAX_MSS);
        copy.metrics.insert(metric::ADVMSS, mss.min(own));
    }
    copy
}

fn advmss(route: &Route) -> Option<u32> {
    route.metrics.get(&metric::ADVMSS).copied()
}

/// The smallest MTU of the ways out, less what the headers take; none where there is no way out.
fn mss(route: &Route, facts: &Facts, overhead: u32) -> Option<u32> {
    let link =
        route.hops.iter().filter_map(|hop| facts.link_at(hop.link)).map(|link| link.mtu).min()?;
    let mtu = route.metrics.get(&metric::MTU).map_or(link, |mtu| link.min(*mtu));
    (route.kind == Kind::Unicast).then(|| mtu.saturating_sub(overhead).clamp(MIN_MSS, MAX_MSS))
}
