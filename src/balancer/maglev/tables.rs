//! The tables that services need after each change.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::change::Change;
use super::MaglevTable;
use crate::model::{RealValue, SchedulerKind, Seed, ServiceSpec, WeightStep};

/// Keeps a balancer's Maglev tables and the data that they are computed from. The sender of changes
/// passes them through [`MaglevTables::follow`] first: computing a table takes milliseconds, and no
/// packet should wait for it.
///
/// A real server of weight 0 keeps the slots of its previous weight, as in IPVS, so that weight 0
/// moves no other server's flows; one that never had another weight has no slots.
#[derive(Clone, Debug)]
pub struct MaglevTables {
    seed: Seed,
    slots: u32,
    pools: BTreeMap<String, TableInputs>,
}

#[derive(Clone, Debug)]
struct TableInputs {
    scheduler: SchedulerKind,
    /// The last weight of each real server that was not 0, or 0.
    weights: BTreeMap<IpAddr, u32>,
    /// The share of its weight that a real server has, where that is not all.
    steps: BTreeMap<IpAddr, WeightStep>,
    table: Option<Arc<MaglevTable>>,
    /// Whether data that its table depends on may have changed.
    stale: bool,
}

impl MaglevTables {
    /// For a balancer without services; tables use `seed` and have `slots` slots, a prime.
    #[must_use]
    pub fn new(seed: Seed, slots: u32) -> Self {
        Self { seed, slots, pools: BTreeMap::new() }
    }

    /// Changes the seed and the number of slots for all tables. Returns the changes for the
    /// balancer, to be applied before those given to [`Self::follow`], or alone; none if nothing
    /// differs.
    #[must_use]
    pub fn remake(&mut self, seed: Seed, slots: u32) -> Vec<Change> {
        if (self.seed, self.slots) == (seed, slots) {
            return Vec::new();
        }
        let change = (self.seed != seed).then_some(Change::SetHashSeed(seed));
        (self.seed, self.slots) = (seed, slots);
        self.all_stale();
        change.into_iter().collect()
    }

    /// Records `changes` and returns them with the tables that they need behind them: one for each
    /// service whose table has changed. They have to be applied together, so that no packet comes
    /// in between.
    #[must_use]
    pub fn follow(&mut self, mut changes: Vec<Change>) -> Vec<Change> {
        self.note_all(&changes);
        changes.extend(self.make_while(|| true).unwrap_or_default());
        changes
    }

    /// The first half of [`Self::follow`]: records the changes, computes nothing.
    pub fn note_all(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.note(change));
    }

    /// Whether no table needs to be computed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.pools.values().any(TableInputs::wants_table)
    }

    /// Whether it has the service, with a table or without.
    #[must_use]
    pub fn has(&self, service: &str) -> bool {
        self.pools.contains_key(service)
    }

    /// The table of a service, if it has one.
    #[must_use]
    pub fn table(&self, service: &str) -> Option<&Arc<MaglevTable>> {
        self.pools.get(service)?.table.as_ref()
    }

    /// The services with a table, and the table.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &MaglevTable)> {
        self.pools.iter().filter_map(|(name, pool)| Some((name.as_str(), pool.table.as_deref()?)))
    }

    fn note(&mut self, change: &Change) {
        match change {
            Change::AddService(spec) => {
                self.pools.insert(spec.name.clone(), TableInputs::new(spec));
            }
            Change::RemoveService { service } => {
                self.pools.remove(service);
            }
            Change::RenameServices { names } => {
                let pools: Vec<_> = names.iter().map(|(old, _)| self.pools.remove(old)).collect();
                for ((_, new), pool) in names.iter().zip(pools) {
                    self.pools.extend(pool.map(|pool| (new.clone(), pool)));
                }
            }
            Change::SetScheduler { service, scheduler } => {
                if let Some(pool) = self.pools.get_mut(service) {
                    // The balancer drops its table with the scheduler.
                    (pool.scheduler, pool.table, pool.stale) = (*scheduler, None, true);
                }
            }
            Change::AddReal { service, real } => {
                let weight = (!real.last_resort).then_some(real.values.weight);
                self.set_weight(service, real.address, weight);
            }
            Change::RemoveReal { service, address } => self.set_weight(service, *address, None),
            Change::SetReal { service, address, value: RealValue::Weight(weight) }
                if *weight > 0 && self.has_slots(service, *address) =>
            {
                self.set_weight(service, *address, Some(*weight));
            }
            Change::SetStep { service, address, step } => {
                if let Some(pool) = self.pools.get_mut(service) {
                    pool.set_step(*address, *step);
                }
            }
            Change::SetHashSeed(seed) => {
                self.seed = *seed;
                self.all_stale();
            }
            // A real server that is down, drains or warms up keeps its slots; `fallback` decides
            // about its flows.
            Change::SetReal { .. }
            | Change::SetListens { .. }
            | Change::SetPolicy { .. }
            | Change::SetMaglev { .. }
            | Change::SetState { .. }
            | Change::RestoreState { .. }
            | Change::SetHealth { .. }
            | Change::SetLoad { .. }
            | Change::PinProbe { .. }
            | Change::UnpinProbe(_)
            | Change::SetSources(_)
            | Change::SetLinkMtus(_)
            | Change::SetInterfaces(_)
            | Change::SetCapacity(_)
            | Change::SetTimeouts(_) => {}
        }
    }

    /// Whether the real server can have slots: a last resort has none.
    fn has_slots(&self, service: &str, address: IpAddr) -> bool {
        self.pools.get(service).is_some_and(|pool| pool.weights.contains_key(&address))
    }

    /// `None`: it was removed.
    fn set_weight(&mut self, service: &str, address: IpAddr, weight: Option<u32>) {
        let Some(pool) = self.pools.get_mut(service) else { return };
        pool.stale = true;
        // A real server that is added or removed has its whole weight.
        if weight.is_none() || !pool.weights.contains_key(&address) {
            pool.steps.remove(&address);
        }
        match weight {
            Some(weight) => pool.weights.insert(address, weight),
            None => pool.weights.remove(&address),
        };
    }

    fn all_stale(&mut self) {
        self.pools.values_mut().for_each(|pool| pool.stale = true);
    }

    /// The changes that give real servers these shares of their weights where flows are placed by
    /// hash, and all others their whole weight.
    #[must_use]
    pub fn stepped(&self, steps: &HashMap<(String, IpAddr), WeightStep>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (service, pool) in &self.pools {
            for &address in pool.weights.keys() {
                let wanted = match pool.scheduler {
                    SchedulerKind::Maglev | SchedulerKind::SourceHashing => {
                        steps.get(&(service.clone(), address)).copied().unwrap_or_default()
                    }
                    _ => WeightStep::FULL,
                };
                if wanted != pool.step(address) {
                    let service = service.clone();
                    changes.push(Change::SetStep { service, address, step: wanted });
                }
            }
        }
        changes
    }

    /// The second half: computes the tables that have changed. Services with the same real servers
    /// share one. Calls `go_on` before each service and returns `None` if that is false; these
    /// tables are then incomplete and must be dropped.
    #[must_use]
    pub fn make_while(&mut self, go_on: impl Fn() -> bool) -> Option<Vec<Change>> {
        let (seed, slots) = (self.seed, self.slots);
        let mut made: HashMap<BTreeMap<IpAddr, u32>, Arc<MaglevTable>> = HashMap::new();
        let mut changes = Vec::new();
        for (name, pool) in &mut self.pools {
            let wanted = pool.wants_table();
            pool.stale = false;
            if !wanted {
                continue;
            }
            if !go_on() {
                return None;
            }
            let table = made.entry(pool.stepped()).or_insert_with_key(|weights| {
                Arc::new(MaglevTable::new(seed, slots, weights.iter().map(|(&a, &w)| (a, w))))
            });
            if pool.table.as_ref() != Some(table) {
                pool.table = Some(Arc::clone(table));
                let (service, table) = (name.clone(), Arc::clone(table));
                changes.push(Change::SetMaglev { service, table });
            }
        }
        Some(changes)
    }
}

impl TableInputs {
    fn wants_table(&self) -> bool {
        self.stale && self.scheduler == SchedulerKind::Maglev
    }

    fn step(&self, address: IpAddr) -> WeightStep {
        self.steps.get(&address).copied().unwrap_or_default()
    }

    fn set_step(&mut self, address: IpAddr, step: WeightStep) {
        if !self.weights.contains_key(&address) || self.step(address) == step {
            return;
        }
        self.stale = true;
        match step {
            WeightStep::FULL => self.steps.remove(&address),
            step => self.steps.insert(address, step),
        };
    }

    /// The weights that the table follows: whole ones while no load is reported.
    fn stepped(&self) -> BTreeMap<IpAddr, u32> {
        if self.steps.is_empty() {
            return self.weights.clone();
        }
        let stepped =
            |(&address, &weight): (&IpAddr, &u32)| (address, self.step(address).of(weight));
        self.weights.iter().map(stepped).collect()
    }

    fn new(spec: &ServiceSpec) -> Self {
        let sharing = spec.reals.iter().filter(|real| !real.last_resort);
        let weights = sharing.map(|real| (real.address, real.values.weight)).collect();
        let steps = BTreeMap::new();
        Self { scheduler: spec.scheduler, weights, steps, table: None, stale: true }
    }
}
