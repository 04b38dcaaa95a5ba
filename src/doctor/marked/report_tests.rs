#![allow(clippy::unwrap_used)]

use super::*;
use crate::doctor::firewall::Hook;
use crate::doctor::marked::{Interface, Mark};

const MAC: [u8; 4] = [2, 1, 2, 3];
const JUMP: u32 = (-3_i32).cast_unsigned();

fn attribute(name: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [len.to_ne_bytes(), name.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A report of the kernel: the packet, its family's number, table and chain, the rule or policy,
/// the verdict.
fn report(id: u32, family: u8, point: (&str, &str), rule: Option<u64>, verdict: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(attribute(ID, &id.to_be_bytes()));
    bytes.extend(attribute(TABLE, format!("{}\0", point.0).as_bytes()));
    bytes.extend(attribute(CHAIN, format!("{}\0", point.1).as_bytes()));
    match rule {
        Some(handle) => {
            bytes.extend(attribute(TYPE, &3_u32.to_be_bytes()));
            bytes.extend(attribute(RULE_HANDLE, &handle.to_be_bytes()));
            let code = attribute(VERDICT_CODE, &verdict.to_be_bytes());
            bytes.extend(attribute(VERDICT | 0x8000, &code));
        }
        None => {
            bytes.extend(attribute(TYPE, &BY_POLICY.to_be_bytes()));
            bytes.extend(attribute(POLICY, &verdict.to_be_bytes()));
        }
    }
    bytes
}

/// The first report about the packet with this number.
fn first(id: u32, number: u16) -> Vec<u8> {
    let mut bytes = report(id, 5, ("mine", "from_2"), Some(3), u32::MAX);
    let [high, low] = number.to_be_bytes();
    let frame = [[9; 6].as_slice(), &MAC, &[high, low, 8, 0]].concat();
    bytes.extend(attribute(LINK_HEADER, &frame));
    bytes
}

fn tables(aim: Option<u32>) -> TraceTables {
    let one = |index, name: &str| Interface { index, name: name.to_owned() };
    TraceTables {
        name: "mine".to_owned(),
        mac: MAC,
        mark: Mark(7),
        entries: vec![one(2, "eth0")],
        exits: vec![one(2, "eth0"), one(5, "vstun0")],
        aim,
    }
}

fn ruleset() -> Ruleset {
    let text = r#"{"nftables":[{"chain":{"family":"inet","table":"filter","name":"forward",
        "handle":1,"type":"filter","hook":"forward","prio":0,"policy":"accept"}}]}"#;
    Ruleset::read(text.as_bytes()).unwrap()
}

/// How the packet 7 ends by these reports.
fn ending(aim: Option<u32>, reports: &[Vec<u8>]) -> Ending {
    let (tables, ruleset) = (tables(aim), ruleset());
    let mut all = Reports::new(&tables, &ruleset);
    reports.iter().for_each(|report| all.add(report));
    all.finally(7)
}

#[test]
fn a_packet_ends_where_its_last_report_says() {
    let ours = |chain, verdict| report(1, 1, ("mine", chain), None, verdict);
    let exit = |chain| report(1, 5, ("mine", chain), Some(4), DROP);
    let theirs = |chain, rule, verdict| report(1, 1, ("filter", chain), rule, verdict);
    let dropped = |rule: &str, hook: &str, chain: &str| {
        Ending::Dropped(DropPoint {
            family: "inet".to_owned(),
            table: "filter".to_owned(),
            chain: chain.to_owned(),
            hook: hook.to_owned(),
            rule: rule.to_owned(),
            certain: true,
        })
    };
    let within = Ending::Lost(Point::Within(Hook::Forward));
    let behind = Ending::Lost(Point::Behind(Hook::Prerouting));
    for (aim, reports, expected) in [
        (Some(5), vec![], Ending::Lost(Point::Arrival)),
        (Some(5), vec![exit("to_5")], Ending::Through),
        (Some(5), vec![exit("to_2")], Ending::Elsewhere("eth0".to_owned())),
        (Some(5), vec![exit("input_last")], Ending::Local),
        (None, vec![exit("input_last")], Ending::Through),
        (
            Some(5),
            vec![ours("postrouting_last", DROP)],
            Ending::Elsewhere("another interface".to_owned()),
        ),
        (Some(5), vec![ours("prerouting_last", ACCEPT)], behind),
        (Some(5), vec![ours("forward_first", ACCEPT), theirs("forward", None, ACCEPT)], within),
        (
            Some(5),
            vec![theirs("forward", Some(5), JUMP), theirs("deep", Some(6), DROP)],
            dropped("rule 6 of chain deep", "forward", "forward"),
        ),
        (Some(5), vec![theirs("forward", None, DROP)], dropped("its policy", "forward", "forward")),
    ] {
        let reports = [vec![first(1, 7)], reports].concat();
        assert_eq!(ending(aim, &reports), expected, "{reports:?}");
    }
}

#[test]
fn other_packets_and_broken_reports_change_nothing() {
    let drop = |id| report(id, 1, ("filter", "forward"), Some(6), DROP);
    let mut foreign = first(2, 7);
    let point = foreign.windows(4).position(|bytes| bytes == MAC).unwrap();
    foreign[point] ^= 1;
    let nowhere = Ending::Lost(Point::Arrival);
    assert_eq!(ending(None, &[first(1, 8), drop(1), foreign, drop(2), drop(3)]), nowhere);
    let whole = drop(1);
    for end in 0..whole.len() {
        let _ = ending(None, &[first(1, 7), whole[..end].to_vec()]);
    }
    for point in 0..whole.len() {
        let mut broken = whole.clone();
        broken[point] ^= 0xff;
        let _ = ending(None, &[first(1, 7), broken]);
    }
}

/// A report with the packet's addresses and ports.
fn with_flow(report: &[u8], source: [u8; 4], destination: [u8; 4], port: u16) -> Vec<u8> {
    let network = [&[0x45_u8][..], &[0; 11], &source, &destination].concat();
    let transport = [[0x9c, 0x40], port.to_be_bytes()].concat();
    let headers = [attribute(NETWORK_HEADER, &network), attribute(TRANSPORT_HEADER, &transport)];
    [report, &headers.concat()].concat()
}

/// The rule is the last one that ended a chain of the type nat before the change.
#[test]
fn a_translation_is_known_with_its_rule() {
    let text = r#"{"nftables":[{"chain":{"family":"ip","table":"nat","name":"pre","handle":1,
        "type":"nat","hook":"prerouting","prio":-100,"policy":"accept"}}]}"#;
    let (tables, ruleset) = (tables(Some(5)), Ruleset::read(text.as_bytes()).unwrap());
    let ours = |chain| report(1, 1, ("mine", chain), None, ACCEPT);
    let theirs = |chain, handle, verdict| report(1, 2, ("nat", chain), Some(handle), verdict);
    let (client, vip, real) = ([192, 0, 2, 1], [192, 0, 2, 10], [10, 0, 0, 11]);
    let translation = |before: &[Vec<u8>], after: Vec<u8>| {
        let mut all = Reports::new(&tables, &ruleset);
        all.add(&with_flow(&first(1, 7), client, vip, 80));
        before.iter().for_each(|report| all.add(report));
        all.add(&after);
        all.translated(7)
    };
    let path = [with_flow(&theirs("pre", 4, JUMP), client, vip, 80), theirs("own", 6, ACCEPT)];
    let changed = with_flow(&ours("prerouting_last"), client, real, 80);
    let found = translation(&path, changed.clone()).unwrap();
    assert_eq!(found.to.destination, "10.0.0.11:80".parse().unwrap());
    let rule = found.rule.unwrap();
    assert_eq!((&*rule.rule, &*rule.chain, &*rule.table), ("rule 6 of chain own", "pre", "nat"));
    // A rule of iptables-legacy makes no report.
    assert_eq!(translation(&[], changed).unwrap().rule, None);
    let port = with_flow(&ours("prerouting_last"), client, vip, 8080);
    assert_eq!(translation(&path, port).unwrap().to.destination.port(), 8080);
    let same = with_flow(&ours("prerouting_last"), client, vip, 80);
    assert_eq!(translation(&path, same), None);
}
