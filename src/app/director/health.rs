//! The director's use of check results: it publishes events, warns, and adds health to listings.
//! The checks' thread informs the packet thread itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::messages::DirectorMessage;
use super::reload::RunningDirector;
use crate::app::health::{self, TakesChanges};
use crate::app::packet_thread::PacketThread;
use crate::balancer::{Change, ChangeError, Snapshot};
use crate::config;
use crate::control::{
    Alteration, Altered, CheckResult, CheckStep, Checked, CheckedOnce, Checks, Explained,
    ListedAgent, ListedCheck, Origin, PassedOver, ServiceList, Thousandths,
};
use crate::health::{
    AgentReport, BoardReport, CheckCause, CheckReport, HealthEvent, Plan, PlannedCheck, ProbeResult,
};
use crate::model::Health;

/// What a check event requires besides the change that the balancer already has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Follows {
    Nothing,
    /// Virtual IPs may have to be withdrawn or announced.
    Quorum,
    /// The weights by which flows are placed may have to change.
    Steps,
}

impl TakesChanges for PacketThread<DirectorMessage> {
    async fn take(&self, changes: Vec<Change>) -> anyhow::Result<Result<(), ChangeError>> {
        let (_, applied) = self.ask(|answer| DirectorMessage::Apply { changes, answer }).await?;
        Ok(applied)
    }
}

impl RunningDirector {
    /// The changes that mark the real servers as down that start as down with that plan. They
    /// belong in one message with the changes that add these real servers, so that none gets a flow
    /// before its first check.
    pub(super) async fn down_at_once(&self, plan: &Plan) -> Vec<Change> {
        let down = self.checks.preview(plan.clone()).await;
        let change =
            |(service, address)| Change::SetHealth { service, address, health: Health::Down };
        down.into_iter().map(change).collect()
    }

    /// Makes these the current checks.
    pub(super) fn adopt_checks(&self, plan: Plan) {
        self.checks.adopt(plan);
        self.checks.repeat();
    }

    /// Publishes a check event; returns what else it requires.
    pub(super) async fn publish_check_event(&self, event: HealthEvent) -> Follows {
        let follows = match event {
            HealthEvent::Quorum { .. } => Follows::Quorum,
            _ => Follows::Nothing,
        };
        let change = match event {
            HealthEvent::Health { service, address, health, why } => {
                if health == Health::Down {
                    self.next_hops.doubt(address);
                }
                let before = match health {
                    Health::Up => Health::Down,
                    Health::Down => Health::Up,
                };
                let (before, why) = (Some(before), Some(why));
                let what = Altered::Health { before, after: health, why };
                Alteration::of_real(&service, address, what)
            }
            // It concerns only the balancer.
            HealthEvent::Load { .. } => return Follows::Nothing,
            HealthEvent::Step { .. } => return Follows::Steps,
            HealthEvent::Rotation { service, address, before, after } => {
                Alteration::of_real(&service, address, Altered::Rotation { before, after })
            }
            HealthEvent::Panic { service, active, down, all } => {
                if active {
                    log::error!(
                        service = service.as_str();
                        "service {service}: {down} of {all} real servers fail their checks at \
                         once, more than `panic` allows: the checks are ignored and all real \
                         servers stay in; see `vstun checks`"
                    );
                }
                Alteration::of_service(&service, Altered::Panic { active, down, all })
            }
            HealthEvent::Quorum { service, reached, alive } => {
                Alteration::of_service(&service, Altered::Quorum { reached, alive })
            }
        };
        self.publish_changes(Origin::Health, "check", &[change]).await;
        follows
    }

    /// Warns at the start about services whose weights do not add up to their quorum.
    pub(super) fn warn_of_quorums(&self) {
        for config::ServiceConfig { spec, health, .. } in &self.config.services {
            let Some(sum) = health.short_of_quorum(spec) else { continue };
            log::warn!(
                service = spec.name.as_str();
                "service {} (line {} of {}) does not reach its quorum, or not again once it has \
                 lost it: its weights add up to {sum}; write a quorum that, with \
                 quorum_hysteresis, is at most that",
                spec.name,
                health.line(),
                self.path.display(),
            );
        }
    }

    /// Warns at the start about services without a check, and shows the line to add.
    pub(super) fn warn_of_unchecked(&self) {
        for config::ServiceConfig { spec, health, .. } in &self.config.services {
            if spec.reals.is_empty() || !health.checks.is_empty() {
                continue;
            }
            log::warn!(
                service = spec.name.as_str();
                "service {} (line {} of {}) has no health check, so a dead real server keeps its \
                 share; add `{}` below that line",
                spec.name,
                health.line(),
                self.path.display(),
                config::ServiceHealth::advice(spec)
            );
        }
    }
}

/// The services that these changes rename: each old name with the new one.
pub(super) fn renamed(changes: &[Change]) -> Vec<(String, String)> {
    let names = changes.iter().filter_map(|change| match change {
        Change::RenameServices { names } => Some(names.clone()),
        _ => None,
    });
    names.flatten().collect()
}

/// The checks of `config`, with the states that operators have set for the running real servers.
pub(super) fn checks_of(config: &config::Director, running: &Snapshot) -> Plan {
    let mut wanted = HashMap::new();
    for service in &running.services {
        let reals = service.reals.iter().filter(|real| !real.removed);
        wanted.extend(reals.map(|real| ((&*service.name, real.address), real.wanted)));
    }
    config.checks().with_states(|service, address| wanted.get(&(service, address)).copied())
}

/// Adds when the wanted states have changed to the listing of a snapshot.
pub(super) fn dated(mut list: ServiceList, snapshot: &Snapshot) -> ServiceList {
    for (listed, service) in list.services.iter_mut().zip(&snapshot.services) {
        for (listed, real) in listed.reals.iter_mut().zip(&service.reals) {
            listed.wanted_since = real.changed.map(ago);
        }
    }
    list
}

/// Adds the results of checks to a listing.
pub(super) fn annotate(list: ServiceList, board: &BoardReport) -> ServiceList {
    let mut reals = HashMap::new();
    for service in &board.services {
        for real in service.reals.iter().filter(|real| real.why != CheckCause::Unchecked) {
            reals.insert((service.name.as_str(), real.address.to_string()), real);
        }
    }
    let mut list = list;
    for service in &mut list.services {
        if let Some(report) = board.services.iter().find(|one| one.name == service.name) {
            (service.quorum, service.panic) = (Some(report.quorum), report.panic);
        }
        for real in &mut service.reals {
            let Some(report) = reals.get(&(service.name.as_str(), real.address.clone())) else {
                continue;
            };
            real.since = Some(ago(report.since));
            real.why = Some(report.why.to_string());
        }
    }
    list
}

/// Adds to an explanation which real servers were passed over, and why.
pub(super) fn passed_over(
    mut explained: Explained,
    list: &ServiceList,
    board: &BoardReport,
) -> Explained {
    let Some(service) = explained.service.as_deref() else { return explained };
    let Some(listed) = list.services.iter().find(|one| one.name == service) else {
        return explained;
    };
    for real in &listed.reals {
        let Ok(address) = real.address.parse::<IpAddr>() else { continue };
        if explained.address == Some(address) {
            continue;
        }
        let report = board.real(service, address);
        let down = report.filter(|real| real.health == Health::Down);
        let because = match (down, real.state.as_str()) {
            (Some(report), _) => report.explain(),
            (None, "up") if real.last_resort => "it is the last resort".to_owned(),
            (None, "up") if real.effective_weight == Some(Thousandths(0)) && real.weight > 0 => {
                let out = report.and_then(|report| report.out);
                out.unwrap_or("its agent gives it none of its weight").to_owned()
            }
            (None, "up") if real.weight == 0 => "its weight is 0".to_owned(),
            (None, "up") if real.full => "it is at its upper threshold".to_owned(),
            (None, "up") => continue,
            (None, state) => format!("it is {state}"),
        };
        explained.passed_over.push(PassedOver { address, because });
    }
    explained
}

/// The listing of all checks.
pub(super) fn list(board: &BoardReport) -> Checks {
    Checks {
        check_lag_milliseconds: millis(board.lag),
        checks: board.checks.iter().map(listed).collect(),
    }
}

fn listed(report: &CheckReport) -> ListedCheck {
    let result = |(age, finding): &(Duration, ProbeResult)| CheckResult {
        time: ago(*age),
        passed: finding.passed,
        detail: finding.detail.clone(),
        microseconds: micros(finding.took),
    };
    ListedCheck {
        address: report.check.real.to_string(),
        services: report.services.clone(),
        kind: report.check.spec.probe.name().to_owned(),
        check: report.check.spec.to_string(),
        via: report.check.spec.via.name().to_owned(),
        destination: destination(&report.check),
        state: report.phase.name().to_owned(),
        streak: report.streak,
        since_seconds: report.since.as_secs(),
        next_milliseconds: report.next.map(millis),
        lag_milliseconds: millis(report.lag),
        runs: report.runs,
        results: report.findings.iter().map(result).collect(),
        agent: report.agent.map(|AgentReport { reports, errors, stale }| ListedAgent {
            reports,
            errors,
            stale,
        }),
    }
}

/// The results of one run.
pub(super) fn checked(real: IpAddr, found: Vec<health::CheckRun>) -> Checked {
    let once = |one: health::CheckRun| CheckedOnce {
        check: one.check.spec.to_string(),
        via: one.check.spec.via.name().to_owned(),
        destination: destination(&one.check),
        passed: one.passed,
        detail: one.detail,
        microseconds: micros(one.took),
        steps: one
            .steps
            .into_iter()
            .map(|(at, step)| CheckStep { microseconds: micros(at), step: step.to_owned() })
            .collect(),
    };
    Checked { address: Some(real), checks: found.into_iter().map(once).collect() }
}

fn destination(check: &PlannedCheck) -> String {
    let (address, port) = (check.destination.address, check.destination.port);
    match port {
        0 => address.to_string(),
        port => std::net::SocketAddr::new(address, port).to_string(),
    }
}

fn ago(age: Duration) -> String {
    let age = SignedDuration::try_from(age).unwrap_or_default();
    let then = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{then:.3}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
