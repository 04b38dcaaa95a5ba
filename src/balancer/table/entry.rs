//! The entry of a connection: one cache line.

use std::time::Duration;

use super::wheel::{Links, TICK_MILLIS};
use crate::balancer::flow::{Endpoints, Key};
use crate::balancer::position::Position;
use crate::balancer::tcp::ConnState;
use crate::model::{Millis, RealId};

/// A connection.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Entry {
    pub(super) ends: Endpoints,
    pub(super) protocol: u8,
    pub(super) state: ConnState,
    pub(super) template: TemplateIndex,
    /// A TCP client's [`Position`], without its padding.
    next: u32,
    acknowledged: u16,
    pub(super) marks: Marks,
    pub(super) real: RealId,
    /// The tick at whose end the connection expires.
    pub(super) deadline: u32,
    pub(super) links: Links,
}

impl Entry {
    pub(super) fn new(key: Key, real: RealId, state: ConnState, deadline: u32) -> Self {
        Self {
            ends: key.ends,
            protocol: key.protocol,
            state,
            template: TemplateIndex::NONE,
            next: 0,
            acknowledged: 0,
            marks: Marks::default(),
            real,
            deadline,
            links: Links::NONE,
        }
    }

    /// The flow's key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { ends: self.ends, protocol: self.protocol }
    }

    #[inline(always)]
    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.ends == key.ends && self.protocol == key.protocol
    }

    /// The client's position in its TCP stream.
    #[inline(always)]
    pub(in crate::balancer) fn position(&self) -> Position {
        let opening = self.marks.has(Marks::OPENING);
        Position { next: self.next, acknowledged: self.acknowledged, opening }
    }

    /// The marks of a TCP connection.
    pub(in crate::balancer) fn marks(&self) -> Marks {
        self.marks
    }

    #[inline(always)]
    pub(super) fn set_position(&mut self, position: Position) {
        (self.next, self.acknowledged) = (position.next, position.acknowledged);
        self.marks.set(Marks::OPENING, position.opening);
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> ConnState {
        self.state
    }

    /// Its real server.
    #[must_use]
    pub fn real(&self) -> RealId {
        self.real
    }

    /// Its template, in the table of templates.
    pub(in crate::balancer) fn template(&self) -> Option<Handle> {
        self.template.handle()
    }

    /// How long it stays in its state without a further packet.
    #[must_use]
    pub fn expires(&self, now: Millis) -> Duration {
        now.until(Millis(u64::from(self.deadline) * TICK_MILLIS))
    }

    /// The time since its last packet, to a tick, if its timeout was `timeout` then; `None`: the
    /// timeout was longer.
    #[must_use]
    pub fn silent(&self, now: Millis, timeout: Duration) -> Option<Duration> {
        let expires = self.expires(now);
        // A deadline is at the end of a tick.
        let longer = expires > timeout + Duration::from_millis(TICK_MILLIS);
        (!longer).then(|| timeout.saturating_sub(expires))
    }
}

/// Facts about a TCP connection that its state does not contain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::balancer) struct Marks(u8);

impl Marks {
    /// Only the client's SYN has been seen: see [`Position::opening`].
    pub(super) const OPENING: u8 = 1;
    /// One segment has followed the client's FIN, which may be the last acknowledgement.
    pub(in crate::balancer) const TALKS: u8 = 2;
    /// In SYN_RECV: the client's last segment was a reset.
    pub(in crate::balancer) const RESET: u8 = Self::TALKS;
    /// More have followed: the client has closed its direction and still receives.
    pub(in crate::balancer) const HALF_CLOSED: u8 = 4;
    /// There is, or was, an earlier connection with the same ends: see [`Key::former`].
    pub(in crate::balancer) const HAS_FORMER: u8 = 8;
    /// The flow is carried: see [`Carrier`](crate::balancer::carrier::Carrier).
    pub(in crate::balancer) const CARRIED: u8 = 0x80;
    /// One packet in [`Self::PACKETS`].
    const PACKET: u8 = 0x10;
    /// How many packets have found the entry, up to 7. Counted only if there is a carrier.
    const PACKETS: u8 = 0x70;

    /// Counts a packet. Returns whether the flow has had enough packets to be carried.
    #[inline]
    pub(super) fn count_packet(&mut self) -> bool {
        if !self.may_be_carried() {
            self.0 += Self::PACKET;
        }
        self.may_be_carried()
    }

    /// Whether its flow has had enough packets to be carried.
    #[inline]
    pub(in crate::balancer) fn may_be_carried(self) -> bool {
        self.0 & Self::PACKETS == Self::PACKETS
    }

    #[inline(always)]
    pub(in crate::balancer) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    #[inline(always)]
    pub(super) fn set(&mut self, mark: u8, value: bool) {
        self.0 = if value { self.0 | mark } else { self.0 & !mark };
    }
}

/// An entry's index in the table, valid until the entry is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handle(pub(super) u32);

impl Handle {
    /// The handle of the entry at an index.
    pub(in crate::balancer) fn at(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Its index in the table, below the capacity.
    pub(in crate::balancer) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A template's index in the three bytes that an entry has for it. There are fewer templates than
/// they can number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TemplateIndex([u8; 3]);

impl TemplateIndex {
    pub(super) const NONE: Self = Self([u8::MAX; 3]);

    pub(super) fn of(handle: Handle) -> Self {
        let [high, rest @ ..] = handle.0.to_be_bytes();
        if high == 0 { Self(rest) } else { Self::NONE }
    }

    pub(super) fn handle(self) -> Option<Handle> {
        let Self([a, b, c]) = self;
        (self != Self::NONE).then_some(Handle(u32::from_be_bytes([0, a, b, c])))
    }
}
