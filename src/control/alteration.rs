//! One change of the running configuration, for display: key, service, old and new value.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::mem::discriminant;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balancer::Change;
use crate::balancer::snapshot;
use crate::model::duration::Text;
use crate::model::{
    Difference, Policy, RealSpec, RealState, ServiceSpec, Timeouts, Wanted, differences,
};

/// One change, for display and for JSON.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Alteration {
    /// What changes: `weight`, `state`, `add_real`, …; for a policy or the timeouts the key.
    pub what: String,
    /// The service concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server, or the virtual IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The old value; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The new value; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The reason as text; absent for an operator's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `web 10.0.0.11: weight 1 → 3`.
impl fmt::Display for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, service, address, before, after, why } = self;
        let place = [service.clone(), address.map(|address| address.to_string())];
        let place: Vec<String> = place.into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(" "))?;
        }
        match (before, after) {
            // The change of a value, so this is a key and is printed unchanged.
            (Some(before), Some(after)) => write!(f, "{what} {before} → {after}"),
            (Some(only), None) | (None, Some(only)) => {
                write!(f, "{} ({only})", what.replace('_', " "))
            }
            (None, None) => f.write_str(&what.replace('_', " ")),
        }?;
        why.iter().try_for_each(|why| write!(f, ", {why}"))
    }
}

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
        for (place, change) in changes.iter().enumerate() {
            match change {
                Change::SetPolicy { service, policy } => {
                    policies.insert(service.as_str(), *policy);
                }
                Change::SetListens { service, .. } => {
                    listens.insert(service.as_str(), place);
                }
                _ => {}
            }
        }
        Self { policies, listens }
    }
}

impl Alteration {
    /// A change of a real server, or of a virtual IP.
    #[must_use]
    pub fn of(what: &str, service: Option<&str>, address: Option<IpAddr>) -> Self {
        let (what, service) = (what.to_owned(), service.map(str::to_owned));
        Self { what, service, address, before: None, after: None, why: None }
    }

    /// The change from one value to another.
    #[must_use]
    pub fn from_to(self, before: impl fmt::Display, after: impl fmt::Display) -> Self {
        Self { before: Some(before.to_string()), after: Some(after.to_string()), ..self }
    }

    /// A key of the configuration, or of one of its services.
    #[must_use]
    pub fn of_setting(service: Option<&str>, difference: Difference) -> Self {
        let Difference { key, before, after } = difference;
        Self::of(key, service, None).from_to(before, after)
    }

    /// Virtual IPs that are removed, and those that are added.
    #[must_use]
    pub fn of_virtual_ips(before: &[IpAddr], after: &[IpAddr]) -> Vec<Self> {
        let only = |what: &'static str, these: &[IpAddr], others: &[IpAddr]| {
            let only: BTreeSet<_> = these.iter().filter(|vip| !others.contains(vip)).collect();
            only.into_iter().map(|vip| Self::of(what, None, Some(*vip))).collect::<Vec<_>>()
        };
        let removed = only("remove_vip", before, after);
        removed.into_iter().chain(only("add_vip", after, before)).collect()
    }

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
        for (place, change) in changes.iter().enumerate() {
            if let Change::SetListens { service, .. } = change
                && after.listens.get(service.as_str()) != Some(&place)
            {
                continue;
            }
            for altered in before.alterations(change, after) {
                // Setting a state or weight to its current value is no change.
                if altered.before.is_none() || altered.before != altered.after {
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

    /// The policy of a service after the changes.
    pub(super) fn policy_after(&self, service: &str, after: &After<'_>) -> Policy {
        let new = after.policies.get(service).copied();
        new.or_else(|| Some(self.service(service)?.policy)).unwrap_or_default()
    }

    /// The displayed form of a change: one alteration, or one for each key.
    fn alterations(&self, change: &Change, after: &After<'_>) -> Vec<Alteration> {
        match change {
            Change::SetPolicy { service, policy } => {
                let before = self.service(service).map(|spec| spec.policy).unwrap_or_default();
                let of_service = |one| Alteration::of_setting(Some(service), one);
                differences(&before, policy).into_iter().map(of_service).collect()
            }
            Change::SetTimeouts(timeouts) => {
                let timeout = |Difference { key, before, after }| {
                    let key = format!("timeouts.{key}");
                    Alteration::of(&key, None, None).from_to(before, after)
                };
                differences(self.timeouts, timeouts).into_iter().map(timeout).collect()
            }
            Change::SetState { service, address, state } => {
                let deadline = match state {
                    Wanted::Draining { deadline } => {
                        deadline.or(self.policy_after(service, after).drain_deadline)
                    }
                    _ => None,
                };
                let before = self.wanted_now(service, *address, deadline);
                let state = Alteration::of("state", Some(service), Some(*address))
                    .from_to(before, state_text(state.name(), deadline));
                vec![state]
            }
            Change::RenameServices { names } => {
                let renamed = |(old, new): &(String, String)| {
                    Alteration::of("name", Some(old), None).from_to(old, new)
                };
                names.iter().map(renamed).collect()
            }
            other => self.alteration(other).into_iter().collect(),
        }
    }

    fn alteration(&self, change: &Change) -> Option<Alteration> {
        let of = Alteration::of;
        Some(match change {
            Change::AddService(spec) => Alteration {
                after: Some(summary(spec)),
                ..of("add_service", Some(&spec.name), None)
            },
            Change::RemoveService { service } => {
                let before = self.service(service).map(summary);
                Alteration { before, ..of("remove_service", Some(service), None) }
            }
            Change::SetListens { service, listens } => {
                let shown = |listens: &[crate::model::Listen]| {
                    listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                };
                let before = self.service(service).map(|spec| shown(&spec.listens));
                of("listen", Some(service), None)
                    .from_to(before.unwrap_or_default(), shown(listens))
            }
            Change::SetScheduler { service, scheduler } => {
                let before = self.service(service).map_or("", |spec| spec.scheduler.name());
                of("scheduler", Some(service), None).from_to(before, scheduler.name())
            }
            Change::AddReal { service, real } => {
                let after = Some(weight(real));
                Alteration { after, ..of("add_real", Some(service), Some(real.address)) }
            }
            Change::RemoveReal { service, address } => {
                let before = self.real(service, *address).map(weight);
                Alteration { before, ..of("remove_real", Some(service), Some(*address)) }
            }
            Change::SetReal { service, address, value } => {
                let none = RealSpec::new(*address, 0);
                let before = value.of(self.real(service, *address).unwrap_or(&none));
                of(value.name(), Some(service), Some(*address)).from_to(before, value)
            }
            Change::SetHealth { service, address, health } => {
                let after = Some(format!("{health:?}").to_lowercase());
                Alteration { after, ..of("health", Some(service), Some(*address)) }
            }
            // These have one alteration per key, accompany other changes, or are shown by a caller
            // that has the configuration.
            Change::RenameServices { .. }
            | Change::SetPolicy { .. }
            | Change::SetState { .. }
            | Change::RestoreState { .. }
            | Change::SetTimeouts(_)
            | Change::SetSources(_)
            | Change::SetLinkMtus(_)
            | Change::SetMaglev { .. }
            | Change::SetLoad { .. }
            | Change::PinProbe { .. }
            | Change::UnpinProbe(_)
            | Change::SetHashSeed(_) => {
                return None;
            }
        })
    }

    fn service(&self, name: &str) -> Option<&'a ServiceSpec> {
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
    fn wanted_now(&self, service: &str, address: IpAddr, other: Option<Duration>) -> String {
        let Some(real) = self.real_now(service, address) else { return String::new() };
        let left = real.deadline.map(|left| {
            let whole = Duration::from_secs(left.as_secs());
            if Some(whole) == other { left } else { whole }
        });
        match real.wanted {
            Wanted::Up if real.removed => state_text(RealState::Draining.name(), left),
            Wanted::Draining { .. } => state_text(real.wanted.name(), left),
            other => state_text(other.name(), None),
        }
    }
}

/// `draining, for 9m58s at most`.
fn state_text(state: &str, deadline: Option<Duration>) -> String {
    let Some(deadline) = deadline else { return state.to_owned() };
    format!("{state}, for {} at most", Text(deadline))
}

fn summary(spec: &ServiceSpec) -> String {
    let listens: Vec<String> = spec.listens.iter().map(ToString::to_string).collect();
    format!("{} {}, {} real servers", spec.scheduler.name(), listens.join(" "), spec.reals.len())
}

fn weight(real: &RealSpec) -> String {
    if real.last_resort {
        return "last resort".to_owned();
    }
    format!("weight {}", real.weight)
}
