//! After any history, an ID refers to its own value: the lookups that never fail rely on it.

use std::collections::BTreeMap;

use super::*;
use crate::model::RealId;

impl Director {
    /// Panics if a stored ID refers to nothing, if a real server that nothing names is kept, or if
    /// its counts are wrong.
    pub(super) fn check_ids(&self) {
        let Balancer { registry, tables, .. } = &self.balancer;
        let mut connections: BTreeMap<RealId, u64> = BTreeMap::new();
        for (_, entry) in tables.connections.iter_in(0..usize::MAX) {
            *connections.entry(entry.real()).or_default() += 1;
        }
        let mut templates: BTreeMap<RealId, u64> = BTreeMap::new();
        for real in tables.templates.reals() {
            *templates.entry(real).or_default() += 1;
        }
        for (id, service) in registry.services.entries() {
            for &real in &service.reals {
                assert!(registry.lists(real) && registry.reals[real].service() == id, "{real:?}");
            }
        }
        for real in tables.fragments.reals() {
            assert!(registry.lists(real), "{real:?} of a datagram");
        }
        let probed: Vec<RealId> = tables.probes.reals().collect();
        assert!(probed.iter().all(|&id| registry.reals.get(id).is_some()), "pinned to nothing");
        for (id, real) in registry.reals.entries() {
            assert!(registry.is_at(real.address(), id), "{id:?} is not found by its address");
        }
        assert_eq!(registry.found_by_address(), registry.reals.iter().count());
        for (id, real) in registry.reals.entries().filter(|(id, _)| !probed.contains(id)) {
            let (bound, named) = (connections.remove(&id), templates.remove(&id));
            let (bound, named) = (bound.unwrap_or_default(), named.unwrap_or_default());
            let shown = real.snapshot(self.now, 0, SchedulerKind::RoundRobin);
            assert_eq!((shown.active + shown.inactive, shown.templates), (bound, named), "{id:?}");
            let listed = registry.lists(id);
            let waits = self.balancer.follows_listens();
            assert!(listed || waits || bound + named > 0, "nothing names {id:?}");
            let service = registry.services.get(real.service());
            assert_eq!(
                listed,
                service.is_some_and(|service| service.reals.contains(&id)),
                "{id:?}"
            );
        }
        assert!(connections.is_empty() && templates.is_empty(), "they name nothing");
    }
}
