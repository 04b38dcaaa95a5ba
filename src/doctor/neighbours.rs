//! Whether a firewall lets neighbour discovery through, without which IPv6 hosts find no other.

use super::firewall::{CtState, FirewallVerdict, Hook, JudgedPacket, Ruleset};
use super::passage::{dropped, insert};
use super::{Cause, Finding};
use crate::wire::protocol;

/// Neighbour solicitation and advertisement (RFC 4861 4.3, 4.4), with their names in nft(8).
const KINDS: [(u8, &str); 2] = [(135, "solicitations"), (136, "advertisements")];

/// The finding for the first of these interfaces where the firewall certainly drops it. A drop
/// under conditions that cannot be evaluated is not reported: many firewalls that work have such
/// rules.
pub(super) fn finding<'a>(
    mut links: impl Iterator<Item = &'a str>,
    ruleset: &Ruleset,
) -> Option<Finding> {
    links.find_map(|link| {
        let probe = |kind| JudgedPacket {
            version: 6,
            input: Some(link.to_owned()),
            output: Some(String::new()),
            source: None,
            destination: None,
            protocol: protocol::ICMPV6,
            port: None,
            icmp: Some(kind),
            // The kernel does not track them.
            state: CtState::Untracked,
            ..JudgedPacket::default()
        };
        let hooks = [Hook::Ingress, Hook::Prerouting, Hook::Input];
        KINDS.into_iter().find_map(|(kind, name)| {
            let FirewallVerdict::Drops(point) = ruleset.judge(&hooks, &probe(kind)) else {
                return None;
            };
            if !point.certain {
                return None;
            }
            let text = format!(
                "the firewall drops neighbour {name} that arrive on {link}: IPv6 hosts there and \
                 this one do not find each other"
            );
            let rule = "icmpv6 type '{ nd-neighbor-solicit, nd-neighbor-advert, packet-too-big }'";
            let found = dropped(Cause::Neighbours, text, &point);
            Some(found.mended_by(insert(&point, &format!("{rule} accept"))))
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The rules of an ordinary host that drops what it does not know.
    #[test]
    fn an_input_policy_without_neighbour_discovery_is_named_with_the_rule() {
        let ruleset = |types: &str| {
            let text = format!(
                r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "fw", "name": "in",
                "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}}},
                {{"rule": {{"family": "inet", "table": "fw", "chain": "in", "handle": 2, "expr": [
                {{"match": {{"op": "in", "left": {{"ct": {{"key": "state"}}}},
                "right": ["established", "related"]}}}}, {{"accept": null}}]}}}},
                {{"rule": {{"family": "inet", "table": "fw", "chain": "in", "handle": 3, "expr": [
                {{"match": {{"op": "==", "left": {{"payload": {{"protocol": "icmpv6",
                "field": "type"}}}}, "right": {types}}}}}, {{"accept": null}}]}}}}]}}"#
            );
            Ruleset::read(text.as_bytes()).unwrap()
        };
        let found = |types| finding(["eth0"].into_iter(), &ruleset(types));
        let both = r#"{"set": ["packet-too-big", "nd-neighbor-solicit", "nd-neighbor-advert"]}"#;
        assert_eq!(found(both), None);
        assert_eq!(finding(std::iter::empty(), &ruleset("1")), None);
        for types in [r#""echo-request""#, r#""nd-neighbor-solicit""#, "135"] {
            let found = found(types).unwrap();
            assert_eq!(found.cause, Cause::Neighbours);
            assert!(found.mend[0].starts_with("nft insert rule inet fw in icmpv6"), "{found:?}");
        }
    }

    #[test]
    fn a_rule_that_only_the_kernel_can_judge_is_no_finding() {
        let ruleset = |condition: &str| {
            let text = format!(
                r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "fw", "name": "in",
                "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}}},
                {{"rule": {{"family": "inet", "table": "fw", "chain": "in", "handle": 2, "expr": [
                {condition}{{"drop": null}}]}}}}]}}"#
            );
            Ruleset::read(text.as_bytes()).unwrap()
        };
        let vip = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip6",
            "field": "daddr"}}, "right": "2001:db8:b::10"}}, "#;
        assert_eq!(finding(["eth0"].into_iter(), &ruleset(vip)), None);
        assert!(finding(["eth0"].into_iter(), &ruleset("")).is_some());
    }
}
