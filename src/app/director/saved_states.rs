//! The states of real servers before a change, to restore if the host refuses it: the configuration
//! does not contain the states that operators have set.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::balancer::{Change, Snapshot};
use crate::model::{RealSpec, RealValue, SavedState};

/// The real servers whose state the changes may alter, with their previous state.
#[derive(Debug)]
pub(super) struct SavedStates {
    at: Instant,
    states: Vec<(String, IpAddr, SavedState)>,
}

impl SavedStates {
    pub(super) fn before(changes: &[Change], running: &Snapshot) -> Self {
        let (mut services, mut reals) = (HashSet::new(), HashSet::new());
        // Renamed services, by their new names.
        let mut old_names: HashMap<&str, &str> = HashMap::new();
        for change in changes {
            match change {
                Change::RenameServices { names } => {
                    old_names.extend(names.iter().map(|(old, new)| (new.as_str(), old.as_str())));
                }
                Change::RemoveService { service } => {
                    services.insert(service.as_str());
                }
                // A change of a weight may restart a slow start, and so would its reversal. A
                // removed real server is restored by adding it.
                Change::RemoveReal { service, address }
                | Change::SetState { service, address, .. }
                | Change::SetReal { service, address, value: RealValue::Weight(_) }
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

    /// The changes that restore the states.
    pub(super) fn restored(self) -> impl Iterator<Item = Change> {
        let age = self.at.elapsed();
        self.states.into_iter().map(move |(service, address, saved)| {
            let left = saved.left.map(|left| left.saturating_sub(age));
            let changed = saved.changed.map(|ago| ago + age);
            let saved = SavedState { left, changed, ..saved };
            Change::RestoreState { service, address, saved }
        })
    }
}
