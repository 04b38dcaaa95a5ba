//! The services with their real servers and listens, and the tunnels' sources.

use std::collections::HashMap;
use std::net::IpAddr;

use super::arena::Arena;
use super::moved_listens::MovedListens;
use super::names::Names;
use super::outage::OutageNotice;
use super::real::{Life, Real, Reals};
use super::service::{Listens, Service};
use super::tunnel::{LinkMtus, LocalRoute, Sources};
use crate::model::{RealId, ServiceId};

/// Services, real servers and listens.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) services: Arena<ServiceId, Service>,
    pub(super) reals: Reals,
    pub(super) listens: Listens<ServiceId>,
    pub(super) sources: Sources,
    pub(super) link_mtus: LinkMtus,
    pub(super) names: Names,
    /// The real servers of all services at each address.
    by_address: HashMap<IpAddr, Vec<RealId>>,
    /// Services whose schedulers have to be refreshed before the next packet.
    stale: Vec<ServiceId>,
    pub(super) moved_listens: MovedListens,
    /// Services that have lost their last available real server, or have one again.
    pub(super) outages: Vec<OutageNotice>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            services: Arena::default(),
            reals: Reals::default(),
            listens: Listens::default(),
            sources: Sources::new(),
            link_mtus: LinkMtus::new(),
            names: Names::default(),
            by_address: HashMap::new(),
            // Ending the last connection of a real server must not allocate.
            stale: Vec::with_capacity(1),
            moved_listens: MovedListens::default(),
            outages: Vec::new(),
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
                self.outages.extend(service.assess(&self.reals));
            }
        }
    }

    /// Whether a service lists the real server, configured or removed. The ID may have outlived its
    /// real server.
    pub(super) fn lists(&self, id: RealId) -> bool {
        let life = self.reals.get(id).map(Real::life);
        matches!(life, Some(Life::Configured | Life::Removed))
    }

    /// The host's source address and MTU towards the real server.
    pub(super) fn local_route(&self, address: IpAddr) -> LocalRoute {
        let (source, mtu) = (self.sources.get(&address), self.link_mtus.get(&address));
        LocalRoute { source: source.copied(), mtu: mtu.copied() }
    }

    /// Adds a real server to those of its address.
    pub(super) fn add_real(&mut self, real: Real) -> RealId {
        let address = real.address();
        let id = self.reals.insert_with(|_| real);
        self.by_address.entry(address).or_default().push(id);
        id
    }

    /// Removes a real server. Allocates nothing, since the last packet of a connection may do it.
    pub(super) fn remove_real(&mut self, id: RealId) {
        let Some(real) = self.reals.remove(id) else { return };
        let Some(ids) = self.by_address.get_mut(&real.address()) else { return };
        ids.retain(|&other| other != id);
        if ids.is_empty() {
            self.by_address.remove(&real.address());
        }
    }

    /// Whether a connection of a real server with this address has stayed behind.
    pub(super) fn has_left_behind(&self, address: IpAddr) -> bool {
        let ids = self.by_address.get(&address).map(Vec::as_slice).unwrap_or_default();
        ids.iter().any(|&id| self.reals[id].moves.left_behind)
    }

    /// Changes each real server with this address, whichever service it is of.
    pub(super) fn change_at(&mut self, address: IpAddr, mut change: impl FnMut(&mut Real)) {
        for &id in self.by_address.get(&address).map(Vec::as_slice).unwrap_or_default() {
            change(&mut self.reals[id]);
        }
    }

    /// Sets the director's own addresses towards the real servers.
    pub(super) fn set_sources(&mut self, sources: &Sources) {
        // A real server without a source now is unreachable. It keeps the last one, so that sending
        // fails with the kernel's reason.
        for (&address, &source) in sources {
            if self.sources.get(&address) != Some(&source) {
                self.change_at(address, |real| real.set_source(source));
            }
        }
        self.sources.clone_from(sources);
    }

    pub(super) fn set_link_mtus(&mut self, mtus: &LinkMtus) {
        // A real server without a route now keeps its MTU, as it keeps its source.
        for (&address, &mtu) in mtus {
            if self.link_mtus.get(&address) != Some(&mtu) {
                self.change_at(address, |real| real.room.set_link(mtu));
            }
        }
        self.link_mtus.clone_from(mtus);
    }

    /// Whether the real server is found by this address.
    #[cfg(test)]
    pub(super) fn is_at(&self, address: IpAddr, id: RealId) -> bool {
        self.by_address.get(&address).is_some_and(|ids| ids.contains(&id))
    }

    /// How many real servers are found by address.
    #[cfg(test)]
    pub(super) fn found_by_address(&self) -> usize {
        self.by_address.values().map(Vec::len).sum()
    }
}
