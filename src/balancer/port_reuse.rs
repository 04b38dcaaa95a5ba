//! A SYN on a connection with an entry: its client reuses the port, or an attacker forges the
//! client's address.
//!
//! If the connection has ended, the SYN starts a new one, which the scheduler places. Otherwise
//! only the real server can tell: its kernel answers a SYN on a live connection with a challenge
//! ACK and accepts a new connection on a dead one (RFC 5961 section 4.2). So the SYN goes to the
//! same real server. The new connection gets its own entry beside the *former* one, whose key gets
//! a mark. Segments of either are recognised, and neither can end the other. There is at most one
//! former connection, the oldest that may be alive; a SYN without space for an entry goes to the
//! same real server without one.

use super::Balancer;
use super::flow::Key;
use super::persistence::Choice;
use super::position::{Position, Segment};
use super::segment::Found;
use super::table::{Entry, Handle, Marks};
use super::tcp::State;
use super::verdict::Disposition;
use crate::model::{Millis, Protocol, RealId};
use crate::wire::Packet;

impl Balancer {
    /// Handles a SYN on a connection; `None`: it is a new flow, and the connection's entry was
    /// removed.
    #[cold]
    pub(super) fn syn_on_connection(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        (handle, state, real): Found,
        segment: &Segment,
    ) -> Option<Disposition> {
        let entry = self.tables.connections.entry(handle)?;
        let half_closed = entry.marks().has(Marks::HALF_CLOSED);
        let again = entry.position().is_after_syn(segment);
        let leaving = self.leaving(real);
        if again && !leaving && !state.reusable() {
            self.advance(now, handle, state, state.next(segment.flags), real);
            return Some(self.tunnel(now, packet, real));
        }
        let over = state.reusable() && !half_closed;
        if over || leaving && state.unproven() {
            return self.replace(now, packet, key, handle);
        }
        if self.has_room_beside(&key, real) {
            return self.open_beside(now, packet, key, handle, leaving || half_closed);
        }
        if leaving {
            return self.replace(now, packet, key, handle);
        }
        if state == State::SynRecv {
            // The handshakes are equal; the later one may be its client's next attempt.
            self.tables.connections.set_position(handle, Position::after(segment));
        }
        self.advance(now, handle, state, state, real);
        Some(self.tunnel(now, packet, real))
    }

    /// Whether another connection with the same ends can get an entry: there is none yet, and
    /// during a flood a SYN gets none.
    fn has_room_beside(&self, key: &Key, real: RealId) -> bool {
        !self.tables.connections.is_full()
            && !self.flooded(self.registry.reals[real].service())
            && self.tables.connections.find(&key.former()).is_none()
    }

    /// Removes a connection that has ended. If there is a former one, the new connection opens
    /// beside that.
    fn replace(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        handle: Handle,
    ) -> Option<Disposition> {
        let entry = self.tables.connections.remove(handle)?;
        self.settle(&entry);
        if !entry.marks().has(Marks::HAS_FORMER) {
            return None;
        }
        self.tables.connections.find(&key.former())?;
        let verdict = self.open_again(now, packet, key);
        self.tie(&key);
        Some(verdict)
    }

    /// Opens a connection beside one that may be alive.
    fn open_beside(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        handle: Handle,
        elsewhere: bool,
    ) -> Option<Disposition> {
        let entry = self.tables.connections.entry(handle)?;
        let (real, template) = (entry.real(), entry.template());
        let service = self.registry.reals[real].service();
        self.tables.connections.rekey(handle, key.former());
        let verdict = if elsewhere {
            self.open_again(now, packet, key)
        } else {
            self.enter(now, packet, key, service, Choice { real, template }, State::SynRecv);
            self.tunnel(now, packet, real)
        };
        self.tie(&key);
        Some(verdict)
    }

    fn open_again(&mut self, now: Millis, packet: &Packet<'_>, key: Key) -> Disposition {
        match self.registry.listens.find(Protocol::Tcp, key.vip(), key.virtual_port()) {
            Some(service) => self.open(now, packet, key, service, State::SynRecv),
            None => self.nobody(now, packet),
        }
    }

    /// Marks the connection with this key as having a former one; without such a connection the
    /// former one gets the key back.
    fn tie(&mut self, key: &Key) {
        match self.tables.connections.find(key) {
            Some(handle) => self.tables.connections.mark(handle, Marks::HAS_FORMER, true),
            None => self.promote(key),
        }
    }

    /// A connection was removed from the table: the former one with the same ends, if any, gets its
    /// key.
    #[inline]
    pub(super) fn succeed(&mut self, entry: &Entry) {
        if entry.marks().has(Marks::HAS_FORMER) {
            self.promote(&entry.key());
        }
    }

    #[cold]
    fn promote(&mut self, key: &Key) {
        if self.tables.connections.find(key).is_none()
            && let Some(former) = self.tables.connections.find(&key.former())
        {
            self.tables.connections.rekey(former, *key);
        }
    }
}
