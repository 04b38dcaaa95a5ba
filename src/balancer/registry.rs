//! The services with their real servers and listens, and the tunnels' sources.

use super::arena::Arena;
use super::names::Names;
use super::real::{Life, Real};
use super::service::{Listens, Service};
use super::tunnel::Sources;
use crate::model::{RealId, ServiceId};

/// The real servers of all services, with removed ones while something names them.
pub(super) type Reals = Arena<RealId, Real>;

/// Services, real servers and listens.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) services: Arena<ServiceId, Service>,
    pub(super) reals: Reals,
    pub(super) listens: Listens<ServiceId>,
    pub(super) sources: Sources,
    pub(super) names: Names,
    /// Services whose schedulers have to be refreshed before the next packet.
    stale: Vec<ServiceId>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            services: Arena::default(),
            reals: Reals::default(),
            listens: Listens::default(),
            sources: Sources::new(),
            names: Names::default(),
            // Ending the last connection of a real server must not allocate.
            stale: Vec::with_capacity(1),
        }
    }

    /// Marks the service's scheduler for a refresh.
    pub(super) fn pool_changed(&mut self, id: ServiceId) {
        let service = &mut self.services[id];
        if !service.stale {
            service.stale = true;
            self.stale.push(id);
        }
    }

    /// Refreshes the marked schedulers, each once.
    pub(super) fn refresh_pools(&mut self) {
        while let Some(id) = self.stale.pop() {
            // A later change of the batch may have removed the service.
            if let Some(service) = self.services.get_mut(id) {
                service.stale = false;
                service.changed(&self.reals);
            }
        }
    }

    /// Whether a service lists the real server, configured or removed. The ID may have outlived its
    /// real server.
    pub(super) fn lists(&self, id: RealId) -> bool {
        let life = self.reals.get(id).map(Real::life);
        matches!(life, Some(Life::Up | Life::Draining))
    }
}
