//! Applies a batch of changes as a whole or not at all. The whole batch is checked, change by
//! change, against the balancer and against its own earlier changes, before the first one is
//! applied.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::Balancer;
use super::change::{Change, ChangeError};
use super::real::{Life, Real};
use super::service::Listens;
use crate::model::{AdminState, Listen, Millis, RealId, RealSpec, RealValue, ServiceId};

/// The service that a name in the batch refers to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum NamedService {
    /// An existing one.
    There(ServiceId),
    /// The one that the change at this index adds.
    New(usize),
}

/// A real server in a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Member {
    Configured,
    /// Removed, and listed while it has connections.
    Removed,
}

/// What the checked changes will change in the balancer.
struct CheckedBatch<'a> {
    balancer: &'a Balancer,
    changes: &'a [Change],
    /// `None`: no service has the name any more.
    names: HashMap<&'a str, Option<NamedService>>,
    /// `None`: the service does not list it any more.
    members: HashMap<(NamedService, IpAddr), Option<Member>>,
    /// Services whose listens in the balancer no longer count.
    released: HashSet<NamedService>,
    claimed: Listens<NamedService>,
    listens: HashMap<NamedService, &'a [Listen]>,
    /// The real server that the change at this index sets a value of; `None` or missing: another
    /// change, or one that may concern what an earlier change of the batch adds.
    found: Vec<Option<RealId>>,
}

impl Balancer {
    /// Applies changes in order: all, or none of them. Schedulers are refreshed once, at the end.
    ///
    /// # Errors
    /// The error of the first change that cannot be applied; then nothing has changed. The
    /// exception is [`ChangeError::PartlyApplied`].
    pub fn apply_all(&mut self, now: Millis, changes: &[Change]) -> Result<(), ChangeError> {
        let found = self.check(changes)?;
        self.now = now;
        self.take_back_for(changes);
        let made = self.make_all(now, changes, &found);
        debug_assert_eq!(made, Ok(()), "what was checked can be applied");
        self.follow_listens(now, changes);
        self.registry.refresh_pools();
        made
    }

    /// Applies checked changes; `found` are the real servers that [`Self::check`] has returned.
    pub(super) fn make_all(
        &mut self,
        now: Millis,
        changes: &[Change],
        found: &[Option<RealId>],
    ) -> Result<(), ChangeError> {
        let mut made = Ok(());
        for (index, change) in changes.iter().enumerate() {
            let applied = match (change, found.get(index)) {
                (Change::SetReal { value, .. }, Some(&Some(real))) => {
                    self.set_value(now, real, *value);
                    Ok(())
                }
                _ => self.make(now, change),
            };
            if let (Ok(()), Err(error)) = (&made, applied) {
                made = Err(ChangeError::PartlyApplied(Box::new(error)));
            }
        }
        made
    }

    /// Applies one change.
    ///
    /// # Errors
    /// See [`ChangeError`]; then nothing has changed.
    pub fn apply(&mut self, now: Millis, change: &Change) -> Result<(), ChangeError> {
        self.apply_all(now, std::slice::from_ref(change))
    }

    /// Returns the real servers that the changes set values of, as far as they were looked up.
    fn check(&self, changes: &[Change]) -> Result<Vec<Option<RealId>>, ChangeError> {
        let mut batch = CheckedBatch {
            balancer: self,
            changes,
            names: HashMap::new(),
            members: HashMap::new(),
            released: HashSet::new(),
            claimed: Listens::default(),
            listens: HashMap::new(),
            found: Vec::new(),
        };
        changes.iter().enumerate().try_for_each(|(index, change)| batch.check(index, change))?;
        Ok(batch.found)
    }
}

impl<'a> CheckedBatch<'a> {
    /// Whether the tables have room for what the change adds to them.
    fn has_room(&self, change: &Change) -> Result<(), ChangeError> {
        let tables = &self.balancer.tables;
        match change {
            Change::PinProbe { .. } if !tables.probes.has_room() => Err(ChangeError::Probes),
            Change::SetCapacity(capacity) if !tables.connections.fits(*capacity) => {
                Err(ChangeError::Memory(*capacity))
            }
            _ => Ok(()),
        }
    }

    fn check(&mut self, index: usize, change: &'a Change) -> Result<(), ChangeError> {
        match change {
            Change::AddService(spec) => {
                if self.owner(&spec.name).is_ok() {
                    return Err(ChangeError::ServiceExists(spec.name.clone()));
                }
                let owner = NamedService::New(index);
                self.names.insert(&spec.name, Some(owner));
                self.claim(owner, &spec.listens)?;
                spec.reals.iter().try_for_each(|real| self.add_real(owner, &spec.name, real))
            }
            Change::RemoveService { service } => {
                let owner = self.owner(service)?;
                self.names.insert(service, None);
                self.release(owner);
                Ok(())
            }
            Change::RenameServices { names } => self.rename(names),
            Change::SetListens { service, listens } => {
                let owner = self.owner(service)?;
                self.claim(owner, listens)
            }
            Change::AddReal { service, real } => {
                let owner = self.owner(service)?;
                self.add_real(owner, service, real)
            }
            Change::RemoveReal { service, address } => self.remove_real(service, *address),
            Change::SetReal { service, address, value } => {
                check_value(*value)?;
                self.find(index, service, *address)
            }
            Change::SetState { service, address, state } => {
                match (self.listed(service, *address)?, state) {
                    (Member::Removed, AdminState::Up) => {
                        let (service, address) = (service.clone(), *address);
                        Err(ChangeError::Removed { service, address })
                    }
                    _ => Ok(()),
                }
            }
            Change::SetHealth { service, address, .. }
            | Change::SetLoad { service, address, .. }
            | Change::SetStep { service, address, .. } => self.listed(service, *address).map(drop),
            Change::SetScheduler { service, .. }
            | Change::SetPolicy { service, .. }
            | Change::SetMaglev { service, .. }
            | Change::RestoreState { service, .. } => self.owner(service).map(drop),
            Change::PinProbe { .. } | Change::SetCapacity(_) => self.has_room(change),
            Change::UnpinProbe(_)
            | Change::SetHashSeed(_)
            | Change::SetSources(_)
            | Change::SetLinkMtus(_)
            | Change::SetInterfaces(_)
            | Change::SetTimeouts(_) => Ok(()),
        }
    }

    fn owner(&self, name: &str) -> Result<NamedService, ChangeError> {
        let here = if self.names.is_empty() { None } else { self.names.get(name).copied() };
        let owner =
            here.unwrap_or_else(|| self.balancer.find_service(name).ok().map(NamedService::There));
        owner.ok_or_else(|| ChangeError::NoService(name.to_owned()))
    }

    fn member(&self, owner: NamedService, address: IpAddr) -> Option<Member> {
        if !self.members.is_empty()
            && let Some(&member) = self.members.get(&(owner, address))
        {
            return member;
        }
        let configured = self.there(owner, address)?.life() == Life::Configured;
        Some(if configured { Member::Configured } else { Member::Removed })
    }

    /// The real server that the balancer has now.
    fn there(&self, owner: NamedService, address: IpAddr) -> Option<&'a Real> {
        let NamedService::There(service) = owner else { return None };
        self.balancer.listed_real(service, address)
    }

    fn listed(&self, service: &str, address: IpAddr) -> Result<Member, ChangeError> {
        let owner = self.owner(service)?;
        let service = || service.to_owned();
        let member = self.member(owner, address);
        member.ok_or_else(|| ChangeError::NoReal { service: service(), address })
    }

    /// Looks a real server up that gets a value, and notes it for the application. While no change
    /// of the batch has added, removed or renamed anything, it is still there then.
    fn find(&mut self, index: usize, name: &str, address: IpAddr) -> Result<(), ChangeError> {
        if !self.names.is_empty() || !self.members.is_empty() {
            return self.listed(name, address).map(drop);
        }
        let service = self.balancer.find_service(name)?;
        let real = self.balancer.listed_id(service, address);
        let none = || ChangeError::NoReal { service: name.to_owned(), address };
        self.found.resize(index, None);
        self.found.push(Some(real.ok_or_else(none)?));
        Ok(())
    }

    fn add_real(
        &mut self,
        owner: NamedService,
        name: &str,
        real: &RealSpec,
    ) -> Result<(), ChangeError> {
        real.values.each().into_iter().try_for_each(check_value)?;
        if self.member(owner, real.address) == Some(Member::Configured) {
            let (service, address) = (name.to_owned(), real.address);
            return Err(ChangeError::RealExists { service, address });
        }
        self.members.insert((owner, real.address), Some(Member::Configured));
        Ok(())
    }

    /// Without connections it is freed at once.
    fn remove_real(&mut self, service: &str, address: IpAddr) -> Result<(), ChangeError> {
        self.listed(service, address)?;
        let owner = self.owner(service)?;
        let idle = self.there(owner, address).is_none_or(Real::idle);
        self.members.insert((owner, address), (!idle).then_some(Member::Removed));
        Ok(())
    }

    /// Removes all old names before the first new one is set, so that services can swap theirs.
    fn rename(&mut self, names: &'a [(String, String)]) -> Result<(), ChangeError> {
        let mut owners = Vec::with_capacity(names.len());
        for (old, _) in names {
            owners.push(self.owner(old)?);
            self.names.insert(old, None);
        }
        for ((_, new), owner) in names.iter().zip(owners) {
            if self.owner(new).is_ok() {
                return Err(ChangeError::ServiceExists(new.clone()));
            }
            self.names.insert(new, Some(owner));
        }
        Ok(())
    }

    fn release(&mut self, owner: NamedService) {
        self.released.insert(owner);
        for &listen in self.listens.remove(&owner).unwrap_or_default() {
            self.claimed.remove(listen);
        }
    }

    /// The service listens on exactly these.
    fn claim(&mut self, owner: NamedService, listens: &'a [Listen]) -> Result<(), ChangeError> {
        self.release(owner);
        self.listens.insert(owner, listens);
        for &listen in listens {
            let here = self.claimed.overlap(listen, |_| true);
            let there = || {
                let counts = |id| !self.released.contains(&NamedService::There(id));
                self.balancer.registry.listens.overlap(listen, counts).map(NamedService::There)
            };
            if let Some(other) = here.or_else(there) {
                return Err(ChangeError::Overlap { listen, other: self.name_of(other) });
            }
            self.claimed.insert(listen, owner);
        }
        Ok(())
    }

    fn name_of(&self, owner: NamedService) -> String {
        let renamed = self.names.iter().find(|(_, other)| **other == Some(owner));
        match (renamed, owner) {
            (Some((name, _)), _) => (*name).to_owned(),
            (None, NamedService::There(id)) => self.balancer.service_name(id),
            (None, NamedService::New(index)) => match self.changes.get(index) {
                Some(Change::AddService(spec)) => spec.name.clone(),
                _ => String::new(),
            },
        }
    }
}

fn check_value(value: RealValue) -> Result<(), ChangeError> {
    value.broken_rule().map_or(Ok(()), |_| Err(ChangeError::Value(value)))
}
