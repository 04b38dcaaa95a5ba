//! How real servers stood before a change, for the way back: the configuration does not know what operators have said.

use std::collections::HashSet;
use std::time::Instant;

use crate::balancer::{Change, Snapshot};
use crate::model::SavedState;

/// The real servers that changes may make stand otherwise, as they stood before.
#[derive(Debug)]
pub(super) struct SavedStates {
    at: Instant,
    /// Those that are configured then.
    configured: Vec<Change>,
    /// Those that were removed before, and may go by themselves.
    removed: Vec<Change>,
}

impl SavedStates {
    pub(super) fn before(changes: &[Change], running: &Snapshot) -> Self {
        let (mut services, mut reals) = (HashSet::new(), HashSet::new());
        for change in changes {
            match change {
                Change::RemoveService { service } => {
                    services.insert(service.as_str());
                }
                // With another weight a server may start slowly, and would on the way back.
                Change::RemoveReal { service, address }
                | Change::SetState { service, address, .. }
                | Change::SetWeight { service, address, .. } => {
                    reals.insert((service.as_str(), *address));
                }
                // One that was removed comes back by this.
                Change::AddReal { service, real } => {
                    reals.insert((service.as_str(), real.address));
                }
                _ => {}
            }
        }
        let (mut configured, mut removed) = (Vec::new(), Vec::new());
        for service in &running.services {
            let name = service.name.as_str();
            for real in &service.reals {
                if !services.contains(name) && !reals.contains(&(name, real.address)) {
                    continue;
                }
                let (service, address, saved) = (name.to_owned(), real.address, real.saved_state());
                let change = Change::RestoreState { service, address, saved };
                if real.removed { &mut removed } else { &mut configured }.push(change);
            }
        }
        Self { at: Instant::now(), configured, removed }
    }

    /// The changes that lead back, those that find their real server for sure and the others.
    pub(super) fn now(self) -> (Vec<Change>, Vec<Change>) {
        let age = self.at.elapsed();
        let aged = |change| match change {
            Change::RestoreState { service, address, saved } => {
                let left = saved.left.map(|left| left.saturating_sub(age));
                Change::RestoreState { service, address, saved: SavedState { left, ..saved } }
            }
            other => other,
        };
        let all = |changes: Vec<Change>| changes.into_iter().map(aged).collect();
        (all(self.configured), all(self.removed))
    }
}
