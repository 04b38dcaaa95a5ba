//! The known keys. A test checks that `config.example` shows all of them. The fault for an unknown
//! key suggests the closest known one.

use super::fault::quoted;
use crate::model::{Policy, RealValues, Timeouts};

/// The top-level tables.
pub const TABLES: [&str; 3] = ["director", "service", "realserver"];
/// The keys of `[director]`.
pub const DIRECTOR: [&str; 24] = [
    "tun",
    "uplinks",
    "arp",
    "source",
    "announce",
    "withdraw_without_quorum",
    "hooks",
    "announce_table",
    "neighbour_routes",
    "control",
    "control_mode",
    "control_group",
    "state",
    "http",
    "max_connections",
    "offload",
    "fast_path",
    "gue_port",
    "gue_source_ports",
    "busy_poll",
    "recorder",
    "hash_seed",
    "maglev_slots",
    "timeouts",
];
/// The keys of `[director.timeouts]`.
pub const TIMEOUTS: [&str; 7] = Timeouts::KEYS;
/// The keys of `[[service]]`.
pub const SERVICE: [&str; 11 + Policy::KEYS.len()] = joined(&[
    &["name", "listen", "scheduler"],
    &Policy::KEYS,
    &["encap", "quorum", "quorum_hysteresis", "panic", "fallback_real", "load", "real", "check"],
]);
/// The keys of `[[service.real]]`.
pub const REAL: [&str; 3 + RealValues::KEYS.len()] =
    joined(&[&["address"], &RealValues::KEYS, &["encap", "state"]]);
/// The keys of `[[service.check]]`.
pub const CHECK: [&str; 31] = [
    "type",
    "via",
    "port",
    "interval",
    "fast_interval",
    "timeout",
    "rise",
    "fall",
    "initial",
    "method",
    "path",
    "host",
    "headers",
    "http_version",
    "expect_status",
    "expect_body",
    "sni",
    "ca",
    "client_certificate",
    "client_key",
    "verify",
    "tls",
    "grpc_service",
    "send",
    "expect",
    "query",
    "record",
    "expect_rcode",
    "expect_answer",
    "command",
    "dynamic",
];
/// The keys of `[realserver]`.
pub const REALSERVER: [&str; 19] = [
    "tun",
    "vips",
    "directors",
    "control",
    "control_mode",
    "control_group",
    "http",
    "agent",
    "agent_state",
    "agent_cgroup",
    "gue_port",
    "encap",
    "mss",
    "rule_priority",
    "table",
    "offload",
    "fast_path",
    "busy_poll",
    "coalesce",
];

/// Every table that has keys, with its name in faults.
pub const ALL: [(&str, &[&str]); 6] = [
    ("director", &DIRECTOR),
    ("director.timeouts", &TIMEOUTS),
    ("service", &SERVICE),
    ("service.real", &REAL),
    ("service.check", &CHECK),
    ("realserver", &REALSERVER),
];

/// The keys of all parts, in their order. Does not compile unless there are `N` of them.
const fn joined<const N: usize>(parts: &[&[&'static str]]) -> [&'static str; N] {
    let (mut all, mut many, mut part) = ([""; N], 0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            all[many] = parts[part][index];
            (many, index) = (many + 1, index + 1);
        }
        part += 1;
    }
    assert!(many == N, "the array has as many elements as there are keys");
    all
}

/// An unknown key as faults show it: bare if TOML allows a bare key, otherwise quoted.
pub(super) fn shown(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.len() <= 64 && key.chars().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// The message for `key`, which the table `section` does not have.
pub(super) fn unknown(section: &str, known: &[&str], key: &str) -> String {
    if let Some(meant) = nearest(known, key) {
        return format!("unknown key; did you mean {meant}?");
    }
    if let Some((table, _)) = ALL.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("not a key of [{section}]; it belongs to [{table}]");
    }
    format!("unknown key; [{section}] has {}", known.join(", "))
}

/// The message for a top-level table or key that does not exist.
pub(super) fn unknown_table(name: &str) -> String {
    if let Some(meant) = nearest(&TABLES, name) {
        return format!("unknown table; did you mean {meant}?");
    }
    if let Some((table, _)) = ALL.iter().find(|(_, keys)| keys.contains(&name)) {
        return format!("is outside of any table; it belongs to [{table}]");
    }
    "unknown table; there are [director], [[service]] and [realserver]".to_owned()
}

/// The known key that is one or two typing mistakes away.
pub(super) fn nearest<'k>(known: &[&'k str], key: &str) -> Option<&'k str> {
    // No typing mistake makes a key this long, and the time of the comparison grows with the
    // length.
    if key.len() > 64 {
        return None;
    }
    let distance = |candidate: &&str| strsim::damerau_levenshtein(candidate, key);
    let near = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(&near) <= (near.len() / 3).clamp(1, 3)).then_some(near)
}
