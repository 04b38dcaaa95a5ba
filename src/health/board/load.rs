//! Applies the reports of real servers. An agent's rotation applies to every service with the
//! agent's check, its load and connections to services with `load = "agent"`. A program's weight
//! applies to services with its check.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Board;
use super::check::{Check, CheckId};
use super::service::{CheckedReal, CheckedService};
use crate::health::event::HealthEvent;
use crate::health::load::Rotation;
use crate::health::spec::{Initial, Probe};
use crate::health::state::Needed;
use crate::health::weighed::{Reporter, Weighed};
use crate::model::{Load, Millis, WeightStep};

#[cfg(test)]
mod tests;

impl Check {
    /// The kind of its reports besides pass or fail.
    pub(super) fn reporter(&self) -> Option<Reporter> {
        Reporter::of(&self.planned.spec.probe)
    }

    /// Whether it is one of an agent, whose state follows from its latest report.
    pub(super) fn is_of_agent(&self) -> bool {
        self.planned.spec.probe == Probe::Agent
    }

    /// Whether its agent has its real server up. One that has never answered brings no real server
    /// up that waits for its first result, and takes none down.
    pub(super) fn is_believed_up(&self) -> bool {
        match self.last_report.at() {
            Some(_) => self.last_report.rotation() != Rotation::Down,
            None => self.planned.spec.timing.initial == Initial::Up || self.state.phase().is_up(),
        }
    }

    /// How many results in a row change its state. As with HAProxy, each `down` and `up` of an
    /// agent counts.
    pub(super) fn needed(&self) -> Needed {
        match self.is_of_agent() {
            true => Needed::EACH,
            false => Needed::from(&self.planned.spec.timing),
        }
    }
}

impl CheckedService {
    /// Whether every real server that takes connections reports their number. Reported numbers of
    /// some cannot be compared with the director's counts of the others.
    fn all_report(&self) -> bool {
        let mut taking = self.reals.iter().filter(|real| real.weight > 0 && real.serves());
        taking.all(|real| real.weighed.connections.is_some())
    }

    /// The resulting weight of the real server at `index` after another report of one of its
    /// checks.
    fn weighed(&self, now: Millis, index: usize, check: &Check) -> Option<Weighed> {
        let before = &self.reals.get(index)?.weighed;
        let timing = &check.planned.spec.timing;
        Some(match check.reporter()? {
            Reporter::Agent => {
                before.after_agent(now, &check.last_report, timing, self.load, &self.listens)
            }
            Reporter::Program => before.after_program(&check.last_report),
        })
    }

    /// Adds events for the loads that have changed. A fresh report of connections is a change even
    /// if their number is the same, since it contains the connections given since the previous
    /// report.
    pub(super) fn tell_loads(&mut self, events: &mut Vec<HealthEvent>) {
        let all = self.all_report();
        for real in &mut self.reals {
            let load = real.weighed.wanted(all);
            if load != real.weighed.sent {
                real.weighed.sent = load;
                events.push(HealthEvent::load(&self.name, real));
            }
            if real.weighed.step != real.weighed.sent_step {
                real.weighed.sent_step = real.weighed.step;
                events
                    .push(HealthEvent::Step { service: self.name.clone(), address: real.address });
            }
        }
    }
}

impl HealthEvent {
    fn load(service: &str, real: &CheckedReal) -> Self {
        let service = service.to_owned();
        Self::Load { service, address: real.address, load: real.weighed.sent }
    }
}

impl Board {
    /// Applies a finished check to its real servers. Returns the services whose sum of live weights
    /// may change by that.
    pub(super) fn weigh(&mut self, now: Millis, id: CheckId) -> Vec<usize> {
        let Self { checks, services, events, .. } = self;
        let Some(check) = checks.get(&id).filter(|check| check.reporter().is_some()) else {
            return Vec::new();
        };
        let mut moved = Vec::new();
        for &(user, index) in &check.users {
            let Some(service) = services.get_mut(user) else { continue };
            let Some(weighed) = service.weighed(now, index, check) else { continue };
            let Some(real) = service.reals.get_mut(index) else { continue };
            let before = std::mem::replace(&mut real.weighed, weighed);
            let (then, now) = (before.rotation(), real.weighed.rotation());
            let weight = |weighed: &Weighed| (weighed.serves(), weighed.weight(real.weight));
            if weight(&before) != weight(&real.weighed) {
                moved.push(user);
            }
            if then != now {
                let (service, address) = (service.name.clone(), real.address);
                events.push(HealthEvent::Rotation { service, address, before: then, after: now });
            }
            service.tell_loads(events);
        }
        moved
    }

    /// Forgets the reports of agents and programs that are no longer checked.
    pub(super) fn unweigh(&mut self) {
        let Self { checks, services, events, .. } = self;
        for service in services {
            for real in &mut service.reals {
                let reporters = real.checks.iter().filter_map(|id| checks.get(id)?.reporter());
                let asked: Vec<Reporter> = reporters.collect();
                real.weighed = real.weighed.kept(|reporter| asked.contains(&reporter));
            }
            service.tell_loads(events);
        }
    }

    /// The shares of their weights that real servers have where flows are placed by hash, if not
    /// the whole weight.
    #[must_use]
    pub fn steps(&self) -> HashMap<(String, IpAddr), WeightStep> {
        let of = |service: &CheckedService| {
            let reals = service.reals.iter().filter(|real| real.weighed.step != WeightStep::FULL);
            let step =
                |real: &CheckedReal| ((service.name.clone(), real.address), real.weighed.step);
            reals.map(step).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of).collect()
    }

    /// The load that the balancer has of each real server, if it is not the default.
    pub fn loads(&self) -> impl Iterator<Item = HealthEvent> {
        self.services.iter().flat_map(|service| {
            let loaded = service.reals.iter().filter(|real| real.weighed.sent != Load::default());
            loaded.map(|real| HealthEvent::load(&service.name, real))
        })
    }
}
