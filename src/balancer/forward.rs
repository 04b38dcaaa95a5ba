//! From a packet to its verdict.
//!
//! 1. Refuse sources that no client has, since they cannot be answered. (A virtual IP is one; it is
//!    looked up only if no connection is found.) Fragments are handled in [`super::fragments`].
//! 2. TCP and UDP: the connection, if there is one; its next state; its real server, unless that
//!    keeps its flows no longer.
//! 3. Without a connection: the service that listens there, and its scheduler's choice.
//! 4. Without a service: reset or port unreachable, within a rate.
//! 5. ICMP: an echo request is answered; an error goes to the real server whose flow it quotes.

use std::time::Duration;

use super::Balancer;
use super::decide::First;
use super::flood::PROBATION;
use super::flow::Key;
use super::limit::within;
use super::position::SegmentFields;
use super::real::Life;
use super::segment::{Found, SegmentOwner};
use super::table::{Handle, Marks};
use super::tcp::ConnState;
use super::verdict::{AnswerCause, Disposition, Reason, Verdict};
use crate::model::{Millis, Protocol, RealId};
use crate::wire::{Fragment, Packet, Transport, icmp, is_host, tcp};

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
        self.counters.count(disposition);
        self.carry_again();
        self.verdict(disposition, packet)
    }

    /// Counts the packets for their real server and adds the tunnel to it.
    #[inline(always)]
    pub(super) fn verdict(&mut self, disposition: Disposition, packet: &Packet<'_>) -> Verdict {
        match disposition {
            Disposition::Tunnel(real) => {
                let (packets, bytes) = (packet.wire_packets(), packet.wire_bytes());
                Verdict::Tunnel(self.registry.reals[real].count(packets, bytes))
            }
            Disposition::Drop(reason) => Verdict::Drop(reason),
            Disposition::Reply(_) => Verdict::Reply,
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
        // Passed in parts, which stay in registers. A tuple passed by address is stored in parts
        // and loaded as a whole, and that load waits for the stores.
        if let Some((handle, state, real)) = self.connection(&key) {
            self.note_packet(now, handle);
            let segment = SegmentFields::of(packet, header);
            if self.segment_goes_on(now, packet, (handle, state, real), &segment) {
                return Disposition::Tunnel(real);
            }
            return self.segment(now, packet, key, (handle, state, real), &segment);
        }
        let first = if header.flags.opens() {
            First::Opening(ConnState::None.next(header.flags))
        } else {
            First::Middle(header.flags)
        };
        self.begin(now, packet, key, first)
    }

    /// The first packet of a flow without an entry.
    pub(super) fn begin(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        first: First,
    ) -> Disposition {
        match self.service_of(&key) {
            Ok(service) => {
                let decision = self.decide(now, &key, service, first, 0);
                self.commit(now, packet, key, &decision)
            }
            Err(reason) => self.unserved(now, packet, reason),
        }
    }

    /// A segment of a connection that has an entry.
    #[inline(never)]
    pub(super) fn segment(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        found: Found,
        segment: &SegmentFields,
    ) -> Disposition {
        if segment.flags.opens() {
            return self.syn_on_connection(now, packet, key, found, segment);
        }
        let SegmentOwner { found, after } = self.owner(now, &key, found, segment);
        let (handle, state, real) = found;
        // The client's own reset is forwarded: the real server needs no other.
        let ending = self.ending(now, real, Protocol::Tcp);
        if let Some(ending) = ending.filter(|_| !segment.flags.rst()) {
            return self.end(now, packet, found, ending);
        }
        self.advance(now, handle, state, after, real);
        self.time_segment(handle, real, segment);
        self.tunnel(now, packet, real)
    }

    #[inline]
    fn udp(&mut self, now: Millis, packet: &Packet<'_>, client: u16, port: u16) -> Disposition {
        let key = key(packet, client, port);
        if let Some((handle, state, real)) = self.connection(&key) {
            self.note_packet(now, handle);
            if self.datagram_goes_on(now, packet, (handle, state, real)) {
                return Disposition::Tunnel(real);
            }
            return self.datagram(now, packet, key, (handle, state, real));
        }
        self.begin(now, packet, key, First::Opening(ConnState::Udp))
    }

    /// A datagram of a flow that has an entry.
    #[inline(never)]
    pub(super) fn datagram(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        (handle, state, real): Found,
    ) -> Disposition {
        if self.ending(now, real, Protocol::Udp).is_some() {
            return self.replace(now, packet, key, handle, First::Opening(ConnState::Udp));
        }
        self.advance(now, handle, state, ConnState::Udp, real);
        self.tunnel(now, packet, real)
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
                Some(real) => {
                    self.noted.real = Some(real);
                    Disposition::Tunnel(real)
                }
                None => Disposition::Drop(Reason::IcmpNoFlow),
            };
        }
        match icmp::echo_reply(packet, &mut self.answers.reply) {
            Some(()) => Disposition::Reply(AnswerCause::Echo),
            None => Disposition::Drop(Reason::Icmp),
        }
    }

    /// The real server of the flow that an ICMP error quotes. A router with a small MTU between a
    /// server and its client sends its errors to the virtual IP, and so to the director. Without
    /// them the replies would be lost.
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
        self.real_without_entry(now, &key, service)
    }

    /// The connection with this key, unless its service was removed.
    #[inline(always)]
    pub(super) fn connection(&mut self, key: &Key) -> Option<Found> {
        let found = self.tables.connections.look_up(key)?;
        let real = &self.registry.reals[found.2];
        if (real.life() == Life::Gone) | real.moves.follows {
            return self.unsettled(key, found);
        }
        Some(found)
    }

    /// Moves a connection that has not followed its listen yet. Takes out one whose service was
    /// removed: a former connection with the same ends has its key then.
    #[cold]
    fn unsettled(&mut self, key: &Key, (handle, state, _): Found) -> Option<Found> {
        let real = self.move_to_owner(self.now, handle)?;
        if self.registry.reals[real].life() != Life::Gone {
            return Some((handle, state, real));
        }
        self.drop_connection(handle);
        self.connection(key)
    }

    /// The connection that [`Self::connection`] finds, and how many dead entries it removes for
    /// that.
    pub(super) fn peek(&self, key: &Key) -> (Option<Found>, usize) {
        let (mut key, mut dead) = (*key, 0);
        while let Some((handle, state, _)) = self.tables.connections.look_up(&key) {
            let entry = self.tables.connections.entry(handle);
            let real = entry.map(|entry| self.real_of(entry));
            if let Some(real) = real.filter(|&real| self.registry.reals[real].life() != Life::Gone)
            {
                return (Some((handle, state, real)), dead);
            }
            dead += 1;
            let followed = entry.is_some_and(|entry| entry.marks().has(Marks::HAS_FORMER));
            if !followed || key.is_former() {
                break;
            }
            key = key.former();
        }
        (None, dead)
    }

    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        now: Millis,
        handle: Handle,
        before: ConnState,
        after: ConnState,
        real: RealId,
    ) {
        if before == after && before.is_prolonged() {
            self.tables.connections.touch(
                handle,
                after,
                now,
                after.timeout(&self.settings.timeouts),
            );
        } else if !self.too_early(now, handle, before, after) {
            self.enter_state(now, handle, before, after, real);
        }
    }

    /// Whether the packet does not change the connection: it is on probation, or was reset and
    /// stays so.
    #[inline]
    fn too_early(&self, now: Millis, handle: Handle, before: ConnState, after: ConnState) -> bool {
        match before {
            ConnState::Close => after == before,
            _ => before.on_probation() && self.follows_soon(now, handle, before, PROBATION),
        }
    }

    /// Whether the connection's last packet that counted was less than `span` ago.
    #[inline]
    pub(super) fn follows_soon(
        &self,
        now: Millis,
        handle: Handle,
        state: ConnState,
        span: Duration,
    ) -> bool {
        let timeout = state.timeout(&self.settings.timeouts);
        let Some(entry) = self.tables.connections.entry(handle) else { return false };
        // The timeout may be as short as the span. If it was longer when that packet came, the
        // silence is unknown and counts as long.
        entry.silent(now, timeout).is_some_and(|silent| silent < span.min(timeout / 2))
    }

    /// Changes a connection's state and its real server's counts.
    #[cold]
    pub(super) fn enter_state(
        &mut self,
        now: Millis,
        handle: Handle,
        before: ConnState,
        after: ConnState,
        real: RealId,
    ) {
        self.registry.reals[real].moved(now, before, after);
        self.tables.connections.touch(handle, after, now, after.timeout(&self.settings.timeouts));
    }

    pub(super) fn drop_connection(&mut self, handle: Handle) {
        if let Some(entry) = self.tables.connections.remove(handle) {
            self.forget(&entry);
        }
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
        self.noted.refused = Some(reason);
        let refused = match packet.transport {
            Transport::Tcp(header) if header.flags.rst() => None,
            Transport::Tcp(_) => within(&mut self.answers.resets, now)
                .and_then(|()| tcp::reset(packet, &mut self.answers.reply)),
            _ => within(&mut self.answers.unreachables, now)
                .and_then(|()| icmp::port_unreachable(packet, &mut self.answers.reply)),
        };
        match refused {
            Some(()) => Disposition::Reply(AnswerCause::Refused(reason)),
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
