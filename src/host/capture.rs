//! Whether packets for the virtual IPs reach the TUN: the kernel's own route lookup for a packet
//! that arrives at an uplink.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Facts, Link, Rule, is_link_local};
use super::family::Family;
use super::problem::{Problem, ProblemKind};
use super::route::RouteKind;
use super::step::{LOCAL, PROTOCOL, is_kernel_table};

/// A route lookup with the uplink as input interface, as the kernel makes for each packet that it
/// receives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteQuestion {
    /// The virtual IP.
    pub vip: IpAddr,
    /// A possible client: the kernel refuses sources that it would not route through this uplink.
    pub from: IpAddr,
    /// The uplink's index.
    pub uplink: u32,
}

/// The result of the lookup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteAnswer {
    /// The packet leaves by this interface, or is delivered on this host.
    Route {
        /// The type of the route.
        kind: RouteKind,
        /// The interface's index.
        link: Option<u32>,
        /// The routing table that holds the route.
        table: u32,
    },
    /// There is no route, with this errno.
    Error(i32),
}

/// The lookups for the virtual IPs of a plan with these uplinks.
#[must_use]
pub fn questions(vips: &[IpAddr], uplinks: &[String], facts: &Facts) -> Vec<RouteQuestion> {
    let uplinks = uplinks.iter().filter_map(|name| facts.link(name)).filter(|link| link.up);
    let uplinks: Vec<_> = uplinks
        .map(|link| (link, Family::BOTH.map(|family| others(link, family, facts))))
        .collect();
    let ask = |&vip: &IpAddr| {
        uplinks.iter().filter_map(move |(link, [v4, v6])| {
            let others = if vip.is_ipv4() { v4 } else { v6 };
            let from = *others.iter().find(|other| **other != vip)?;
            Some(RouteQuestion { vip, from, uplink: link.index })
        })
    };
    vips.iter().flat_map(ask).collect()
}

/// Other hosts on the uplink's networks: routers, then neighbours. A few, since one of them may be
/// the virtual IP of the lookup.
fn others(link: &Link, family: Family, facts: &Facts) -> Vec<IpAddr> {
    let own = |address: IpAddr| facts.owners(address).next().is_some();
    let fits = |address: &IpAddr| {
        Family::of(*address) == family && !is_link_local(*address) && !own(*address)
    };
    let hops =
        facts.routes.iter().flat_map(|route| &route.hops).filter(|hop| hop.link == link.index);
    let mut found: Vec<IpAddr> = Vec::new();
    for router in hops.filter_map(|hop| hop.gateway).filter(fits) {
        if found.len() < FEW && !found.contains(&router) {
            found.push(router);
        }
    }
    let subnets = facts.addresses.iter().filter(|own| own.link == link.index);
    let hosts =
        subnets.filter(|own| !is_link_local(own.address)).flat_map(|own| first_hosts(own.subnet));
    found.extend(hosts.filter(fits));
    found
}

/// How many possible clients are kept of each sort.
const FEW: usize = 4;

/// A few addresses of the subnet.
fn first_hosts(subnet: IpNet) -> Vec<IpAddr> {
    subnet.trunc().hosts().take(FEW).collect()
}

/// The problem that the answer shows; `None` if the packets reach the TUN, or the answer does not
/// show it.
#[must_use]
pub fn judge(
    question: &RouteQuestion,
    answer: RouteAnswer,
    tun: &str,
    facts: &Facts,
) -> Option<Problem> {
    let RouteQuestion { vip, uplink, .. } = *question;
    let uplink = &facts.link_at(uplink)?.name;
    let elsewhere = match answer {
        RouteAnswer::Route { kind: RouteKind::Unicast, link, .. } => {
            let name = link.and_then(|index| facts.link_at(index)).map(|link| link.name.as_str());
            match name {
                Some(name) if name == tun => return None,
                Some(name) => format!("leave by {name}"),
                None => "leave by another interface".to_owned(),
            }
        }
        RouteAnswer::Route { kind: RouteKind::Local, .. } => {
            "are delivered on this host".to_owned()
        }
        RouteAnswer::Route { .. } => "are dropped by a route".to_owned(),
        RouteAnswer::Error(EINVAL) if discarded(question, facts) => {
            "are discarded by a rule, or by a route to nowhere".to_owned()
        }
        // The kernel refuses the guessed source: rp_filter, or a martian.
        RouteAnswer::Error(EXDEV | EINVAL) => return None,
        RouteAnswer::Error(EHOSTUNREACH) => {
            "are dropped: the uplink does not forward, or there is an unreachable route".to_owned()
        }
        RouteAnswer::Error(ENETUNREACH) => {
            "are dropped: no routing table that is asked has a route to it".to_owned()
        }
        RouteAnswer::Error(_) => "are dropped by a rule or route".to_owned(),
    };
    let command = Family::of(vip).command();
    let advice = match (suspect(question, answer, facts), answer) {
        (Some(rule), _) => format!(
            "a rule is asked first, remove it with `{command} rule del priority {rule}`, or see"
        ),
        (None, RouteAnswer::Route { table, .. }) => format!(
            "the route is in table {table}, `{command} route show table {table} match {vip}` \
             shows it; see"
        ),
        (None, RouteAnswer::Error(_)) => "see".to_owned(),
    };
    let text = format!(
        "packets for virtual IP {vip} that arrive at {uplink} do not get into {tun}: they \
         {elsewhere}; {advice} `{command} rule` and `{command} route get {vip} from {} iif \
         {uplink}`",
        question.from
    );
    let problem = Problem::new(ProblemKind::Capture, format!("{vip} {uplink}"), text);
    Some(Problem { address: Some(vip), ..problem })
}

/// Whether a blackhole is what the lookup meets first. For that the kernel gives the same error as
/// for a source that it refuses.
fn discarded(question: &RouteQuestion, facts: &Facts) -> bool {
    let RouteQuestion { vip, from, uplink } = *question;
    let name = facts.link_at(uplink).map(|link| link.name.as_str());
    let family = Family::of(vip);
    let mut rules: Vec<&Rule> = facts
        .rules
        .iter()
        .filter(|rule| rule.family == family && rule.table != Some(LOCAL))
        .filter(|rule| {
            let only = &rule.only;
            !only.idle
                && !only.are_partial()
                && only.output.is_none()
                && only.input.as_deref().is_none_or(|input| Some(input) == name)
                && only.to.is_none_or(|to| to.contains(&vip))
                && rule.from.is_none_or(|range| range.contains(&from))
        })
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    for rule in rules {
        let Some(table) = rule.table else { return true };
        let kind = facts.routes.covering(table, vip.into()).next().map(|route| route.kind);
        match kind {
            Some(RouteKind::Blackhole) => return true,
            None | Some(RouteKind::Throw) => {}
            Some(_) => return false,
        }
    }
    false
}

/// The priority of the only foreign rule that may match the packets and leads to the answer;
/// `None`: there is none, or there are several.
fn suspect(question: &RouteQuestion, answer: RouteAnswer, facts: &Facts) -> Option<u32> {
    let family = Family::of(question.vip);
    let mut rules = facts.rules.iter().filter(|rule| {
        rule.family == family
            && rule.protocol != PROTOCOL
            && rule.from.is_none_or(|range| range.contains(&question.from))
            && match (rule.table, answer) {
                (Some(table), RouteAnswer::Route { table: found, .. }) => {
                    table == found && !is_kernel_table(table)
                }
                // Blackhole, unreachable and prohibit have no route as their answer.
                (None, RouteAnswer::Error(_)) => true,
                _ => false,
            }
    });
    let one = rules.next()?;
    rules.next().is_none().then_some(one.priority)
}

// Errnos of Linux, the same on all architectures that this program runs on.
const EINVAL: i32 = 22;
const EXDEV: i32 = 18;
const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;
