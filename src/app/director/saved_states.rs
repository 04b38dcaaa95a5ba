//! The states of real servers before a change, for the way back when the host refuses it: the
//! configuration does not know what operators have set.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::balancer::{Change, Snapshot};
use crate::model::{RealSpec, SavedState};

/// The real servers whose state changes may alter, as they were before.
#[derive(Debug)]
pub(super) struct SavedStates {
    at: Instant,
    states: Vec<(String, IpAddr, SavedState)>,
}

impl SavedStates {
    pub(super) fn before(changes: &[Change], running: &Snapshot) -> Self {
        let (mut services, mut reals) = (HashSet::new(), HashSet::new());
        // Renamed services, by their names from then on.
        let mut old_names: HashMap<&str, &str> = HashMap::new();
        for change in changes {
            match change {
                Change::RenameServices { names } => {
                    old_names.extend(names.iter().map(|(old, new)| (new.as_str(), old.as_str())));
                }
                Change::RemoveService { service } => {
                    services.insert(service.as_str());
                }
                // With another weight a server may start slowly, and would on the way back. One
                // that was removed comes back by being added.
                Change::RemoveReal { service, address }
                | Change::SetState { service, address, .. }
                | Change::SetWeight { service, address, .. }
                | Change::AddReal { service, real: RealSpec { address, .. } } => {
                    let service = service.as_str();
                    reals.insert((old_names.get(service).copied().unwrap_or(service), *address));
                }
                _ => {}
            }
        }
        let mut states = Vec::new();
        for service in &running.services {
            let name = &*service.name;
            let concerned = service
                .reals
                .iter()
                .filter(|real| services.contains(name) || reals.contains(&(name, real.address)));
            states
                .extend(concerned.map(|real| (name.to_owned(), real.address, real.saved_state())));
        }
        Self { at: Instant::now(), states }
    }

    /// The changes that lead back.
    pub(super) fn restored(self) -> impl Iterator<Item = Change> {
        let age = self.at.elapsed();
        self.states.into_iter().map(move |(service, address, saved)| {
            let left = saved.left.map(|left| left.saturating_sub(age));
            Change::RestoreState { service, address, saved: SavedState { left, ..saved } }
        })
    }
}
