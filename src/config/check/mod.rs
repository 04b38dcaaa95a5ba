//! `[[service.check]]`, and a service's quorum and panic threshold.

mod probe;
mod value;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::health::spec::{Initial, TYPES};
use crate::health::{CheckSpec, Panic, Probe, Quorum, Rules, Timing, Via};
use crate::model::{Listen, ServiceSpec, duration};

use super::fault::{Faults, quoted};
use super::keys;
use super::section::Section;

/// The most checks of one service.
pub const MAX_CHECKS_PER_SERVICE: usize = 16;

/// A service's health checks and their rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceHealth {
    /// The checks; all must pass.
    pub checks: Vec<Arc<CheckSpec>>,
    /// Quorum and panic threshold.
    pub rules: Rules,
    /// Whether weights follow the load that agents report.
    pub load: bool,
    /// The line of the service, for warnings.
    pub(super) line: usize,
}

/// The keys that only some types have, and these types.
const OF_SOME: [(&str, &[&str]); 24] = {
    const WEB: &[&str] = &["http", "https"];
    const SECURE: &[&str] = &["https", "tls", "grpc"];
    const PACKETS: &[&str] = &["tcp", "http", "https", "tls", "udp", "dns", "icmp", "grpc"];
    const WITH_PORT: &[&str] =
        &["tcp", "http", "https", "tls", "udp", "dns", "grpc", "exec", "agent"];
    [
        ("via", PACKETS),
        ("port", WITH_PORT),
        ("method", WEB),
        ("path", WEB),
        ("host", WEB),
        ("headers", WEB),
        ("http_version", WEB),
        ("expect_status", WEB),
        ("expect_body", WEB),
        ("sni", SECURE),
        ("ca", SECURE),
        ("client_certificate", SECURE),
        ("client_key", SECURE),
        ("verify", SECURE),
        ("tls", &["grpc"]),
        ("grpc_service", &["grpc"]),
        ("send", &["udp"]),
        ("expect", &["udp"]),
        ("query", &["dns"]),
        ("record", &["dns"]),
        ("expect_rcode", &["dns"]),
        ("expect_answer", &["dns"]),
        ("command", &["exec"]),
        ("dynamic", &["exec"]),
    ]
};

/// Reads the health keys of a service; `spec` is the rest of it.
pub(super) fn read(
    section: &Section<'_>,
    spec: &ServiceSpec,
    faults: &mut Faults,
) -> ServiceHealth {
    let checks = checks(section, &spec.listens, faults);
    one_program(section, &checks, faults);
    ServiceHealth {
        load: load(section, &checks, faults),
        checks,
        rules: rules(section, faults),
        line: section.line,
    }
}

/// `load` needs exactly one check of type agent: a real server has one load.
fn load(section: &Section<'_>, checks: &[Arc<CheckSpec>], faults: &mut Faults) -> bool {
    let agents = checks.iter().filter(|check| check.probe == Probe::Agent).count();
    if agents > 1 {
        let message = format!("{agents} checks of type agent; a service may have one");
        faults.add(section.line, "service.check", message);
    }
    let Some(entry) = section.entry("load") else { return false };
    let load = entry.parsed(value::load, faults).unwrap_or(false);
    if load && agents == 0 {
        let hint = "add [[service.check]] with type = \"agent\" and port = 9181";
        entry.fault(format!("agent, and there is no check of an agent; {hint}"), faults);
    }
    load
}

/// Only one check may set the weight of a real server.
fn one_program(section: &Section<'_>, checks: &[Arc<CheckSpec>], faults: &mut Faults) {
    let dynamic =
        |check: &&Arc<CheckSpec>| matches!(&check.probe, Probe::Exec(exec) if exec.dynamic);
    let count = checks.iter().filter(dynamic).count();
    if count > 1 {
        let message = format!("{count} checks with dynamic = true; a service may have one");
        faults.add(section.line, "service.check", message);
    }
}

fn rules(section: &Section<'_>, faults: &mut Faults) -> Rules {
    let mut number = |key, range: RangeInclusive<u32>, unsaid| {
        section.entry(key).and_then(|entry| entry.number(range, faults)).unwrap_or(unsaid)
    };
    let quorum = number("quorum", 1..=value::MAX_QUORUM, Quorum::DEFAULT.quorum);
    let hysteresis = number("quorum_hysteresis", 0..=value::MAX_QUORUM, 0);
    if let Some(entry) = section.entry("quorum_hysteresis").filter(|_| hysteresis >= quorum) {
        let message = format!("{hysteresis} is not below quorum, {quorum}");
        entry.fault(
            message + ": it would be lost with the last real server only; write less",
            faults,
        );
    }
    let panic = section.entry("panic").and_then(|entry| entry.parsed(value::panic, faults));
    Rules { quorum: Quorum { quorum, hysteresis }, panic: panic.unwrap_or(Panic::NEVER) }
}

fn checks(section: &Section<'_>, listens: &[Listen], faults: &mut Faults) -> Vec<Arc<CheckSpec>> {
    let Some(entry) = section.entry("check") else { return Vec::new() };
    let tables = entry.tables(faults);
    if tables.len() > MAX_CHECKS_PER_SERVICE {
        let count = tables.len();
        let message =
            format!("{count} checks; a service has at most {MAX_CHECKS_PER_SERVICE}, write fewer");
        entry.fault(message, faults);
        return Vec::new();
    }
    let mut first_lines = HashMap::new();
    let mut checks = Vec::with_capacity(tables.len());
    for table in tables {
        let Some(section) = Section::open(table, "service.check", &keys::CHECK, faults) else {
            continue;
        };
        let Some(check) = check(&section, listens, faults) else { continue };
        if let Some(line) = first_lines.insert(check.clone(), section.line) {
            let message = format!("is the same as the check at line {line}; keep one");
            faults.add(section.line, "service.check", message);
        }
        checks.push(Arc::new(check));
    }
    checks
}

fn check(section: &Section<'_>, listens: &[Listen], faults: &mut Faults) -> Option<CheckSpec> {
    let hint = "write type = \"http\"";
    let kind = section.required_entry("type", hint, faults)?;
    let kind = kind.parsed(kind_of, faults)?;
    check_keys(section, kind, faults);
    let timing = timing(section, faults);
    let port = section.entry("port").and_then(|entry| entry.number(1..=65_535, faults));
    let port = port.and_then(|port| u16::try_from(port).ok());
    let via = section.entry("via").and_then(|entry| entry.parsed(value::via, faults));
    let probe = probe::read(section, kind, faults)?;
    let unsaid = match probe {
        Probe::Exec(_) | Probe::Agent => Via::Direct,
        _ => Via::Tunnel,
    };
    let spec = CheckSpec { probe, via: via.unwrap_or(unsaid), port, timing };
    check_port(section, &spec, listens, faults);
    Some(spec)
}

fn kind_of(text: &str) -> Result<&'static str, String> {
    TYPES.into_iter().find(|name| *name == text).ok_or_else(|| {
        let meant = keys::nearest(&TYPES, text)
            .map(|meant| format!("did you mean {meant}? "))
            .unwrap_or_default();
        let names = TYPES.join(", ");
        format!("there is no check of type {}; {meant}write one of {names}", quoted(text))
    })
}

/// A fault for each key that checks of this type do not have.
fn check_keys(section: &Section<'_>, kind: &str, faults: &mut Faults) {
    for (key, kinds) in OF_SOME {
        if let Some(entry) = section.entry(key).filter(|_| !kinds.contains(&kind)) {
            let kinds = kinds.join(", ");
            let message = format!("has no effect in a check of type {kind}; it is for {kinds}");
            entry.fault(message + "; take it out", faults);
        }
    }
}

fn timing(section: &Section<'_>, faults: &mut Faults) -> Timing {
    let unsaid = Timing::DEFAULT;
    let mut duration = |key| -> Option<Duration> {
        section.entry(key).and_then(|entry| entry.duration(value::interval, faults))
    };
    let interval = duration("interval").unwrap_or(unsaid.interval);
    let fast = duration("fast_interval");
    let timeout = duration("timeout").unwrap_or(unsaid.timeout);
    if let (Some(entry), Some(fast)) = (section.entry("fast_interval"), fast)
        && fast > interval
    {
        let interval = duration::Text(interval);
        let message = format!("{} is above interval, {interval}", duration::Text(fast));
        entry.fault(message + "; write at most that", faults);
    }
    let mut count = |key, unsaid| {
        let entry = section.entry(key);
        entry.and_then(|entry| entry.number(1..=Timing::MAX_COUNT, faults)).unwrap_or(unsaid)
    };
    let (rise, fall) = (count("rise", unsaid.rise), count("fall", unsaid.fall));
    let initial = section.entry("initial").and_then(|entry| entry.parsed(value::initial, faults));
    Timing {
        interval,
        fast_interval: fast.unwrap_or_else(|| unsaid.fast_interval.min(interval)),
        timeout,
        rise,
        fall,
        initial: initial.unwrap_or(Initial::Up),
    }
}

/// A check without a port uses that of a listen, which needs to be a single one.
fn check_port(section: &Section<'_>, spec: &CheckSpec, listens: &[Listen], faults: &mut Faults) {
    let Some(transport) = spec.probe.transport().filter(|_| spec.port.is_none()) else { return };
    let mut missing = |why: String| {
        faults.add(section.line, "service.check.port", format!("missing; {why}"));
    };
    if spec.probe == Probe::Agent {
        missing("an agent has a port of its own, write port = 9181".to_owned());
        return;
    }
    let mut fitting = listens.iter().filter(|listen| listen.protocol == transport);
    if let Some(range) = fitting.clone().find(|one| one.ports.first != one.ports.last) {
        missing(format!("{range} has many ports, write the one to check, as in port = 80"));
    } else if !listens.is_empty() && fitting.next().is_none() {
        missing(format!("the service listens on no {transport} port, write the one to check"));
    }
}

impl ServiceHealth {
    /// The line to add to a service without checks, as it may stand in the file.
    #[must_use]
    pub fn advice(spec: &ServiceSpec) -> String {
        let tcp = spec.listens.iter().find(|listen| {
            listen.protocol == crate::model::Protocol::Tcp
                && listen.ports.first == listen.ports.last
        });
        match tcp {
            Some(_) => "check = [{ type = \"tcp\" }]".to_owned(),
            None => "check = [{ type = \"icmp\" }]".to_owned(),
        }
    }

    /// The sum of the weights of a service whose quorum it does not reach, or not again once the
    /// quorum is lost. `None`: it reaches it, or has no real server or no quorum of its own.
    #[must_use]
    pub fn short_of_quorum(&self, spec: &ServiceSpec) -> Option<u32> {
        let Quorum { quorum, hysteresis } = self.rules.quorum;
        let reals = spec.reals.iter().filter(|real| !real.last_resort);
        let weights: Vec<u32> = reals.map(|real| real.values.weight).collect();
        let sum = weights.iter().sum::<u32>();
        let own = self.rules.quorum != Quorum::DEFAULT && !weights.is_empty();
        (own && sum < quorum.saturating_add(hysteresis)).then_some(sum)
    }

    /// The line of the service in the file.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

/// Checks that the table of keys and the list of them agree.
#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that every check may have.
    const OF_ALL: [&str; 7] =
        ["type", "interval", "fast_interval", "timeout", "rise", "fall", "initial"];

    #[test]
    fn every_key_of_a_check_is_for_some_type() {
        let mut named: Vec<&str> = OF_ALL.into_iter().chain(OF_SOME.map(|(key, _)| key)).collect();
        let mut known = keys::CHECK.to_vec();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
        for (key, kinds) in OF_SOME {
            assert!(kinds.iter().all(|kind| TYPES.contains(kind)), "{key}");
        }
    }
}
