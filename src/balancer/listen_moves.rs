//! Connections follow their listens. After a batch that has moved listens between services, each
//! connection belongs to the service that listens there now, if that has its real server. So it
//! counts there, and neither the end of its former service nor that service's rules end it.
//!
//! The table is searched only after such a batch, some entries in each turn. A connection whose
//! packet comes first follows at once, so no packet shows that the search goes on. Until its end no
//! removed real server is forgotten: connections may come to it yet.

use super::Balancer;
use super::change::Change;
use super::flow::Key;
use super::real::Life;
use super::table::{Entry, Handle};
use crate::model::{Listen, Millis, Persistence, Protocol, RealId, ServiceId};

/// Where a connection goes because listens have moved.
enum ConnectionMove {
    /// Nowhere: no other service listens there.
    Stays,
    /// To this real server of the service that listens there now.
    To(RealId),
    /// Nowhere: the service that listens there now does not have its real server.
    NoOwner,
}

impl Balancer {
    /// Notes that a service no longer listens there.
    pub(super) fn note_lost_listen(&mut self, id: ServiceId, listen: Listen) {
        self.registry.moved_listens.lost.push((id, listen));
    }

    /// Notes a service that may lose listens, so that connections of its real servers may belong to
    /// another one after the batch.
    pub(super) fn note_candidates(
        &mut self,
        id: ServiceId,
        reals: &[RealId],
        persistence: Option<Persistence>,
    ) {
        self.registry.moved_listens.candidates.extend(reals);
        self.registry.moved_listens.former.extend(persistence.map(|persistence| (id, persistence)));
    }

    /// Whether connections still follow their listens. Until then counts are partly those of their
    /// former services.
    #[must_use]
    pub fn follows_listens(&self) -> bool {
        self.registry.moved_listens.unseen.is_some()
    }

    /// Moves connections to the services that listen there after these changes: the first ones now,
    /// the others in the following turns.
    pub(super) fn follow_listens(&mut self, now: Millis, changes: &[Change]) {
        let lost = std::mem::take(&mut self.registry.moved_listens.lost);
        let candidates = std::mem::take(&mut self.registry.moved_listens.candidates);
        let has_owner = |&(before, listen): &(ServiceId, Listen)| {
            self.registry.listens.overlap(listen, |owner| owner != before).is_some()
        };
        let moved = lost.iter().any(has_owner);
        if moved {
            for id in candidates {
                // A later change of the batch may have removed it.
                if let Some(real) = self.registry.reals.get_mut(id) {
                    real.moves.follows = true;
                }
            }
        }
        if moved || self.registry.moved_listens.left && self.adds_owner(changes) {
            for real in self.registry.reals.iter_mut() {
                real.moves.follows |= std::mem::take(&mut real.moves.left_behind);
            }
            self.registry.moved_listens.left = false;
            self.registry.moved_listens.unseen = Some(0..self.tables.connections.entry_count());
        }
        match self.follows_listens() {
            true => self.follow(now),
            false => self.registry.moved_listens.former.clear(),
        }
    }

    /// Whether the changes add a real server for connections that have stayed behind.
    fn adds_owner(&self, changes: &[Change]) -> bool {
        changes.iter().any(|change| match change {
            Change::AddReal { real, .. } => self.registry.has_left_behind(real.address),
            Change::AddService(spec) => {
                spec.reals.iter().any(|real| self.registry.has_left_behind(real.address))
            }
            _ => false,
        })
    }

    /// At most this many entries are looked at in a turn.
    #[cfg(test)]
    pub(crate) fn follow_at_most(&mut self, a_turn: usize) {
        self.registry.moved_listens.a_turn = a_turn;
    }

    /// Looks at the entries of one turn.
    pub(super) fn follow(&mut self, now: Millis) {
        let moved = &mut self.registry.moved_listens;
        let Some(unseen) = moved.unseen.take() else { return };
        let end = unseen.start.saturating_add(moved.a_turn).min(unseen.end);
        moved.unseen = Some(end..unseen.end);
        for index in unseen.start..end {
            self.move_to_owner(now, Handle::at(index));
        }
        if end == unseen.end {
            self.end_search();
        }
    }

    /// Ends the search, and frees the real servers that it has kept.
    #[cold]
    fn end_search(&mut self) {
        self.registry.moved_listens.unseen = None;
        self.registry.moved_listens.former.clear();
        for real in self.registry.reals.iter_mut() {
            real.moves.follows = false;
        }
        let reals = self.registry.reals.entries();
        let left = reals.filter(|(_, real)| real.life() != Life::Configured && real.idle());
        let left: Vec<RealId> = left.map(|(id, _)| id).collect();
        left.into_iter().for_each(|real| self.free_if_idle_in_batch(real));
        self.registry.refresh_pools();
    }

    /// The real server that a connection belongs to, whether it has followed already or not.
    pub(super) fn real_of(&self, entry: &Entry) -> RealId {
        match self.move_of(entry) {
            ConnectionMove::To(real) => real,
            ConnectionMove::Stays | ConnectionMove::NoOwner => entry.real(),
        }
    }

    fn move_of(&self, entry: &Entry) -> ConnectionMove {
        let real = &self.registry.reals[entry.real()];
        if !real.moves.follows {
            return ConnectionMove::Stays;
        }
        let key = entry.key();
        let owner = Protocol::from_number(key.protocol()).and_then(|protocol| {
            self.registry.listens.find(protocol, key.vip(), key.virtual_port())
        });
        let Some(owner) = owner.filter(|&owner| owner != real.service()) else {
            return ConnectionMove::Stays;
        };
        let found = self.registry.names.real(owner, real.address());
        // One that the owner has removed too keeps the connection only if nothing else does.
        let keeps = |&id: &RealId| {
            self.registry.reals[id].life() == Life::Configured || real.life() == Life::Gone
        };
        found.filter(keeps).map_or(ConnectionMove::NoOwner, ConnectionMove::To)
    }

    /// Moves a connection to the service that listens there now. Returns its real server.
    pub(super) fn move_to_owner(&mut self, now: Millis, handle: Handle) -> Option<RealId> {
        let entry = self.tables.connections.entry(handle)?;
        match self.move_of(entry) {
            ConnectionMove::Stays => Some(entry.real()),
            ConnectionMove::To(real) => {
                self.move_connection(now, handle, real);
                Some(real)
            }
            ConnectionMove::NoOwner => {
                let real = entry.real();
                self.registry.reals[real].moves.left_behind = true;
                self.registry.moved_listens.left = true;
                Some(real)
            }
        }
    }

    /// Gives a connection to a real server of another service, which has the same address.
    fn move_connection(&mut self, now: Millis, handle: Handle, to: RealId) {
        let Some(entry) = self.tables.connections.entry(handle) else { return };
        let (key, state, template) = (entry.key(), entry.state(), entry.template());
        let Some(from) = self.tables.connections.set_real(handle, to) else { return };
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
    }

    /// The real server, in this service, of a client whose connections may not have followed yet:
    /// the one that the template of its former service names, if a connection holds that.
    #[cold]
    pub(super) fn followed_template(&self, key: &Key, id: ServiceId) -> Option<RealId> {
        let former = self.registry.moved_listens.former.iter().filter(|(former, _)| *former != id);
        former.rev().find_map(|(former, persistence)| {
            let client = key.of_persistent_client(persistence, former.index);
            let (template, real) = self.tables.templates.find(&client)?;
            let address = self.registry.reals[real].address();
            let held = self.tables.templates.has_flows(template);
            self.registry.names.real(id, address).filter(|_| held)
        })
    }
}
