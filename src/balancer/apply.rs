//! Changes: the one path that writes services and real servers. A change that fails has changed nothing.

use std::net::IpAddr;
use std::sync::Arc;

use super::Balancer;
use super::change::{Change, ChangeError};
use super::maglev;
use super::ramp::Ramp;
use super::real::{Life, Real};
use super::service::Service;
use crate::model::{
    Listen, MAX_WEIGHT, Millis, Policy, RealId, RealSpec, SavedState, SchedulerKind, ServiceId,
    ServiceSpec, Thresholds, Wanted,
};

impl Balancer {
    /// Applies one change.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing has changed then.
    pub fn apply(&mut self, now: Millis, change: &Change) -> Result<(), ChangeError> {
        self.now = now;
        match change {
            Change::AddService(spec) => self.add_service(now, spec),
            Change::RemoveService { service } => self.remove_service(service),
            Change::SetListens { service, listens } => self.set_listens(service, listens),
            Change::SetScheduler { service, scheduler } => self.set_scheduler(service, *scheduler),
            Change::SetPolicy { service, policy } => self.set_policy(service, *policy),
            Change::AddReal { service, real } => self.add_real(now, service, *real),
            Change::RemoveReal { service, address } => self.remove_real(now, service, *address),
            Change::SetWeight { service, address, weight } => {
                self.set_weight(now, service, *address, *weight)
            }
            Change::SetMaglev { service, table } => self.set_maglev(service, table),
            Change::SetHashSeed(seed) => {
                self.hash_seed = *seed;
                Ok(())
            }
            Change::SetState { service, address, state } => {
                self.set_state(now, service, *address, *state)
            }
            Change::RestoreState { service, address, saved } => {
                self.set_standing(now, service, *address, *saved)
            }
            Change::SetHealth { service, address, health } => {
                let real = self.find_real(service, *address)?;
                self.alter(now, real, |real| real.availability_mut().set_health(*health));
                Ok(())
            }
            Change::SetThresholds { service, address, thresholds } => {
                self.set_thresholds(service, *address, *thresholds)
            }
            Change::SetSources(sources) => {
                self.set_sources(sources);
                Ok(())
            }
            Change::SetTimeouts(timeouts) => {
                self.timeouts = timeouts.ordered();
                Ok(())
            }
        }
    }

    fn add_service(&mut self, now: Millis, spec: &ServiceSpec) -> Result<(), ChangeError> {
        if self.find_service(&spec.name).is_ok() {
            return Err(ChangeError::ServiceExists(spec.name.clone()));
        }
        self.check_listens(&spec.name, &spec.listens, None)?;
        for (place, real) in spec.reals.iter().enumerate() {
            check_real(real)?;
            if spec.reals.iter().take(place).any(|other| other.address == real.address) {
                let (service, address) = (spec.name.clone(), real.address);
                return Err(ChangeError::RealExists { service, address });
            }
        }
        let free = self.services.iter().position(Option::is_none);
        let id = ServiceId(free.unwrap_or(self.services.len()));
        let random = self.seed.number(id.0 as u64);
        let mut service = Service::new(spec.name.clone(), spec.scheduler, random);
        service.listens.clone_from(&spec.listens);
        service.policy = spec.policy;
        // They start together, so none of them has to start slowly.
        let real = |&real| self.new_real(now, id, spec.policy, real);
        service.reals = spec.reals.iter().map(real).collect();
        service.changed(&self.reals);
        for &listen in &spec.listens {
            self.listens.insert(listen, id);
        }
        match self.services.get_mut(id.0) {
            Some(place) => *place = Some(service),
            None => self.services.push(Some(service)),
        }
        Ok(())
    }

    /// Its connections' entries stay until they expire, but no packet finds a service any more; see
    /// [`Self::forward`](Balancer::forward).
    fn remove_service(&mut self, name: &str) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let Some(service) = self.services.get_mut(id.0).and_then(Option::take) else {
            return Ok(());
        };
        for listen in service.listens {
            self.listens.remove(listen);
        }
        for real in service.reals {
            if let Some(real) = self.reals.get_mut(real.0 as usize) {
                real.set_life(Life::Gone);
            }
            self.fragments.real_is_gone(real);
            self.collect(real);
        }
        Ok(())
    }

    fn set_listens(&mut self, name: &str, listens: &[Listen]) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        self.check_listens(name, listens, Some(id))?;
        let Some(service) = self.services.get_mut(id.0).and_then(Option::as_mut) else {
            return Ok(());
        };
        for listen in std::mem::replace(&mut service.listens, listens.to_vec()) {
            self.listens.remove(listen);
        }
        for &listen in listens {
            self.listens.insert(listen, id);
        }
        Ok(())
    }

    fn set_scheduler(&mut self, name: &str, scheduler: SchedulerKind) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        if let Some(Some(service)) = self.services.get_mut(id.0) {
            service.set_scheduler(scheduler, &self.reals);
        }
        Ok(())
    }

    fn set_policy(&mut self, name: &str, policy: Policy) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        if let Some(service) = self.service(id) {
            service.policy = policy;
        }
        Ok(())
    }

    fn set_maglev(&mut self, name: &str, table: &Arc<maglev::Table>) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        if let Some(Some(service)) = self.services.get_mut(id.0) {
            service.set_maglev(Arc::clone(table), &self.reals);
        }
        Ok(())
    }

    fn add_real(&mut self, now: Millis, name: &str, spec: RealSpec) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        check_real(&spec)?;
        let policy = self.policy(id);
        if let Ok(real) = self.find_real(name, spec.address) {
            // IPVS revives a deleted destination from its trash, connections and counters with it.
            if self.reals.get(real.0 as usize).is_some_and(|real| real.life() == Life::Up) {
                let (service, address) = (name.to_owned(), spec.address);
                return Err(ChangeError::RealExists { service, address });
            }
            let until = drain_until(now, spec.state, policy);
            self.alter(now, real, |real| real.restore(spec, until));
            return Ok(());
        }
        let real = self.new_real(now, id, policy, spec);
        let flooded = self.flooded(id);
        if let Some(real) = self.reals.get_mut(real.0 as usize) {
            real.set_flooded(flooded);
        }
        if let Some(service) = self.service(id) {
            service.reals.push(real);
        }
        self.start(now, real);
        self.pool_changed(id);
        Ok(())
    }

    fn remove_real(&mut self, now: Millis, name: &str, address: IpAddr) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let real = self.find_real(name, address)?;
        let until = self.policy(id).drain_deadline.map(|deadline| now.after(deadline));
        self.alter(now, real, |real| real.remove(until));
        self.collect(real);
        Ok(())
    }

    fn set_weight(
        &mut self,
        now: Millis,
        name: &str,
        address: IpAddr,
        weight: u32,
    ) -> Result<(), ChangeError> {
        check_weight(weight)?;
        let real = self.find_real(name, address)?;
        self.alter(now, real, |real| real.set_weight(weight));
        Ok(())
    }

    fn set_state(
        &mut self,
        now: Millis,
        name: &str,
        address: IpAddr,
        state: Wanted,
    ) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let real = self.find_real(name, address)?;
        let removed = self.reals.get(real.0 as usize).is_some_and(|real| real.life() != Life::Up);
        if removed && state == Wanted::Up {
            return Err(ChangeError::Removed { service: name.to_owned(), address });
        }
        let until = drain_until(now, state, self.policy(id));
        self.alter(now, real, |real| real.availability_mut().set_wanted(state, until));
        Ok(())
    }

    fn set_standing(
        &mut self,
        now: Millis,
        name: &str,
        address: IpAddr,
        saved: SavedState,
    ) -> Result<(), ChangeError> {
        let id = self.find_real(name, address)?;
        let until = saved.left.map(|left| now.after(left));
        self.alter(now, id, |real| {
            real.availability_mut().restore(saved.wanted, until);
        });
        if let Some(real) = self.reals.get_mut(id.0 as usize).filter(|_| saved.grown) {
            real.start(None);
            let service = real.service();
            self.pool_changed(service);
        }
        Ok(())
    }

    fn set_thresholds(
        &mut self,
        name: &str,
        address: IpAddr,
        thresholds: Thresholds,
    ) -> Result<(), ChangeError> {
        check_thresholds(thresholds)?;
        let real = self.find_real(name, address)?;
        if let Some(real) = self.reals.get_mut(real.0 as usize) {
            real.set_thresholds(thresholds);
        }
        Ok(())
    }

    /// Changes a real server; where it comes up by that, it starts slowly.
    fn alter(&mut self, now: Millis, id: RealId, change: impl FnOnce(&mut Real)) {
        let Some(real) = self.reals.get_mut(id.0 as usize) else { return };
        let (service, before) = (real.service(), real.in_service());
        change(real);
        if !(before && real.in_service()) {
            self.start(now, id);
        }
        self.watch_deadline(id);
        self.pool_changed(service);
    }

    /// A real server that was not there for new connections is, or one that was is not.
    fn start(&mut self, now: Millis, id: RealId) {
        let Some(real) = self.reals.get_mut(id.0 as usize) else { return };
        let Some(Some(service)) = self.services.get_mut(real.service().0) else { return };
        let ramp = Ramp::new(now, service.policy.slow_start).filter(|_| real.in_service());
        real.start(ramp);
        service.ramping |= ramp.is_some();
    }

    fn policy(&self, id: ServiceId) -> Policy {
        let service = self.services.get(id.0).and_then(Option::as_ref);
        service.map(|service| service.policy).unwrap_or_default()
    }

    /// Takes a real server that has been removed off its service's list when it has no connection left, and gives its place
    /// free when no template names it either.
    pub(super) fn collect(&mut self, id: RealId) {
        let Some(real) = self.reals.get(id.0 as usize) else { return };
        if real.life() == Life::Up || !real.idle() {
            return;
        }
        let (service, remembered) = (real.service(), real.remembered());
        if real.life() == Life::Draining {
            if let Some(service) = self.service(service) {
                service.reals.retain(|&other| other != id);
            }
            self.pool_changed(service);
            // Once: of those that are gone each template that expires comes by here.
            self.fragments.real_is_gone(id);
        }
        if let Some(real) = self.reals.get_mut(id.0 as usize) {
            real.set_life(if remembered { Life::Gone } else { Life::Free });
        }
        if !remembered {
            self.free_reals.push(id);
        }
    }

    fn new_real(
        &mut self,
        now: Millis,
        service: ServiceId,
        policy: Policy,
        spec: RealSpec,
    ) -> RealId {
        let mut real = Real::new(service, spec, self.sources.get(&spec.address).copied());
        real.availability_mut().set_wanted(spec.state, drain_until(now, spec.state, policy));
        let id = match self.free_reals.pop() {
            Some(id) => id,
            None => RealId(u32::try_from(self.reals.len()).unwrap_or(u32::MAX)),
        };
        match self.reals.get_mut(id.0 as usize) {
            Some(place) => *place = real,
            None => self.reals.push(real),
        }
        self.watch_deadline(id);
        id
    }

    fn pool_changed(&mut self, id: ServiceId) {
        if let Some(Some(service)) = self.services.get_mut(id.0) {
            service.changed(&self.reals);
        }
    }

    fn find_service(&self, name: &str) -> Result<ServiceId, ChangeError> {
        self.services
            .iter()
            .position(|service| service.as_ref().is_some_and(|service| service.name == name))
            .map(ServiceId)
            .ok_or_else(|| ChangeError::NoService(name.to_owned()))
    }

    fn find_real(&self, name: &str, address: IpAddr) -> Result<RealId, ChangeError> {
        let id = self.find_service(name)?;
        let reals = self.services.get(id.0).and_then(Option::as_ref).map(|service| &service.reals);
        reals
            .into_iter()
            .flatten()
            .copied()
            .find(|id| self.reals.get(id.0 as usize).is_some_and(|real| real.address() == address))
            .ok_or_else(|| ChangeError::NoReal { service: name.to_owned(), address })
    }

    /// That `listens` of the service `name`, which is `own` when it exists, overlap neither each other nor
    /// another service's.
    fn check_listens(
        &self,
        name: &str,
        listens: &[Listen],
        own: Option<ServiceId>,
    ) -> Result<(), ChangeError> {
        for (place, &listen) in listens.iter().enumerate() {
            if listens.iter().take(place).any(|&other| listen.overlaps(other)) {
                return Err(ChangeError::Overlap { listen, other: name.to_owned() });
            }
            if let Some(other) = self.listens.overlap(listen, own) {
                let other = self.services.get(other.0).and_then(Option::as_ref);
                let other = other.map_or_else(String::new, |service| service.name.clone());
                return Err(ChangeError::Overlap { listen, other });
            }
        }
        Ok(())
    }
}

/// When a real server of which `state` is wanted from now on has no more time for its flows.
fn drain_until(now: Millis, state: Wanted, policy: Policy) -> Option<Millis> {
    let Wanted::Draining { deadline } = state else { return None };
    deadline.or(policy.drain_deadline).map(|deadline| now.after(deadline))
}

fn check_real(real: &RealSpec) -> Result<(), ChangeError> {
    check_weight(real.weight)?;
    check_thresholds(real.thresholds)
}

fn check_thresholds(thresholds: Thresholds) -> Result<(), ChangeError> {
    if thresholds.valid() { Ok(()) } else { Err(ChangeError::Thresholds(thresholds)) }
}

fn check_weight(weight: u32) -> Result<(), ChangeError> {
    if weight > MAX_WEIGHT { Err(ChangeError::Weight(weight)) } else { Ok(()) }
}
