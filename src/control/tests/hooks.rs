//! For which events the hook program runs, and with which environment.

use super::*;
use crate::health::{CheckCause, CheckFailure};
use crate::model::{Difference, Health};

fn environment(change: Alteration) -> Option<Vec<(&'static str, String)>> {
    let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
    hook_environment(&Event { time, origin: Origin::Health, verb: "check", change })
}

/// The values of `VSTUN_EVENT`, `VSTUN_BEFORE` and `VSTUN_AFTER`.
fn hook_values(what: Altered) -> Option<[String; 3]> {
    let variables = environment(Alteration::of_service("web", what))?;
    Some(
        ["VSTUN_EVENT", "VSTUN_BEFORE", "VSTUN_AFTER"]
            .map(|name| variables.iter().find(|(known, _)| *known == name).unwrap().1.clone()),
    )
}

#[test]
fn the_documented_changes_run_the_program_with_the_documented_values() {
    let health = Altered::Health { before: Some(Health::Up), after: Health::Down, why: None };
    let quorum = Altered::Quorum { reached: false, alive: 1 };
    let panic = Altered::Panic { active: true, down: 3, all: 4 };
    let announced = Altered::Announced { announced: false, by_quorum: true };
    let expected = [
        (health, ["health", "up", "down"]),
        (quorum, ["quorum", "reached", "lost"]),
        (panic, ["panic", "off", "on"]),
        (announced, ["announced", "true", "false"]),
    ];
    for (what, values) in expected {
        assert_eq!(hook_values(what), Some(values.map(str::to_owned)));
    }
}

#[test]
fn a_reload_that_changes_the_keys_quorum_or_panic_does_not_run_the_program() {
    for key in ["quorum", "panic"] {
        let setting = Difference { key, before: 1_u32.into(), after: 2_u32.into() };
        assert_eq!(hook_values(Altered::Setting(setting)), None, "{key}");
    }
}

#[test]
fn the_environment_has_the_event_s_subject_and_origin() {
    let why = CheckCause::Failing(CheckFailure { check: "tcp", found: Some("refused".to_owned()) });
    let what = Altered::Health { before: None, after: Health::Down, why: Some(why) };
    let variables = environment(Alteration::of_real("web", address("10.0.0.11"), what)).unwrap();
    let expected = [
        ("VSTUN_EVENT", "health"),
        ("VSTUN_SERVICE", "web"),
        ("VSTUN_ADDRESS", "10.0.0.11"),
        ("VSTUN_BEFORE", ""),
        ("VSTUN_AFTER", "down"),
        ("VSTUN_WHY", "tcp check failed: refused"),
        ("VSTUN_WHO", "health"),
        ("VSTUN_TIME", "2026-01-02T03:04:05.678Z"),
    ];
    let (json, others) = variables.split_last().unwrap();
    assert_eq!(others, expected.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(json.0, "VSTUN_JSON");
    assert_eq!(parse(&json.1)["address"], "10.0.0.11");
}
