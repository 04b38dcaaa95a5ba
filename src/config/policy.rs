//! The keys of `[[service]]` that are a service's policy.

use std::time::Duration;

use crate::model::{
    FloodMarks, Persistence, Policy, Protocol, Quiescent, SchedulerKind, ServiceSpec, Unknown,
};

use super::fault::{Faults, quoted};
use super::section::Section;
use super::value;

/// The keys that have no effect without persistence.
const OF_PERSISTENCE: [&str; 3] = ["persistence_prefix_v4", "persistence_prefix_v6", "quiescent"];

/// `scheduler` is `None` if the configured name is unknown.
pub(super) fn read(
    section: &Section<'_>,
    scheduler: Option<SchedulerKind>,
    faults: &mut Faults,
) -> Policy {
    use SchedulerKind::{DestinationHashing, Maglev, SourceHashing};
    let mut only = |key, known: &[SchedulerKind]| {
        let entry = section.entry(key)?;
        if let Some(other) = scheduler.filter(|scheduler| !known.contains(scheduler)) {
            let names: Vec<_> = known.iter().map(|kind| kind.name()).collect();
            let message =
                format!("has no effect with {}; it is for {}", other.name(), names.join(", "));
            entry.fault(message + "; take it out, or write one of these schedulers", faults);
        }
        entry.boolean(faults)
    };
    let hash_ports = only("hash_ports", &[Maglev, SourceHashing]);
    let fallback = only("fallback", &[Maglev, SourceHashing, DestinationHashing]);
    let unknown = section.entry("unknown").and_then(|entry| entry.parsed(unknown, faults));
    let one_packet = section.entry("one_packet").and_then(|entry| entry.boolean(faults));
    let existing = section.entry("existing");
    let existing = existing.and_then(|entry| entry.parsed(value::existing, faults));
    let drain_deadline = section.entry("drain_deadline");
    let growth = section.entry("slow_start");
    let growth = growth.and_then(|entry| entry.duration(slow_start, faults));
    Policy {
        hash_ports,
        fallback: fallback.unwrap_or(true),
        unknown,
        persistence: persistence(section, faults),
        one_packet: one_packet.unwrap_or(false),
        existing: existing.unwrap_or_default(),
        drain_deadline: drain_deadline.and_then(|entry| entry.duration(value::timeout, faults)),
        slow_start: growth.unwrap_or_default(),
        flood: flood_marks(section, faults),
    }
}

fn flood_marks(section: &Section<'_>, faults: &mut Faults) -> FloodMarks {
    let unsaid = FloodMarks::default();
    let new_flows = section.entry("flood_new_flows");
    let new_flows = new_flows.and_then(|entry| entry.number(0..=FloodMarks::MAX_NEW_FLOWS, faults));
    let table_use = section.entry("flood_table_use");
    let table_use = table_use.and_then(|entry| entry.parsed(value::table_use, faults));
    FloodMarks {
        new_flows: new_flows.unwrap_or(unsaid.new_flows),
        table_use: table_use.unwrap_or(unsaid.table_use),
    }
}

fn persistence(section: &Section<'_>, faults: &mut Faults) -> Option<Persistence> {
    let mut prefix = |key, most: u8| {
        let number = section.entry(key)?.number(1..=u32::from(most), faults)?;
        u8::try_from(number).ok()
    };
    let prefix_v4 = prefix("persistence_prefix_v4", Persistence::PREFIX_V4);
    let prefix_v6 = prefix("persistence_prefix_v6", Persistence::PREFIX_V6);
    let quiescent = section.entry("quiescent").and_then(|entry| entry.parsed(quiescent, faults));
    let Some(entry) = section.entry("persistence") else {
        let alone = OF_PERSISTENCE.into_iter().filter_map(|key| section.entry(key));
        let hint = "has no effect without persistence; write persistence = \"6m\" too";
        alone.for_each(|entry| entry.fault(hint, faults));
        return None;
    };
    Some(Persistence {
        timeout: entry.duration(value::timeout, faults)?,
        prefix_v4: prefix_v4.unwrap_or(Persistence::PREFIX_V4),
        prefix_v6: prefix_v6.unwrap_or(Persistence::PREFIX_V6),
        quiescent: quiescent.unwrap_or_default(),
    })
}

fn slow_start(text: &str) -> Result<Duration, String> {
    value::within(text, Duration::ZERO, Policy::MAX_SLOW_START)
}

fn unknown(text: &str) -> Result<Unknown, String> {
    let names = Unknown::ALL.map(Unknown::name);
    Unknown::from_name(text).ok_or_else(|| one_of(text, &names))
}

fn quiescent(text: &str) -> Result<Quiescent, String> {
    let names = Quiescent::ALL.map(Quiescent::name);
    Quiescent::from_name(text).ok_or_else(|| one_of(text, &names))
}

fn one_of(text: &str, names: &[&str]) -> String {
    format!("there is no {}; write {}", quoted(text), names.join(" or "))
}

/// One-packet scheduling needs UDP, and a scheduler that does not count connections: every server
/// would have none.
pub(super) fn check_one_packet(spec: &ServiceSpec, section: &Section<'_>, faults: &mut Faults) {
    let Some(entry) = section.entry("one_packet").filter(|_| spec.policy.one_packet) else {
        return;
    };
    if let Some(tcp) = spec.listens.iter().find(|listen| listen.protocol == Protocol::Tcp) {
        let message = format!("true is for UDP alone, and the service listens on {tcp}");
        entry.fault(message + "; write another service for that", faults);
    }
    if spec.scheduler.counts_connections() {
        let name = spec.scheduler.name();
        let message = format!("true leaves no connections, which scheduler {name} counts");
        entry.fault(message + "; write scheduler = \"rr\" or \"wrr\"", faults);
    }
}
