//! From a packet to its verdict.
//!
//! 1. Refuse sources that no client has, since they cannot be answered. (A virtual IP is one; it is
//!    looked up only if no connection is found.) Fragments are handled in [`super::fragments`].
//! 2. TCP and UDP: the connection, if there is one; its next state; its real server, unless that
//!    keeps its flows no longer.
//! 3. Without a connection: the service that listens there, and its scheduler's choice.
//! 4. Without a service: reset or port unreachable, within a rate.
//! 5. ICMP: an echo request is answered; an error goes to the real server whose flow it quotes.

use super::Balancer;
use super::flood::{Beginning, PROBATION};
use super::flow::Key;
use super::limit::within;
use super::persistence::Choice;
use super::position::{Position, Segment};
use super::real::Life;
use super::sched::Eligible;
use super::segment::{Found, Owner};
use super::table::Handle;
use super::tcp::State;
use super::verdict::{Disposition, Reason, Verdict};
use crate::model::{Millis, Protocol, RealId, ServiceId};
use crate::wire::{Fragment, Packet, Transport, icmp, is_host, protocol, tcp};

impl Balancer {
    /// Decides on a packet to a virtual IP, and counts it.
    ///
    /// A super-frame counts as one packet read, but for its real server as its wire segments. The
    /// verdict is executed by [`Self::carry_out`].
    #[inline]
    pub fn forward(&mut self, now: Millis, packet: &Packet<'_>) -> Verdict {
        if self.tables.probes.may_come_from(packet.source)
            && let Some(disposition) = self.probe(now, packet)
        {
            return self.verdict(disposition, packet);
        }
        let disposition = self.dispose(now, packet);
        let verdict = self.verdict(disposition, packet);
        self.counters.count(&verdict);
        verdict
    }

    /// Counts the packets for their real server and adds the tunnel to it.
    #[inline]
    fn verdict(&mut self, disposition: Disposition, packet: &Packet<'_>) -> Verdict {
        match disposition {
            Disposition::Tunnel(real) => {
                let (packets, bytes) = (packet.wire_packets(), packet.wire_bytes());
                Verdict::Tunnel(self.registry.reals[real].count(packets, bytes))
            }
            Disposition::Drop(reason) => Verdict::Drop(reason),
            Disposition::Reply => Verdict::Reply,
            Disposition::Reset(real) => {
                let bytes = self.answers.server_reset.len() as u64;
                Verdict::Reset(self.registry.reals[real].count(1, bytes))
            }
            Disposition::Hold => Verdict::Hold,
        }
    }

    #[inline]
    fn dispose(&mut self, now: Millis, packet: &Packet<'_>) -> Disposition {
        if !is_host(packet.source) {
            return unanswerable(packet);
        }
        if packet.fragment != Fragment::Whole {
            return self.fragment(now, packet);
        }
        self.transport(now, packet)
    }

    /// Decides on a packet with ports: a whole one, or the first fragment of a datagram.
    #[inline]
    pub(super) fn transport(&mut self, now: Millis, packet: &Packet<'_>) -> Disposition {
        match packet.transport {
            Transport::Tcp(header) => self.tcp(now, packet, header),
            Transport::Udp { source_port, destination_port } => {
                self.udp(now, packet, source_port, destination_port)
            }
            Transport::Icmp { .. } => self.icmp(now, packet),
            Transport::Other => Disposition::Drop(Reason::Protocol),
        }
    }

    #[inline]
    fn tcp(&mut self, now: Millis, packet: &Packet<'_>, header: tcp::Header) -> Disposition {
        let key = key(packet, header.source_port, header.destination_port);
        let opens = header.flags.syn() && !header.flags.ack() && !header.flags.rst();
        if let Some(found) = self.connection(&key) {
            let segment = Segment::of(packet, header);
            if !opens {
                return self.segment(now, packet, &key, found, &segment);
            }
            if let Some(verdict) = self.syn_on_connection(now, packet, key, found, &segment) {
                return verdict;
            }
        }
        if self.registry.listens.is_vip(packet.source) {
            return Disposition::Drop(Reason::BadSource);
        }
        let Some(service) =
            self.registry.listens.find(Protocol::Tcp, key.vip(), key.virtual_port())
        else {
            return self.nobody(now, packet);
        };
        if opens {
            return self.open(now, packet, key, service, State::None.next(header.flags));
        }
        self.unknown(now, packet, key, service, header.flags)
    }

    /// A segment of a connection that has an entry.
    #[inline(always)]
    fn segment(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: &Key,
        found: Found,
        segment: &Segment,
    ) -> Disposition {
        let Owner { found, after } = self.owner(now, key, found, segment);
        let (handle, state, real) = found;
        // The client's own reset is forwarded: the real server needs no other.
        let ending = self.ending(now, real, Protocol::Tcp);
        if let Some(ending) = ending.filter(|_| !segment.flags.rst()) {
            return self.end(now, packet, found, ending);
        }
        self.advance(now, handle, state, after, real);
        self.tunnel(now, packet, real)
    }

    #[inline]
    fn udp(&mut self, now: Millis, packet: &Packet<'_>, client: u16, port: u16) -> Disposition {
        let key = key(packet, client, port);
        if let Some((handle, state, real)) = self.connection(&key) {
            if self.ending(now, real, Protocol::Udp).is_none() {
                self.advance(now, handle, state, State::Udp, real);
                return self.tunnel(now, packet, real);
            }
            self.drop_connection(handle);
        }
        if self.registry.listens.is_vip(packet.source) {
            return Disposition::Drop(Reason::BadSource);
        }
        match self.registry.listens.find(Protocol::Udp, key.vip(), port) {
            Some(service) => self.open(now, packet, key, service, State::Udp),
            None => self.nobody(now, packet),
        }
    }

    fn icmp(&mut self, now: Millis, packet: &Packet<'_>) -> Disposition {
        if icmp::concerns_the_link(packet) {
            return Disposition::Drop(Reason::LinkNoise);
        }
        if !self.registry.listens.is_vip(packet.destination) {
            return Disposition::Drop(Reason::NotVip);
        }
        if self.registry.listens.is_vip(packet.source) {
            return Disposition::Drop(Reason::BadSource);
        }
        if !icmp::checksum_ok(packet) {
            return Disposition::Drop(Reason::Malformed);
        }
        if icmp::is_error(packet) {
            return match self.quoted(now, packet) {
                Some(real) => Disposition::Tunnel(real),
                None => Disposition::Drop(Reason::IcmpNoFlow),
            };
        }
        match icmp::echo_reply(packet, &mut self.answers.reply) {
            Some(()) => Disposition::Reply,
            None => Disposition::Drop(Reason::Icmp),
        }
    }

    /// The real server of the flow that an ICMP error quotes. A router with a small MTU between a
    /// server and its client sends its errors to the virtual IP, so here; without them the replies
    /// would be lost.
    fn quoted(&mut self, now: Millis, packet: &Packet<'_>) -> Option<RealId> {
        let quote = icmp::quote(packet)?;
        // The quoted packet went from the virtual IP to the client: the reverse of the key.
        if quote.source != packet.destination {
            return None;
        }
        let (client, client_port) = (quote.destination, quote.destination_port);
        let key = Key::new(quote.protocol, client, client_port, quote.source, quote.source_port);
        if let Some((_, _, real)) = self.connection(&key) {
            return Some(real);
        }
        let protocol = Protocol::from_number(quote.protocol)?;
        let service = self.registry.listens.find(protocol, quote.source, quote.source_port)?;
        self.placed(now, &key, service)
    }

    /// The connection with this key, unless its service was removed.
    #[inline]
    pub(super) fn connection(&mut self, key: &Key) -> Option<(Handle, State, RealId)> {
        let (handle, state, real) = self.tables.connections.look_up(key)?;
        if self.registry.reals[real].life() == Life::Gone {
            self.drop_connection(handle);
            // A former connection with the same ends has its key now.
            return self.connection(key);
        }
        Some((handle, state, real))
    }

    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        now: Millis,
        handle: Handle,
        before: State,
        after: State,
        real: RealId,
    ) {
        if before == after && !before.on_probation() {
            self.tables.connections.touch(
                handle,
                after,
                now,
                after.timeout(&self.settings.timeouts),
            );
        } else if !self.too_early(now, handle, before) {
            self.enter_state(now, handle, before, after, real);
        }
    }

    /// Whether the connection is on probation, so that the packet does not change it.
    #[inline]
    fn too_early(&self, now: Millis, handle: Handle, state: State) -> bool {
        if !state.on_probation() {
            return false;
        }
        let timeout = state.timeout(&self.settings.timeouts);
        let Some(entry) = self.tables.connections.entry(handle) else { return false };
        // The timeout may be as short as the probation. If it was longer when the flow began, the
        // silence is unknown and the probation does not apply.
        entry.silent(now, timeout).is_some_and(|silent| silent < PROBATION.min(timeout / 2))
    }

    /// Changes a connection's state and its real server's counts.
    #[cold]
    pub(super) fn enter_state(
        &mut self,
        now: Millis,
        handle: Handle,
        before: State,
        after: State,
        real: RealId,
    ) {
        self.registry.reals[real].moved(before, after);
        self.tables.connections.touch(handle, after, now, after.timeout(&self.settings.timeouts));
    }

    /// Opens a connection: scheduled with an entry, or placed by hash while the table is full or
    /// the service in flood mode. A datagram that is scheduled alone gets no entry.
    pub(super) fn open(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        id: ServiceId,
        state: State,
    ) -> Disposition {
        let service = &self.registry.services[id];
        let alone = state == State::Udp && service.policy.one_packet;
        let hashed = service.hashed(now);
        if !alone && self.new_flow(now, id, Beginning::Opening) {
            return self.open_flooded(now, packet, key, id, state);
        }
        let by_hash = !alone && (self.tables.connections.is_full() || hashed);
        let by_hash = by_hash.then_some(Eligible::InRotation);
        let Some(choice) = self.choose(now, &key, id, by_hash) else {
            return self.refuse_packet(now, packet, Reason::NoRealServer);
        };
        if !alone {
            self.enter(now, packet, key, id, choice, state);
        } else {
            self.registry.reals[choice.real].visit();
        }
        self.tunnel(now, packet, choice.real)
    }

    /// TCP without a SYN and without an entry: an existing flow if the service adopts such flows,
    /// or while flows without an entry may be alive. It gets an entry if there is space.
    #[cold]
    fn unknown(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        id: ServiceId,
        flags: tcp::Flags,
    ) -> Disposition {
        let service = &self.registry.services[id];
        // In an existing flow no client answers a server's SYN.
        let adopts = service.adopts() && !flags.syn();
        if !(adopts || service.hashed(now)) {
            return self.refuse_packet(now, packet, Reason::NoConnection);
        }
        let eligible = if adopts { Eligible::ForExistingFlows } else { Eligible::InRotation };
        let flooded = !flags.rst() && self.new_flow(now, id, Beginning::Middle);
        let Some(home) = self.belonging(now, &key, id, eligible) else {
            return self.refuse_packet(now, packet, Reason::NoConnection);
        };
        // The real server needs the reset, but afterwards there is nothing to remember.
        if flags.rst() {
            return self.tunnel(now, packet, home);
        }
        if let Some(ending) = self.ending(now, home, Protocol::Tcp) {
            return self.end_unknown(now, packet, home, ending);
        }
        let Some(choice) = self.choose(now, &key, id, Some(eligible)) else {
            return self.refuse_packet(now, packet, Reason::NoConnection);
        };
        // On probation, in and out of floods: one packet proves nothing about its sender. An
        // existing flow loses nothing: if its entry is evicted, the hash places it again. A flow
        // that was left without an entry is recognised for a limited time only, so its next packet
        // is enough.
        let state = if adopts || flooded { State::SynAck } else { State::SynRecv };
        self.enter(now, packet, key, id, choice, state);
        self.tunnel(now, packet, choice.real)
    }

    /// Where a packet without an entry belongs, while such flows may be alive.
    fn placed(&self, now: Millis, key: &Key, id: ServiceId) -> Option<RealId> {
        let service = &self.registry.services[id];
        let adopted = key.protocol() == protocol::TCP && service.adopts();
        let eligible = if adopted { Eligible::ForExistingFlows } else { Eligible::InRotation };
        let known = adopted || service.hashed(now);
        if known { self.belongs(now, key, id, eligible) } else { None }
    }

    /// Adds an entry, if there is space. In a flood an unproven entry is evicted for it.
    pub(super) fn enter(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        id: ServiceId,
        choice: Choice,
        state: State,
    ) {
        if self.flooded(id) {
            self.expect_unknown(now, id);
            self.make_room();
        }
        let timeout = state.timeout(&self.settings.timeouts);
        let Ok(handle) = self.tables.connections.insert(key, choice.real, state, now, timeout)
        else {
            self.placed_without_entry(now, id);
            return;
        };
        self.tables.connections.set_position(handle, Position::of(packet));
        self.registry.reals[choice.real].bind(state);
        if let Some(template) = choice.template {
            self.tables.connections.set_template(handle, template);
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

    pub(super) fn placed_without_entry(&mut self, now: Millis, id: ServiceId) {
        self.counters.without_entry += 1;
        self.expect_unknown(now, id);
        let watch = &mut self.registry.services[id].watch;
        if watch.flooded() {
            watch.placed_without_entry();
        }
    }

    /// From now on the service's unknown packets are taken for flows without an entry, for as long
    /// as such a flow may live. The time is extended only while the table is full or the service in
    /// flood mode; after that a flow's next packet gives it an entry.
    fn expect_unknown(&mut self, now: Millis, id: ServiceId) {
        let longest = self.settings.timeouts.tcp_established.max(self.settings.timeouts.udp);
        self.registry.services[id].hashed_until = Some(now.after(longest));
    }

    pub(super) fn drop_connection(&mut self, handle: Handle) {
        if let Some(entry) = self.tables.connections.remove(handle) {
            self.forget(&entry);
        }
    }

    /// No service listens there.
    pub(super) fn nobody(&mut self, now: Millis, packet: &Packet<'_>) -> Disposition {
        if !self.registry.listens.is_vip(packet.destination) {
            return Disposition::Drop(Reason::NotVip);
        }
        self.refuse_packet(now, packet, Reason::NoService)
    }

    /// Answers like a host without a listener: TCP by RST (RFC 9293 section 3.10.7.1), UDP by ICMP
    /// port unreachable (RFC 1122 section 4.1.3.1). Drops the packet above the rate, or if it must
    /// not be answered.
    pub(super) fn refuse_packet(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        reason: Reason,
    ) -> Disposition {
        let refused = match packet.transport {
            Transport::Tcp(header) if header.flags.rst() => None,
            Transport::Tcp(_) => within(&mut self.answers.resets, now)
                .and_then(|()| tcp::reset(packet, &mut self.answers.reply)),
            _ => within(&mut self.answers.unreachables, now)
                .and_then(|()| icmp::port_unreachable(packet, &mut self.answers.reply)),
        };
        match refused {
            Some(()) => Disposition::Reply,
            None => Disposition::Drop(reason),
        }
    }
}

#[inline]
pub(super) fn key(packet: &Packet<'_>, client_port: u16, virtual_port: u16) -> Key {
    Key::new(packet.protocol, packet.source, client_port, packet.destination, virtual_port)
}

/// A packet whose source cannot be a client. A host without an address sends router solicitations
/// and multicast reports from `::`.
#[cold]
fn unanswerable(packet: &Packet<'_>) -> Disposition {
    if icmp::concerns_the_link(packet) {
        return Disposition::Drop(Reason::LinkNoise);
    }
    Disposition::Drop(Reason::BadSource)
}
