//! Findings at a real server, from its own host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::fast_path;
use super::firewall::{
    CtState, DropPoint, FirewallVerdict, Hook, JudgedPacket, Ruleset, legacy_table,
};
use super::host::{HostFault, host_findings, not_running};
use super::passage::{dropped, insert};
use super::tunnels::{Tunnelled, pcap_of_all};
use super::{Cause, Diagnosis, Finding, Severity, neighbours, way_back};
use crate::control::FastPathState;
use crate::wire::protocol;

/// The observations at a real server.
#[derive(Clone, Debug, Default)]
pub struct RealServerFacts {
    /// Whether the daemon answers; if not, why, and its unit.
    pub daemon: Option<(String, String)>,
    /// The problems of the host.
    pub host: Vec<HostFault>,
    /// The TUN's name.
    pub tun: String,
    /// The other interfaces, where packets arrive.
    pub links: Vec<String>,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The hosts that may send tunnelled packets.
    pub directors: Vec<IpNet>,
    /// How they send them, as the configuration says; others are received too.
    pub tunnelled: Tunnelled,
    /// Whether the reverse path filter of the TUN is strict.
    pub strict: bool,
    /// The interfaces on which the kernel answers ARP for addresses of others.
    pub answers_arp: Vec<String>,
    /// The firewall; `None`: its rules could not be read.
    pub ruleset: Option<Ruleset>,
    /// The virtual IPs whose replies have no route to hosts outside of this host's networks.
    pub no_way_back: Vec<IpAddr>,
    /// The fast path, as the daemon says and the kernel: `None` without a daemon that says it.
    pub fast_path: Option<FastPathState>,
    /// Tunnelled packets read, and how many of them came from strangers; `None` without a daemon.
    pub read: Option<(u64, u64)>,
    /// Further findings, about things that could not be observed.
    pub unseen: Vec<Finding>,
}

/// The findings at a real server.
#[must_use]
pub fn diagnose_realserver(facts: &RealServerFacts) -> Diagnosis {
    let mut findings = facts.unseen.clone();
    findings.extend(
        facts.daemon.as_ref().map(|daemon| not_running("the real server does not run", daemon)),
    );
    findings.extend(host_findings(&facts.host));
    findings.extend(settings(facts));
    findings.extend(firewall(facts));
    findings.extend(replies(facts));
    let six = facts.vips.iter().any(IpAddr::is_ipv6)
        || facts.directors.iter().any(|net| net.addr().is_ipv6());
    if let (Some(ruleset), true) = (&facts.ruleset, six) {
        findings.extend(neighbours::finding(facts.links.iter().map(String::as_str), ruleset));
    }
    findings.extend(facts.no_way_back.iter().map(|vip| way_back::finding(*vip, "this host has")));
    let mut well = Vec::new();
    match facts.read {
        Some((0, _)) => findings.push(nothing_came(facts)),
        Some((read, strangers)) => {
            well.push(format!("{read} tunnelled packets have come"));
            well.push(way_back::unseen(&facts.vips));
            findings.extend((strangers > 0).then(|| refused(strangers, read, facts)));
        }
        None => {}
    }
    // What the operator has chosen comes after what is observed.
    match facts.fast_path.as_ref().map(|state| bypasses(state, &facts.tun)) {
        Some(found) if found.is_empty() => well.push(fast_path::OFF.to_owned()),
        found => findings.extend(found.into_iter().flatten()),
    }
    Diagnosis::new("realserver", findings, well)
}

/// Where the fast path is, and where it should be; nothing where it is off.
fn bypasses(state: &FastPathState, tun: &str) -> Vec<Finding> {
    let mut found: Vec<_> = fast_path::missing(state, "vstun-realserver").into_iter().collect();
    if !state.at.is_empty() {
        let text = format!(
            "the fast path takes packets out of the tunnel at {}: rules of the firewall and \
             captures see them at {tun} only, without their outer headers; fast_path = \"off\" in \
             [realserver] and a restart undo it",
            state.at.join(" ")
        );
        found.push(Finding::new(Cause::FastPath, Severity::Note, text));
    }
    found
}

fn settings(facts: &RealServerFacts) -> Vec<Finding> {
    let tun = &facts.tun;
    let mut found = Vec::new();
    if facts.strict && facts.daemon.is_none() && facts.vips.iter().any(IpAddr::is_ipv4) {
        let text = format!("strict `rp_filter` on {tun} drops every packet that comes from it");
        let mend = format!("sysctl -w net/ipv4/conf/{tun}/rp_filter=2");
        let finding = Finding::new(Cause::RpFilter, Severity::Fault, text);
        found.push(finding.seen("the larger value of `all` and the TUN is 1").mended_by(mend));
    }
    if facts.daemon.is_none()
        && facts.vips.iter().any(IpAddr::is_ipv4)
        && let Some(link) = facts.answers_arp.first()
    {
        let text = format!(
            "this host answers ARP for its virtual IPs on {link}: clients go round the director"
        );
        let mend = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2";
        let finding = Finding::new(Cause::Announcing, Severity::Fault, text);
        found.push(finding.seen(facts.answers_arp.join(", ")).mended_by(mend));
    }
    found
}

/// The ruleset's effect on tunnelled packets, and on packets from the TUN.
fn firewall(facts: &RealServerFacts) -> Vec<Finding> {
    let Some(ruleset) = &facts.ruleset else { return Vec::new() };
    let hooks = [Hook::Ingress, Hook::Prerouting, Hook::Input];
    let tunnelled = facts.directors.iter().find_map(|net| {
        let source = net.addr();
        let probe = |number, port| JudgedPacket {
            version: if source.is_ipv4() { 4 } else { 6 },
            input: None,
            output: Some(String::new()),
            source: Some(source),
            destination: None,
            protocol: number,
            port,
            state: CtState::New,
            ..JudgedPacket::default()
        };
        let inner = |number| {
            let is_for = |vip: &IpAddr| match number {
                protocol::IPIP => vip.is_ipv4(),
                protocol::IPV6 => vip.is_ipv6(),
                _ => true,
            };
            facts.vips.iter().any(is_for)
        };
        let tunnelled = facts.tunnelled;
        let numbers = tunnelled.protocols().into_iter().filter(|(number, _)| inner(*number));
        numbers.into_iter().find_map(|(number, port)| {
            let FirewallVerdict::Drops(point) = ruleset.judge(&hooks, &probe(number, port)) else {
                return None;
            };
            // They have come: a rule that may drop them does not.
            let come = facts.read.is_some_and(|(read, strangers)| read > strangers);
            if come && !point.certain {
                return None;
            }
            let family = if source.is_ipv4() { "ip" } else { "ip6" };
            let rule = format!("{} {family} saddr {net} accept", tunnelled.nft());
            let port = port.map_or_else(String::new, |port| format!(" --dport {port}"));
            let legacy = format!("-p {number}{port} -s {net}");
            let text = format!("the firewall drops tunnelled packets from director {net}");
            let finding = dropped(Cause::Firewall, text, &point);
            Some(finding.mended_by(let_through(&point, &rule, &legacy)))
        })
    });
    tunnelled.into_iter().chain(delivered(facts, ruleset)).collect()
}

/// The ruleset's effect on packets from the TUN.
fn delivered(facts: &RealServerFacts, ruleset: &Ruleset) -> Option<Finding> {
    let hooks = [Hook::Ingress, Hook::Prerouting, Hook::Input];
    facts.vips.iter().find_map(|vip| {
        let probe = JudgedPacket {
            version: if vip.is_ipv4() { 4 } else { 6 },
            input: Some(facts.tun.clone()),
            output: Some(String::new()),
            source: None,
            destination: Some(*vip),
            protocol: protocol::TCP,
            port: None,
            state: CtState::New,
            ..JudgedPacket::default()
        };
        let FirewallVerdict::Drops(point) = ruleset.judge(&hooks, &probe) else { return None };
        let rule = format!("iifname \"{}\" accept", facts.tun);
        let legacy = format!("-i {}", facts.tun);
        let text = format!("the firewall drops what comes out of {} for {vip}", facts.tun);
        let finding = dropped(Cause::Firewall, text, &point).about(*vip);
        Some(finding.mended_by(let_through(&point, &rule, &legacy)))
    })
}

/// The command that lets packets through where a rule drops them; `legacy`: the same condition for
/// iptables.
fn let_through(point: &DropPoint, rule: &str, legacy: &str) -> String {
    match legacy_table(&point.table) {
        Some(table) => {
            let program = if point.family == "ip" { "iptables" } else { "ip6tables" };
            let chain = &point.chain;
            format!("{program}-legacy -t {table} -I {chain} {legacy} -j ACCEPT")
        }
        None => insert(point, rule),
    }
}

/// The ruleset's effect on replies from the virtual IPs.
fn replies(facts: &RealServerFacts) -> Option<Finding> {
    let ruleset = facts.ruleset.as_ref()?;
    facts.vips.iter().find_map(|vip| {
        let probe = JudgedPacket {
            version: if vip.is_ipv4() { 4 } else { 6 },
            input: Some(String::new()),
            output: None,
            source: Some(*vip),
            destination: None,
            protocol: protocol::TCP,
            port: None,
            // Its request has come out of the TUN.
            state: CtState::Established,
            ..JudgedPacket::default()
        };
        let hooks = [Hook::Output, Hook::Postrouting, Hook::Egress];
        let FirewallVerdict::Drops(place) = ruleset.judge(&hooks, &probe) else { return None };
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        let rule = format!("{family} saddr {vip} accept");
        let verb = if place.certain { "drops" } else { "may drop" };
        let text = format!("the firewall {verb} replies from {vip}");
        let finding = dropped(Cause::Firewall, text, &place).about(*vip);
        Some(finding.mended_by(let_through(&place, &rule, &format!("-s {vip}"))))
    })
}

fn nothing_came(facts: &RealServerFacts) -> Finding {
    let directors: Vec<String> = facts.directors.iter().map(ToString::to_string).collect();
    let text = format!(
        "no tunnelled packet has ever come: {} sends none, or a firewall on the way drops {}",
        directors.join(", "),
        facts.tunnelled.words()
    );
    Finding::new(Cause::Tunnel, Severity::Note, text).mended_by(captured(facts))
}

/// The command that shows all tunnelled packets.
fn captured(facts: &RealServerFacts) -> String {
    format!("tcpdump -c 5 -ni any '{}'", pcap_of_all(facts.tunnelled.gue_port))
}

fn refused(strangers: u64, read: u64, facts: &RealServerFacts) -> Finding {
    let all = strangers >= read;
    let which = if all { "all that came" } else { "if one is your director, add it and reload" };
    let text = format!(
        "{strangers} tunnelled packets came from addresses that `directors` does not admit: {which}"
    );
    if !all {
        return Finding::new(Cause::Tunnel, Severity::Note, text).mended_by(captured(facts));
    }
    let admitted: Vec<String> = facts.directors.iter().map(ToString::to_string).collect();
    Finding::new(Cause::Gate, Severity::Warning, text)
        .seen(format!("`directors` admits {}", admitted.join(", ")))
        .mended_by(captured(facts))
        .mended_by("vstun --socket /run/vstun/realserver.sock reload")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encap::Encap;

    /// Without the rule that the finding names, GUE does not arrive.
    #[test]
    fn a_firewall_that_drops_the_site_s_encapsulation_is_found() {
        let rules = br#"{"nftables": [{"chain": {"family": "inet", "table": "filter",
            "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
            "policy": "drop"}}, {"rule": {"family": "inet", "table": "filter", "chain": "input",
            "handle": 2, "expr": [{"match": {"op": "==", "left": {"payload":
            {"protocol": "udp", "field": "dport"}}, "right": 6080}}, {"accept": null}]}},
            {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 3,
            "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}},
            "right": "vstun0"}}, {"accept": null}]}}]}"#;
        let facts = |encap, gue_port| RealServerFacts {
            tun: "vstun0".to_owned(),
            vips: vec!["192.0.2.10".parse().expect("an address")],
            directors: vec!["192.0.2.2/32".parse().expect("a network")],
            tunnelled: Tunnelled { encap, gue_port },
            ruleset: Ruleset::read(rules),
            ..RealServerFacts::default()
        };
        assert!(diagnose_realserver(&facts(Encap::Gue, 6080)).findings.is_empty());
        for (encap, port, rule) in [
            (Encap::Gue, 6081, "udp dport 6081"),
            (Encap::Gre, 6080, "meta l4proto 47"),
            (Encap::Ipip, 6080, "meta l4proto '{ 4, 41 }'"),
        ] {
            let report = diagnose_realserver(&facts(encap, port));
            let [finding] = &report.findings[..] else { panic!("{report:?}") };
            let mend = finding.mend.concat();
            assert!(mend.contains(&format!("{rule} ip saddr 192.0.2.2/32 accept")), "{mend}");
        }
    }

    #[test]
    fn a_firewall_that_drops_replies_is_found() {
        let facts = |rule: &str| {
            let text = format!(
                r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "filter", "name": "out",
                "handle": 1, "type": "filter", "hook": "output", "prio": 0,
                "policy": "drop"}}}}, {{"rule": {{"family": "inet", "table": "filter",
                "chain": "out", "handle": 2, "expr": [{rule}, {{"accept": null}}]}}}}]}}"#
            );
            RealServerFacts {
                vips: vec!["192.0.2.10".parse().expect("an address")],
                ruleset: Ruleset::read(text.as_bytes()),
                read: Some((1, 0)),
                ..RealServerFacts::default()
            }
        };
        let from = |address: &str| {
            format!(
                r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip",
                "field": "saddr"}}}}, "right": "{address}"}}}}"#
            )
        };
        let state = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}},
            "right": ["established", "related"]}}"#;
        for admitted in [from("192.0.2.10"), state.to_owned()] {
            assert!(diagnose_realserver(&facts(&admitted)).findings.is_empty(), "{admitted}");
        }
        let report = diagnose_realserver(&facts(&from("10.0.0.11")));
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!(finding.severity, Severity::Fault);
        let mend = "nft insert rule inet filter out ip saddr 192.0.2.10 accept";
        assert_eq!(finding.mend, [mend]);
    }

    #[test]
    fn the_fast_path_is_named_where_it_is_and_why_it_is_not_elsewhere() {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let report = |at: &[&str], missing: &[&str]| {
            let state = FastPathState { at: all(at), missing: all(missing) };
            let tun = "vstun0".to_owned();
            let fast_path = Some(state);
            diagnose_realserver(&RealServerFacts { tun, fast_path, ..RealServerFacts::default() })
        };
        let off = report(&[], &[]);
        assert!(off.findings.is_empty() && off.well == [fast_path::OFF], "{off:?}");
        let unknown = diagnose_realserver(&RealServerFacts::default());
        assert!(unknown.well.is_empty(), "{unknown:?}");
        for (at, missing, texts) in [
            (&["eth0", "eth1"][..], &[][..], &["at eth0 eth1: rules"][..]),
            (&[], &["the kernel refuses its maps"], &["there is no fast path, though"]),
            (&["eth0"], &["eth1: no tcx"], &["is not at all interfaces", "at eth0: rules"]),
        ] {
            let report = report(at, missing);
            assert_eq!(report.findings.len(), texts.len(), "{report:?}");
            for (finding, text) in report.findings.iter().zip(texts) {
                assert!(finding.text.contains(text), "{finding:?}");
                let warns = finding.severity == Severity::Warning;
                assert_eq!(finding.evidence, if warns { missing[0] } else { "" });
            }
        }
    }

    #[test]
    fn each_fault_has_its_finding_with_a_command() {
        let base = RealServerFacts {
            tun: "vstun0".to_owned(),
            vips: vec!["192.0.2.10".parse().expect("an address")],
            directors: vec!["192.0.2.2/32".parse().expect("a network")],
            read: Some((1, 0)),
            ..RealServerFacts::default()
        };
        assert!(diagnose_realserver(&base).findings.is_empty());
        let links = vec!["eth0".to_owned()];
        for (facts, cause) in [
            (RealServerFacts { strict: true, ..base.clone() }, "rp_filter"),
            (RealServerFacts { answers_arp: links, ..base.clone() }, "announcing"),
            (RealServerFacts { read: Some((0, 0)), ..base.clone() }, "tunnel"),
            (RealServerFacts { no_way_back: base.vips.clone(), ..base.clone() }, "reply_path"),
            (RealServerFacts { read: Some((9, 5)), ..base.clone() }, "tunnel"),
            (RealServerFacts { read: Some((5, 5)), ..base }, "gate"),
        ] {
            let report = diagnose_realserver(&facts);
            let [finding] = &report.findings[..] else { panic!("{report:?}") };
            assert_eq!(finding.cause.name(), cause);
            assert!(!finding.mend.is_empty());
        }
    }
}
