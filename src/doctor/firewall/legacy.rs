//! The rules of iptables-legacy, from `iptables-legacy-save` (iptables-save(8)), as the same rules
//! of nftables. nftables lists neither them nor their tables.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

/// What follows the name of a table of iptables-legacy.
const NAME: &str = " of iptables-legacy";

/// The chains that the kernel runs itself, and their hooks.
const HOOKS: [(&str, &str); 5] = [
    ("PREROUTING", "prerouting"),
    ("INPUT", "input"),
    ("FORWARD", "forward"),
    ("OUTPUT", "output"),
    ("POSTROUTING", "postrouting"),
];

/// The tables and their priorities (`NF_IP_PRI_*`). `nat` is left out: it drops nothing.
const TABLES: [(&str, i64); 4] = [("raw", -300), ("mangle", -150), ("filter", 0), ("security", 50)];

/// The table's name in iptables-legacy, if it is one of its tables.
pub(in crate::doctor) fn table(name: &str) -> Option<&str> {
    name.strip_suffix(NAME)
}

/// The chains and rules of a listing, as `nft -j list ruleset` would show them. A rule has its
/// number in its chain as the handle.
pub(super) fn objects(saved: &str, version: u8) -> Vec<Value> {
    let family = if version == 4 { "ip" } else { "ip6" };
    let mut objects = Vec::new();
    let mut current: Option<(String, i64)> = None;
    let mut numbers: HashMap<String, u64> = HashMap::new();
    // Of the table: the rules follow the names of all chains.
    let mut own: HashSet<&str> = HashSet::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            let known = TABLES.iter().find(|(known, _)| *known == name);
            current = known.map(|(known, priority)| (format!("{known}{NAME}"), *priority));
            numbers.clear();
            own.clear();
        }
        let Some((table, priority)) = &current else { continue };
        if let Some((name, rest)) = line.strip_prefix(':').and_then(|rest| rest.split_once(' ')) {
            let hook = HOOKS.iter().find(|(chain, _)| *chain == name);
            if hook.is_none() {
                own.insert(name);
            }
            objects.extend(hook.map(|(_, hook)| {
                let policy = if rest.starts_with("DROP") { "drop" } else { "accept" };
                json!({"chain": {"family": family, "table": table, "name": name, "hook": hook,
                    "prio": priority, "policy": policy}})
            }));
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let (chain, options) = rest.split_once(' ').unwrap_or((rest, ""));
            let number = numbers.entry(chain.to_owned()).or_default();
            *number += 1;
            objects.push(json!({"rule": {"family": family, "table": table, "chain": chain,
                "handle": number, "expr": statements(options, family, &own)}}));
        }
    }
    objects
}

/// The statements of a rule. An option that is not known makes the rule uncertain.
fn statements(options: &str, family: &str, own: &HashSet<&str>) -> Vec<Value> {
    let mut words = options.split_whitespace();
    let (mut found, mut not, mut protocol) = (Vec::new(), false, "th");
    while let Some(word) = words.next() {
        if word == "!" {
            not = true;
            continue;
        }
        let address = |field| json!({"payload": {"protocol": family, "field": field}});
        let port = |field| json!({"payload": {"protocol": protocol, "field": field}});
        let meta = |key| json!({"meta": {"key": key}});
        let mut value = || words.next().unwrap_or_default();
        let (left, right) = match word {
            "-s" => (address("saddr"), network(value())),
            "-d" => (address("daddr"), network(value())),
            "-i" => (meta("iifname"), interface(value())),
            "-o" => (meta("oifname"), interface(value())),
            "-p" => {
                let name = value();
                protocol = if matches!(name, "tcp" | "udp") { name } else { "th" };
                (meta("l4proto"), json!(name))
            }
            "--sport" => (port("sport"), ports(value())),
            "--dport" => (port("dport"), ports(value())),
            "--ctstate" | "--state" => {
                (json!({"ct": {"key": "state"}}), json!({"set": states(value())}))
            }
            // The name of an extension; its options follow.
            "-m" if matches!(value(), "tcp" | "udp" | "conntrack" | "state" | "comment") => {
                continue;
            }
            "--comment" => {
                quoted(value(), &mut words);
                continue;
            }
            "-j" | "-g" => {
                let untracks = options.split(' ').any(|option| option == "--notrack");
                found.extend(match value() {
                    "CT" if untracks => Some(json!({"notrack": null})),
                    "CT" => None,
                    name => target(word, name, own),
                });
                break;
            }
            _ => {
                found.push(json!({"xt": null}));
                continue;
            }
        };
        let op = if not { "!=" } else { "==" };
        found.push(json!({"match": {"op": op, "left": left, "right": right}}));
        not = false;
    }
    found
}

/// Skips the rest of a text in quotes.
fn quoted<'a>(first: &'a str, words: &mut impl Iterator<Item = &'a str>) {
    let ends = |word: &str| word.ends_with('"') && !word.ends_with("\\\"");
    if first.starts_with('"') && !(first.len() > 1 && ends(first)) {
        let _ = words.find(|word| ends(word));
    }
}

fn network(text: &str) -> Value {
    match text.split_once('/').and_then(|(net, len)| Some((net, len.parse::<u8>().ok()?))) {
        Some((net, len)) => json!({"prefix": {"addr": net, "len": len}}),
        None => json!(text),
    }
}

fn interface(text: &str) -> Value {
    text.strip_suffix('+').map_or_else(|| json!(text), |start| json!(format!("{start}*")))
}

fn ports(text: &str) -> Value {
    let number = |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |port| json!(port));
    match text.split_once(':') {
        Some((first, last)) => json!({"range": [number(first), number(last)]}),
        None => number(text),
    }
}

fn states(text: &str) -> Vec<String> {
    text.split(',').map(str::to_lowercase).collect()
}

/// The verdict of a target, or the target.
fn target(option: &str, name: &str, own: &HashSet<&str>) -> Option<Value> {
    Some(match name {
        "DROP" => json!({"drop": null}),
        "REJECT" => json!({"reject": null}),
        "ACCEPT" => json!({"accept": null}),
        "RETURN" => json!({"return": null}),
        chain if own.contains(chain) && option == "-g" => json!({"goto": {"target": chain}}),
        chain if own.contains(chain) => json!({"jump": {"target": chain}}),
        "" => return None,
        other => json!({"xt": {"type": "target", "name": other}}),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{CtState, FirewallVerdict, Hook, JudgedPacket, Ruleset};
    use crate::wire::protocol;

    const SAVED: &str = "# Generated by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -j DROP\nCOMMIT\n*filter\n:INPUT DROP [3:180]\n:FORWARD ACCEPT [0:0]\n\
        :OUTPUT ACCEPT [0:0]\n:own - [0:0]\n\
        -A INPUT -i lo -j ACCEPT\n\
        -A INPUT -m comment --comment \"a -j DROP of \\\"x\\\" here\" -p ipencap -j own\n\
        -A INPUT ! -i eth+ -p tcp -m tcp --dport 8000:8010 -m conntrack --ctstate NEW -j ACCEPT\n\
        -A OUTPUT -s 192.0.2.0/24 -p tcp -j LOG --log-prefix x\n\
        -A OUTPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 9 -m owner --uid-owner 5 -j DROP\n\
        -A OUTPUT -s 192.0.2.10/32 -j REJECT --reject-with icmp-port-unreachable\n\
        -A own -s 10.0.0.1/32 -j ACCEPT\n-A own -j RETURN\nCOMMIT\n";

    fn probe(input: &str, source: &str, protocol: u8, port: Option<u16>) -> JudgedPacket {
        JudgedPacket {
            version: 4,
            input: Some(input.to_owned()),
            output: None,
            source: source.parse().ok(),
            destination: None,
            protocol,
            port,
            state: CtState::New,
            ..JudgedPacket::default()
        }
    }

    #[test]
    fn rules_are_evaluated_as_those_of_nftables() {
        let mut ruleset = Ruleset::default();
        ruleset.add_legacy(SAVED, 4);
        let table = [
            // Hook, packet → the rule, and whether the drop is certain.
            (Hook::Input, probe("lo", "10.0.0.9", protocol::UDP, None), None),
            (Hook::Input, probe("eth0", "10.0.0.1", protocol::IPIP, None), None),
            (
                Hook::Input,
                probe("eth0", "10.0.0.9", protocol::IPIP, None),
                Some(("its policy", true)),
            ),
            (Hook::Input, probe("vstun0", "1.1.1.1", protocol::TCP, Some(8010)), None),
            (
                Hook::Input,
                probe("vstun0", "1.1.1.1", protocol::TCP, Some(8011)),
                Some(("its policy", true)),
            ),
            (
                Hook::Input,
                probe("eth1", "1.1.1.1", protocol::TCP, Some(8010)),
                Some(("its policy", true)),
            ),
            (
                Hook::Output,
                probe("", "192.0.2.10", protocol::TCP, Some(80)),
                Some(("rule 3 of chain OUTPUT", true)),
            ),
            (
                Hook::Output,
                probe("", "192.0.2.9", protocol::TCP, Some(9)),
                Some(("rule 2 of chain OUTPUT", false)),
            ),
            (Hook::Output, probe("", "192.0.3.9", protocol::TCP, Some(9)), None),
            (Hook::Prerouting, probe("eth0", "10.0.0.9", protocol::TCP, Some(9)), None),
        ];
        for (hook, probe, expected) in table {
            let verdict = match ruleset.judge(&[hook], &probe) {
                FirewallVerdict::Drops(point) => Some((point.rule, point.certain)),
                FirewallVerdict::Passes => None,
            };
            let expected = expected.map(|(rule, certain)| (rule.to_owned(), certain));
            assert_eq!(verdict, expected, "{hook:?} {probe:?}");
        }
        let mut other = Ruleset::default();
        other.add_legacy(SAVED, 6);
        let packet = probe("eth0", "10.0.0.9", protocol::IPIP, None);
        assert_eq!(other.judge(&[Hook::Input], &packet), FirewallVerdict::Passes);
    }

    #[test]
    fn a_table_s_name_says_where_it_is() {
        assert_eq!(super::table("filter of iptables-legacy"), Some("filter"));
        assert_eq!(super::table("filter"), None);
    }
}
