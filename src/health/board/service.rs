//! A service on the board: its health, panic and quorum, which follow from the results of checks.

use std::collections::HashMap;
use std::net::IpAddr;

use super::check::{Check, CheckId};
use crate::health::cause::CheckCause;
use crate::health::event::HealthEvent;
use crate::health::report::{RealReport, ServiceReport};
use crate::health::rule::Rules;
use crate::health::weighed::Weighed;
use crate::model::{Health, Listen, Millis};

/// A real server of a service.
#[derive(Clone, Debug)]
pub(super) struct CheckedReal {
    pub(super) address: IpAddr,
    pub(super) weight: u32,
    /// Whether the operator has it out of service.
    pub(super) out: bool,
    pub(super) checks: Vec<CheckId>,
    /// Whether its checks pass.
    pub(super) passes: bool,
    /// Whether they do not only because some have not passed yet: none has failed.
    pub(super) waits: bool,
    /// The health last reported to the balancer.
    pub(super) health: Health,
    pub(super) since: Millis,
    pub(super) weighed: Weighed,
}

/// A service with its real servers.
#[derive(Clone, Debug)]
pub(super) struct CheckedService {
    pub(super) name: String,
    pub(super) rules: Rules,
    /// Whether weights follow the load that agents report.
    pub(super) load: bool,
    pub(super) listens: Vec<Listen>,
    pub(super) quorum: bool,
    pub(super) panic: bool,
    pub(super) reals: Vec<CheckedReal>,
}

impl CheckedService {
    /// Derives the health of its real servers from their checks.
    pub(super) fn judge(
        &mut self,
        now: Millis,
        checks: &HashMap<CheckId, Check>,
        events: &mut Vec<HealthEvent>,
    ) {
        for real in &mut self.reals {
            real.passes = real.failed(checks).is_none();
            real.waits = !real.passes && real.all_wait(checks);
        }
        self.judge_panic(events);
        for real in &mut self.reals {
            let believed = real.passes || self.panic && !real.waits;
            let health = if believed { Health::Up } else { Health::Down };
            if real.health != health {
                (real.health, real.since) = (health, now);
                events.push(HealthEvent::Health {
                    service: self.name.clone(),
                    address: real.address,
                    health,
                    why: real.why(checks, self.panic),
                });
            }
        }
        self.judge_quorum(events);
    }

    fn judge_panic(&mut self, events: &mut Vec<HealthEvent>) {
        // A real server that an operator has taken out of rotation does not count. One that waits
        // for its first result has failed nothing.
        let counted = || self.reals.iter().filter(|real| real.weight > 0 && !real.out);
        let fails = |real: &&CheckedReal| !real.passes && !real.waits;
        let (down, all) = (counted().filter(fails).count(), counted().count());
        let active = self.rules.panic.exceeded(down, all);
        if self.panic != active {
            self.panic = active;
            events.push(HealthEvent::Panic { service: self.name.clone(), active, down, all });
        }
    }

    fn judge_quorum(&mut self, events: &mut Vec<HealthEvent>) {
        let alive = self.reals.iter().filter(|real| real.serves());
        let alive = alive.map(|real| u64::from(real.weighed.weight(real.weight))).sum();
        let reached = self.rules.quorum.reached(self.quorum, alive);
        if self.quorum != reached {
            self.quorum = reached;
            events.push(HealthEvent::Quorum { service: self.name.clone(), reached, alive });
        }
    }

    pub(super) fn report(&self, now: Millis, checks: &HashMap<CheckId, Check>) -> ServiceReport {
        let real = |real: &CheckedReal| RealReport {
            address: real.address,
            health: real.health,
            since: real.since.until(now),
            failed: real.failed(checks).and_then(Check::failed_at).map(|at| at.until(now)),
            why: real.why(checks, self.panic),
            out: real.weighed.out(),
        };
        ServiceReport {
            name: self.name.clone(),
            quorum: self.quorum,
            panic: self.panic,
            reals: self.reals.iter().map(real).collect(),
        }
    }
}

impl CheckedReal {
    /// Whether it takes new connections, unless its weight is 0.
    pub(super) fn serves(&self) -> bool {
        self.health == Health::Up && !self.out && self.weighed.serves()
    }

    /// The first of its checks that is down.
    fn failed<'a>(&self, checks: &'a HashMap<CheckId, Check>) -> Option<&'a Check> {
        let mut all = self.checks.iter().filter_map(|id| checks.get(id));
        all.find(|check| !check.state.phase().is_up())
    }

    /// Whether those of its checks that are down have neither passed nor failed yet.
    fn all_wait(&self, checks: &HashMap<CheckId, Check>) -> bool {
        let all = self.checks.iter().filter_map(|id| checks.get(id));
        all.filter(|check| !check.state.phase().is_up()).all(|check| check.waits)
    }

    /// The reason for its health, from the latest results. `panic`: its service's checks are
    /// ignored.
    fn why(&self, checks: &HashMap<CheckId, Check>, panic: bool) -> CheckCause {
        match self.failed(checks) {
            Some(check) if panic && !self.waits => CheckCause::Disbelieved(check.failure()),
            Some(check) => CheckCause::Failing(check.failure()),
            None if self.checks.is_empty() => CheckCause::Unchecked,
            None => CheckCause::Passing,
        }
    }
}
