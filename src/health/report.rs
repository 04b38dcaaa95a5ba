//! The state of the checks as plain values, for listings.

use std::net::IpAddr;
use std::time::Duration;

use super::cause::{CheckCause, CheckFailure, DISBELIEVED};
use super::load::Reported;
use super::plan::PlannedCheck;
use super::state::Phase;
use crate::model::{Health, Millis};

/// The number of results kept per check.
pub const KEPT: usize = 10;

/// The result of one probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProbeResult {
    /// When it ended.
    pub at: Millis,
    /// Whether the check has passed.
    pub passed: bool,
    /// Whether the real server's host has refused the probe itself: by a reset, or by an ICMP error
    /// that quotes the probe.
    pub refused: bool,
    /// The result as text: `status 200`, `connection refused`.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// The report that the probe has brought, if any.
    pub reported: Option<Reported>,
}

/// A check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckReport {
    /// The check: real server, destination, probe.
    pub check: PlannedCheck,
    /// The services that use it.
    pub services: Vec<String>,
    /// Its phase.
    pub phase: Phase,
    /// How many of the last results in a row were alike.
    pub streak: u32,
    /// How long it has been up or down.
    pub since: Duration,
    /// The time until its next probe; `None`: a probe is running.
    pub next: Option<Duration>,
    /// How late its last probe was.
    pub lag: Duration,
    /// Probes so far.
    pub runs: u64,
    /// The last results, newest first, with the age of each.
    pub findings: Vec<(Duration, ProbeResult)>,
    /// The counts of its agent's reports, if it has an agent.
    pub agent: Option<AgentReport>,
}

/// The counts of a load agent's reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AgentReport {
    /// Probes that have brought a report.
    pub reports: u64,
    /// Probes that have brought none.
    pub errors: u64,
    /// Whether its last report has expired, or there is none.
    pub stale: bool,
}

/// The health of a real server in a service, from its checks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealReport {
    /// Its address.
    pub address: IpAddr,
    /// The health last reported to the balancer.
    pub health: Health,
    /// How long it has had this health.
    pub since: Duration,
    /// How long ago the check failed that `why` names; `None` if none has.
    pub failed: Option<Duration>,
    /// The reason, by its latest results.
    pub why: CheckCause,
    /// Why its reports take it out of rotation, if they do.
    pub out: Option<&'static str>,
}

/// A service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Whether it has its quorum.
    pub quorum: bool,
    /// Whether its checks are ignored because too many real servers would be down.
    pub panic: bool,
    /// Its real servers.
    pub reals: Vec<RealReport>,
}

/// All checks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HealthReport {
    /// The services.
    pub services: Vec<ServiceReport>,
    /// The checks.
    pub checks: Vec<CheckReport>,
    /// The largest lag of a probe in the last seconds.
    pub lag: Duration,
}

impl RealReport {
    /// Why it takes no new flows, for messages: `http check failed 2 s ago: status 503; down for
    /// 12 s`.
    #[must_use]
    pub fn explain(&self) -> String {
        let down = format!("down for {} s", self.since.as_secs());
        let (failure, doubt) = match &self.why {
            CheckCause::Failing(failure) => (failure, ""),
            CheckCause::Disbelieved(failure) => (failure, DISBELIEVED),
            why => return format!("{why}; {down}"),
        };
        match (failure, self.failed) {
            (CheckFailure { check, found: Some(found) }, Some(failed)) => {
                let ago = failed.as_secs();
                format!("{check} check failed {ago} s ago: {found}{doubt}; {down}")
            }
            _ => format!("{failure}{doubt}; {down}"),
        }
    }
}

impl HealthReport {
    /// The report of a real server in a service.
    #[must_use]
    pub fn real(&self, service: &str, address: IpAddr) -> Option<&RealReport> {
        let service = self.services.iter().find(|one| one.name == service)?;
        service.reals.iter().find(|real| real.address == address)
    }
}
