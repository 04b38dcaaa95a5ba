//! Findings about the path of packets through a director: by marked packets, and by evaluating the
//! rules of its firewall.

use super::firewall::{CtState, DropPoint, FirewallVerdict, Hook, JudgedPacket, Ruleset};
use super::marked::{Ending, MarkedClient, Point};
use super::observed::{DirectorFacts, Listened, RouteToReal};
use super::{Cause, Finding, Severity, translation};
use crate::control::counted;
use crate::model::Listen;

/// The ruleset's effect on clients' packets and on tunnelled ones.
pub(super) fn findings(facts: &DirectorFacts) -> Vec<Finding> {
    let Some(ruleset) = &facts.ruleset else { return Vec::new() };
    let arriving = facts.listened.iter().filter_map(|one| {
        let marked = facts.marked.iter().find(|marked| {
            (marked.listen, marked.uplink.as_str()) == (one.listen, one.uplink.as_str())
        });
        match marked {
            Some(marked) => of_marked(marked, one, facts, ruleset),
            None => forwarded(one, &facts.tun, ruleset),
        }
    });
    let leaving = facts.routes.iter().filter_map(|route| sent(route, facts.user, ruleset));
    let mut found: Vec<Finding> = arriving.chain(leaving).collect();
    // One rule drops the packets of many ports and real servers.
    found.dedup_by(|one, other| one.mend == other.mend && one.cause == other.cause);
    found
}

/// What the marked packets of a listen show. If they get through, a rule that might drop others is
/// only mentioned.
fn of_marked(
    marked: &MarkedClient,
    one: &Listened,
    facts: &DirectorFacts,
    ruleset: &Ruleset,
) -> Option<Finding> {
    let (tun, from) = (&facts.tun, marked.source);
    let ended = |finding: Finding, which: &str| {
        let evidence = format!("{}; {which} from {from} ended there", finding.evidence);
        Some(Finding { evidence, ..finding })
    };
    if let Some(found) = translation::of_marked(marked, one, tun) {
        return Some(found);
    }
    match (&marked.first, &marked.second) {
        (Ending::Through, Some(Ending::Dropped(point))) => {
            ended(invalid(one, tun, point), "a marked second packet")
        }
        (Ending::Through, None | Some(Ending::Through)) => {
            let doubt = forwarded(one, tun, ruleset).filter(|doubt| !doubt.evidence.is_empty())?;
            let text = doubt.text.replacen(" drops ", " may drop ", 1);
            let evidence = format!("{}; marked packets from {from} got through", doubt.evidence);
            Some(Finding { severity: Severity::Note, text, evidence, ..doubt })
        }
        (Ending::Dropped(point), _) => ended(refused(one, tun, point), "a marked packet"),
        // What the daemon reports about its host explains it already.
        _ if !facts.host.is_empty() => forwarded(one, tun, ruleset),
        (Ending::Through, Some(ending)) | (ending, _) => Some(lost(ending, marked, tun)),
    }
}

/// A marked packet that no rule of nftables dropped, and that was not seen at the TUN.
fn lost(ending: &Ending, marked: &MarkedClient, tun: &str) -> Finding {
    let MarkedClient { listen, uplink, source, .. } = marked;
    let (vip, port) = (listen.address, listen.ports.first);
    let packet = format!("a packet from {source} for {listen} that arrives on {uplink}");
    let legacy = if vip.is_ipv4() { "iptables-legacy" } else { "ip6tables-legacy" };
    let (cause, text, mend) = match ending {
        Ending::Local => (
            Cause::Capture,
            format!("{packet} is delivered to this host's own programs instead of {tun}"),
            format!("ip route get {vip} from {source} iif {uplink}"),
        ),
        Ending::Elsewhere(link) => (
            Cause::Capture,
            format!("{packet} would leave by {link} instead of {tun}"),
            format!("ip route get {vip} from {source} iif {uplink}"),
        ),
        Ending::Lost(Point::Arrival) => (
            Cause::Firewall,
            format!("{packet} ends before the firewall: a program of tc or XDP takes it"),
            format!("tc filter show dev {uplink} ingress"),
        ),
        Ending::Lost(Point::Behind(Hook::Prerouting)) => (
            Cause::Capture,
            format!("{packet} ends at the routing decision: forwarding, `rp_filter` or a route"),
            format!("ip route get {vip} from {source} iif {uplink}"),
        ),
        Ending::Lost(Point::Within(hook)) => (
            Cause::Firewall,
            format!(
                "{packet} ends at the hook {}, and no rule of nftables drops it: iptables-legacy, \
                 or a module of the kernel, does",
                hook.name()
            ),
            format!("{legacy}-save -c"),
        ),
        _ => (
            Cause::Capture,
            format!("{packet} ends between the firewall and {tun}"),
            format!("tcpdump -ni any 'host {vip} and port {port}'"),
        ),
    };
    let seen = "a marked packet was followed through the hooks of the firewall";
    Finding::new(cause, Severity::Fault, text).seen(seen).about(vip).mended_by(mend)
}

/// What marked packets have shown to be in order.
pub(super) fn well(facts: &DirectorFacts) -> Option<String> {
    let through = |one: &&MarkedClient| {
        let second = one.second.as_ref();
        one.first == Ending::Through && second.is_none_or(|second| *second == Ending::Through)
    };
    let count = facts.marked.iter().filter(through).count() as u64;
    if count > 0 {
        let ports = counted(count, "port");
        return Some(format!(
            "marked packets for {ports} went from the uplinks into {}",
            facts.tun
        ));
    }
    let why = facts.unmarked.as_ref()?;
    Some(format!("the firewall is judged by its rules alone, without marked packets: {why}"))
}

fn forwarded(one: &Listened, tun: &str, ruleset: &Ruleset) -> Option<Finding> {
    let Listened { listen, uplink } = one;
    let probe = |state| JudgedPacket {
        version: if listen.address.is_ipv4() { 4 } else { 6 },
        input: Some(uplink.clone()),
        output: Some(tun.to_owned()),
        source: None,
        destination: Some(listen.address),
        protocol: listen.protocol.number(),
        port: Some(listen.ports.first),
        state,
        ..JudgedPacket::default()
    };
    // Before the routing decision there is no output.
    let before = JudgedPacket { output: None, ..probe(CtState::New) };
    if let Some(found) = translation::of_rules(one, tun, &before, ruleset) {
        return Some(found);
    }
    let verdict = |state| match ruleset.judge(&[Hook::Prerouting], &before) {
        FirewallVerdict::Passes => {
            let tracked = if ruleset.untracks(Hook::Prerouting, &before) {
                CtState::Untracked
            } else {
                state
            };
            ruleset.judge(&[Hook::Forward, Hook::Postrouting], &probe(tracked))
        }
        dropped => dropped,
    };
    match (verdict(CtState::New), verdict(CtState::Invalid)) {
        (FirewallVerdict::Drops(point), _) => Some(refused(one, tun, &point)),
        (FirewallVerdict::Passes, FirewallVerdict::Drops(point)) => Some(invalid(one, tun, &point)),
        (FirewallVerdict::Passes, FirewallVerdict::Passes) => None,
    }
}

/// A point where a flow's first packet is dropped.
fn refused(Listened { listen, uplink }: &Listened, tun: &str, point: &DropPoint) -> Finding {
    let text = format!(
        "the firewall {} clients' packets for {listen} between {uplink} and {tun}",
        drops(point)
    );
    let accept = insert(point, &accepted(listen, tun, point));
    dropped(Cause::Firewall, text, point).about(listen.address).mended_by(accept)
}

/// The rule that accepts what goes into the TUN; before the routing decision, what is for the
/// virtual IP.
fn accepted(listen: &Listen, tun: &str, point: &DropPoint) -> String {
    let family = if listen.address.is_ipv4() { "ip" } else { "ip6" };
    match point.hook.as_str() {
        "prerouting" | "ingress" => format!("{family} daddr {} accept", listen.address),
        _ => format!("oifname \"{tun}\" accept"),
    }
}

/// A point where later packets are dropped.
fn invalid(Listened { listen, .. }: &Listened, tun: &str, point: &DropPoint) -> Finding {
    let text = format!(
        "the firewall {} packets for {listen} that connection tracking calls invalid: all but a \
         connection's first, since the replies do not pass here",
        drops(point)
    );
    let accept = insert(point, &accepted(listen, tun, point));
    dropped(Cause::CtInvalid, text, point).about(listen.address).mended_by(accept)
}

/// `user`: the one that the director runs as.
fn sent(route: &RouteToReal, user: Option<u32>, ruleset: &Ruleset) -> Option<Finding> {
    let hooks = [Hook::Output, Hook::Postrouting, Hook::Egress];
    let all = route.tunnelled.iter();
    let mut all =
        all.flat_map(|one| one.protocols().into_iter().map(move |protocol| (*one, protocol)));
    all.find_map(|(encap, which)| {
        let packet = route.tunnelled_packet(user, which);
        let FirewallVerdict::Drops(point) = ruleset.judge(&hooks, &packet) else { return None };
        let text = format!("the firewall {} tunnelled packets to {}", drops(&point), route.real);
        let accept = insert(&point, &format!("{} accept", encap.nft()));
        Some(dropped(Cause::Firewall, text, &point).about(route.real).mended_by(accept))
    })
}

fn drops(point: &DropPoint) -> &'static str {
    if point.certain { "drops" } else { "may drop" }
}

/// The finding of a drop: a fault if the drop is certain, else a note, since ordinary hosts have
/// many rules with conditions that cannot be judged.
pub(super) fn dropped(cause: Cause, text: String, point: &DropPoint) -> Finding {
    let severity = if point.certain { Severity::Fault } else { Severity::Note };
    let doubt =
        if point.certain { "" } else { ", if conditions are met that this program cannot tell" };
    let seen = format!("{}{doubt}", point.rule_and_chain());
    Finding::new(cause, severity, text).seen(seen)
}

/// The command that inserts a rule at the start of the chain.
pub(super) fn insert(point: &DropPoint, rule: &str) -> String {
    point.insert(rule)
}

#[cfg(test)]
mod tests {
    use super::super::marked::{MarkedFlow, Translation};
    use super::*;

    /// The facts of a director whose marked packets ended like this, with a chain that may drop.
    fn facts(first: Ending, second: Option<Ending>) -> DirectorFacts {
        let rules = br#"{"nftables": [{"chain": {"family": "inet", "table": "filter",
            "name": "forward", "handle": 1, "type": "filter", "hook": "forward", "prio": 0,
            "policy": "accept"}}, {"rule": {"family": "inet", "table": "filter",
            "chain": "forward", "handle": 2, "expr": [{"limit": {"rate": 1}}, {"drop": null}]}}]}"#;
        let listen: Listen = "192.0.2.10:80/tcp".parse().expect("a listen");
        let uplink = "eth0".to_owned();
        DirectorFacts {
            tun: "vstun0".to_owned(),
            listened: vec![Listened { listen, uplink: uplink.clone() }],
            ruleset: Ruleset::read(rules),
            marked: vec![MarkedClient {
                listen,
                uplink,
                source: "192.0.2.1".parse().expect("an address"),
                first,
                second,
                translated: None,
            }],
            ..DirectorFacts::default()
        }
    }

    fn place(hook: &str) -> DropPoint {
        DropPoint {
            family: "inet".to_owned(),
            table: "filter".to_owned(),
            chain: hook.to_owned(),
            hook: hook.to_owned(),
            rule: "rule 9 of chain deep".to_owned(),
            certain: true,
        }
    }

    #[test]
    fn marked_packets_decide_before_rules() {
        let through = || Some(Ending::Through);
        let lost = |point| Ending::Lost(point);
        for (first, second, cause, severity, mend) in [
            (Ending::Through, through(), "firewall", Severity::Note, "forward oifname \"vstun0\""),
            (
                Ending::Dropped(place("forward")),
                None,
                "firewall",
                Severity::Fault,
                "forward oifname \"vstun0\" accept",
            ),
            (
                Ending::Dropped(place("prerouting")),
                None,
                "firewall",
                Severity::Fault,
                "prerouting ip daddr 192.0.2.10 accept",
            ),
            (
                Ending::Through,
                Some(Ending::Dropped(place("forward"))),
                "ct_invalid",
                Severity::Fault,
                "accept",
            ),
            (Ending::Local, None, "capture", Severity::Fault, "ip route get"),
            (Ending::Elsewhere("eth1".to_owned()), None, "capture", Severity::Fault, "ip route"),
            (lost(Point::Arrival), None, "firewall", Severity::Fault, "tc filter show dev eth0"),
            (
                lost(Point::Behind(Hook::Prerouting)),
                None,
                "capture",
                Severity::Fault,
                "ip route get",
            ),
            (
                lost(Point::Within(Hook::Forward)),
                None,
                "firewall",
                Severity::Fault,
                "iptables-legacy-save",
            ),
            (lost(Point::Behind(Hook::Postrouting)), None, "capture", Severity::Fault, "tcpdump"),
        ] {
            let found = findings(&facts(first.clone(), second.clone()));
            let [finding] = &found[..] else { panic!("{first:?} {second:?}: {found:?}") };
            assert_eq!((finding.cause.name(), finding.severity), (cause, severity), "{finding:?}");
            assert!(finding.mend.concat().contains(mend), "{finding:?}");
        }
        let facts = facts(Ending::Through, through());
        assert!(well(&facts).is_some_and(|text| text.contains("marked packets for 1 port")));
    }

    /// An address of a rule's own, and a rule of iptables-legacy, which makes no report.
    #[test]
    fn a_translation_comes_before_what_it_leads_to() {
        let flow = |source: &str, destination: &str| MarkedFlow {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        };
        let from = flow("192.0.2.1:4000", "192.0.2.10:80");
        let at = |hook| Some(DropPoint { table: "nat".to_owned(), ..place(hook) });
        for (to, rule, first, mend) in [
            (
                flow("192.0.2.1:4000", "10.0.0.11:80"),
                at("prerouting"),
                Ending::Elsewhere("eth1".to_owned()),
                "nft insert rule inet nat prerouting ip daddr 192.0.2.10 accept",
            ),
            (
                flow("192.0.2.2:4000", "192.0.2.10:80"),
                at("postrouting"),
                Ending::Through,
                "nft insert rule inet nat postrouting oifname \"vstun0\" accept",
            ),
            (
                flow("192.0.2.1:4000", "192.0.2.2:80"),
                None,
                Ending::Local,
                "iptables-legacy -t nat -I PREROUTING -d 192.0.2.10 -j ACCEPT",
            ),
        ] {
            let mut facts = facts(first, None);
            facts.marked[0].translated = Some(Translation { from, to, rule });
            let [found] = &findings(&facts)[..] else { panic!("{to:?}") };
            assert_eq!((found.cause, found.severity), (Cause::Nat, Severity::Fault));
            assert_eq!(found.mend, [mend]);
        }
        // Without marked packets the rules say it.
        let masquerade = br#"{"nftables": [{"chain": {"family": "ip", "table": "nat",
            "name": "post", "type": "nat", "hook": "postrouting", "prio": 100}}, {"rule":
            {"family": "ip", "table": "nat", "chain": "post", "handle": 2,
            "expr": [{"masquerade": null}]}}]}"#;
        let facts = DirectorFacts {
            ruleset: Ruleset::read(masquerade),
            marked: Vec::new(),
            ..facts(Ending::Through, None)
        };
        let [found] = &findings(&facts)[..] else { panic!("{facts:?}") };
        assert_eq!(found.mend, ["nft insert rule ip nat post oifname \"vstun0\" accept"]);
    }
}
