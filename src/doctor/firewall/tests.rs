#![allow(clippy::unwrap_used)]

use super::super::packet::CtState;
use super::*;

/// A ruleset as nft prints it, of one table with one base chain and one other.
fn ruleset(policy: &str, rules: &[&str]) -> Ruleset {
    let rules: String = rules
        .iter()
        .enumerate()
        .map(|(index, expr)| {
            let (chain, expr) = expr.split_once(' ').unwrap();
            format!(
                r#",{{"rule":{{"family":"inet","table":"filter","chain":"{chain}",
                "handle":{},"expr":[{expr}]}}}}"#,
                index + 10
            )
        })
        .collect();
    let text = format!(
        r#"{{"nftables":[{{"metainfo":{{"json_schema_version":1}}}},
        {{"table":{{"family":"inet","name":"filter","handle":1}}}},
        {{"set":{{"family":"inet","name":"vips","table":"filter","type":"ipv4_addr",
          "elem":["192.0.2.10",{{"prefix":{{"addr":"198.51.100.0","len":24}}}}]}}}},
        {{"chain":{{"family":"inet","table":"filter","name":"forward","handle":1,
          "type":"filter","hook":"forward","prio":0,"policy":"{policy}"}}}},
        {{"chain":{{"family":"inet","table":"filter","name":"mine","handle":2}}}}{rules}]}}"#
    );
    Ruleset::read(text.as_bytes()).unwrap()
}

fn probe() -> JudgedPacket {
    JudgedPacket {
        version: 4,
        input: Some("eth0".to_owned()),
        output: Some("vstun0".to_owned()),
        source: None,
        destination: Some("192.0.2.10".parse().unwrap()),
        protocol: 6,
        port: Some(80),
        state: CtState::New,
        ..JudgedPacket::default()
    }
}

/// `pass`, `drop` or `may drop`, and where.
fn fate(ruleset: &Ruleset, probe: &JudgedPacket) -> String {
    match ruleset.judge(&[Hook::Forward], probe) {
        FirewallVerdict::Passes => "pass".to_owned(),
        FirewallVerdict::Drops(DropPoint { rule, certain: true, .. }) => format!("drop {rule}"),
        FirewallVerdict::Drops(DropPoint { rule, .. }) => format!("may drop {rule}"),
    }
}

const OUT: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"vstun0"}}"#;
const FROM_LAN: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip",
    "field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":8}}}}"#;
const TO_VIPS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip",
    "field":"daddr"}},"right":"@vips"}}"#;
const TCP: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},
    "right":{"set":[22,{"range":[80,89]}]}}}"#;
const UDP: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},
    "right":80}}"#;
const INVALID: &str = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}}"#;
const XT: &str = r#"{"xt":{"type":"match","name":"conntrack"}}"#;
const STATES: &str = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[
    ["established",{"accept":null}],["invalid",{"drop":null}]]}}}"#;
const ACCEPT: &str = r#"{"accept":null}"#;
const DROP: &str = r#"{"counter":{"packets":0,"bytes":0}},{"drop":null}"#;

#[test]
fn a_packet_takes_the_first_verdict_whose_conditions_it_meets() {
    let jump = r#"forward {"jump":{"target":"mine"}}"#;
    let rule = |chain: &str, parts: &[&str]| format!("{chain} {}", parts.join(","));
    let table: Vec<(&str, Vec<String>, &str)> = vec![
        ("accept", vec![], "pass"),
        ("drop", vec![], "drop its policy"),
        ("drop", vec![rule("forward", &[OUT, ACCEPT])], "pass"),
        ("accept", vec![rule("forward", &[TO_VIPS, DROP])], "drop rule 10 of chain forward"),
        ("accept", vec![rule("forward", &[TCP, DROP])], "drop rule 10 of chain forward"),
        ("accept", vec![rule("forward", &[UDP, DROP])], "pass"),
        ("accept", vec![rule("forward", &[FROM_LAN, DROP])], "may drop rule 10 of chain forward"),
        ("drop", vec![rule("forward", &[FROM_LAN, ACCEPT])], "may drop its policy"),
        ("drop", vec![rule("forward", &[XT, ACCEPT])], "may drop its policy"),
        ("accept", vec![rule("forward", &[INVALID, DROP])], "pass"),
        (
            "accept",
            vec![rule("forward", &[STATES]), rule("forward", &[DROP])],
            "drop rule 11 of chain forward",
        ),
        ("accept", vec![jump.to_owned(), rule("mine", &[DROP])], "drop rule 11 of chain mine"),
        ("drop", vec![jump.to_owned(), rule("mine", &[OUT, ACCEPT])], "pass"),
        ("drop", vec![jump.to_owned(), rule("mine", &[r#"{"return":null}"#])], "drop its policy"),
        ("accept", vec![jump.to_owned(), rule("mine", &[r#"{"jump":{"target":"mine"}}"#])], "pass"),
    ];
    for (policy, rules, expected) in table {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        assert_eq!(fate(&ruleset(policy, &rules), &probe()), expected, "{policy} {rules:?}");
    }
}

#[test]
fn an_invalid_packet_meets_conditions_that_a_new_one_does_not() {
    let rules = ruleset("accept", &[&format!("forward {STATES}")]);
    assert_eq!(fate(&rules, &probe()), "pass");
    let invalid = JudgedPacket { state: CtState::Invalid, ..probe() };
    assert_eq!(fate(&rules, &invalid), "drop rule 10 of chain forward");
}

#[test]
fn another_family_and_another_hook_are_not_concerned() {
    let rules = ruleset("drop", &[&format!("forward {TO_VIPS},{ACCEPT}")]);
    let six = JudgedPacket { version: 6, destination: "2001:db8::1".parse().ok(), ..probe() };
    assert_eq!(fate(&rules, &six), "drop its policy");
    assert_eq!(rules.judge(&[Hook::Input], &probe()), FirewallVerdict::Passes);
}

#[test]
fn other_documents_are_not_rulesets() {
    for text in ["", "{}", "[]", r#"{"nftables":3}"#, "nonsense"] {
        assert!(Ruleset::read(text.as_bytes()).is_none(), "{text}");
    }
    assert!(Ruleset::read(br#"{"nftables":[{"rule":{"expr":[7]}},{"chain":1},null]}"#).is_some());
}

/// Debian's names; in Fedora's list 4 is `ipv4`. An unknown name decides nothing.
#[test]
fn protocols_are_known_by_name_and_by_number() {
    let judged = |left: &str, right: &str, protocol: u8| {
        let matched = format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}}"#);
        let rule = format!("forward {matched},{DROP}");
        fate(&ruleset("accept", &[&rule]), &JudgedPacket { protocol, ..probe() })
    };
    let meta = r#"{"meta":{"key":"l4proto"}}"#;
    let header = r#"{"payload":{"protocol":"ip","field":"protocol"}}"#;
    for left in [meta, header] {
        for right in [r#""ipencap""#, r#""ipv4""#, r#""4""#, "4", r#"{"range":["ipencap","tcp"]}"#]
        {
            assert!(judged(left, right, 4).starts_with("drop"), "{left} {right}");
            assert_eq!(judged(left, right, 47), "pass", "{left} {right}");
        }
        assert!(judged(left, r#""gre""#, 47).starts_with("drop"));
        assert_eq!(judged(left, r#""ipip""#, 4), "pass", "94 in /etc/protocols");
        assert!(judged(left, r#""unheard-of""#, 4).starts_with("may drop"));
    }
}

/// By nft's own statement, and by the targets of iptables.
#[test]
fn packets_that_connection_tracking_does_not_see_are_known() {
    let nft = |statement: &str| {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"ip","table":"raw","name":"PREROUTING",
            "hook":"prerouting","prio":-300}}}},{{"rule":{{"family":"ip","table":"raw",
            "chain":"PREROUTING","handle":1,"expr":[{{"counter":null}},{statement}]}}}}]}}"#
        );
        Ruleset::read(text.as_bytes()).unwrap()
    };
    let legacy = |options: &str| {
        let mut rules = Ruleset::default();
        let saved = format!("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {options}\nCOMMIT\n");
        rules.add_legacy(&saved, 4);
        rules
    };
    let target = |name| format!(r#"{{"xt":{{"type":"target","name":"{name}"}}}}"#);
    for (rules, expected) in [
        (nft(r#"{"notrack":null}"#), true),
        (nft(&target("CT")), true),
        (nft(&target("NOTRACK")), true),
        (nft(&target("LOG")), false),
        (legacy("-p tcp -j CT --notrack"), true),
        (legacy("-p udp -j CT --notrack"), false),
        (legacy("-p tcp -m tcp --dport 80 -j CT --helper ftp"), false),
    ] {
        assert_eq!(rules.untracks(Hook::Prerouting, &probe()), expected, "{rules:?}");
    }
}

#[test]
fn chains_of_passing_packets_are_named_with_their_hook() {
    let named = ruleset("accept", &[]).of_passing_packets();
    assert_eq!(named, ["inet filter forward (forward)"]);
    let input = r#"{"nftables":[{"chain":{"family":"ip","table":"filter","name":"in","hook":"input",
        "prio":0}}]}"#;
    assert!(Ruleset::read(input.as_bytes()).unwrap().of_passing_packets().is_empty());
}

#[test]
fn the_rule_that_translates_a_first_packet_is_known() {
    let rules = |expr: &str| {
        let text = format!(
            r#"{{"nftables": [{{"chain": {{"family": "ip", "table": "nat", "name": "pre",
            "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}}}},
            {{"chain": {{"family": "ip", "table": "nat", "name": "own"}}}},
            {{"rule": {{"family": "ip", "table": "nat", "chain": "pre", "handle": 4,
            "expr": [{{"jump": {{"target": "own"}}}}]}}}},
            {{"rule": {{"family": "ip", "table": "nat", "chain": "own", "handle": 5,
            "expr": [{expr}]}}}}]}}"#
        );
        Ruleset::read(text.as_bytes()).unwrap()
    };
    let to_vip = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},
        "right":"192.0.2.10"}}"#;
    let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},
        "right":22}}"#;
    for (expr, named) in [
        (format!(r#"{to_vip}, {{"dnat": {{"addr": "10.0.0.11"}}}}"#), true),
        (format!(r#"{to_vip}, {{"xt": {{"type": "target", "name": "DNAT"}}}}"#), true),
        (format!(r#"{ssh}, {{"redirect": {{"port": 80}}}}"#), false),
        (r#"{"xt": {"type": "match", "name": "x"}}, {"redirect": null}"#.to_owned(), false),
        (r#"{"accept": null}"#.to_owned(), false),
    ] {
        let rules = rules(&expr);
        let rule = rules.translates(&[Hook::Prerouting], &probe()).map(|point| point.rule);
        assert_eq!(rule.as_deref(), named.then_some("rule 5 of chain own"), "{expr}");
        let later = JudgedPacket { state: CtState::Invalid, ..probe() };
        assert!(rules.translates(&[Hook::Prerouting], &later).is_none(), "{expr}");
        assert!(rules.is_nat("ip", "nat", "pre") && !rules.is_nat("ip", "nat", "own"));
    }
}
