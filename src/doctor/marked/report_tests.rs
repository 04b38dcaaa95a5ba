#![allow(clippy::unwrap_used)]

use super::*;
use crate::doctor::firewall::Hook;
use crate::doctor::marked::Interface;

const MAC: [u8; 4] = [2, 1, 2, 3];
const ACCEPT: u32 = 1;
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
        sources: Vec::new(),
        ports: 1..=2,
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
