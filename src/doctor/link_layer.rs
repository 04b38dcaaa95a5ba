//! Findings about rules below IP: those for ARP, and those of a bridge that is an uplink or leads
//! to real servers.

use std::net::IpAddr;

use super::firewall::{ARP, DropPoint, FirewallVerdict, Hook, JudgedPacket, Ruleset};
use super::observed::{DirectorFacts, Listened, RouteToReal};
use super::passage::{dropped, insert};
use super::{Cause, Finding};

/// The operations of ARP.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// The findings.
pub(super) fn findings(facts: &DirectorFacts) -> Vec<Finding> {
    let Some(ruleset) = &facts.ruleset else { return Vec::new() };
    let bridged = |link: &str| facts.bridges.iter().any(|one| one == link);
    let listened = facts.listened.iter();
    let mut found: Vec<Finding> = listened
        .clone()
        .filter(|one| one.listen.address.is_ipv4())
        .filter_map(|one| resolved(one.listen.address, &one.uplink, bridged(&one.uplink), ruleset))
        .collect();
    found.extend(listened.filter(|one| bridged(&one.uplink)).filter_map(|one| came(one, ruleset)));
    let bridged_routes =
        facts.routes.iter().filter(|route| route.link.as_deref().is_some_and(bridged));
    found.extend(bridged_routes.filter_map(|route| left(route, ruleset)));
    found.dedup_by(|one, other| one.mend == other.mend && one.cause == other.cause);
    found
}

fn drop_of(verdict: FirewallVerdict) -> Option<DropPoint> {
    match verdict {
        FirewallVerdict::Drops(point) => Some(point),
        FirewallVerdict::Passes => None,
    }
}

fn verb(point: &DropPoint) -> &'static str {
    if point.certain { "drops" } else { "may drop" }
}

/// Whether ARP requests for the virtual IP come, and the answers leave.
fn resolved(vip: IpAddr, uplink: &str, bridged: bool, ruleset: &Ruleset) -> Option<Finding> {
    let here = || Some(String::new());
    let request = JudgedPacket {
        version: ARP,
        input: Some(uplink.to_owned()),
        output: here(),
        destination: Some(vip),
        icmp: Some(REQUEST),
        ..JudgedPacket::default()
    };
    let reply = JudgedPacket {
        version: ARP,
        input: here(),
        output: Some(uplink.to_owned()),
        source: Some(vip),
        icmp: Some(REPLY),
        ..JudgedPacket::default()
    };
    let at_bridge = |hooks: &[Hook], packet: &JudgedPacket| {
        let packet = JudgedPacket { input: None, output: None, ..packet.clone() };
        bridged.then(|| drop_of(ruleset.judge_bridged(hooks, &packet))).flatten()
    };
    let came = drop_of(ruleset.judge(&[Hook::Ingress, Hook::Input], &request))
        .or_else(|| at_bridge(&[Hook::Prerouting, Hook::Input], &request));
    let left = || {
        drop_of(ruleset.judge(&[Hook::Output, Hook::Egress], &reply))
            .or_else(|| at_bridge(&[Hook::Output, Hook::Postrouting], &reply))
    };
    let (point, what, rule) = match came {
        Some(point) => (point, "requests for", format!("arp daddr ip {vip} accept")),
        None => (left()?, "answers for", format!("arp saddr ip {vip} accept")),
    };
    let text = format!(
        "the firewall {} ARP {what} {vip} on {uplink}: routers and clients there do not find it",
        verb(&point)
    );
    let found = dropped(Cause::Neighbours, text, &point).about(vip);
    Some(found.mended_by(insert(&point, &rule)))
}

/// Whether a bridge lets clients' packets up to its own address.
fn came(Listened { listen, uplink }: &Listened, ruleset: &Ruleset) -> Option<Finding> {
    let vip = listen.address;
    let packet = JudgedPacket {
        version: if vip.is_ipv4() { 4 } else { 6 },
        destination: Some(vip),
        protocol: listen.protocol.number(),
        port: Some(listen.ports.first),
        ..JudgedPacket::default()
    };
    let point = drop_of(ruleset.judge_bridged(&[Hook::Prerouting, Hook::Input], &packet))?;
    let text =
        format!("the rules of bridge {uplink} {} clients' packets for {listen}", verb(&point));
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let found = dropped(Cause::Firewall, text, &point).about(vip);
    Some(found.mended_by(insert(&point, &format!("{family} daddr {vip} accept"))))
}

/// Whether it lets tunnelled packets out.
fn left(route: &RouteToReal, ruleset: &Ruleset) -> Option<Finding> {
    let (link, real) = (route.link.as_deref()?, route.real);
    let mut protocols = route.tunnelled.iter().flat_map(|one| one.protocols());
    let point = protocols.find_map(|(protocol, port)| {
        let packet = JudgedPacket {
            version: if real.is_ipv4() { 4 } else { 6 },
            source: route.source,
            destination: Some(real),
            protocol,
            port,
            ..JudgedPacket::default()
        };
        drop_of(ruleset.judge_bridged(&[Hook::Output, Hook::Postrouting], &packet))
    })?;
    let text = format!("the rules of bridge {link} {} tunnelled packets to {real}", verb(&point));
    let family = if real.is_ipv4() { "ip" } else { "ip6" };
    let found = dropped(Cause::Firewall, text, &point).about(real);
    Some(found.mended_by(insert(&point, &format!("{family} daddr {real} accept"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn facts(family: &str, hook: &str, header: &str, field: &str, value: &str) -> DirectorFacts {
        let rules = format!(
            r#"{{"nftables": [{{"chain": {{"family": "{family}", "table": "t", "name": "c",
            "type": "filter", "hook": "{hook}", "prio": 0, "policy": "accept"}}}}, {{"rule":
            {{"family": "{family}", "table": "t", "chain": "c", "handle": 2, "expr": [{{"match":
            {{"op": "==", "left": {{"payload": {{"protocol": "{header}", "field": "{field}"}}}},
            "right": "{value}"}}}}, {{"drop": null}}]}}}}]}}"#
        );
        DirectorFacts {
            ruleset: Ruleset::read(rules.as_bytes()),
            listened: vec![Listened {
                listen: "192.0.2.10:80/tcp".parse().expect("a listen"),
                uplink: "br0".to_owned(),
            }],
            bridges: vec!["br0".to_owned()],
            ..DirectorFacts::default()
        }
    }

    #[test]
    fn rules_below_ip_are_named() {
        for (family, hook, header, field, value, rule) in [
            ("arp", "input", "arp", "daddr ip", "192.0.2.10", "arp t c arp daddr ip 192.0.2.10"),
            ("arp", "output", "arp", "saddr ip", "192.0.2.10", "arp t c arp saddr ip 192.0.2.10"),
            ("arp", "output", "arp", "saddr ip", "192.0.2.11", ""),
            ("arp", "input", "arp", "operation", "reply", ""),
            ("bridge", "input", "ip", "daddr", "192.0.2.10", "bridge t c ip daddr 192.0.2.10"),
            ("bridge", "prerouting", "ether", "type", "arp", "bridge t c arp daddr ip 192.0.2.10"),
            ("bridge", "forward", "ip", "daddr", "192.0.2.10", ""),
            ("ip", "input", "ip", "daddr", "192.0.2.10", ""),
        ] {
            let mut facts = facts(family, hook, header, field, value);
            let found = findings(&facts);
            let mend: Vec<_> = found.iter().map(|one| one.mend.concat()).collect();
            let expected = format!("nft insert rule {rule} accept");
            assert_eq!(mend, if rule.is_empty() { vec![] } else { vec![expected] }, "{found:?}");
            assert!(found.iter().all(|one| one.severity == Severity::Fault));
            facts.bridges.clear();
            assert_eq!(findings(&facts).is_empty(), rule.is_empty() || family == "bridge");
        }
    }
}
