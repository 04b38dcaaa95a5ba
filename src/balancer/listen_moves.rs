//! Connections follow their listens. After a batch that has moved listens between services, each
//! connection belongs to the service that listens there now, if that has its real server. So it
//! counts there, and neither the end of its former service nor that service's rules end it.
//!
//! The table is searched only after such a batch, and only real servers that may have such
//! connections are looked at closely.

use super::Balancer;
use super::change::Change;
use super::real::Life;
use super::table::{Entry, Handle};
use crate::model::{Listen, Millis, Protocol, RealId, ServiceId};

/// Where the connection of an entry belongs.
enum Home {
    /// Where it is, or nowhere.
    Here,
    /// To this real server of another service.
    There(RealId),
    /// To a service that does not have its real server.
    Unknown,
}

impl Balancer {
    /// A service no longer listens there.
    pub(super) fn listen_is_lost(&mut self, id: ServiceId, listen: Listen) {
        self.registry.strays.lost.push((id, listen));
    }

    /// Connections of the real server may belong to another service soon.
    pub(super) fn may_stray(&mut self, id: RealId) {
        self.registry.reals[id].strays = true;
    }

    /// Moves connections to the services that listen there after these changes.
    pub(super) fn follow_listens(&mut self, now: Millis, changes: &[Change]) {
        let lost = std::mem::take(&mut self.registry.strays.lost);
        let has_owner = |&(before, listen): &(ServiceId, Listen)| {
            self.registry.listens.overlap(listen, |owner| owner != before).is_some()
        };
        let grown =
            |change: &Change| matches!(change, Change::AddReal { .. } | Change::AddService(_));
        let left = self.registry.strays.left && changes.iter().any(grown);
        if !left && !lost.iter().any(has_owner) {
            return;
        }
        let mut moves = Vec::new();
        let mut strayed = Vec::new();
        let entries = 0..self.tables.connections.entry_count();
        for (index, entry) in self.tables.connections.iter_in(entries) {
            match self.home_of(entry) {
                Home::Here => {}
                Home::There(real) => moves.push((Handle::at(index), real)),
                Home::Unknown => strayed.push(entry.real()),
            }
        }
        for real in self.registry.reals.iter_mut() {
            real.strays = false;
        }
        self.registry.strays.left = !strayed.is_empty();
        for real in strayed {
            self.may_stray(real);
        }
        let mut left: Vec<RealId> = Vec::new();
        for (handle, real) in moves {
            left.extend(self.move_connection(now, handle, real));
        }
        // Only now: connections may have moved both ways.
        left.sort_unstable();
        left.dedup();
        left.into_iter().for_each(|real| self.give_up(real));
    }

    fn home_of(&self, entry: &Entry) -> Home {
        let real = &self.registry.reals[entry.real()];
        if !real.strays {
            return Home::Here;
        }
        let key = entry.key();
        let owner = Protocol::from_number(key.protocol()).and_then(|protocol| {
            self.registry.listens.find(protocol, key.vip(), key.virtual_port())
        });
        let Some(owner) = owner.filter(|&owner| owner != real.service()) else {
            return Home::Here;
        };
        let found = self.registry.names.real(owner, real.address());
        // One that the owner has removed too keeps the connection only if nothing else does.
        let keeps = |&id: &RealId| {
            self.registry.reals[id].life() == Life::Configured || real.life() == Life::Gone
        };
        found.filter(keeps).map_or(Home::Unknown, Home::There)
    }

    /// Gives a connection to a real server of another service, which has the same address. Returns
    /// the one that had it.
    fn move_connection(&mut self, now: Millis, handle: Handle, to: RealId) -> Option<RealId> {
        let entry = self.tables.connections.entry(handle)?;
        let (key, state, template) = (entry.key(), entry.state(), entry.template());
        let from = self.tables.connections.set_real(handle, to)?;
        let before = &mut self.registry.reals[from];
        before.unbind(state);
        before.latency.forget(handle);
        self.registry.reals[to].take_over(state);
        if let Some(template) = template {
            self.tables.templates.unbind(template);
        }
        let template = self.template_of_moved(now, &key, to);
        self.tables.connections.set_template(handle, template);
        if let Some(template) = template {
            self.tables.templates.bind(template);
        }
        Some(from)
    }
}
