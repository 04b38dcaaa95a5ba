//! Carries out a decision: counts, the scheduler's state, the client's template, the flow's entry.

use super::Balancer;
use super::decide::{Decision, Outcome};
use super::flow::Key;
use super::persistence::By;
use super::position::Position;
use super::record::Placed;
use super::table::Handle;
use super::tcp::ConnState;
use super::verdict::{Disposition, Reason};
use crate::model::{Millis, RealId, ServiceId};
use crate::wire::Packet;

impl Balancer {
    /// Carries out what [`Self::decide`] has decided about the packet. The balancer must not change
    /// between the two calls.
    pub(super) fn commit(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        decision: &Decision,
    ) -> Disposition {
        let &Decision { service: id, outcome, by, template, count } = decision;
        self.noted.placed = Some((id, placed(by, outcome)));
        if let Some(count) = count {
            self.counted(now, id, count);
        }
        if let By::Scheduler(picked) = by {
            self.registry.services[id].taken(now, picked, &mut self.registry.reals);
        }
        let real = match outcome {
            Outcome::Refuse(reason) => return self.refuse_packet(now, packet, reason),
            Outcome::End(real, ending) => return self.end_unknown(now, packet, real, ending),
            Outcome::Reset(real) => real,
            Outcome::Enter(real, state) => {
                let template = self.keep_template(now, id, real, template);
                self.enter(now, packet, key, id, (real, template), state);
                real
            }
            Outcome::WithoutEntry(real) => {
                self.keep_template(now, id, real, template);
                self.placed_without_entry(now, id);
                real
            }
            Outcome::Alone(real) => {
                self.keep_template(now, id, real, template);
                self.registry.reals[real].visit();
                real
            }
        };
        self.tunnel(now, packet, real)
    }

    /// Adds an entry, if there is space. In a flood an unproven entry is evicted for it.
    pub(super) fn enter(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        id: ServiceId,
        (real, template): (RealId, Option<Handle>),
        state: ConnState,
    ) {
        if self.flooded(id) {
            self.expect_unknown(now, id);
            self.make_room();
        }
        let timeout = state.timeout(&self.settings.timeouts);
        let Ok(handle) = self.tables.connections.insert(key, real, state, now, timeout) else {
            self.placed_without_entry(now, id);
            return;
        };
        self.tables.connections.set_position(handle, Position::of(packet));
        self.registry.reals[real].bind(state);
        if state == ConnState::SynRecv {
            self.handshake_begins(now, real);
            self.time_opening(handle, real);
        }
        if let Some(template) = template {
            self.tables.connections.set_template(handle, Some(template));
            self.tables.templates.bind(template);
        }
    }

    fn make_room(&mut self) {
        if self.tables.connections.is_full()
            && let Some(evicted) = self.tables.connections.evict()
        {
            self.forget(&evicted);
        }
    }

    fn placed_without_entry(&mut self, now: Millis, id: ServiceId) {
        self.counters.without_entry += 1;
        self.expect_unknown(now, id);
        let watch = &mut self.registry.services[id].watch;
        if watch.flooded() {
            watch.placed_without_entry();
        }
    }

    /// From now on the service's unknown packets count as packets of flows without an entry, for as
    /// long as such a flow may live. The time is extended only while the table is full or the
    /// service in flood mode; after that a flow's next packet gives it an entry.
    fn expect_unknown(&mut self, now: Millis, id: ServiceId) {
        let longest = self.settings.timeouts.tcp_established.max(self.settings.timeouts.udp);
        self.registry.services[id].hashed_until = Some(now.after(longest));
    }

    /// Handles a packet for which [`Self::service_of`] finds no service.
    pub(super) fn unserved(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        reason: Reason,
    ) -> Disposition {
        match reason {
            Reason::NoService => self.refuse_packet(now, packet, reason),
            _ => Disposition::Drop(reason),
        }
    }
}

/// What has placed a flow, for its record.
#[inline]
fn placed(by: By, outcome: Outcome) -> Placed {
    match (by, outcome) {
        (By::Template, _) => Placed::Template,
        (By::Hash, _) => Placed::Hash,
        (By::Scheduler(_), Outcome::Alone(_)) => Placed::OnePacket,
        (By::Scheduler(_), _) => Placed::Scheduler,
    }
}
