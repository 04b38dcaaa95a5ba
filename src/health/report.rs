//! The state of the checks as values, for listings. Nothing in here is live.

use std::net::IpAddr;
use std::time::Duration;

use super::plan::PlannedCheck;
use super::state::Phase;
use crate::model::{Health, Millis};

/// Results that are kept of each check.
pub const KEPT: usize = 10;

/// What came of one probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// When it ended.
    pub at: Millis,
    /// Whether the check has passed.
    pub passed: bool,
    /// What was found, in words: `status 200`, `connection refused`.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// A check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckReport {
    /// Of whom, where, what.
    pub check: PlannedCheck,
    /// The services that go by it.
    pub services: Vec<String>,
    /// Where it is.
    pub phase: Phase,
    /// How many of the last results were alike.
    pub streak: u32,
    /// Since when it is up or down.
    pub since: Duration,
    /// How long until its next probe; `None`: one is on its way.
    pub next: Option<Duration>,
    /// How late its last probe was.
    pub lag: Duration,
    /// Probes so far.
    pub runs: u64,
    /// The last results, the newest first, and how long ago each was.
    pub findings: Vec<(Duration, Finding)>,
}

/// What the checks say of a real server of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealReport {
    /// Its address.
    pub address: IpAddr,
    /// What the balancer was told.
    pub health: Health,
    /// Since when.
    pub since: Duration,
    /// Why, in words: `http check failed: status 503`. Empty where it has no check.
    pub why: String,
}

/// A service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Whether it has its quorum.
    pub quorum: bool,
    /// Whether its checks are disbelieved.
    pub panic: bool,
    /// Its real servers.
    pub reals: Vec<RealReport>,
}

/// All checks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Board {
    /// The services.
    pub services: Vec<ServiceReport>,
    /// The checks.
    pub checks: Vec<CheckReport>,
    /// How late the latest probe of the last seconds was.
    pub lag: Duration,
}

impl RealReport {
    /// Why no new flow goes there, for people: `http check failed 12 s ago: status 503`.
    #[must_use]
    pub fn explain(&self) -> String {
        let ago = format!(" {} s ago", self.since.as_secs());
        match self.why.split_once(':') {
            Some((what, found)) => format!("{what}{ago}:{found}"),
            None => format!("{} ({})", self.why, ago.trim_start()),
        }
    }
}

impl Board {
    /// What the checks say of a real server of a service.
    #[must_use]
    pub fn real(&self, service: &str, address: IpAddr) -> Option<&RealReport> {
        let service = self.services.iter().find(|one| one.name == service)?;
        service.reals.iter().find(|real| real.address == address)
    }
}
