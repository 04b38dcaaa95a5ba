//! Applies changes: the one path that writes services and real servers. [`super::batch`] has
//! checked every change before.

use std::net::IpAddr;
use std::sync::Arc;

use super::Balancer;
use super::change::{Change, ChangeError};
use super::maglev;
use super::names::Last;
use super::ramp::Ramp;
use super::real::{Life, Real};
use super::service::Service;
use super::table::Renewals;
use crate::model::{
    AdminState, Listen, Load, Millis, Policy, RealId, RealSpec, RealValue, SavedState,
    SchedulerKind, ServiceId, ServiceSpec,
};

impl Balancer {
    /// Applies one change of a checked batch, without refreshing the schedulers of its services:
    /// [`Registry::refresh_pools`](super::registry::Registry::refresh_pools) does that at the end
    /// of the batch.
    ///
    /// # Errors
    /// None for a checked change; an error is a fault of the check.
    pub(super) fn make(&mut self, now: Millis, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::AddService(spec) => self.add_service(now, spec)?,
            Change::RemoveService { service } => self.remove_service(service)?,
            Change::RenameServices { names } => self.rename_services(names)?,
            Change::SetListens { service, listens } => self.set_listens(service, listens)?,
            Change::SetScheduler { service, scheduler } => {
                self.set_scheduler(service, *scheduler)?;
            }
            Change::SetPolicy { service, policy } => self.set_policy(service, *policy)?,
            Change::AddReal { service, real } => self.add_real(now, service, *real)?,
            Change::RemoveReal { service, address } => self.remove_real(now, service, *address)?,
            Change::SetReal { service, address, value } => {
                let real = self.find_real(service, *address)?;
                self.set_value(now, real, *value);
            }
            Change::SetMaglev { service, table } => self.set_maglev(service, table)?,
            Change::SetHashSeed(seed) => self.settings.hash_seed = *seed,
            Change::SetState { service, address, state } => {
                self.set_state(now, service, *address, *state)?;
            }
            Change::RestoreState { service, address, saved } => {
                self.restore_state(now, service, *address, *saved)?;
            }
            Change::SetHealth { service, address, health } => {
                let real = self.find_real(service, *address)?;
                self.alter(now, real, |real| real.availability_mut().set_health(*health));
            }
            Change::SetLoad { service, address, load } => {
                let real = self.find_real(service, *address)?;
                self.set_load(now, real, *load);
            }
            Change::SetStep { service, address, step } => {
                let real = self.find_real(service, *address)?;
                let real = &mut self.registry.reals[real];
                real.set_step(*step);
                let service = real.service();
                self.registry.pool_changed(service);
            }
            Change::PinProbe { flow, address, encap } => {
                self.pin_probe(flow, *address, *encap)?;
            }
            Change::UnpinProbe(flow) => self.unpin_probe(flow),
            Change::SetSources(sources) => self.registry.set_sources(sources),
            Change::SetLinkMtus(mtus) => self.registry.set_link_mtus(mtus),
            Change::SetInterfaces(interfaces) => self.set_interfaces(interfaces),
            Change::SetCapacity(capacity) => {
                self.tables.connections.resize(*capacity);
                self.tables.templates.resize(*capacity);
            }
            Change::SetTimeouts(timeouts) => {
                self.settings.timeouts = timeouts.ordered();
                self.settings.renewals = Renewals::NONE;
            }
        }
        Ok(())
    }

    fn set_load(&mut self, now: Millis, id: RealId, load: Load) {
        let real = &mut self.registry.reals[id];
        let weight = |load: Load| (load.thousandths, load.weight);
        if weight(real.load()) == weight(load) {
            // Another number of connections alone does not change the pool.
            real.set_load(load);
        } else {
            self.alter(now, id, |real| real.set_load(load));
        }
    }

    fn add_service(&mut self, now: Millis, spec: &ServiceSpec) -> Result<(), ChangeError> {
        let seed = self.settings.seed;
        let name: Arc<str> = spec.name.as_str().into();
        let id = self.registry.services.insert_with(|id: ServiceId| {
            Service::new(Arc::clone(&name), spec.scheduler, seed.number(id.index.into()))
        });
        // They start together, so none of them needs a slow start.
        let real = |&real| self.new_real(now, id, spec.policy, real);
        let reals = spec.reals.iter().map(real).collect();
        let service = &mut self.registry.services[id];
        service.listens = spec.listens.as_slice().into();
        service.policy = spec.policy;
        service.reals = reals;
        for &listen in &spec.listens {
            self.registry.listens.insert(listen, id);
        }
        self.registry.names.add_service(name, id);
        self.registry.pool_changed(id);
        Ok(())
    }

    /// Its connections' entries that no other service takes over stay until they expire, but their
    /// packets no longer belong to a service; see [`Self::forward`](Balancer::forward).
    fn remove_service(&mut self, name: &str) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let Some(service) = self.registry.services.remove(id) else { return Ok(()) };
        self.registry.names.remove_service(name);
        for &listen in &*service.listens {
            self.registry.listens.remove(listen);
            self.note_lost_listen(id, listen);
        }
        self.note_candidates(id, &service.reals, service.policy.persistence);
        for id_of_real in service.reals {
            let real = &mut self.registry.reals[id_of_real];
            real.set_life(Life::Gone);
            self.registry.names.remove_real(id, real.address());
            self.tables.fragments.real_is_gone(id_of_real);
            self.free_if_idle_in_batch(id_of_real);
        }
        Ok(())
    }

    /// Removes all old names before the first new one is set, so that services can swap theirs.
    fn rename_services(&mut self, names: &[(String, String)]) -> Result<(), ChangeError> {
        let old = names
            .iter()
            .map(|(old, _)| self.registry.names.remove_service(old))
            .collect::<Vec<_>>();
        for ((_, new), id) in names.iter().zip(old) {
            let Some(id) = id else { continue };
            let new: Arc<str> = new.as_str().into();
            self.registry.services[id].name = Arc::clone(&new);
            self.registry.names.add_service(new, id);
        }
        Ok(())
    }

    fn set_listens(&mut self, name: &str, listens: &[Listen]) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let service = &mut self.registry.services[id];
        let before = std::mem::replace(&mut service.listens, listens.into());
        let (reals, persistence) = (service.reals.clone(), service.policy.persistence);
        self.note_candidates(id, &reals, persistence);
        for &listen in &*before {
            self.registry.listens.remove(listen);
            self.note_lost_listen(id, listen);
        }
        for &listen in listens {
            self.registry.listens.insert(listen, id);
        }
        Ok(())
    }

    fn set_scheduler(&mut self, name: &str, scheduler: SchedulerKind) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        self.registry.services[id].set_scheduler(scheduler);
        self.registry.pool_changed(id);
        Ok(())
    }

    fn set_policy(&mut self, name: &str, policy: Policy) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        self.registry.services[id].policy = policy;
        Ok(())
    }

    fn set_maglev(
        &mut self,
        name: &str,
        table: &Arc<maglev::MaglevTable>,
    ) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        self.registry.services[id].set_maglev(Arc::clone(table));
        self.registry.pool_changed(id);
        Ok(())
    }

    fn add_real(&mut self, now: Millis, name: &str, spec: RealSpec) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let policy = self.registry.services[id].policy;
        if let Ok(real) = self.find_real(name, spec.address) {
            // Like IPVS, which revives a deleted destination from its trash, with connections and
            // counters.
            let until = drain_until(now, spec.state, policy);
            self.alter(now, real, |real| real.restore(now, spec, until));
            return Ok(());
        }
        let real = self.new_real(now, id, policy, spec);
        let flooded = self.flooded(id);
        self.registry.reals[real].set_flooded(flooded);
        self.registry.services[id].reals.push(real);
        self.update_ramp(now, real);
        self.registry.pool_changed(id);
        Ok(())
    }

    fn remove_real(&mut self, now: Millis, name: &str, address: IpAddr) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let real = self.find_real(name, address)?;
        let until =
            self.registry.services[id].policy.drain_deadline.map(|deadline| now.after(deadline));
        self.alter(now, real, |real| real.remove(until));
        self.free_if_idle_in_batch(real);
        Ok(())
    }

    pub(super) fn set_value(&mut self, now: Millis, id: RealId, value: RealValue) {
        match value {
            // A real server of weight 0 is not in service.
            RealValue::Weight(_) => self.alter(now, id, |real| real.set(value)),
            other => self.registry.reals[id].set(other),
        }
    }

    fn set_state(
        &mut self,
        now: Millis,
        name: &str,
        address: IpAddr,
        state: AdminState,
    ) -> Result<(), ChangeError> {
        let id = self.find_service(name)?;
        let real = self.find_real(name, address)?;
        let until = drain_until(now, state, self.registry.services[id].policy);
        self.alter(now, real, |real| real.availability_mut().set_admin_state(now, state, until));
        Ok(())
    }

    fn restore_state(
        &mut self,
        now: Millis,
        name: &str,
        address: IpAddr,
        saved: SavedState,
    ) -> Result<(), ChangeError> {
        // A removed real server may have disappeared with its last connection since its state was
        // saved.
        let Ok(id) = self.find_real(name, address) else { return Ok(()) };
        self.alter(now, id, |real| real.availability_mut().restore(now, saved));
        if saved.grown {
            let real = &mut self.registry.reals[id];
            real.set_ramp(None);
            let service = real.service();
            self.registry.pool_changed(service);
        }
        Ok(())
    }

    /// Changes a real server; if it becomes available by that, it starts slowly.
    fn alter(&mut self, now: Millis, id: RealId, change: impl FnOnce(&mut Real)) {
        let real = &mut self.registry.reals[id];
        let (service, before) = (real.service(), real.in_service());
        change(real);
        if !(before && real.in_service()) {
            self.update_ramp(now, id);
        }
        self.watch_deadline(id);
        self.registry.pool_changed(service);
    }

    /// Begins the slow start of a real server that has become available for new connections, or
    /// ends that of one that has become unavailable.
    fn update_ramp(&mut self, now: Millis, id: RealId) {
        let real = &mut self.registry.reals[id];
        let service = &mut self.registry.services[real.service()];
        let ramp = Ramp::new(now, service.policy.slow_start).filter(|_| real.in_service());
        real.set_ramp(ramp);
        service.ramping |= ramp.is_some();
    }

    /// Removes a removed real server from its service's list when it has no connections left, and
    /// frees it when no template names it either. Refreshes the schedulers.
    pub(super) fn free_if_idle(&mut self, id: RealId) {
        self.free_if_idle_in_batch(id);
        self.registry.refresh_pools();
    }

    /// As [`Self::free_if_idle`], within a batch, which refreshes the schedulers at its end. While
    /// connections follow their listens, nothing is freed.
    pub(super) fn free_if_idle_in_batch(&mut self, id: RealId) {
        let real = &self.registry.reals[id];
        if real.life() == Life::Configured || !real.idle() || self.follows_listens() {
            return;
        }
        let (service, remembered) = (real.service(), real.remembered());
        if real.life() == Life::Removed {
            self.registry.names.remove_real(service, real.address());
            self.registry.services[service].reals.retain(|&other| other != id);
            self.registry.pool_changed(service);
            // Only once: each expiring template of a freed real server comes here.
            self.tables.fragments.real_is_gone(id);
        }
        self.take_back_of(id);
        if remembered {
            self.registry.reals[id].set_life(Life::Gone);
        } else {
            self.registry.remove_real(id);
        }
    }

    fn new_real(
        &mut self,
        now: Millis,
        service: ServiceId,
        policy: Policy,
        spec: RealSpec,
    ) -> RealId {
        let mut real = Real::new(service, spec, self.registry.local_route(spec.address));
        let until = drain_until(now, spec.state, policy);
        real.availability_mut().set_admin_state(now, spec.state, until);
        let id = self.registry.add_real(real);
        self.registry.names.add_real(service, spec.address, id);
        self.watch_deadline(id);
        id
    }

    pub(super) fn service_name(&self, id: ServiceId) -> String {
        self.registry.services[id].name.as_ref().to_owned()
    }

    pub(super) fn find_service(&self, name: &str) -> Result<ServiceId, ChangeError> {
        let last = self.registry.names.last().service;
        let named = |id: &ServiceId| {
            let service = self.registry.services.get(*id);
            service.is_some_and(|service| &*service.name == name)
        };
        if let Some(id) = last.filter(named) {
            return Ok(id);
        }
        let id = self.registry.names.service(name);
        self.registry.names.set_last(Last { service: id, next: 0 });
        id.ok_or_else(|| ChangeError::NoService(name.to_owned()))
    }

    fn find_real(&self, name: &str, address: IpAddr) -> Result<RealId, ChangeError> {
        let service = self.find_service(name)?;
        self.listed_id(service, address)
            .ok_or_else(|| ChangeError::NoReal { service: name.to_owned(), address })
    }

    /// A real server that the service lists.
    pub(super) fn listed_real(&self, service: ServiceId, address: IpAddr) -> Option<&Real> {
        Some(&self.registry.reals[self.listed_id(service, address)?])
    }

    pub(super) fn listed_id(&self, service: ServiceId, address: IpAddr) -> Option<RealId> {
        let next = self.registry.names.last().next;
        let list = &self.registry.services.get(service)?.reals;
        let is = |id: &&RealId| self.registry.reals[**id].address() == address;
        if let Some(&id) = list.get(next).filter(is) {
            self.registry.names.set_last(Last { service: Some(service), next: next + 1 });
            return Some(id);
        }
        self.registry.names.real(service, address)
    }
}

/// When the flows of a real server with this wanted state are ended.
fn drain_until(now: Millis, state: AdminState, policy: Policy) -> Option<Millis> {
    let AdminState::Draining { deadline } = state else { return None };
    deadline.or(policy.drain_deadline).map(|deadline| now.after(deadline))
}
