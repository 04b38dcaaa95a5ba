//! Findings about the routes of replies: for clients that wait for the end of their handshake, for
//! others, and for a host on the internet.
//!
//! Replies need not leave by the interface by which tunnelled packets come. But where they leave by
//! another one and clients wait, or where that is a tunnel of a VPN, this is named.

use std::net::IpAddr;

use ipnet::IpNet;

use super::observed_realserver::{RealServerFacts, ReplyRoute, ReplyTo, RouteResult};
use super::{Cause, Finding, Severity};
use crate::control::counted;

/// The main table.
const MAIN: u32 = 254;

/// The findings about replies' routes.
pub(super) fn findings(facts: &RealServerFacts) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut seen: Vec<(IpAddr, &RouteResult)> = Vec::new();
    let mut routes: Vec<&ReplyRoute> = facts.reply_routes.iter().collect();
    routes.sort_by_key(|route| route.to);
    let mut possible: Vec<&ReplyRoute> = Vec::new();
    for route in routes {
        // One route takes the replies to many clients.
        if seen.contains(&(route.vip, &route.result)) {
            continue;
        }
        let one = match &route.result {
            RouteResult::Refused { .. } if route.to == ReplyTo::Possible => {
                possible.push(route);
                continue;
            }
            RouteResult::Refused { kind, route: by, rule } => {
                Some(refused(route, kind, (by.as_ref(), *rule), facts))
            }
            RouteResult::Link { .. } if route.to == ReplyTo::Possible => None,
            RouteResult::Link { link, .. } if !facts.arrives_by(link) => elsewhere(route, facts),
            RouteResult::Link { .. } => on_link(route, facts),
        };
        let Some(one) = one else { continue };
        seen.push((route.vip, &route.result));
        found.push(one);
    }
    found.extend(unexplained(facts, &found));
    found.extend(of_no_client(&possible, &seen));
    found
}

/// Whether a finding says that replies from the virtual IP leave by an unexpected interface: then
/// another one about their MSS says nothing more.
pub(super) fn explains_mss(found: &[Finding], vip: Option<IpAddr>) -> bool {
    found.iter().any(|one| one.address == vip && one.severity != Severity::Note)
}

fn finding(route: &ReplyRoute, severity: Severity, text: String) -> Finding {
    let ReplyRoute { vip, client, to, .. } = route;
    let seen = match to {
        ReplyTo::Waiting => format!("{client} has not answered the SYN-ACK, which was sent again"),
        ReplyTo::Sending => format!("packets of {client} come out of the TUN"),
        _ => format!("the kernel's route to {client} from {vip}"),
    };
    Finding::new(Cause::ReplyPath, severity, text).seen(seen).about(*vip)
}

/// The command that shows the route.
fn shown(ReplyRoute { vip, client, .. }: &ReplyRoute) -> String {
    format!("{} route get {client} from {vip}", ip(*vip))
}

/// The command for the address's family.
pub(super) fn ip(vip: IpAddr) -> &'static str {
    if vip.is_ipv4() { "ip" } else { "ip -6" }
}

/// The table as `ip route` takes it. Routes of the real server's table are copies of the main
/// one's.
fn of_table(table: u32, facts: &RealServerFacts) -> String {
    let copies = facts.reply_table.is_some_and(|own| own.table == table);
    if table == MAIN || copies { String::new() } else { format!(" table {table}") }
}

fn clients(route: &ReplyRoute) -> String {
    match route.to {
        ReplyTo::Far => "clients outside of this host's own networks".to_owned(),
        _ => format!("client {}", route.client),
    }
}

/// `by`: the route that drops, and the priority of the routing rule that does.
fn refused(
    route: &ReplyRoute,
    kind: &str,
    (by, rule): (Option<&(IpNet, u32)>, Option<u32>),
    facts: &RealServerFacts,
) -> Finding {
    let alone = by.is_some_and(|(net, _)| net.prefix_len() == net.max_prefix_len());
    let severity = match route.to {
        ReplyTo::Far => Severity::Warning,
        // Somebody may have banned it.
        _ if alone => Severity::Note,
        _ => Severity::Fault,
    };
    let (vip, to) = (route.vip, clients(route));
    let what = match rule {
        Some(rule) => format!("routing rule {rule} is {kind}"),
        None => format!("the route is {kind}"),
    };
    let found =
        finding(route, severity, format!("this host drops replies from {vip} to {to}: {what}"));
    let found = match (by, rule) {
        (_, Some(rule)) => found.mended_by(format!("{} rule del priority {rule}", ip(vip))),
        (Some((net, table)), None) => {
            let table = of_table(*table, facts);
            found.mended_by(format!("{} route del {kind} {net}{table}", ip(vip)))
        }
        (None, None) => found,
    };
    found.mended_by(shown(route))
}

/// Networks that routes or rules refuse, and of which no client is known. `seen`: what other
/// findings are about.
fn of_no_client(possible: &[&ReplyRoute], seen: &[(IpAddr, &RouteResult)]) -> Option<Finding> {
    let mut results: Vec<&RouteResult> = Vec::new();
    let mut all: Vec<&ReplyRoute> = Vec::new();
    for route in possible {
        // Each virtual IP has the same.
        let known = results.contains(&&route.result)
            || seen.iter().any(|(_, result)| **result == route.result);
        if !known {
            results.push(&route.result);
            all.push(route);
        }
    }
    let first = all.first()?;
    let networks = all.iter().map(|route| match &route.result {
        RouteResult::Refused { route: Some((net, _)), .. } => net.to_string(),
        _ => route.client.to_string(),
    });
    let text = format!(
        "this host drops replies to {}: right, if clients are not there",
        named_networks(networks)
    );
    let found = Finding::new(Cause::ReplyPath, Severity::Note, text);
    let seen = "routes and routing rules that refuse; no client there has sent anything now";
    Some(found.seen(seen).mended_by(shown(first)))
}

/// The first of these networks, and how many more there are.
pub(super) fn named_networks(networks: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 3;
    let more = networks.len().saturating_sub(MOST);
    let first: Vec<String> = networks.take(MOST).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", first.join(", "))
}

/// Replies leave by another interface than that by which tunnelled packets come.
fn elsewhere(route: &ReplyRoute, facts: &RealServerFacts) -> Option<Finding> {
    let RouteResult::Link { link, ethernet, prefix, table, rule, .. } = &route.result else {
        return None;
    };
    let answering = facts.reply_routes.iter().any(|other| {
        other.to == ReplyTo::Answering
            && other.vip == route.vip
            && matches!(&other.result, RouteResult::Link { link: by, .. } if by == link)
    });
    let severity = match route.to {
        ReplyTo::Waiting => Severity::Fault,
        // Clients get such replies.
        _ if answering => return None,
        ReplyTo::Answering | ReplyTo::Sending | ReplyTo::Possible => return None,
        ReplyTo::Far if *ethernet => Severity::Note,
        ReplyTo::Far => Severity::Warning,
    };
    let vip = route.vip;
    let by = match rule {
        Some(rule) => format!("by routing rule {rule} and table {table}"),
        None => prefix.map_or_else(String::new, |net| format!("by the route to {net}")),
    };
    let come: Vec<_> = facts.inputs.values().map(String::as_str).collect();
    let text = format!(
        "replies from {vip} to {} leave by {link} {by}, and tunnelled packets come by {}: a router \
         that does not expect them there drops them",
        clients(route),
        come.first().copied().unwrap_or_default()
    );
    let found = finding(route, severity, text.replace("  ", " ").replace(" ,", ","));
    let found = match (rule, prefix) {
        (Some(rule), _) => {
            let own = facts.reply_table.map_or(MAIN, |own| own.table);
            match rule.checked_sub(1).filter(|before| *before > 0) {
                Some(before) => found.mended_by(format!(
                    "{} rule add from {vip} lookup {own} pref {before}",
                    ip(vip)
                )),
                None => found.mended_by(format!("{} rule del priority {rule}", ip(vip))),
            }
        }
        (None, Some(net)) if net.prefix_len() > 0 => {
            let table = of_table(*table, facts);
            found.mended_by(format!("{} route del {net} dev {link}{table}", ip(vip)))
        }
        _ => found,
    };
    Some(found.mended_by(shown(route)))
}

/// A client that waits or sends, and that this host takes for a neighbour.
fn on_link(route: &ReplyRoute, facts: &RealServerFacts) -> Option<Finding> {
    let RouteResult::Link { link, ethernet: true, router: false, prefix, .. } = &route.result
    else {
        return None;
    };
    // A director on this network waits for the answer to its own probe.
    let director = facts.directors.iter().any(|net| net.contains(&route.client));
    let (vip, client) = (route.vip, route.client);
    let silent = facts.silent_neighbours.get(&client);
    let waits = route.to == ReplyTo::Waiting || (route.to == ReplyTo::Sending && silent.is_some());
    if !waits || director {
        return None;
    }
    let net = prefix.map_or_else(String::new, |net| format!(" ({net})"));
    let text = format!(
        "this host sends replies from {vip} to client {client} on {link} itself and to no \
         router{net}"
    );
    let wrong = "an address of this host has a prefix that is too short";
    let found = match silent {
        None => {
            let text = format!("{text}: if the client is not there, {wrong}");
            finding(route, Severity::Note, text)
        }
        Some(router) => {
            let router = router.map_or_else(|| "ROUTER".to_owned(), |router| router.to_string());
            let text = format!("{text}, where it does not answer: {wrong}; correct it");
            let found = finding(route, Severity::Fault, text);
            found.mended_by(format!("{} route add {client} via {router}", ip(vip)))
        }
    };
    let neighbour = format!("ip neigh show to {client} dev {link}");
    Some(found.mended_by(neighbour).mended_by(shown(route)))
}

/// Clients that wait, and whose replies take the usual route: the network, or the director, loses
/// something; or they are an attacker's forged addresses.
fn unexplained(facts: &RealServerFacts, found: &[Finding]) -> Option<Finding> {
    let waiting = |route: &&ReplyRoute| route.to == ReplyTo::Waiting;
    let all: Vec<_> = facts.reply_routes.iter().filter(waiting).collect();
    let first = all.first().filter(|_| found.is_empty())?;
    let (vip, count) = (first.vip, counted(all.len() as u64, "client"));
    let text = format!(
        "{count} (the first is {}) did not answer the SYN-ACK from {vip}: the network may drop \
         replies, or somebody forges their addresses",
        first.client
    );
    let seen = "it was sent again";
    let found = Finding::new(Cause::ReplyPath, Severity::Note, text).seen(seen).about(vip);
    Some(found.mended_by(format!("tcpdump -c 5 -ni any 'src {vip}'")).mended_by(shown(first)))
}

#[cfg(test)]
#[path = "reply_routes_tests.rs"]
mod tests;
