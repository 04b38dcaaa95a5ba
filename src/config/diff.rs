//! The changes that lead from one configuration to another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::balancer::Change;
use crate::model::{Listen, PortRange, Protocol, RealSpec, ServiceSpec};

use super::director::Director;
use super::fault::Fault;
use super::restart;

/// The balancer's changes that make `old` into `new`, in an order without conflicts: removals come
/// first. The order of services and real servers is not compared, and neither are `hash_seed` and
/// `maglev_slots`, see [`MaglevTables::remake`](crate::balancer::maglev::MaglevTables::remake), and
/// the keys that only concern the host or the packet loop.
///
/// # Errors
/// One fault, at its line in `new`, for each key that only a restart can change.
pub fn diff(old: &Director, new: &Director) -> Result<Vec<Change>, Vec<Fault>> {
    let faults = restart::of_director(old, new);
    if faults.is_empty() { Ok(changes(old, new)) } else { Err(faults) }
}

fn changes(old: &Director, new: &Director) -> Vec<Change> {
    let Matched { pairs, gone, fresh } = matched(old, new);
    let removed = gone.iter().map(|old| Change::RemoveService { service: old.name.clone() });
    let renamed = pairs.iter().filter(|(old, new)| old.name != new.name);
    let names: Vec<_> = renamed.map(|(old, new)| (old.name.clone(), new.name.clone())).collect();
    let renamed = (!names.is_empty()).then_some(Change::RenameServices { names });
    let shrunk = pairs.iter().filter_map(|(old, new)| listens_without_lost(old, new));
    let altered = pairs.iter().flat_map(|(old, new)| service_changes(old, new));
    let grown = pairs.iter().filter_map(|(old, new)| listens_with_gained(old, new));
    let added = fresh.iter().map(|new| Change::AddService((*new).clone()));
    let timeouts = (old.timeouts != new.timeouts).then_some(Change::SetTimeouts(new.timeouts));
    let capacity = (old.max_connections != new.max_connections)
        .then_some(Change::SetCapacity(new.max_connections));
    let before = removed.chain(renamed).chain(shrunk);
    before.chain(altered).chain(grown).chain(added).chain(timeouts).chain(capacity).collect()
}

/// The services of two configurations in pairs.
struct Matched<'a> {
    /// The old and the new service, in the order of the new configuration.
    pairs: Vec<(&'a ServiceSpec, &'a ServiceSpec)>,
    gone: Vec<&'a ServiceSpec>,
    fresh: Vec<&'a ServiceSpec>,
}

/// A service is identified by its listens: under another name it is the same one if it shares a
/// port. If several share one, the service of the same name wins, then the one that shares most
/// listens, then most ports. A service that shares no port is identified by its name.
fn matched<'a>(old: &'a Director, new: &'a Director) -> Matched<'a> {
    let (old, new): (Vec<_>, Vec<_>) = (old.specs().collect(), new.specs().collect());
    let shared = shared_ports(&old, &new);
    let is_named = |&(new_index, old_index): &(usize, usize)| {
        let names = (new.get(new_index), old.get(old_index));
        matches!(names, (Some(new), Some(old)) if new.name == old.name)
    };
    let mut candidates: Vec<_> = shared.into_iter().collect();
    candidates.sort_by_key(|(pair, count)| (!is_named(pair), Reverse(*count)));
    let by_name: HashMap<&str, usize> =
        old.iter().enumerate().map(|(index, spec)| (spec.name.as_str(), index)).collect();
    let same_name = new.iter().enumerate();
    let same_name =
        same_name.filter_map(|(index, spec)| Some((index, *by_name.get(spec.name.as_str())?)));
    let (mut of_new, mut taken) = (vec![None; new.len()], HashSet::new());
    for (index, owner) in candidates.into_iter().map(|(pair, _)| pair).chain(same_name) {
        if let Some(free @ None) = of_new.get_mut(index)
            && taken.insert(owner)
        {
            *free = old.get(owner).copied();
        }
    }
    let (pairs, fresh): (Vec<_>, Vec<_>) =
        of_new.into_iter().zip(new).partition(|(old, _)| old.is_some());
    let gone = old.iter().enumerate().filter(|(index, _)| !taken.contains(index));
    Matched {
        pairs: pairs.into_iter().filter_map(|(old, new)| Some((old?, new))).collect(),
        gone: gone.map(|(_, spec)| *spec).collect(),
        fresh: fresh.into_iter().map(|(_, new)| new).collect(),
    }
}

/// How many listens and ports a new and an old service share, by their indexes, where they share
/// any.
fn shared_ports(
    old: &[&ServiceSpec],
    new: &[&ServiceSpec],
) -> BTreeMap<(usize, usize), (usize, usize)> {
    let mut owners: BTreeMap<(Protocol, IpAddr, u16), (PortRange, usize)> = BTreeMap::new();
    for (index, spec) in old.iter().enumerate() {
        for Listen { protocol, address, ports } in &spec.listens {
            owners.insert((*protocol, *address, ports.first), (*ports, index));
        }
    }
    let mut shared: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for (index, spec) in new.iter().enumerate() {
        for &Listen { protocol, address, ports } in &spec.listens {
            // A configuration's listens do not overlap, so those that share a port with this one
            // are next to each other.
            let below = owners.range((protocol, address, 0)..=(protocol, address, ports.last));
            let sharing = below.rev().take_while(|(_, (other, _))| other.overlaps(ports));
            for &(other, owner) in sharing.map(|(_, value)| value) {
                let common = other.last.min(ports.last) - other.first.max(ports.first);
                let (listens, count) = shared.entry((index, owner)).or_default();
                *listens += usize::from(other == ports);
                *count += usize::from(common) + 1;
            }
        }
    }
    shared
}

/// First the ports that a service gives up, so that another service can take them.
fn listens_without_lost(old: &ServiceSpec, new: &ServiceSpec) -> Option<Change> {
    let wanted: HashSet<_> = new.listens.iter().collect();
    let kept: Vec<_> =
        old.listens.iter().copied().filter(|listen| wanted.contains(listen)).collect();
    (kept.len() < old.listens.len())
        .then(|| Change::SetListens { service: new.name.clone(), listens: kept })
}

/// Later the ports that it gains, which are free by then.
fn listens_with_gained(old: &ServiceSpec, new: &ServiceSpec) -> Option<Change> {
    let had: HashSet<_> = old.listens.iter().collect();
    new.listens
        .iter()
        .any(|listen| !had.contains(listen))
        .then(|| Change::SetListens { service: new.name.clone(), listens: new.listens.clone() })
}

fn service_changes(old: &ServiceSpec, new: &ServiceSpec) -> Vec<Change> {
    let service = || new.name.clone();
    let (old_reals, new_reals) = (by_address(old), by_address(new));
    let mut changes = Vec::new();
    if old.scheduler != new.scheduler {
        changes.push(Change::SetScheduler { service: service(), scheduler: new.scheduler });
    }
    if old.policy != new.policy {
        changes.push(Change::SetPolicy { service: service(), policy: new.policy });
    }
    for RealSpec { address, .. } in &old.reals {
        if !new_reals.contains_key(address) {
            changes.push(Change::RemoveReal { service: service(), address: *address });
        }
    }
    for real in &new.reals {
        match old_reals.get(&real.address) {
            None => changes.push(Change::AddReal { service: service(), real: *real }),
            Some(old) if old.last_resort != real.last_resort => changes.extend([
                Change::RemoveReal { service: service(), address: real.address },
                Change::AddReal { service: service(), real: *real },
            ]),
            Some(old) => changes.extend(real_changes(&new.name, old, real)),
        }
    }
    changes
}

fn real_changes(service: &str, old: &RealSpec, new: &RealSpec) -> Vec<Change> {
    let (address, state) = (new.address, new.state);
    let values = new.values.each().into_iter().filter(|value| value.of(old.values) != *value);
    let values =
        values.map(|value| Change::SetReal { service: service.to_owned(), address, value });
    let state = (old.state != state).then(|| Change::SetState {
        service: service.to_owned(),
        address,
        state,
    });
    values.chain(state).collect()
}

fn by_address(service: &ServiceSpec) -> HashMap<IpAddr, &RealSpec> {
    service.reals.iter().map(|real| (real.address, real)).collect()
}
