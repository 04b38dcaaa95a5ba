use super::*;
use crate::doctor::observed_realserver::Listening;
use crate::doctor::{HostFault, diagnose_realserver};

const ACCEPT: &str = r#"{"accept": null}"#;
const DROP: &str = r#"{"drop": null}"#;

fn matched(left: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
}

fn field(header: &str, name: &str) -> String {
    format!(r#"{{"payload": {{"protocol": "{header}", "field": "{name}"}}}}"#)
}

fn meta(key: &str) -> String {
    format!(r#"{{"meta": {{"key": "{key}"}}}}"#)
}

/// A ruleset with one base chain.
fn ruleset(hook: &str, policy: &str, rules: &[String]) -> Option<Ruleset> {
    let rule = |(index, expr): (usize, &String)| {
        format!(
            r#", {{"rule": {{"family": "inet", "table": "filter", "chain": "{hook}",
            "handle": {}, "expr": [{expr}]}}}}"#,
            index + 2
        )
    };
    let text = format!(
        r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "filter", "name": "{hook}",
        "handle": 1, "type": "filter", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}
        {}]}}"#,
        rules.iter().enumerate().map(rule).collect::<String>()
    );
    Ruleset::read(text.as_bytes())
}

fn listening(port: u16, protocol: u8, own: bool) -> Listening {
    let vip = "192.0.2.10".parse().expect("an address");
    Listening { vip, protocol, port, own, used: false, passes: false, full: false }
}

/// An ordinary web server with a UDP service, which gets packets in IP in IP or, without `come`,
/// has got none.
fn facts(come: bool, ruleset: Option<Ruleset>) -> RealServerFacts {
    assert!(ruleset.is_some(), "not a ruleset");
    let director: IpNet = "10.0.0.1/32".parse().expect("a network");
    RealServerFacts {
        tun: "vstun0".to_owned(),
        vips: vec!["192.0.2.10".parse().expect("an address")],
        directors: vec![director],
        inputs: [(director, "eth0".to_owned())].into(),
        read: Some(if come { (9, 0) } else { (0, 0) }),
        delivered: vec![(Encap::Ipip, if come { 9 } else { 0 })],
        listening: vec![
            listening(22, protocol::TCP, false),
            listening(80, protocol::TCP, false),
            listening(9_000, protocol::UDP, true),
            listening(6_080, protocol::UDP, false),
            listening(68, protocol::UDP, false),
        ],
        ruleset,
        ..RealServerFacts::default()
    }
}

fn severities(facts: &RealServerFacts) -> Vec<Severity> {
    let ruleset = facts.ruleset.as_ref().expect("a ruleset");
    findings(facts, ruleset).iter().map(|one| one.severity).collect()
}

/// Each rule is that of an ordinary host, alone in its chain.
#[test]
fn rules_of_ordinary_hosts_are_no_fault() {
    use Severity::{Note, Warning};
    let flags = |mask: &str| format!(r#"{{"&": [{}, {mask}]}}"#, field("tcp", "flags"));
    let new = matched(r#"{"ct": {"key": "state"}}"#, "in", r#""new""#);
    let offset = format!(r#"{{"&": [{}, 8191]}}"#, field("ip", "frag-off"));
    let fib = |flags: &str, right: &str| {
        matched(&format!(r#"{{"fib": {{"result": "oif", "flags": [{flags}]}}}}"#), "==", right)
    };
    let net = r#"{"prefix": {"addr": "203.0.113.0", "len": 24}}"#;
    let six = r#"{"prefix": {"addr": "fd00::", "len": 8}}"#;
    let limit = r#"{"limit": {"rate": 3, "burst": 5, "per": "minute", "inv": true}}"#;
    let limited = format!("{}, {new}, {limit}", matched(&field("tcp", "dport"), "==", "22"));
    // The rule, the findings where nothing has come, and where packets come in IP in IP.
    for (rule, silent, served) in [
        (matched(&meta("iifname"), "==", r#""docker0""#), vec![], vec![]),
        (matched(&flags(r#"["fin", "syn"]"#), "==", r#"["fin", "syn"]"#), vec![], vec![]),
        (
            format!(
                "{}, {new}",
                matched(&flags(r#"["fin", "syn", "rst", "ack"]"#), "!=", r#""syn""#)
            ),
            vec![],
            vec![],
        ),
        (matched(&offset, "!=", "0"), vec![], vec![]),
        (matched(&meta("pkttype"), "==", r#""multicast""#), vec![], vec![]),
        (matched(&meta("mark"), "==", "5"), vec![], vec![]),
        (matched(r#"{"ct": {"key": "mark"}}"#, "==", "5"), vec![], vec![]),
        (matched(r#"{"ct": {"key": "direction"}}"#, "==", r#""reply""#), vec![], vec![]),
        (
            matched(&field("ether", "saddr"), "==", r#""02:00:00:00:00:01""#),
            vec![Note, Note],
            vec![Note],
        ),
        (matched(&meta("length"), ">", "1500"), vec![Note, Note], vec![Note]),
        (limited, vec![Note], vec![Note]),
        (matched(&field("tcp", "dport"), "==", "3306"), vec![], vec![]),
        (matched(&field("tcp", "dport"), "!=", r#"{"set": [22, 80, 443]}"#), vec![], vec![]),
        (matched(&field("ip6", "saddr"), "!=", six), vec![], vec![]),
        (matched(&field("ip", "saddr"), "==", net), vec![Note], vec![Note]),
        (matched(&field("ip", "saddr"), "==", r#"{"set": ["10.0.0.99"]}"#), vec![Note], vec![Note]),
        // GUE, in which nothing has come.
        (matched(&field("udp", "dport"), "!=", r#"{"set": [68, 9000]}"#), vec![Warning], vec![]),
        (fib(r#""saddr""#, "false"), vec![Note], vec![Note]),
    ] {
        let ruleset = || ruleset("input", "accept", &[format!("{rule}, {DROP}")]);
        assert_eq!(severities(&facts(false, ruleset())), silent, "nothing came: {rule}");
        assert_eq!(severities(&facts(true, ruleset())), served, "{rule}");
    }
}

/// The rules of an ordinary host whose policy is to drop.
fn rules() -> Vec<String> {
    let state = r#"{"ct": {"key": "state"}}"#;
    vec![
        format!("{}, {ACCEPT}", matched(state, "in", r#"["established", "related"]"#)),
        format!("{}, {ACCEPT}", matched(&meta("l4proto"), "==", r#"{"set": ["ipencap", "ipv6"]}"#)),
        format!("{}, {ACCEPT}", matched(&field("tcp", "dport"), "==", r#"{"set": [22, 80, 443]}"#)),
        format!("{}, {ACCEPT}", matched(&field("udp", "dport"), "==", r#"{"set": [68, 9000]}"#)),
    ]
}

#[test]
fn a_port_that_is_closed_is_named() {
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut rules = rules();
        change(&mut rules);
        facts(true, ruleset("input", "drop", &rules))
    };
    assert_eq!(severities(&with(&|_| ())), []);
    let text = |facts: &RealServerFacts| {
        let ruleset = facts.ruleset.as_ref().expect("a ruleset");
        let found = findings(facts, ruleset);
        let [one] = &found[..] else { panic!("{found:?}") };
        (one.severity, one.text.clone(), one.mend.concat())
    };
    // The UDP service of the virtual IP.
    let (severity, said, mend) = text(&with(&|rules| {
        rules[3] = format!("{}, {ACCEPT}", matched(&field("udp", "dport"), "==", "68"));
    }));
    assert_eq!(severity, Severity::Fault, "{said}");
    assert!(said.ends_with("for 192.0.2.10, port 9000/udp"), "{said}");
    assert_eq!(mend, r#"nft insert rule inet filter input iifname "vstun0" accept"#);
    // A program on every address may be a service.
    let only_ssh = |rules: &mut Vec<String>| {
        rules[2] = format!("{}, {ACCEPT}", matched(&field("tcp", "dport"), "==", "22"));
    };
    let mut facts = with(&only_ssh);
    assert!(needs_traffic(&facts));
    let (severity, said, mend) = text(&facts);
    assert!(said.contains("port 80/tcp"), "{said}");
    assert_eq!(severity, Severity::Note);
    assert!(mend.ends_with(r#"iifname "vstun0" tcp dport 80 accept"#), "{mend}");
    // Packets for it come out of the TUN.
    facts.listening[1].used = true;
    assert!(!needs_traffic(&facts));
    assert_eq!(text(&facts).0, Severity::Fault);
    // Nothing is let through.
    let none = |rules: &mut Vec<String>| rules.truncate(2);
    let (severity, said, _) = text(&with(&none));
    assert_eq!(severity, Severity::Fault);
    assert!(said.contains("80/tcp") && said.contains("9000/udp"), "{said}");
}

#[test]
fn a_rule_about_the_reverse_path_drops_what_comes_out_of_the_tun_alone() {
    let missing =
        matched(r#"{"fib": {"result": "oif", "flags": ["saddr", "iif"]}}"#, "==", "false");
    let facts = facts(true, ruleset("prerouting", "accept", &[format!("{missing}, {DROP}")]));
    let ruleset = facts.ruleset.as_ref().expect("a ruleset");
    let found = findings(&facts, ruleset);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(one.severity, Severity::Fault);
    let mend = r#"nft insert rule inet filter prerouting iifname "vstun0" accept"#;
    assert_eq!(one.mend, [mend]);
}

/// The configuration of a real server need not name the encapsulation.
#[test]
fn an_encapsulation_that_is_closed_is_named_while_nothing_comes() {
    let open = || ruleset("input", "drop", &rules());
    let silent = facts(false, open());
    let found = findings(&silent, silent.ruleset.as_ref().expect("a ruleset"));
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(one.severity, Severity::Warning);
    let gue = "nft insert rule inet filter input udp dport 6080 ip saddr 10.0.0.1/32 accept";
    assert!(one.mend.iter().any(|mend| mend == gue), "{one:?}");
    // Another program has the port.
    let taken = HostFault { what: "gue".to_owned(), ..HostFault::default() };
    let found = RealServerFacts { host: vec![taken], ..silent };
    let mends = findings(&found, found.ruleset.as_ref().expect("a ruleset"));
    assert!(mends.iter().all(|one| !one.mend.concat().contains("6080")), "{mends:?}");
    // Packets come in GUE alone, and the file says nothing.
    let gue_alone = vec![
        format!("{}, {ACCEPT}", matched(&field("udp", "dport"), "==", "6080")),
        format!("{}, {ACCEPT}", matched(&meta("iifname"), "==", r#""vstun0""#)),
    ];
    let mut served = facts(true, ruleset("input", "drop", &gue_alone));
    served.delivered = vec![(Encap::Ipip, 0), (Encap::Gue, 3)];
    assert_eq!(severities(&served), []);
    served.delivered = vec![(Encap::Ipip, 3), (Encap::Gue, 0)];
    assert_eq!(severities(&served), [Severity::Fault]);
}

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
