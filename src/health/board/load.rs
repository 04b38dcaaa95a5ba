//! What follows from what agents report: rotation for every service that has the check, weight and
//! connections for those with `load = "agent"`.

use super::Board;
use super::check::{Check, CheckId};
use super::service::{Real, Service};
use crate::health::event::Event;
use crate::health::spec::Probe;
use crate::health::weighed::Weighed;
use crate::model::{Health, Load, Millis};

#[cfg(test)]
mod tests;

impl Service {
    /// Whether every real server that takes connections reports how many it has: what some report
    /// cannot be compared with what the director counts of the others.
    fn all_report(&self) -> bool {
        let takes = |real: &&Real| real.weight > 0 && real.health == Health::Up;
        let mut taking = self.reals.iter().filter(takes).filter(|real| real.weighed.serves());
        taking.all(|real| real.weighed.connections.is_some())
    }
}

impl Board {
    /// Whether the check is one of an agent, whose state follows from what it has said last.
    pub(super) fn is_of_agent(check: &Check) -> bool {
        check.planned.spec.probe == Probe::Agent
    }

    /// Applies a finished check to its real servers. Returns the services of those whose
    /// rotation is another.
    pub(super) fn weigh(&mut self, now: Millis, id: CheckId) -> Vec<usize> {
        let Self { checks, services, events, .. } = self;
        let Some(check) = checks.get(&id).filter(|check| Self::is_of_agent(check)) else {
            return Vec::new();
        };
        let mut moved = Vec::new();
        for &(place, index) in &check.users {
            let Some(service) = services.get_mut(place) else { continue };
            let Some(before) = service.reals.get(index).map(|real| real.weighed.clone()) else {
                continue;
            };
            let after = before.after(
                now,
                &check.heard,
                &check.planned.spec.timing,
                service.load,
                &service.listens,
            );
            let Some(real) = service.reals.get_mut(index) else { continue };
            let (name, address) = (service.name.clone(), real.address);
            if after.rotation != before.rotation {
                let (before, after) = (before.rotation, after.rotation);
                events.push(Event::Rotation { service: name, address, before, after });
                moved.push(place);
            }
            let thousandths = after.load.thousandths;
            real.weighed = after;
            real.weighed.load = before.load;
            let all = service.all_report();
            // The others' as well, where one has begun or ceased to report.
            let places = if all == service.reported { index..index + 1 } else { 0..usize::MAX };
            service.reported = all;
            for (at, real) in service.reals.iter_mut().enumerate() {
                if !places.contains(&at) {
                    continue;
                }
                let told = real.weighed.load;
                let thousandths = if at == index { thousandths } else { told.thousandths };
                let connections = real.weighed.connections.filter(|_| all);
                let load = Load { thousandths, connections };
                if load != told {
                    real.weighed.load = load;
                    let (service, address) = (service.name.clone(), real.address);
                    events.push(Event::Load { service, address, load });
                }
            }
        }
        moved
    }

    /// Real servers whose agents are asked no more are like those that never had one.
    pub(super) fn unweigh(&mut self) {
        let Self { checks, services, events, .. } = self;
        for service in services {
            for real in &mut service.reals {
                let mut checked = real.checks.iter().filter_map(|id| checks.get(id));
                let is_default = real.weighed == Weighed::default();
                if is_default || checked.any(Self::is_of_agent) {
                    continue;
                }
                real.weighed = Weighed::default();
                service.reported = false;
                let (service, address) = (service.name.clone(), real.address);
                events.push(Event::Load { service, address, load: Load::default() });
            }
        }
    }

    /// What the balancer was told of every real server's load, where that is not the default.
    pub fn loads(&self) -> impl Iterator<Item = Event> {
        self.services.iter().flat_map(|service| {
            let loaded = service.reals.iter().filter(|real| real.weighed.load != Load::default());
            loaded.map(|real| {
                let (service, address) = (service.name.clone(), real.address);
                Event::Load { service, address, load: real.weighed.load }
            })
        })
    }
}
