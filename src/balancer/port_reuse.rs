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
use super::decide::First;
use super::flow::Key;
use super::position::{Position, SegmentFields};
use super::segment::Found;
use super::table::{Entry, Handle, Marks};
use super::tcp::ConnState;
use super::verdict::Disposition;
use crate::model::{Millis, RealId};
use crate::wire::Packet;

/// What a SYN finds at an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum SynMatch {
    /// A connection that is over: a new one takes its place, at the same real server or scheduled.
    Over { elsewhere: bool },
    /// One that may live beside the new one, as the former one. `elsewhere`: the new one is
    /// scheduled; otherwise it goes to the same real server.
    Former { elsewhere: bool },
    /// One that may live, and no room for another entry: the SYN goes to its real server.
    Same,
}

impl Balancer {
    /// Handles a SYN on a connection.
    #[cold]
    pub(super) fn syn_on_connection(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        (handle, state, real): Found,
        segment: &SegmentFields,
    ) -> Disposition {
        let first = First::Opening(ConnState::None.next(segment.flags));
        let Some(entry) = self.tables.connections.entry(handle) else {
            return self.begin(now, packet, key, first);
        };
        let again = entry.position().is_after_syn(segment);
        if again && !self.leaving(real) && !state.reusable() {
            if state == ConnState::SynRecv {
                self.handshake_begins(now, real);
                self.time_opening(handle, real);
            }
            self.advance(now, handle, state, state.next(segment.flags), real);
            return self.tunnel(now, packet, real);
        }
        match self.meets(&key, entry, 0) {
            SynMatch::Over { elsewhere: true } => {
                return self.replace(now, packet, key, handle, first);
            }
            SynMatch::Over { elsewhere: false } => return self.reopen(now, packet, key, handle),
            SynMatch::Former { elsewhere } => {
                let elsewhere = elsewhere.then_some(first);
                return self.open_beside(now, packet, key, handle, elsewhere);
            }
            SynMatch::Same => {}
        }
        if state == ConnState::SynRecv {
            // The handshakes are equal; the later one may be its client's next attempt.
            self.tables.connections.set_position(handle, Position::after(segment));
        }
        self.advance(now, handle, state, state, real);
        self.tunnel(now, packet, real)
    }

    /// What a SYN makes of the entry, if it is not that connection's own SYN again. `dead` entries
    /// with its key were there before it.
    pub(super) fn meets(&self, key: &Key, entry: &Entry, dead: usize) -> SynMatch {
        let leaving = self.leaving(entry.real());
        let half_closed = entry.marks().has(Marks::HALF_CLOSED);
        let room = self.has_room_beside(key, entry.real(), dead);
        match gives_way(entry, leaving, room) {
            true => SynMatch::Over { elsewhere: leaving || !self.has_opening_former(key, entry) },
            false if room => SynMatch::Former { elsewhere: leaving || half_closed },
            false => SynMatch::Same,
        }
    }

    /// Whether a new connection can get an entry beside one with the same ends. It cannot if the
    /// table is full, if there is a former connection already, or during a flood, in which SYNs get
    /// no entries. After the removal of `dead` entries the former one has moved to their key.
    fn has_room_beside(&self, key: &Key, real: RealId, dead: usize) -> bool {
        !self.fill_without(dead).is_full()
            && !self.flooded(self.registry.reals[real].service())
            && (dead > 0 || self.tables.connections.find(&key.former()).is_none())
    }

    /// Whether a former connection with these ends is in its handshake. Then the current one, which
    /// is over, may have been forged from its SYN on, beside a client whose handshake goes on.
    fn has_opening_former(&self, key: &Key, entry: &Entry) -> bool {
        let connections = &self.tables.connections;
        let former = || connections.entry(connections.find(&key.former())?);
        entry.marks().has(Marks::HAS_FORMER)
            && former().is_some_and(|former| former.state().half_open())
    }

    /// Removes a connection that has ended; the SYN opens another one at the same real server,
    /// where the former one is.
    fn reopen(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        handle: Handle,
    ) -> Disposition {
        let Some(entry) = self.tables.connections.remove(handle) else {
            return self.begin(now, packet, key, First::Opening(ConnState::SynRecv));
        };
        let (real, template) = (entry.real(), entry.template());
        let service = self.registry.reals[real].service();
        // Before the old one's end, so that neither its template nor its real server goes.
        self.enter(now, packet, key, service, (real, template), ConnState::SynRecv);
        self.unbind(&entry);
        self.tie(&key);
        self.tunnel(now, packet, real)
    }

    /// Removes a connection that has ended, or whose real server ends it; the packet begins a new
    /// flow. If there is a former one, the new connection opens beside that.
    ///
    /// A removed real server leaves its service with its last connection. That comes after the
    /// decision, so that the scheduler sees the same real servers as an explanation does.
    #[cold]
    pub(super) fn replace(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        handle: Handle,
        first: First,
    ) -> Disposition {
        let Some(entry) = self.tables.connections.remove(handle) else {
            return self.begin(now, packet, key, first);
        };
        self.unbind(&entry);
        let verdict = self.begin(now, packet, key, first);
        if entry.marks().has(Marks::HAS_FORMER)
            && self.tables.connections.find(&key.former()).is_some()
        {
            self.tie(&key);
        }
        // The new flow may have made room for itself with the real server's last entry.
        if self.registry.reals.get(entry.real()).is_some() {
            self.free_if_idle(entry.real());
        }
        verdict
    }

    /// Opens a connection beside one that may be alive: at the same real server, or as a new flow.
    fn open_beside(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        handle: Handle,
        elsewhere: Option<First>,
    ) -> Disposition {
        let former = self.tables.connections.entry(handle);
        let former = former.map(|entry| (entry.real(), entry.template()));
        self.tables.connections.rekey(handle, key.former());
        let verdict = match (elsewhere, former) {
            (None, Some((real, template))) => {
                let service = self.registry.reals[real].service();
                self.enter(now, packet, key, service, (real, template), ConnState::SynRecv);
                self.tunnel(now, packet, real)
            }
            (first, _) => {
                let first = first.unwrap_or(First::Opening(ConnState::SynRecv));
                self.begin(now, packet, key, first)
            }
        };
        self.tie(&key);
        verdict
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

/// Whether a new connection replaces the entry that its SYN finds. It does if the entry's
/// connection is over. It also does if the entry's real server takes no new connections, and the
/// connection is unproven or there is no room beside it.
fn gives_way(entry: &Entry, leaving: bool, room: bool) -> bool {
    let over = entry.state().reusable() && !entry.marks().has(Marks::HALF_CLOSED);
    over || leaving && (entry.state().unproven() || !room)
}
