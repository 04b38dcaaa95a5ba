//! The firewall and the packets of the director itself: its health checks through the tunnel, and
//! the probes of `doctor`. They enter the TUN from this host's own programs, so other rules see
//! them than clients' packets.

use std::net::IpAddr;

use super::firewall::{CtState, DropPoint, FirewallVerdict, Hook, JudgedPacket, Ruleset};
use super::host::HostFault;
use super::observed::DirectorFacts;
use super::passage::{dropped, insert};
use super::{Cause, Finding, Severity};
use crate::control::ProbedPort;
use crate::model::{Listen, Protocol};

/// How a probe fails whose packet the kernel does not let leave (`EPERM`).
const REFUSED: &str = "Operation not permitted";

/// How the result of a probe begins that did not leave this host.
const HERE: &str = "this host: ";

/// Whether the result of this probe says nothing about the real server: the packet did not leave
/// this host, or the answer was dropped here.
pub(super) fn proves_nothing(port: &ProbedPort, facts: &DirectorFacts) -> bool {
    let here = |listen, ruleset| {
        certain(listen, facts, ruleset).is_some() || translated(listen, facts, ruleset).is_some()
    };
    let vip = port.destination.ip();
    !port.passed
        && (is_refused(&port.detail)
            || port.detail.starts_with(HERE)
            || facts.host.iter().any(|fault| keeps_from_the_tun(fault, vip))
            || facts
                .ruleset
                .as_ref()
                .is_some_and(|ruleset| listen(port).is_some_and(|listen| here(listen, ruleset))))
}

/// Whether packets for the virtual IP do not reach the TUN for this reason, perhaps not even this
/// director's own ones.
fn keeps_from_the_tun(fault: &HostFault, vip: IpAddr) -> bool {
    matches!(fault.what.as_str(), "vip" | "capture") && fault.address == Some(vip)
}

/// Whether the kernel has refused to send it.
pub(super) fn is_refused(detail: &str) -> bool {
    detail.contains(REFUSED)
}

fn listen(port: &ProbedPort) -> Option<Listen> {
    format!("{}/{}", port.destination, port.protocol).parse().ok()
}

/// The findings.
pub(super) fn findings(facts: &DirectorFacts) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    if let Some(ruleset) = &facts.ruleset {
        let mut listens: Vec<Listen> = facts.listened.iter().map(|one| one.listen).collect();
        listens.dedup();
        found.extend(listens.into_iter().filter_map(|listen| {
            match certain(listen, facts, ruleset) {
                Some((packet, point)) => Some(finding(listen, packet, &point, &facts.tun)),
                None => translated(listen, facts, ruleset),
            }
        }));
        found.dedup_by(|one, other| one.mend == other.mend);
    }
    let probed = facts.probed.iter().flat_map(|probed| &probed.ports);
    let refused = probed.filter(|port| !port.passed && is_refused(&port.detail)).find(|port| {
        let known = |ruleset| listen(port).and_then(|one| certain(one, facts, ruleset)).is_some();
        !facts.ruleset.as_ref().is_some_and(known)
    });
    found.extend(refused.map(|port| unsent(port, facts)));
    found
}

/// The packets of a probe through the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ProbePacket {
    Request,
    Reply,
}

/// Where a probe of this listen, or the answer to it, is certainly dropped.
fn certain(
    listen: Listen,
    facts: &DirectorFacts,
    ruleset: &Ruleset,
) -> Option<(ProbePacket, DropPoint)> {
    [ProbePacket::Request, ProbePacket::Reply].into_iter().find_map(|packet| {
        match judged(listen, packet, facts, ruleset) {
            FirewallVerdict::Drops(point) if point.certain => Some((packet, point)),
            _ => None,
        }
    })
}

fn judged(
    listen: Listen,
    packet: ProbePacket,
    facts: &DirectorFacts,
    ruleset: &Ruleset,
) -> FirewallVerdict {
    match packet {
        ProbePacket::Request => {
            let hooks = [Hook::Output, Hook::Postrouting, Hook::Egress];
            ruleset.judge(&hooks, &probe(listen, facts))
        }
        ProbePacket::Reply => {
            let answer = JudgedPacket {
                version: if listen.address.is_ipv4() { 4 } else { 6 },
                protocol: listen.protocol.number(),
                output: Some(String::new()),
                source: Some(listen.address),
                source_port: Some(listen.ports.first),
                state: CtState::Established,
                ..JudgedPacket::default()
            };
            ruleset.judge(&[Hook::Ingress, Hook::Prerouting, Hook::Input], &answer)
        }
    }
}

fn probe(listen: Listen, facts: &DirectorFacts) -> JudgedPacket {
    JudgedPacket {
        version: if listen.address.is_ipv4() { 4 } else { 6 },
        protocol: listen.protocol.number(),
        input: Some(String::new()),
        output: Some(facts.tun.clone()),
        destination: Some(listen.address),
        port: Some(listen.ports.first),
        user: facts.user,
        ..JudgedPacket::default()
    }
}

/// A rule that gives probes other addresses. The director knows its own packets by these, so it
/// counts none then, and passes them on as it does a client's. Masquerading that leaves the address
/// as it is does not matter.
fn translated(listen: Listen, facts: &DirectorFacts, ruleset: &Ruleset) -> Option<Finding> {
    let probed = facts.probed.as_ref()?;
    if facts.probe_packets >= probed.ports.len() as u64 {
        return None;
    }
    let packet = probe(listen, facts);
    if ruleset.untracks(Hook::Output, &packet) {
        return None;
    }
    let point = ruleset.translates(&[Hook::Output, Hook::Postrouting], &packet)?;
    let text = format!(
        "a NAT rule gives this director's own packets to {listen} other addresses, so it takes \
         them for a client's: health checks through the tunnel reach any real server, and ports \
         could not be tried at each"
    );
    let found = Finding::new(Cause::Nat, Severity::Fault, text).about(listen.address);
    let rule = format!("oifname \"{}\" accept", facts.tun);
    Some(found.seen(point.rule_and_chain()).mended_by(point.insert(&rule)))
}

fn finding(listen: Listen, packet: ProbePacket, point: &DropPoint, tun: &str) -> Finding {
    let what = match packet {
        ProbePacket::Request => format!("this director's own packets to {listen} by {tun}"),
        ProbePacket::Reply => format!("the answers from {listen} to this director's own packets"),
    };
    let text = format!(
        "the firewall drops {what}: health checks through the tunnel fail, whatever the real \
         servers do, and their ports could not be tried"
    );
    let family = if listen.address.is_ipv4() { "ip" } else { "ip6" };
    let rule = match (packet, point.hook.as_str()) {
        (ProbePacket::Request, "output" | "postrouting") => format!("oifname \"{tun}\" accept"),
        (ProbePacket::Request, _) => format!("{family} daddr {} accept", listen.address),
        (ProbePacket::Reply, _) => accepted_answers(listen.address, listen.protocol),
    };
    dropped(Cause::Firewall, text, point).about(listen.address).mended_by(insert(point, &rule))
}

fn accepted_answers(vip: IpAddr, protocol: Protocol) -> String {
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    format!("{family} saddr {vip} meta l4proto {protocol} accept")
}

/// The kernel has refused a packet, and no rule that certainly drops it is known.
fn unsent(port: &ProbedPort, facts: &DirectorFacts) -> Finding {
    let ProbedPort { destination, protocol, detail, .. } = port;
    let text = format!(
        "this host does not let the director's own packets to {destination}/{protocol} leave: \
         health checks through the tunnel fail, whatever the real servers do"
    );
    let found = Finding::new(Cause::Firewall, Severity::Fault, text).about(destination.ip());
    let probe = listen(port).zip(facts.ruleset.as_ref());
    let verdict =
        probe.map(|(listen, ruleset)| judged(listen, ProbePacket::Request, facts, ruleset));
    match verdict {
        Some(FirewallVerdict::Drops(point)) => found
            .seen(format!("{detail}; {} may drop it", point.rule_and_chain()))
            .mended_by(insert(&point, &format!("oifname \"{}\" accept", facts.tun))),
        _ => found.seen(detail.clone()).mended_by("nft list ruleset"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Probed;
    use crate::doctor::{Listened, diagnose_director};

    const NO_ANSWER: &str = "no answer within 1s";

    /// A chain with this policy and this rule, if one is named.
    fn facts(hook: &str, policy: &str, rule: &str, details: [&str; 2]) -> DirectorFacts {
        let rule = if rule.is_empty() { "{\"counter\": null}" } else { rule };
        let rules = format!(
            r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "fw", "name": "own",
            "type": "filter", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}, {{"rule":
            {{"family": "inet", "table": "fw", "chain": "own", "handle": 2,
            "expr": [{rule}]}}}}]}}"#
        );
        let listens = ["192.0.2.10:80/tcp", "192.0.2.10:53/udp"];
        let ports = listens.into_iter().zip(details).map(|(listen, detail)| {
            let (destination, protocol) = listen.split_once('/').expect("a listen");
            ProbedPort {
                address: "10.0.0.11".parse().expect("an address"),
                protocol: protocol.to_owned(),
                destination: destination.parse().expect("an address"),
                passed: detail.is_empty(),
                detail: detail.to_owned(),
            }
        });
        let uplink = "eth0".to_owned();
        DirectorFacts {
            tun: "vstun0".to_owned(),
            ruleset: Ruleset::read(rules.as_bytes()),
            listened: listens
                .map(|listen| Listened {
                    listen: listen.parse().expect("a listen"),
                    uplink: uplink.clone(),
                })
                .to_vec(),
            probed: Some(Probed { ports: ports.collect(), left_out: 0 }),
            user: Some(0),
            probe_packets: 8,
            ..DirectorFacts::default()
        }
    }

    /// The director has read fewer of its own packets than it has tried ports.
    #[test]
    fn a_rule_that_translates_probes_is_a_fault_if_they_are_missing() {
        let rules = br#"{"nftables": [{"chain": {"family": "ip", "table": "nat", "name": "post",
            "type": "nat", "hook": "postrouting", "prio": 100}}, {"rule": {"family": "ip",
            "table": "nat", "chain": "post", "handle": 3, "expr": [{"match": {"op": "==",
            "left": {"meta": {"key": "skuid"}}, "right": 0}}, {"masquerade": null}]}}]}"#;
        for (probe_packets, details, expected) in [
            (1, [NO_ANSWER, ""], Some("nft insert rule ip nat post oifname \"vstun0\" accept")),
            (2, ["", ""], None),
        ] {
            let ruleset = Ruleset::read(rules);
            let facts =
                DirectorFacts { probe_packets, ruleset, ..facts("output", "accept", "", details) };
            let report = diagnose_director(&facts);
            let found = report.findings.first().map(|one| (one.cause, one.mend[0].as_str()));
            assert_eq!(found, expected.map(|mend| (Cause::Nat, mend)), "{report:?}");
            assert!(report.findings.iter().all(|one| one.on.is_empty()), "{report:?}");
        }
    }

    fn matched(left: &str, op: &str, right: &str) -> String {
        format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
    }

    /// The rule is on this host, whatever the real servers do.
    #[test]
    fn a_probe_that_this_host_drops_is_no_fault_of_a_real_server() {
        const EPERM: &str = "Operation not permitted (os error 1)";
        let low = matched(r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#, "<", "1024");
        let low = format!("{low}, {{\"drop\": null}}");
        let odd = r#"{"xt": {"type": "match", "name": "x"}}, {"drop": null}"#;
        let by_tun = "nft insert rule inet fw own oifname \"vstun0\" accept";
        for (hook, policy, rule, details, mend) in [
            ("output", "drop", "", [NO_ANSWER, EPERM], by_tun),
            ("output", "accept", &low[..], [NO_ANSWER, ""], by_tun),
            ("output", "accept", odd, ["", EPERM], by_tun),
            ("output", "accept", "", ["", EPERM], "nft list ruleset"),
            (
                "prerouting",
                "drop",
                "",
                [NO_ANSWER, NO_ANSWER],
                "nft insert rule inet fw own ip saddr 192.0.2.10 meta l4proto tcp accept",
            ),
        ] {
            let report = diagnose_director(&facts(hook, policy, rule, details));
            let own = report.findings.iter().filter(|one| one.text.contains("director's own"));
            let own: Vec<_> = own.collect();
            assert_eq!(own.first().map(|one| one.mend.concat()).as_deref(), Some(mend), "{rule}");
            let blamed = report.findings.iter().find(|one| !one.on.is_empty());
            assert!(blamed.is_none(), "{rule}: {blamed:?}");
        }
        // Rules for others leave the finding about the real server.
        let other = matched(r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#, ">", "1024");
        let other = format!("{other}, {{\"drop\": null}}");
        let report = diagnose_director(&facts("output", "accept", &other, [NO_ANSWER, NO_ANSWER]));
        assert!(report.findings.iter().any(|one| !one.on.is_empty()), "{report:?}");
    }
}
