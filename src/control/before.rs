//! The alterations that a list of [`Change`]s makes to the running services.

use std::collections::HashMap;
use std::mem::discriminant;
use std::net::IpAddr;
use std::time::Duration;

use super::alteration::{Alteration, Altered, StateUntil, Summary};
use crate::balancer::Change;
use crate::balancer::snapshot;
use crate::model::{
    AdminState, Policy, RealSpec, RealState, RealValues, ServiceSpec, Timeouts, differences,
};

/// The state before the changes, indexed by name.
#[derive(Clone, Debug)]
pub struct Before<'a> {
    timeouts: &'a Timeouts,
    /// The services as configured.
    configured: HashMap<&'a str, &'a ServiceSpec>,
    /// The running services, for the states of real servers.
    running: HashMap<&'a str, &'a snapshot::ServiceSnapshot>,
}

/// The values that a list of changes sets, by service.
#[derive(Debug)]
pub(super) struct After<'a> {
    policies: HashMap<&'a str, Policy>,
    /// The index of the last change of each service's listens.
    listens: HashMap<&'a str, usize>,
}

impl<'a> After<'a> {
    pub(super) fn new(changes: &'a [Change]) -> Self {
        let (mut policies, mut listens) = (HashMap::new(), HashMap::new());
        for (index, change) in changes.iter().enumerate() {
            match change {
                Change::SetPolicy { service, policy } => {
                    policies.insert(service.as_str(), *policy);
                }
                Change::SetListens { service, .. } => {
                    listens.insert(service.as_str(), index);
                }
                _ => {}
            }
        }
        Self { policies, listens }
    }
}

impl Alteration {
    /// The displayed changes, in order. Auxiliary changes are left out: the tunnels' sources, and
    /// the first of two changes of the same listens.
    #[must_use]
    pub fn list(changes: &[Change], before: &Before<'_>) -> Vec<Self> {
        let mut list = Vec::new();
        let after = After::new(changes);
        Self::each(changes, before, &after, |_, alteration, _| list.push(alteration));
        list
    }

    /// Visits the same changes, each with its [`Change`] and the state before it, under the names
    /// that services have at that point.
    pub(super) fn each(
        changes: &[Change],
        before: &Before<'_>,
        after: &After<'_>,
        mut visit: impl FnMut(&Change, Self, &Before<'_>),
    ) {
        let mut before = before.clone();
        for (index, change) in changes.iter().enumerate() {
            if let Change::SetListens { service, .. } = change
                && after.listens.get(service.as_str()) != Some(&index)
            {
                continue;
            }
            for altered in before.alterations(change, after) {
                // Setting a state or weight to its current value is not a change.
                if !altered.what.is_none() {
                    visit(change, altered, &before);
                }
            }
            if let Change::RenameServices { names } = change {
                before.rename(names);
            }
        }
    }
}

impl<'a> Before<'a> {
    /// The running state of `configured` services with these timeouts.
    #[must_use]
    pub fn new(
        configured: impl IntoIterator<Item = &'a ServiceSpec>,
        timeouts: &'a Timeouts,
        running: &'a [snapshot::ServiceSnapshot],
    ) -> Self {
        let configured = configured.into_iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let running = running.iter().map(|service| (&*service.name, service)).collect();
        Self { timeouts, configured, running }
    }

    /// The changes without those to a state that a real server already has: a file that only asks
    /// for this state does not remove the deadline that an operator has set.
    #[must_use]
    pub fn unmet(&self, mut changes: Vec<Change>) -> Vec<Change> {
        let mut seen = self.clone();
        let mut unmet = Vec::with_capacity(changes.len());
        for change in &changes {
            if let Change::RenameServices { names } = change {
                seen.rename(names);
            }
            unmet.push(match change {
                Change::SetState { service, address, state } => {
                    let wanted = seen.real_now(service, *address).map(|real| real.wanted);
                    wanted.is_none_or(|wanted| discriminant(&wanted) != discriminant(state))
                }
                _ => true,
            });
        }
        let mut unmet = unmet.into_iter();
        changes.retain(|_| unmet.next().unwrap_or(true));
        changes
    }

    /// From here on services have their new names.
    fn rename<'n: 'a>(&mut self, names: &'n [(String, String)]) {
        let found: Vec<_> = names
            .iter()
            .map(|(old, _)| {
                (self.configured.remove(old.as_str()), self.running.remove(old.as_str()))
            })
            .collect();
        for ((_, new), (configured, running)) in names.iter().zip(found) {
            self.configured.extend(configured.map(|spec| (new.as_str(), spec)));
            self.running.extend(running.map(|service| (new.as_str(), service)));
        }
    }

    /// The policy of a service before the changes.
    pub(super) fn policy(&self, service: &str) -> Policy {
        self.service(service).map(|spec| spec.policy).unwrap_or_default()
    }

    /// The policy of a service after the changes.
    pub(super) fn policy_after(&self, service: &str, after: &After<'_>) -> Policy {
        let new = after.policies.get(service).copied();
        new.unwrap_or_else(|| self.policy(service))
    }

    /// The displayed form of a change: one alteration, or one for each key.
    fn alterations(&self, change: &Change, after: &After<'_>) -> Vec<Alteration> {
        match change {
            Change::SetPolicy { service, policy } => {
                let of_service = |one| Alteration::of_service(service, Altered::Setting(one));
                differences(&self.policy(service), policy).into_iter().map(of_service).collect()
            }
            Change::SetTimeouts(timeouts) => {
                let timeout = |one| Alteration::of(Altered::Timeout(one));
                differences(self.timeouts, timeouts).into_iter().map(timeout).collect()
            }
            Change::RenameServices { names } => {
                let renamed = |(old, new): &(String, String)| {
                    let what = Altered::Name { before: old.clone(), after: new.clone() };
                    Alteration::of_service(old, what)
                };
                names.iter().map(renamed).collect()
            }
            Change::SetState { service, address, state } => {
                let what = self.state(service, *address, *state, after);
                vec![Alteration::of_real(service, *address, what)]
            }
            other => self.of_service(other).or_else(|| self.of_real(other)).into_iter().collect(),
        }
    }

    fn of_service(&self, change: &Change) -> Option<Alteration> {
        Some(match change {
            Change::AddService(spec) => {
                Alteration::of_service(&spec.name, Altered::AddService(spec.into()))
            }
            Change::RemoveService { service } => {
                let before = self.service(service).map(Summary::from);
                Alteration::of_service(service, Altered::RemoveService(before))
            }
            Change::SetListens { service, listens } => {
                let before = self.service(service).map(|spec| spec.listens.clone());
                let (before, after) = (before.unwrap_or_default(), listens.clone());
                Alteration::of_service(service, Altered::Listens { before, after })
            }
            Change::SetScheduler { service, scheduler } => {
                let before = self.service(service).map(|spec| spec.scheduler);
                Alteration::of_service(service, Altered::Scheduler { before, after: *scheduler })
            }
            _ => return None,
        })
    }

    fn of_real(&self, change: &Change) -> Option<Alteration> {
        let (service, address, what) = match change {
            Change::AddReal { service, real } => (service, &real.address, Altered::AddReal(*real)),
            Change::RemoveReal { service, address } => {
                let before = self.real(service, *address).copied();
                (service, address, Altered::RemoveReal(before))
            }
            Change::SetReal { service, address, value } => {
                let known = self.real(service, *address).map(|real| real.values);
                let before = value.of(known.unwrap_or(RealValues::of_weight(0)));
                (service, address, Altered::Real { before, after: *value })
            }
            Change::SetHealth { service, address, health } => {
                let what = Altered::Health { before: None, after: *health, why: None };
                (service, address, what)
            }
            // These are shown already, accompany other changes, or are shown by a caller that has
            // the configuration.
            Change::AddService(_)
            | Change::RemoveService { .. }
            | Change::RenameServices { .. }
            | Change::SetListens { .. }
            | Change::SetScheduler { .. }
            | Change::SetPolicy { .. }
            | Change::SetState { .. }
            | Change::RestoreState { .. }
            | Change::SetTimeouts(_)
            | Change::SetSources(_)
            | Change::SetLinkMtus(_)
            | Change::SetInterfaces(_)
            | Change::SetMaglev { .. }
            | Change::SetLoad { .. }
            | Change::SetStep { .. }
            | Change::PinProbe { .. }
            | Change::UnpinProbe(_)
            | Change::SetCapacity(_)
            | Change::SetHashSeed(_) => return None,
        };
        Some(Alteration::of_real(service, *address, what))
    }

    fn state(
        &self,
        service: &str,
        address: IpAddr,
        state: AdminState,
        after: &After<'_>,
    ) -> Altered {
        let left = match state {
            AdminState::Draining { deadline } => {
                deadline.or_else(|| self.policy_after(service, after).drain_deadline)
            }
            _ => None,
        };
        let before = self.wanted_now(service, address, left);
        Altered::State { before, after: StateUntil { state: state.plain(), left } }
    }

    pub(super) fn service(&self, name: &str) -> Option<&'a ServiceSpec> {
        self.configured.get(name).copied()
    }

    fn real(&self, service: &str, address: IpAddr) -> Option<&'a RealSpec> {
        self.service(service)?.reals.iter().find(|real| real.address == address)
    }

    /// The current real servers of a service, with those that were removed.
    pub(super) fn reals_now(&self, service: &str) -> &'a [snapshot::RealSnapshot] {
        self.running.get(service).map_or(&[], |service| &service.reals)
    }

    /// A current or removed real server.
    pub(super) fn real_now(
        &self,
        service: &str,
        address: IpAddr,
    ) -> Option<&'a snapshot::RealSnapshot> {
        self.reals_now(service).iter().find(|real| real.address == address)
    }

    /// Its current wanted state with the time left to its flows; a removed one counts as draining.
    /// The time is rounded to whole seconds, unless that would make it equal to `other`.
    fn wanted_now(
        &self,
        service: &str,
        address: IpAddr,
        other: Option<Duration>,
    ) -> Option<StateUntil> {
        let real = self.real_now(service, address)?;
        let left = real.deadline.map(|left| {
            let whole = Duration::from_secs(left.as_secs());
            if Some(whole) == other { left } else { whole }
        });
        Some(match real.wanted {
            AdminState::Up if real.removed => StateUntil { state: RealState::Draining, left },
            AdminState::Draining { .. } => StateUntil { state: RealState::Draining, left },
            other => StateUntil { state: other.plain(), left: None },
        })
    }
}
