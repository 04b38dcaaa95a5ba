//! Policies and timeouts as keys with their values.

use std::time::Duration;

use super::super::{Director, director, realserver};
use super::super::{director_differences, health_differences, realserver_differences};
use super::with_services;
use crate::model::{Difference, Persistence, Policy, Settings, Timeouts, Value, differences};

const EVERY_KEY: &str = "hash_ports = false\nfallback = false\nunknown = \"reset\"\n\
    persistence = \"5m30s\"\npersistence_prefix_v4 = 24\npersistence_prefix_v6 = 64\n\
    quiescent = \"move\"\none_packet = false\nexisting = \"reset\"\ndrain_deadline = \"1h\"\n\
    slow_start = \"90s\"\nflood_new_flows = 5\nflood_table_use = \"off\"\n";

fn read(keys: &str, policy: &str) -> Director {
    let service =
        "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\nscheduler = \"mh\"\n";
    director(&with_services(&format!("{keys}{service}{policy}"))).unwrap()
}

fn policy(keys: &str) -> Policy {
    read("", keys).services[0].spec.policy
}

fn lines<T: Settings>(before: &T, after: &T) -> Vec<String> {
    differences(before, after).iter().map(shown).collect()
}

/// As a line of the file.
fn line((key, value): (&str, Value)) -> String {
    match value {
        Value::Flag(_) | Value::Number(_) => format!("{key} = {value}\n"),
        _ => format!("{key} = \"{value}\"\n"),
    }
}

#[test]
fn only_different_values_are_shown() {
    let before = policy("persistence = \"300s\"\n");
    let after = policy("persistence = \"1h30m\"\nquiescent = \"move\"\n");
    assert_eq!(lines(&before, &after), ["persistence 5m → 1h30m", "quiescent keep → move"]);
    assert!(differences(&before, &before).is_empty());
}

#[test]
fn an_added_or_removed_key_was_or_is_unset() {
    let (none, some) = (policy(""), policy(EVERY_KEY));
    let expected = [
        "hash_ports false → unset",
        "fallback false → true",
        "unknown reset → unset",
        "persistence 5m30s → unset",
        "persistence_prefix_v4 24 → unset",
        "persistence_prefix_v6 64 → unset",
        "quiescent move → unset",
        "existing reset → keep",
        "drain_deadline 1h → unset",
        "slow_start 1m30s → 0s",
        "flood_new_flows 5 → 0",
        "flood_table_use off → 90%",
    ];
    assert_eq!(lines(&some, &none), expected);
    let back = differences(&none, &some);
    assert_eq!(back.len(), expected.len());
    assert_eq!(back[3].before, Value::Unset);
}

#[test]
fn the_displayed_policy_reads_back_as_the_same() {
    let all = policy(EVERY_KEY);
    assert!(matches!(all.persistence, Some(Persistence { prefix_v4: 24, .. })));
    assert_eq!(policy(&all.settings().into_iter().map(line).collect::<String>()), all);
}

#[test]
fn the_displayed_timeouts_read_back_as_the_same() {
    let mut all = Timeouts::DEFAULT;
    for (index, timeout) in all.all_mut().into_iter().enumerate() {
        *timeout = Duration::from_millis(90_500 - index as u64);
    }
    let text = all.settings().into_iter().map(|setting| format!("timeouts.{}", line(setting)));
    assert_eq!(read(&text.collect::<String>(), "").timeouts, all);
    assert_eq!(lines(&Timeouts::DEFAULT, &all).len(), Timeouts::KEYS.len());
}

fn shown(one: &Difference) -> String {
    format!("{} {} → {}", one.key, one.before, one.after)
}

#[test]
fn the_directors_keys_that_a_reload_changes_are_shown_and_the_seed_is_not() {
    let keys = "uplinks = [\"eth0\", \"eth1\"]\narp = false\nsource = \"10.0.0.1\"\n\
        announce_table = 7\nneighbour_routes = true\nbusy_poll = \"50us\"\n\
        gue_port = 7\ngue_source_ports = \"5000-5003\"\n\
        hash_seed = \"first seed\"\nmaglev_slots = 1031\n\
        hooks = [\"/bin/hook\", \"x\"]\nwithdraw_without_quorum = true\n";
    let (none, all) = (read("", ""), read(keys, ""));
    let lines: Vec<_> = director_differences(&none, &all).iter().map(shown).collect();
    let expected = [
        "uplinks unset → eth0 eth1",
        "arp true → false",
        "source unset → 10.0.0.1",
        "announce_table 0 → 7",
        "neighbour_routes false → true",
        "gue_port 6080 → 7",
        "gue_source_ports 61440-61455 → 5000-5003",
        "busy_poll 0s → 50us",
        "hash_seed random → configured",
        "maglev_slots 65537 → 1031",
        "hooks unset → /bin/hook x",
        "withdraw_without_quorum false → true",
    ];
    assert_eq!(lines, expected);
    let other = read(&keys.replace("first seed", "second seed"), "");
    let lines: Vec<_> = director_differences(&all, &other).iter().map(shown).collect();
    assert_eq!(lines, ["hash_seed configured → another"]);
}

#[test]
fn checks_and_their_rules_are_shown_and_other_checks_with_the_same_text_too() {
    let check = "[[service.check]]\ntype = \"tcp\"\nport = 80\n";
    let rules = "quorum = 3\nquorum_hysteresis = 1\npanic = \"30%\"\n".to_owned();
    let lines = |old: &str, new: &str| {
        let found = health_differences(&read("", old), &read("", new));
        found.iter().map(|(service, one)| format!("{service}: {}", shown(one))).collect::<Vec<_>>()
    };
    let all = rules + check;
    let expected = [
        "a: quorum 1 → 3",
        "a: quorum_hysteresis 0 → 1",
        "a: panic 100% → 30%",
        "a: check unset → tcp",
    ];
    assert_eq!(lines("", &all), expected);
    let slower = all.clone() + "interval = \"9s\"\n";
    assert_eq!(lines(&all, &slower), ["a: check tcp → another tcp"]);
}

#[test]
fn the_real_servers_keys_that_a_reload_changes_are_shown() {
    let old = "[realserver]\nvips = [\"192.0.2.1\"]\ndirectors = [\"10.0.0.2\", \"10.0.0.1\"]\n";
    let read = |text: &str| realserver(text).unwrap();
    let new = "[realserver]\nvips = [\"192.0.2.2\"]\ndirectors = [\"10.0.0.1\"]\nmss = \"off\"\n\
        rule_priority = 5\ntable = 6\nbusy_poll = \"50us\"\ncoalesce = false\n";
    let found = realserver_differences(&read(old), &read(new));
    let expected = [
        "directors 10.0.0.1/32 10.0.0.2/32 → 10.0.0.1/32",
        "mss route → off",
        "rule_priority 1020 → 5",
        "table 1020 → 6",
        "busy_poll 0s → 50us",
        "coalesce true → false",
    ];
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
}
