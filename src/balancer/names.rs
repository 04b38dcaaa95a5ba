//! Finds services by name and real servers by address, for changes. Packets use IDs.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{RealId, ServiceId};

/// Finds services and the real servers that they list.
#[derive(Debug, Default)]
pub(super) struct Names {
    services: HashMap<Arc<str>, ServiceId>,
    /// Removed real servers are included while their service lists them.
    reals: HashMap<(ServiceId, IpAddr), RealId>,
    /// The result of the last lookup. A batch is in configuration order, so the next real server is
    /// usually the one after it.
    last: Cell<Last>,
}

/// The position of the last lookup: a hint that only affects speed.
#[derive(Clone, Copy, Default)]
pub(super) struct Last {
    /// The service.
    pub(super) service: Option<ServiceId>,
    /// The index in its list to try first.
    pub(super) next: usize,
}

/// Without its value: two balancers that differ only in a hint are equal.
impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Last(..)")
    }
}

impl Names {
    pub(super) fn service(&self, name: &str) -> Option<ServiceId> {
        self.services.get(name).copied()
    }

    pub(super) fn real(&self, service: ServiceId, address: IpAddr) -> Option<RealId> {
        self.reals.get(&(service, address)).copied()
    }

    pub(super) fn add_service(&mut self, name: Arc<str>, id: ServiceId) {
        self.services.insert(name, id);
    }

    pub(super) fn remove_service(&mut self, name: &str) -> Option<ServiceId> {
        self.services.remove(name)
    }

    pub(super) fn add_real(&mut self, service: ServiceId, address: IpAddr, id: RealId) {
        self.reals.insert((service, address), id);
    }

    pub(super) fn remove_real(&mut self, service: ServiceId, address: IpAddr) {
        self.reals.remove(&(service, address));
    }

    pub(super) fn last(&self) -> Last {
        self.last.get()
    }

    pub(super) fn set_last(&self, last: Last) {
        self.last.set(last);
    }
}
