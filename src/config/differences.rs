//! The keys whose values differ between two configurations, apart from those of services and real
//! servers that the balancer handles: these are [`Change`](crate::balancer::Change)s of a
//! [`diff`](super::diff()).

use std::collections::{BTreeSet, HashMap};

use crate::model::{Difference, Setting, Settings, Value, differences};

use super::check::ServiceHealth;
use super::director::Director;
use super::http::HttpAddress;
use super::realserver::{MssSetting, RealServer};
use super::service::ServiceConfig;

/// The keys of `[director]` that differ and that a reload can change.
#[must_use]
pub fn director_differences(old: &Director, new: &Director) -> Vec<Difference> {
    let mut found = differences(&OfHost(old), &OfHost(new));
    if old.hash_seed != new.hash_seed {
        // The seed is not shown: a client that knows it can choose its real server.
        let shown = |seed: &Option<String>| if seed.is_some() { "configured" } else { "random" };
        let (before, after) = (shown(&old.hash_seed), shown(&new.hash_seed));
        let after = if before == after { "another" } else { after };
        found.push(Difference { key: "hash_seed", before: before.into(), after: after.into() });
    }
    found.extend(differences(&OtherSettings(old), &OtherSettings(new)));
    found
}

/// The keys of health checks and their rules that differ, of services that both configurations
/// have, each with its service.
#[must_use]
pub fn health_differences(old: &Director, new: &Director) -> Vec<(String, Difference)> {
    let before: HashMap<&str, &ServiceHealth> =
        old.services.iter().map(|one| (one.spec.name.as_str(), &one.health)).collect();
    let mut found = Vec::new();
    for ServiceConfig { spec, health, .. } in &new.services {
        let Some(old) = before.get(spec.name.as_str()) else { continue };
        let of_service = differences(*old, health).into_iter().chain(other_checks(old, health));
        found.extend(of_service.map(|difference| (spec.name.clone(), difference)));
    }
    found
}

/// The keys of `[realserver]` that differ and that a reload can change, without the virtual IPs.
#[must_use]
pub fn realserver_differences(old: &RealServer, new: &RealServer) -> Vec<Difference> {
    differences(old, new)
}

/// The keys that concern the host and the packet loop.
struct OfHost<'a>(&'a Director);

impl Settings for OfHost<'_> {
    fn settings(&self) -> Vec<Setting> {
        let Self(config) = self;
        vec![
            ("uplinks", config.uplinks.as_ref().map(|names| names.join(" ")).into()),
            ("arp", config.arp.into()),
            ("announce", config.announce.into()),
            ("source", joined(&config.sources).into()),
            ("announce_table", config.announce_table.into()),
            ("neighbour_routes", config.neighbour_routes.into()),
            ("gue_port", u32::from(config.gue.destination).into()),
            ("gue_source_ports", config.gue.sources.to_string().into()),
            ("busy_poll", config.busy_poll.into()),
        ]
    }
}

/// The other keys.
struct OtherSettings<'a>(&'a Director);

impl Settings for OtherSettings<'_> {
    fn settings(&self) -> Vec<Setting> {
        let Self(config) = self;
        vec![
            ("http", config.http.as_ref().map(HttpAddress::written).into()),
            ("max_connections", config.max_connections.into()),
            ("maglev_slots", config.maglev_slots.into()),
            ("hooks", config.hooks.as_ref().map(|words| words.join(" ")).into()),
            ("withdraw_without_quorum", config.withdraw_without_quorum.into()),
        ]
    }
}

impl Settings for ServiceHealth {
    fn settings(&self) -> Vec<Setting> {
        let Self { rules, load, checks: _, line: _ } = self;
        vec![
            ("quorum", rules.quorum.quorum.into()),
            ("quorum_hysteresis", rules.quorum.hysteresis.into()),
            ("load", if *load { "agent" } else { "off" }.into()),
            ("panic", Value::Percent(rules.panic.0.into())),
        ]
    }
}

impl Settings for RealServer {
    fn settings(&self) -> Vec<Setting> {
        let mss = match self.mss {
            MssSetting::Route => "route",
            MssSetting::Off => "off",
        };
        vec![
            ("directors", joined(&self.directors).into()),
            ("encap", self.encap.name().into()),
            ("mss", mss.into()),
            ("rule_priority", self.rule_priority.into()),
            ("table", self.table.into()),
            ("busy_poll", self.busy_poll.into()),
            ("coalesce", self.coalesce.into()),
            ("http", self.http.as_ref().map(HttpAddress::written).into()),
        ]
    }
}

/// The text of a check lacks most of its keys, so different checks can have the same text.
fn other_checks(old: &ServiceHealth, new: &ServiceHealth) -> Option<Difference> {
    if old.checks == new.checks {
        return None;
    }
    let shown = |health: &ServiceHealth| {
        health.checks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (before, after) = (shown(old), shown(new));
    let after = if before == after { format!("another {after}") } else { after };
    Some(Difference { key: "check", before: before.into(), after: after.into() })
}

/// A set of values, whatever their order in the file.
fn joined<T: Copy + Ord + ToString>(list: &[T]) -> String {
    let sorted: BTreeSet<T> = list.iter().copied().collect();
    sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
