//! What a routing rule matches beside the source of packets.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// What a rule matches in addition to the packet's source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selectors {
    /// The destination.
    pub to: Option<IpNet>,
    /// The input interface; `lo`: packets of this host.
    pub input: Option<String>,
    /// The output interface, which no packet has at this lookup.
    pub output: Option<String>,
    /// Whether it matches a mark of the firewall.
    pub mark: bool,
    /// The number of the protocol inside.
    pub protocol: Option<u8>,
    /// The source ports.
    pub sports: Option<RangeInclusive<u16>>,
    /// The destination ports.
    pub dports: Option<RangeInclusive<u16>>,
    /// Whether it matches something else: type of service, user, inverted.
    pub other: bool,
    /// Whether it decides nothing: `goto`, `nop`.
    pub idle: bool,
}

impl Selectors {
    /// Whether more than the source and the interface decides.
    pub(super) fn are_partial(&self) -> bool {
        self.mark
            || self.other
            || self.protocol.is_some()
            || self.sports.is_some()
            || self.dports.is_some()
    }

    /// Whether it is known which packets it matches.
    pub(super) fn are_known(&self) -> bool {
        !self.mark && !self.other
    }
}

impl fmt::Display for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let parts = [
            self.to.map(|to| format!("to {to}")),
            self.input.as_ref().map(|input| format!("iif {input}")),
            self.mark.then(|| "fwmark".to_owned()),
            self.protocol.map(|number| format!("ipproto {number}")),
            self.sports.as_ref().map(|range| format!("sport {}", ports(range))),
            self.dports.as_ref().map(|range| format!("dport {}", ports(range))),
            self.other.then(|| "other conditions".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_shown_as_ip_rule_does() {
        let only = Selectors {
            to: "10.0.0.0/8".parse().ok(),
            input: Some("eth0".to_owned()),
            protocol: Some(6),
            sports: Some(80..=80),
            dports: Some(1..=2),
            ..Selectors::default()
        };
        assert_eq!(only.to_string(), "to 10.0.0.0/8 iif eth0 ipproto 6 sport 80 dport 1-2",);
        assert!(only.are_partial() && only.are_known());
        let marked = Selectors { mark: true, ..Selectors::default() };
        assert!(marked.are_partial() && !marked.are_known());
        assert_eq!(marked.to_string(), "fwmark");
    }
}
