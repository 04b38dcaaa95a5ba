//! `config.example` is valid, complete, and shows the defaults of the code.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vstun::balancer::maglev;
use vstun::config::{self, Access, Director, MssSetting, RealServer, keys};
use vstun::health::spec::{CheckSpec, HttpProbe, Probe, Timing, Via};
use vstun::model::duration;
use vstun::model::{AdminState, Existing, Policy, SchedulerKind, Timeouts};

const EXAMPLE: &str = include_str!("../../config.example");

/// The smallest text that each daemon accepts; an absent key has its default.
const MINIMAL: &str = r#"
[director]
[[service]]
name = "web"
listen = [
  "192.0.2.10:80/tcp", "192.0.2.10:443/tcp", "[2001:db8::10]:80/tcp", "[2001:db8::10]:443/tcp",
]
[[service.real]]
address = "10.0.0.11"
[[service.real]]
address = "10.0.0.12"
[[service.real]]
address = "2001:db8:1::13"
[realserver]
vips = ["192.0.2.10", "2001:db8::10"]
directors = ["10.0.0.1/32", "2001:db8:1::1/128"]
"#;

/// The keys that the example shows, by table; commented keys are at the start of a line, without a
/// space.
fn shown() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = key.strip_prefix('#').unwrap_or(key);
            if !key.starts_with(' ') {
                keys.push((table.clone(), key.to_owned()));
            }
        }
    }
    keys
}

#[test]
fn the_example_shows_the_defaults() {
    let example = config::director(EXAMPLE).unwrap();
    let minimal = config::director(MINIMAL).unwrap();
    assert_eq!(example.tun, minimal.tun);
    assert_eq!(example.uplinks, minimal.uplinks);
    assert_eq!(example.arp, minimal.arp);
    assert_eq!(example.sources, minimal.sources);
    assert_eq!(example.announce, minimal.announce);
    assert_eq!(example.announce_table, minimal.announce_table);
    assert_eq!(example.control, minimal.control);
    assert_eq!(example.access, minimal.access);
    assert_eq!(example.max_connections, minimal.max_connections);
    assert_eq!(example.offload, minimal.offload);
    assert_eq!(example.gue, minimal.gue);
    assert_eq!(example.hash_seed, minimal.hash_seed);
    assert_eq!(example.maglev_slots, minimal.maglev_slots);
    assert_eq!(example.timeouts, minimal.timeouts);
    assert!(example.specs().eq(minimal.specs()));
    let (service, plain) = (&example.services[0].health, &minimal.services[0].health);
    assert_eq!(service.rules, plain.rules);
    let check = CheckSpec {
        probe: Probe::Http(HttpProbe::new()),
        via: Via::default(),
        port: Some(80),
        timing: Timing::DEFAULT,
    };
    assert_eq!(service.checks, [Arc::new(check)]);
    assert_eq!(config::realserver(EXAMPLE).unwrap(), config::realserver(MINIMAL).unwrap());
}

#[test]
fn the_example_is_dual_stack() {
    let director = config::director(EXAMPLE).unwrap();
    let realserver = config::realserver(EXAMPLE).unwrap();
    assert_eq!(director.services.len(), 1);
    let mixed = |addresses: &[IpAddr]| {
        addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6)
    };
    assert!(mixed(&director.vips()) && mixed(&director.reals()) && mixed(&realserver.vips));
    assert!(mixed(&realserver.directors.iter().map(ipnet::IpNet::addr).collect::<Vec<_>>()));
    assert_eq!(director.vips(), realserver.vips);
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let director = config::director(MINIMAL).unwrap();
    assert_eq!(director.tun, "vstun0");
    assert_eq!(director.uplinks, None);
    assert!(director.sources.is_empty());
    assert!(director.arp && director.announce && director.offload);
    assert_eq!(director.access, Access { mode: 0o660, group: None });
    assert_eq!(director.announce_table, 0);
    assert_eq!(director.gue.destination, 6080);
    assert_eq!(director.gue.sources.range(), 61_440..=61_455);
    assert_eq!(director.control.to_str(), Some("/run/vstun/director.sock"));
    assert_eq!(director.max_connections, 1_000_000);
    assert_eq!((director.hash_seed.as_deref(), director.maglev_slots), (None, 65_537));
    assert_eq!(director.timeouts, Timeouts::DEFAULT);
    assert_eq!(director.services[0].spec.scheduler, SchedulerKind::WeightedLeastConnections);
    assert_eq!(director.services[0].spec.reals[0].values.weight, 1);
    assert_eq!(director.services[0].spec.reals[0].state, AdminState::Up);
    let policy = director.services[0].spec.policy;
    assert_eq!((policy.existing, policy.drain_deadline), (Existing::Keep, None));
    assert_eq!(policy.slow_start, Duration::ZERO);
    let realserver = config::realserver(MINIMAL).unwrap();
    assert_eq!(realserver.tun, "vstun0");
    assert_eq!(realserver.control.to_str(), Some("/run/vstun/realserver.sock"));
    assert_eq!(realserver.mss, MssSetting::Route);
    assert!(realserver.offload && realserver.coalesce);
}

#[test]
fn every_key_is_shown_and_nothing_else() {
    let shown = shown();
    for (table, known) in keys::ALL {
        for key in known {
            // Tables are shown by their headers.
            let header = EXAMPLE.contains(&format!("[{table}.{key}]"));
            let entry = shown.contains(&(table.to_owned(), (*key).to_owned()));
            assert!(header || entry, "config.example lacks {table}.{key}");
        }
    }
    for (table, key) in &shown {
        let known = keys::ALL.iter().find(|(name, _)| name == table);
        assert!(known.is_some_and(|(_, keys)| keys.contains(&key.as_str())), "{table}.{key}");
    }
}

#[test]
fn commented_keys_are_valid_when_uncommented() {
    let taken_in = [
        "uplinks",
        "source",
        "control_group",
        "hash_seed",
        "hash_ports",
        "fallback",
        "drain_deadline",
    ];
    let text = taken_in.iter().fold(EXAMPLE.to_owned(), |text, key| {
        text.replace(&format!("\n#{key} = "), &format!("\n{key} = "))
    });
    let text = text.replace("\nscheduler = \"wlc\"", "\nscheduler = \"mh\"");
    assert_eq!(config::realserver(&text).unwrap().access.group.as_deref(), Some("vstun"));
    let director = config::director(&text).unwrap();
    assert_eq!(director.uplinks, Some(vec!["eth0".to_owned()]));
    let sources = ["10.0.0.1", "2001:db8:1::1"].map(|source| source.parse::<IpAddr>().unwrap());
    assert_eq!(director.sources, sources);
    assert!(director.hash_seed.is_some());
    let expected = Policy {
        hash_ports: Some(true),
        drain_deadline: Some(Duration::from_secs(600)),
        ..Policy::default()
    };
    assert_eq!(director.services[0].spec.policy, expected);
    assert_eq!(director.access.group.as_deref(), Some("vstun"));
}

#[test]
fn the_bounds_in_the_comments_are_those_of_the_code() {
    let weights = format!("0 to {}", vstun::model::MAX_WEIGHT);
    let timeouts =
        format!("from {} to {}", duration::Text(Timeouts::MIN), duration::Text(Timeouts::MAX));
    // A comment's lines are one text, wherever it is wrapped.
    let example = EXAMPLE.replace("\n# ", " ");
    for bound in [
        format!("at most {} bytes", config::MAX_CONTROL_LEN),
        format!("1 to {}", config::MAX_CONNECTIONS),
        format!("{} to {} bytes", config::MIN_HASH_SEED_LEN, config::MAX_HASH_SEED_LEN),
        format!("{} to {}", maglev::MIN_SLOTS, maglev::MAX_SLOTS),
        format!("1 to {} letters", config::MAX_NAME_LEN),
        format!("1 to {}", RealServer::MAX_RULE_PRIORITY),
        format!("0s to {}", duration::Text(Policy::MAX_SLOW_START)),
        weights,
        timeouts,
    ] {
        assert!(example.contains(&bound), "{bound}");
    }
    for kind in SchedulerKind::ALL {
        assert!(example.contains(&format!("{} (", kind.name())), "{}", kind.name());
    }
    assert!(EXAMPLE.contains(Director::CONTROL) && EXAMPLE.contains(RealServer::CONTROL));
}
