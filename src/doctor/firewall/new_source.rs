//! The source that a rule of a chain of type `nat` gives to packets.

use std::net::IpAddr;

use serde_json::Value;

use super::drop_point::DropPoint;
use super::ruleset::Ruleset;

/// A source that a rule gives to packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NewSource {
    /// The address of the interface by which they leave.
    OfInterface,
    /// This address.
    Address(IpAddr),
    /// One of several, or the rule does not say it.
    Unknown,
}

impl Ruleset {
    /// The source that the rule at this point gives to packets.
    #[must_use]
    pub fn new_source(&self, point: &DropPoint) -> NewSource {
        let rule = self.rule_at(point);
        let statements = rule.and_then(|rule| rule["expr"].as_array()).into_iter().flatten();
        let named = statements.filter_map(Value::as_object).flatten();
        let mut known = named.filter_map(|(name, value)| match (name.as_str(), value) {
            ("masquerade", _) => Some(NewSource::OfInterface),
            ("xt", value) if value["name"] == "MASQUERADE" => Some(NewSource::OfInterface),
            ("snat", value) => {
                let address = value["addr"].as_str().and_then(|text| text.parse().ok());
                Some(address.map_or(NewSource::Unknown, NewSource::Address))
            }
            _ => None,
        });
        known.next().unwrap_or(NewSource::Unknown)
    }

    fn rule_at(&self, DropPoint { family, table, rule, .. }: &DropPoint) -> Option<&Value> {
        let (handle, chain) = rule.strip_prefix("rule ")?.split_once(" of chain ")?;
        let handle: u64 = handle.parse().ok()?;
        let rules = self.rules.get(&(family.clone(), table.clone(), chain.to_owned()))?;
        rules.iter().find(|rule| rule["handle"].as_u64() == Some(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::firewall::{Hook, JudgedPacket};

    #[test]
    fn the_new_source_is_that_of_the_rule_that_translates() {
        for (expr, expected) in [
            (r#"{"masquerade": null}"#, NewSource::OfInterface),
            (r#"{"masquerade": {"flags": "random"}}"#, NewSource::OfInterface),
            (r#"{"xt": {"type": "target", "name": "MASQUERADE"}}"#, NewSource::OfInterface),
            (r#"{"counter": null}, {"snat": {"addr": "10.0.0.9"}}"#, {
                NewSource::Address("10.0.0.9".parse().expect("an address"))
            }),
            (r#"{"snat": {"addr": {"range": ["10.0.0.8", "10.0.0.9"]}}}"#, NewSource::Unknown),
            (r#"{"xt": {"type": "target", "name": "SNAT"}}"#, NewSource::Unknown),
        ] {
            let text = format!(
                r#"{{"nftables": [{{"chain": {{"family": "ip", "table": "nat", "name": "post",
                "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}}}},
                {{"rule": {{"family": "ip", "table": "nat", "chain": "own", "handle": 6,
                "expr": [{expr}]}}}},
                {{"rule": {{"family": "ip", "table": "nat", "chain": "post", "handle": 5,
                "expr": [{{"jump": {{"target": "own"}}}}]}}}}]}}"#
            );
            let rules = Ruleset::read(text.as_bytes()).expect("a ruleset");
            let packet = JudgedPacket { version: 4, protocol: 4, ..JudgedPacket::default() };
            let point = rules.translates(&[Hook::Postrouting], &packet).expect(expr);
            assert_eq!(rules.new_source(&point), expected, "{expr}");
        }
    }
}
