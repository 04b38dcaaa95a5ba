//! A real server of a service, in the balancer.

mod listed;

use std::net::IpAddr;

use super::arena::Arena;
use super::availability::Availability;
use super::carrier::{Carried, TunnelNumber};
use super::handshakes::Handshakes;
use super::hash;
use super::latency::Latency;
use super::moved_listens::MoveMarks;
use super::ramp::{FULL, Ramp};
use super::size_trial::SizeTrial;
use super::tcp::ConnState;
use super::tunnel::{LocalRoute, Room, Tunnel};
use crate::model::{
    Load, Millis, Quiescent, RealId, RealSpec, RealState, RealValue, RealValues, ServiceId,
    WeightStep,
};
use crate::wire::encap::Encap;

/// The real servers of all services, with removed ones while something names them.
pub(super) type Reals = Arena<RealId, Real>;

/// The life cycle of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// Configured.
    Configured,
    /// Removed from its service, which still lists it while it has connections.
    Removed,
    /// No service lists it any more; the connections and templates that still name it are dead.
    Gone,
}

/// The largest number of connections for the schedulers: as many as the largest table holds.
const MOST_BUSY: u64 = 1 << 24;

/// A real server of one service, with its counters.
#[derive(Debug)]
pub(super) struct Real {
    service: ServiceId,
    address: IpAddr,
    /// See [`hash::salt`].
    salt: u64,
    values: RealValues,
    /// The last weight that was not 0.
    hash_weight: u32,
    life: Life,
    /// See [`RealSpec::last_resort`].
    last_resort: bool,
    availability: Availability,
    /// The reached deadline that a notice was made of.
    noticed: Option<Millis>,
    /// Its slow start, while it lasts.
    ramp: Option<Ramp>,
    load: Load,
    /// The share of its weight where flows are placed by hash.
    step: WeightStep,
    /// How many connections it had been given in all when its load was reported.
    given_then: u64,
    /// See [`RealValues::full`].
    full: bool,
    active: u64,
    half_open: u64,
    inactive: u64,
    /// Whether its service is in flood mode.
    flooded: bool,
    connections: u64,
    /// Persistence templates that name it.
    templates: u64,
    packets: u64,
    bytes: u64,
    pub(super) carried: CarriedShare,
    /// Whether connections of it may belong to another service.
    pub(super) moves: MoveMarks,
    /// See [`Sources`](super::tunnel::Sources).
    source: Option<IpAddr>,
    pub(super) room: Room,
    pub(super) size_trial: SizeTrial,
    pub(super) errors: TunnelErrors,
    pub(super) handshakes: Handshakes,
    pub(super) latency: Latency,
}

/// ICMP errors about the tunnel to one real server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TunnelErrors {
    pub(super) protocol_unreachable: u64,
    pub(super) unreachable: u64,
    pub(super) path_mtu: Option<u16>,
}

/// The part of its packets that a carrier forwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CarriedShare {
    /// Its open tunnel.
    pub(super) tunnel: Option<TunnelNumber>,
    packets: u64,
    bytes: u64,
}

/// The counts of a real server that its connections determine.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionCounts {
    active: u64,
    half_open: u64,
    inactive: u64,
    full: bool,
}

impl Real {
    pub(super) fn new(service: ServiceId, spec: RealSpec, route: LocalRoute) -> Self {
        Self {
            service,
            address: spec.address,
            salt: hash::salt(spec.address),
            values: spec.values,
            hash_weight: spec.values.weight,
            life: Life::Configured,
            last_resort: spec.last_resort,
            availability: Availability::new(spec.state, None),
            noticed: None,
            ramp: None,
            load: Load::default(),
            step: WeightStep::FULL,
            given_then: 0,
            full: false,
            active: 0,
            half_open: 0,
            inactive: 0,
            flooded: false,
            connections: 0,
            templates: 0,
            packets: 0,
            bytes: 0,
            carried: CarriedShare::default(),
            moves: MoveMarks::default(),
            source: route.source,
            room: Room::behind(spec.address, spec.values.encap, route.mtu),
            size_trial: SizeTrial::default(),
            errors: TunnelErrors::default(),
            handshakes: Handshakes::default(),
            latency: Latency::default(),
        }
    }

    /// Counts a new connection in `state`.
    pub(super) fn bind(&mut self, state: ConnState) {
        *self.count_of(state) += 1;
        self.connections += 1;
        self.recount();
    }

    /// Sets its connections, for tests.
    #[cfg(test)]
    pub(super) fn set_connections(&mut self, active: u64, inactive: u64) {
        (self.active, self.inactive) = (active, inactive);
        self.connections = active + inactive;
        self.recount();
    }

    /// Counts a connection that was another real server's before.
    pub(super) fn take_over(&mut self, state: ConnState) {
        *self.count_of(state) += 1;
        self.recount();
    }

    /// Counts a datagram that is a flow of its own.
    pub(super) fn visit(&mut self) {
        self.connections += 1;
    }

    /// Counts the end of a connection in `state`.
    pub(super) fn unbind(&mut self, state: ConnState) {
        let count = self.count_of(state);
        *count = count.saturating_sub(1);
        self.recount();
    }

    /// The counts, to be restored by [`Self::recall`].
    pub(super) fn counted(&self) -> ConnectionCounts {
        let &Self { active, half_open, inactive, full, .. } = self;
        ConnectionCounts { active, half_open, inactive, full }
    }

    /// Restores counts that [`Self::counted`] has returned.
    pub(super) fn recall(&mut self, counted: ConnectionCounts) {
        let ConnectionCounts { active, half_open, inactive, full } = counted;
        (self.active, self.half_open) = (active, half_open);
        (self.inactive, self.full) = (inactive, full);
    }

    /// Counts a template that names it.
    pub(super) fn remember(&mut self) {
        self.templates += 1;
    }

    /// Counts the end of a template that names it.
    pub(super) fn forget(&mut self) {
        self.templates = self.templates.saturating_sub(1);
    }

    /// Whether a template that names it applies to a new flow.
    pub(super) fn persists(&self, now: Millis, quiescent: Quiescent) -> bool {
        let lives = match self.availability.state() {
            RealState::Up => true,
            RealState::Draining => !self.availability.is_over(now),
            RealState::Down | RealState::Disabled => false,
        };
        let keeps = self.life == Life::Configured && lives && quiescent == Quiescent::Keep;
        // A last resort is used only while there is no other server.
        !self.last_resort && (self.in_service() || keeps)
    }

    /// Whether it is the last resort of its service.
    pub(super) fn is_last_resort(&self) -> bool {
        self.last_resort
    }

    /// Whether a template names it.
    pub(super) fn remembered(&self) -> bool {
        self.templates > 0
    }

    /// The counter of connections in `state`. A connection is in one of them, whatever the
    /// service's mode.
    fn count_of(&mut self, state: ConnState) -> &mut u64 {
        if state.half_open() {
            &mut self.half_open
        } else if state.active() {
            &mut self.active
        } else {
            &mut self.inactive
        }
    }

    /// Moves one of its connections from one state to another.
    #[inline]
    pub(super) fn moved(&mut self, now: Millis, before: ConnState, after: ConnState) {
        let count = self.count_of(before);
        *count = count.saturating_sub(1);
        *self.count_of(after) += 1;
        if before.half_open() && !after.half_open() {
            self.handshakes.end(now);
        }
        if self.flooded && before.half_open() != after.half_open() {
            self.recount();
        }
    }

    /// Its service has entered flood mode, or left it.
    pub(super) fn set_flooded(&mut self, flooded: bool) {
        self.flooded = flooded;
        self.recount();
    }

    /// Compares the connections with their bounds again.
    fn recount(&mut self) {
        self.full = self.values.full(self.active() + self.inactive, self.full);
    }

    /// Counts packets sent to it, and returns its tunnel.
    #[inline]
    pub(super) fn count(&mut self, packets: u64, bytes: u64) -> Tunnel {
        let (real, source, sequence) = (self.address, self.source, self.packets);
        let encap = self.values.encap;
        let (limit, link) = (self.room.limit(), self.room.link());
        self.packets += packets;
        self.bytes += bytes;
        Tunnel { real, encap, source, sequence, limit, link }
    }

    /// Counts packets that were carried to it.
    pub(super) fn count_carried(&mut self, carried: Carried) {
        self.packets += carried.packets;
        self.bytes += carried.bytes;
        self.carried.packets += carried.packets;
        self.carried.bytes += carried.bytes;
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    pub(super) fn set_source(&mut self, source: IpAddr) {
        self.source = Some(source);
    }

    pub(super) fn service(&self) -> ServiceId {
        self.service
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn encap(&self) -> Encap {
        self.values.encap
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// The configured weight, or the one that a check's program gives in its place. An operator's
    /// weight 0 stays.
    pub(super) fn weight(&self) -> u32 {
        match self.load.weight {
            Some(given) if self.values.weight > 0 => given,
            _ => self.values.weight,
        }
    }

    /// Active connections for the schedulers: during a flood unfinished handshakes do not count.
    pub(super) fn active(&self) -> u64 {
        if self.flooded { self.active } else { self.active + self.half_open }
    }

    pub(super) fn inactive(&self) -> u64 {
        self.inactive
    }

    /// Whether it may take a new connection.
    pub(super) fn usable(&self) -> bool {
        self.in_service() && !self.full
    }

    /// Whether it is available for new connections, even if it is full now; becoming available
    /// begins a slow start. The real server of a flow without an entry must not depend on the
    /// number of other connections.
    pub(super) fn in_service(&self) -> bool {
        self.life == Life::Configured
            && self.availability.state() == RealState::Up
            && self.weight() > 0
            && self.load.thousandths > 0
    }

    /// Whether its service lists it and its connections are not ended.
    pub(super) fn serves(&self) -> bool {
        self.life == Life::Configured && self.availability.state() != RealState::Down
    }

    /// Whether its flows go on, and a packet of `len` bytes fits the path to it.
    #[inline(always)]
    pub(super) fn takes(&self, len: usize) -> bool {
        self.availability.is_up() && !self.room.excludes(len)
    }

    #[inline]
    pub(super) fn availability(&self) -> Availability {
        self.availability
    }

    pub(super) fn availability_mut(&mut self) -> &mut Availability {
        &mut self.availability
    }

    /// When its flows are ended; `None` if its service is gone or the notice was made already.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let listed = matches!(self.life, Life::Configured | Life::Removed);
        self.availability.until().filter(|until| listed && self.noticed != Some(*until))
    }

    pub(super) fn note_deadline_notice(&mut self) {
        self.noticed = self.availability.until();
    }

    /// Its service removes it. Its flows go on, at most until `until` if that is set.
    pub(super) fn remove(&mut self, until: Option<Millis>) {
        self.life = Life::Removed;
        self.availability.remove(until);
    }

    /// Its service lists it again, as in `spec`, with its flows and counters; `until` is the end of
    /// a drain.
    pub(super) fn restore(&mut self, now: Millis, spec: RealSpec, until: Option<Millis>) {
        self.life = Life::Configured;
        self.last_resort = spec.last_resort;
        self.step = WeightStep::FULL;
        spec.values.each().into_iter().for_each(|value| self.set(value));
        self.availability.readd(now, spec.state, until);
    }

    /// Sets its slow start; `None`: it has none.
    pub(super) fn set_ramp(&mut self, ramp: Option<Ramp>) {
        self.ramp = ramp;
    }

    /// Ends its slow start when it is over. Returns whether it goes on.
    pub(super) fn ramps(&mut self, now: Millis) -> bool {
        if self.grown(now) == FULL {
            self.ramp = None;
        }
        self.ramp.is_some()
    }

    /// Thousandths of its weight for the schedulers: less than [`FULL`] in a slow start only.
    #[inline]
    pub(super) fn grown(&self, now: Millis) -> u32 {
        self.ramp.map_or(FULL, |ramp| ramp.at(now))
    }

    /// Its effective weight in thousandths, for schedulers that use weights. Those that place by
    /// hash use [`Self::weight`]: their choice must not change with time.
    #[inline]
    pub(super) fn share(&self, now: Millis) -> u64 {
        let grown = u64::from(self.weight()) * u64::from(self.grown(now));
        match self.load.thousandths {
            FULL => grown,
            // A real server in service has at least the smallest share.
            borne => (grown * u64::from(borne) / u64::from(FULL)).max(1),
        }
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Sets the load that it reports. If the report is not new, the connections given since then
    /// still count.
    pub(super) fn set_load(&mut self, load: Load) {
        let reported = |load: Load| load.connections.map(|connections| connections.at);
        if reported(load) != reported(self.load) {
            self.given_then = self.connections;
        }
        self.load = Load { thousandths: load.thousandths.min(Load::MOST), ..load };
    }

    /// Connections that it reports, and those given to it since.
    pub(super) fn reported(&self) -> Option<u64> {
        let since = self.connections.saturating_sub(self.given_then);
        Some(self.load.connections?.count.saturating_add(since))
    }

    /// The connections that schedulers compare: those that it reports, otherwise those active in
    /// the table.
    pub(super) fn busy(&self) -> u64 {
        self.reported().unwrap_or_else(|| self.active()).min(MOST_BUSY)
    }

    /// Whether flows belong to it, usable or not.
    pub(super) fn configured(&self) -> bool {
        self.life == Life::Configured
    }

    /// Its share of flows placed by hash: its weight, or the last one that was not 0, so that
    /// weight 0 moves no other server's flows.
    pub(super) fn hash_weight(&self) -> u32 {
        self.hash_weight
    }

    /// [`Self::hash_weight`] times the share from its reported load, in steps: for the schedulers
    /// that place by hash.
    pub(super) fn stepped_weight(&self) -> u32 {
        self.step.of(self.hash_weight)
    }

    pub(super) fn set_step(&mut self, step: WeightStep) {
        self.step = step;
    }

    pub(super) fn set(&mut self, value: RealValue) {
        if let RealValue::Encap(encap) = value
            && encap != self.values.encap
        {
            self.room = self.room.with(self.address, encap);
        }
        value.set(&mut self.values);
        if self.values.weight > 0 {
            self.hash_weight = self.values.weight;
        }
        self.recount();
    }

    pub(super) fn set_life(&mut self, life: Life) {
        self.life = life;
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// Whether it has no connections any more.
    pub(super) fn idle(&self) -> bool {
        self.active == 0 && self.half_open == 0 && self.inactive == 0
    }

    /// Whether an ICMP error has reported a failure of its tunnel.
    pub(super) fn has_signalled(&self) -> bool {
        let TunnelErrors { protocol_unreachable, unreachable, path_mtu, .. } = &self.errors;
        *protocol_unreachable > 0 || *unreachable > 0 || path_mtu.is_some()
    }
}
