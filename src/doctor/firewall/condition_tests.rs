#![allow(clippy::unwrap_used)]

use super::super::packet::{ARP, CtState, JudgedPacket};
use super::super::{FirewallVerdict, Hook, Ruleset};

/// What a chain does whose only rule drops what meets these conditions, as nft prints them.
fn fate(family: &str, conditions: &[&str], packet: &JudgedPacket) -> &'static str {
    let text = format!(
        r#"{{"nftables": [
        {{"set": {{"family": "{family}", "table": "t", "name": "none"}}}},
        {{"set": {{"family": "{family}", "table": "t", "name": "web",
            "elem": [80, {{"elem": {{"val": {{"range": [440, 449]}}, "timeout": 9}}}}]}}}},
        {{"set": {{"family": "{family}", "table": "other", "name": "web", "elem": [22]}}}},
        {{"set": {{"family": "{family}", "table": "t", "name": "pairs",
            "elem": [{{"concat": [{{"prefix": {{"addr": "192.0.2.0", "len": 24}}}}, 80]}}]}}}},
        {{"map": {{"family": "{family}", "table": "t", "name": "verdicts",
            "elem": [[80, {{"drop": null}}], ["*", {{"accept": null}}]]}}}},
        {{"chain": {{"family": "{family}", "table": "t", "name": "deep"}}}},
        {{"chain": {{"family": "{family}", "table": "t", "name": "c", "type": "filter",
            "hook": "output", "prio": 0, "policy": "accept"}}}},
        {{"rule": {{"family": "{family}", "table": "t", "chain": "c", "handle": 2,
            "expr": [{}, {{"drop": null}}]}}}},
        {{"rule": {{"family": "{family}", "table": "t", "chain": "deep", "handle": 3,
            "expr": [{{"drop": null}}]}}}}]}}"#,
        conditions.join(", ")
    );
    let ruleset = Ruleset::read(text.as_bytes()).unwrap();
    match ruleset.judge(&[Hook::Output], packet) {
        FirewallVerdict::Passes => "pass",
        FirewallVerdict::Drops(point) if point.certain => "drop",
        FirewallVerdict::Drops(_) => "may",
    }
}

fn condition(left: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
}

fn field(header: &str, name: &str) -> String {
    format!(r#"{{"payload": {{"protocol": "{header}", "field": "{name}"}}}}"#)
}

/// A packet of IP in IP of this host.
fn tunnelled() -> JudgedPacket {
    JudgedPacket {
        version: 4,
        input: Some(String::new()),
        output: Some("eth1".to_owned()),
        source: "10.0.0.1".parse().ok(),
        destination: "10.0.0.11".parse().ok(),
        protocol: 4,
        ..JudgedPacket::default()
    }
}

/// A SYN of this host.
fn probe() -> JudgedPacket {
    JudgedPacket {
        destination: "192.0.2.10".parse().ok(),
        source: None,
        protocol: 6,
        port: Some(80),
        ..tunnelled()
    }
}

/// nft adds the condition for the header to a rule and does not list it: without the header the
/// rule ends, whatever the operator.
#[test]
fn a_field_that_the_packet_lacks_ends_the_rule() {
    let ports = r#"{"set": [22, 80, 443]}"#;
    let flags = r#"["fin", "syn"]"#;
    let masked = format!(r#"{{"&": [{}, {flags}]}}"#, field("tcp", "flags"));
    let concat = format!(r#"{{"concat": [{}, {}]}}"#, field("ip", "saddr"), field("tcp", "dport"));
    for (left, right) in [
        (field("tcp", "dport"), "22"),
        (field("udp", "dport"), "9000"),
        (field("udp", "dport"), r#""@none""#),
        (field("tcp", "dport"), ports),
        (field("tcp", "dport"), r#"{"range": [22, 80]}"#),
        (field("icmp", "type"), r#""echo-request""#),
        (field("icmpv6", "type"), r#""echo-request""#),
        (field("ip6", "saddr"), r#"{"prefix": {"addr": "fd00::", "len": 8}}"#),
        (field("sctp", "dport"), "5"),
        (field("vlan", "id"), "5"),
        (field("arp", "daddr ip"), r#""192.0.2.10""#),
        (field("ether", "saddr"), r#""02:00:00:00:00:01""#),
        (masked, flags),
        (concat, r#"{"concat": ["10.0.0.1", 80]}"#),
        (r#"{"exthdr": {"name": "frag"}}"#.to_owned(), "true"),
        (r#"{"tcp option": {"name": "maxseg", "field": "size"}}"#.to_owned(), "100"),
        (r#"{"ip option": {"name": "rr", "field": "ptr"}}"#.to_owned(), "5"),
    ] {
        for op in ["==", "!=", "<", ">", "<=", ">=", "in", "!"] {
            let one = condition(&left, op, right);
            assert_eq!(fate("inet", &[&one], &tunnelled()), "pass", "{one}");
        }
        let drop = r#"{"drop": null}"#;
        let vmap = format!(
            r#"{{"vmap": {{"key": {left}, "data": {{"set": [[22, {drop}], ["*", {drop}]]}}}}}}"#
        );
        assert_eq!(fate("inet", &[&vmap], &tunnelled()), "pass", "{vmap}");
    }
    // Untracked and invalid packets have no connection.
    for state in [CtState::Untracked, CtState::Invalid] {
        for key in ["direction", "mark", "status", "helper"] {
            let one = condition(&format!(r#"{{"ct": {{"key": "{key}"}}}}"#), "!=", "5");
            assert_eq!(fate("ip", &[&one], &JudgedPacket { state, ..probe() }), "pass", "{one}");
        }
    }
}

#[test]
fn operators_compare_what_is_known() {
    let port = field("tcp", "dport");
    for (op, right, expected) in [
        ("==", "80", "drop"),
        ("==", "22", "pass"),
        ("!=", "22", "drop"),
        ("!=", "80", "pass"),
        ("<", "80", "pass"),
        ("<", "81", "drop"),
        ("<", "0", "pass"),
        ("<=", "80", "drop"),
        ("<=", "79", "pass"),
        (">", "80", "pass"),
        (">", "79", "drop"),
        (">=", "80", "drop"),
        (">=", "81", "pass"),
        ("in", "80", "drop"),
        ("==", r#"{"range": [80, 90]}"#, "drop"),
        ("!=", r#"{"range": [80, 90]}"#, "pass"),
        ("==", r#"{"set": [22, {"range": [70, 90]}]}"#, "drop"),
        ("!=", r#"{"set": [22, 80]}"#, "pass"),
        ("==", r#""@web""#, "drop"),
        ("!=", r#""@web""#, "pass"),
        ("==", r#""@none""#, "pass"),
        ("!=", r#""@none""#, "drop"),
        ("==", r#""@unheard_of""#, "may"),
        ("==", r#"{"map": {}}"#, "may"),
        ("~", "80", "may"),
    ] {
        let one = condition(&port, op, right);
        assert_eq!(fate("inet", &[&one], &probe()), expected, "{one}");
        let unknown = JudgedPacket { port: None, ..probe() };
        // A set without elements has no unknown port either.
        let unsure = match (op, right) {
            ("==", r#""@none""#) => "pass",
            ("!=", r#""@none""#) => "drop",
            _ => "may",
        };
        assert_eq!(fate("inet", &[&one], &unknown), unsure, "{one} of an unknown port");
    }
}

#[test]
fn fields_are_known_as_far_as_the_packet_decides() {
    let flags = |names: &str| format!(r#"{{"&": [{}, [{names}]]}}"#, field("tcp", "flags"));
    let masked = |field: &str, mask: &str| format!(r#"{{"&": [{field}, {mask}]}}"#);
    let meta = |key: &str| format!(r#"{{"meta": {{"key": "{key}"}}}}"#);
    let ct = |key: &str| format!(r#"{{"ct": {{"key": "{key}"}}}}"#);
    let (mark, fragment) = (meta("mark"), field("ip", "frag-off"));
    let fib = r#"{"fib": {"result": "oif", "flags": ["saddr", "iif"]}}"#.to_owned();
    let local = r#"{"fib": {"result": "type", "flags": ["daddr"]}}"#.to_owned();
    for (left, op, right, expected) in [
        (flags(r#""fin", "syn""#), "==", r#"["fin", "syn"]"#, "pass"),
        (flags(r#""syn", "ack""#), "==", r#""syn""#, "drop"),
        (flags(r#""fin", "syn", "rst", "ack""#), "!=", r#""syn""#, "pass"),
        (flags(r#""syn", "cwr""#), "==", r#""syn""#, "may"),
        (field("tcp", "flags"), "in", r#""syn""#, "drop"),
        (field("tcp", "flags"), "in", r#"["rst", "fin"]"#, "pass"),
        (field("tcp", "flags"), "!", r#"["rst", "fin"]"#, "drop"),
        (field("tcp", "flags"), "!=", r#""syn""#, "may"),
        (field("tcp", "flags"), "==", r#"{"|": ["fin", "syn"]}"#, "pass"),
        (masked(&fragment, "8191"), "!=", "0", "pass"),
        (fragment, "==", "0", "may"),
        (mark.clone(), "==", "5", "pass"),
        (masked(&mark, "255"), "!=", "0", "pass"),
        (format!(r#"{{"|": [{mark}, 4]}}"#), "==", "4", "drop"),
        (format!(r#"{{"^": [{mark}, 4]}}"#), "==", "4", "drop"),
        (format!(r#"{{">>": [{port}, 4]}}"#, port = field("tcp", "dport")), "==", "5", "drop"),
        (ct("mark"), "==", "5", "pass"),
        (ct("direction"), "==", r#""reply""#, "pass"),
        (ct("direction"), "!=", r#""reply""#, "drop"),
        (ct("status"), "in", r#""assured""#, "pass"),
        (ct("status"), "in", r#""dnat""#, "may"),
        (ct("state"), "in", r#"["established", "related"]"#, "pass"),
        (ct("state"), "!=", r#""invalid""#, "drop"),
        (ct("state"), "==", r#"{"set": ["established", "new"]}"#, "drop"),
        (meta("pkttype"), "==", r#""multicast""#, "pass"),
        (meta("length"), ">", "1500", "may"),
        (meta("skuid"), "==", "1000", "pass"),
        (meta("skuid"), "!=", r#"{"set": ["root", 5]}"#, "pass"),
        (meta("l4proto"), "!=", r#"{"set": ["tcp", "udp"]}"#, "pass"),
        (meta("nfproto"), "==", r#""ipv4""#, "drop"),
        (meta("oifname"), "==", r#"{"set": ["lo", "eth*"]}"#, "drop"),
        (meta("iifname"), "!=", r#""lo""#, "drop"),
        (meta("iifgroup"), "!=", "3", "pass"),
        (field("ip", "daddr"), "==", r#"{"prefix": {"addr": "192.0.2.0", "len": 24}}"#, "drop"),
        (field("ip", "daddr"), "<", r#""192.0.2.11""#, "drop"),
        (field("ip", "daddr"), "!=", r#"{"range": ["192.0.2.1", "192.0.2.9"]}"#, "drop"),
        (masked(&field("ip", "daddr"), r#""255.0.0.255""#), "==", r#""192.0.0.10""#, "drop"),
        (field("ip", "saddr"), "==", r#""10.0.0.99""#, "may"),
        (fib, "==", "false", "may"),
        (local, "==", r#""local""#, "pass"),
    ] {
        let one = condition(&left, op, right);
        let packet = JudgedPacket { user: Some(0), ..probe() };
        assert_eq!(fate("inet", &[&one], &packet), expected, "{one}");
    }
}

#[test]
fn what_only_some_packets_have_is_known_for_these() {
    let meta = |key: &str| format!(r#"{{"meta": {{"key": "{key}"}}}}"#);
    let fib = r#"{"fib": {"result": "oif", "flags": ["saddr", "iif"]}}"#;
    let missing = condition(fib, "==", "false");
    for (reverse_path, expected) in [(Some(false), "drop"), (Some(true), "pass"), (None, "may")] {
        assert_eq!(fate("inet", &[&missing], &JudgedPacket { reverse_path, ..probe() }), expected);
    }
    let skuid = condition(&meta("skuid"), "!=", "0");
    let arriving = JudgedPacket { input: Some("eth0".to_owned()), ..probe() };
    assert_eq!(fate("inet", &[&skuid], &arriving), "pass", "it has no socket");
    let protocol = condition(&field("th", "dport"), "==", "80");
    assert_eq!(fate("inet", &[&protocol], &tunnelled()), "may", "its inner packet's bytes");
}

#[test]
fn a_rule_that_sets_marks_makes_them_unknown() {
    let mark = condition(r#"{"meta": {"key": "mark"}}"#, "==", "5");
    let by_rule = r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}"#;
    let by_target = r#"{"xt": {"type": "target", "name": "CONNMARK"}}"#;
    for sets in [by_rule, by_target] {
        assert_eq!(fate("inet", &[sets, &mark], &probe()), "may", "{sets}");
    }
}

#[test]
fn maps_decide_as_far_as_their_key_is_known() {
    let port = field("tcp", "dport");
    let vmap = |key: &str, data: &str| format!(r#"{{"vmap": {{"key": {key}, "data": {data}}}}}"#);
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, verdict)| format!(r#"[{key}, {{"{verdict}": null}}]"#))
            .collect();
        format!(r#"{{"set": [{}]}}"#, pairs.join(", "))
    };
    let low = set(&[("22", "accept"), (r#"{"range": [0, 21]}"#, "drop"), ("80", "drop")]);
    let other = set(&[("22", "drop"), (r#""*""#, "accept")]);
    let deep = r#"{"set": [[80, {"jump": {"target": "deep"}}]]}"#.to_owned();
    for (data, known, unknown) in [
        (low, "drop", "may"),
        (set(&[("80", "accept"), ("22", "drop")]), "pass", "may"),
        (other, "pass", "may"),
        (set(&[("22", "accept"), (r#""*""#, "drop")]), "drop", "may"),
        (set(&[("22", "accept")]), "pass", "pass"),
        (r#""@verdicts""#.to_owned(), "drop", "may"),
        (r#""@none""#.to_owned(), "pass", "pass"),
        (deep, "drop", "may"),
    ] {
        let one = vmap(&port, &data);
        assert_eq!(fate("inet", &[&one], &probe()), known, "{one}");
        let unsure = JudgedPacket { port: None, ..probe() };
        assert_eq!(fate("inet", &[&one], &unsure), unknown, "{one} of an unknown port");
    }
    let pair = format!(r#"{{"concat": [{}, {port}]}}"#, field("ip", "daddr"));
    for (right, expected) in [
        (r#""@pairs""#, "drop"),
        (r#"{"set": [{"concat": ["192.0.2.10", 22]}]}"#, "pass"),
        (r#"{"set": [{"concat": ["192.0.2.10", 80, 3]}]}"#, "may"),
    ] {
        let one = condition(&pair, "==", right);
        assert_eq!(fate("inet", &[&one], &probe()), expected, "{one}");
    }
}

/// `-j REJECT` of iptables-nft is a target, and a limit depends on other packets.
#[test]
fn statements_between_condition_and_verdict_count() {
    for (statement, expected) in [
        (r#"{"xt": {"type": "target", "name": "LOG"}}"#, "drop"),
        (r#"{"xt": {"type": "target", "name": "REJECT"}}, {"accept": null}"#, "drop"),
        (r#"{"xt": {"type": "match", "name": "multiport"}}"#, "may"),
        (r#"{"limit": {"rate": 3, "inv": true}}"#, "may"),
        (r#"{"set": {"op": "add", "set": "@web", "elem": 5, "stmt": [{"limit": {}}]}}"#, "may"),
        (r#"{"set": {"op": "add", "set": "@web", "elem": 5}}"#, "drop"),
        (r#"{"counter": null}, {"continue": null}"#, "pass"),
    ] {
        assert_eq!(fate("inet", &[statement], &probe()), expected, "{statement}");
    }
}

#[test]
fn arp_has_a_family_of_its_own() {
    let request = JudgedPacket { version: ARP, protocol: 0, icmp: Some(1), ..probe() };
    let target = condition(&field("arp", "daddr ip"), "==", r#""192.0.2.10""#);
    let reply = condition(&field("arp", "operation"), "==", r#""reply""#);
    assert_eq!(fate("arp", &[&target], &request), "drop");
    assert_eq!(fate("arp", &[&target, &reply], &request), "pass");
    assert_eq!(fate("arp", &[&target], &probe()), "pass");
    assert_eq!(fate("inet", &[&target], &request), "pass");
}
