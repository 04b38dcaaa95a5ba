//! Which flows are carried, where to, and when they are taken back.
//!
//! A flow is carried once several packets of it have come here, its connection is established, and
//! no timed event of it or its real server is pending. It is taken back
//!
//! - by each packet of it that comes here: SYN, FIN, reset, a fragment, a packet that is too large;
//! - by each change, before that is applied: all tunnels are closed;
//! - by news about the path to its real server, and by its real server's removal;
//! - by its timeout, unless packets were carried meanwhile;
//! - by the removal of its entry (the table sees to that).
//!
//! A packet that waited in the TUN when its flow was entered comes here afterwards. It takes the
//! flow back only until its verdict. Otherwise the packets that arrive meanwhile would wait in the
//! TUN, and under load no flow would stay in the map. A flow that was taken back for another reason
//! is carried again only when its waiting packets have been forwarded, like a new flow.

use std::net::IpAddr;
use std::time::Duration;

use super::Balancer;
use super::carriage::Interfaces;
use super::carrier::{
    Carried, CarriedFlow, CarriedTunnel, Carrier, NotCarriedCounts, TunnelNumber,
};
use super::change::Change;
use super::outer;
use super::table::{CarryState, Entry, Handle, Marks};
use super::tcp::ConnState;
use crate::model::{Millis, Protocol, RealId};
use crate::wire::encap;
use crate::wire::encap::Encap;

/// How often the counts of carried packets are read, at most.
const COLLECTED_EVERY: Duration = Duration::from_millis(10);

/// The longest inner packet that a carrier can describe in an outer IPv4 header.
const LONGEST: usize = u16::MAX as usize - encap::MAX_OUTER_LEN;

impl Balancer {
    /// Flows are carried by `carrier` from now on. `label_key`: see
    /// [`Inner::of`](super::outer::Inner::of).
    pub fn carry_by(&mut self, carrier: Box<dyn Carrier>, label_key: u64) {
        self.tables.connections.carry_by(carrier);
        self.carriage.on = true;
        self.carriage.label_key = label_key;
    }

    /// Whether there is a carrier.
    #[must_use]
    pub fn carries(&self) -> bool {
        self.carriage.on
    }

    /// The packets that were not carried; `None`: there is no carrier.
    #[must_use]
    pub fn not_carried(&mut self) -> Option<NotCarriedCounts> {
        self.tables.connections.carrier().map(|carrier| carrier.not_carried())
    }

    /// Notes a packet of a flow that has an entry, before anything else is decided about it.
    #[inline(always)]
    pub(super) fn note_packet(&mut self, now: Millis, handle: Handle) {
        if !self.carriage.on {
            return;
        }
        match self.tables.connections.note(handle, now, &self.settings.timeouts) {
            CarryState::Early => {}
            CarryState::Wanted => self.carriage.want(handle),
            CarryState::WasCarried => self.carriage.overtaken = Some(handle),
        }
    }

    /// Carries the flow of a packet that has been decided on again, if it was carried when the
    /// packet came and still may be.
    #[inline(always)]
    pub(super) fn carry_again(&mut self) {
        if self.carriage.overtaken.is_some() {
            self.carry_overtaken();
        }
    }

    #[cold]
    fn carry_overtaken(&mut self) {
        if let Some(handle) = self.carriage.overtaken.take() {
            self.carry(handle);
        }
    }

    /// Whether flows wait for [`Self::carry_wanted`].
    #[inline]
    #[must_use]
    pub fn wants_to_carry(&self) -> bool {
        !self.carriage.wanted.is_empty()
    }

    /// Carries the noted flows that may be carried. Call it when no packet of theirs waits to be
    /// forwarded: a carried one would overtake it.
    pub fn carry_wanted(&mut self) {
        while let Some(handle) = self.carriage.wanted.pop() {
            self.carry(handle);
        }
    }

    /// Carries a flow if it may be carried.
    #[cold]
    fn carry(&mut self, handle: Handle) {
        let Some(real) = self.may_carry(handle) else { return };
        let Some(tunnel) = self.tunnel_of(real) else { return };
        let Some(entry) = self.tables.connections.entry(handle) else { return };
        let (key, position) = (entry.key(), entry.position());
        let label = outer::label_of_flow(&key, self.carriage.label_key);
        let (next, acknowledged) = (position.next, position.acknowledged);
        let flow = CarriedFlow { key, tunnel, label, next, acknowledged };
        self.tables.connections.enter(handle, &flow);
        self.registry.reals[real].latency.forget(handle);
    }

    /// The real server of a flow that may be carried. The handle may belong to another flow by now.
    fn may_carry(&self, handle: Handle) -> Option<RealId> {
        let entry = self.tables.connections.entry(handle)?;
        if !is_settled(entry) || !self.registry.lists(entry.real()) {
            return None;
        }
        // Its next packet shows where it belongs.
        if self.registry.reals[entry.real()].moves.follows {
            return None;
        }
        let protocol = Protocol::from_number(entry.key().protocol())?;
        let availability = self.registry.reals[entry.real()].availability();
        // A deadline passes without a packet, and then the flow's next packet ends it.
        let stays = availability.until().is_none()
            && self.ending(self.now, entry.real(), protocol).is_none();
        stays.then(|| entry.real())
    }

    /// The real server's tunnel, opened if it is not.
    fn tunnel_of(&mut self, id: RealId) -> Option<TunnelNumber> {
        let real = &self.registry.reals[id];
        if let Some(tunnel) = real.carried.tunnel {
            return Some(tunnel);
        }
        // The eBPF program writes only the headers of IP in IP.
        if real.encap() != Encap::Ipip {
            return None;
        }
        let tunnel = CarriedTunnel {
            real: real.address(),
            source: real.source()?,
            interface: *self.carriage.interfaces.get(&real.address())?,
            limit: real.room.limit().min(LONGEST),
        };
        // A path without a known MTU has no limit.
        let known = real.room.link_mtu().is_some();
        if !known || tunnel.source.is_ipv4() != tunnel.real.is_ipv4() {
            return None;
        }
        let number = self.tables.connections.carrier()?.open(&tunnel)?;
        self.registry.reals[id].carried.tunnel = Some(number);
        self.carriage.open.push(id);
        Some(number)
    }

    /// Takes all flows back if one of the changes may concern carried flows.
    pub(super) fn take_back_for(&mut self, changes: &[Change]) {
        let other = |change: &Change| {
            !matches!(
                change,
                Change::PinProbe { .. } | Change::UnpinProbe(_) | Change::SetLoad { .. }
            )
        };
        if !self.carriage.open.is_empty() && changes.iter().any(other) {
            self.take_all_back();
        }
    }

    /// Takes all flows back.
    pub fn take_all_back(&mut self) {
        for id in std::mem::take(&mut self.carriage.open) {
            self.close_tunnel(id);
        }
    }

    /// Takes the flows of a real server back.
    pub(super) fn take_back_of(&mut self, id: RealId) {
        if self.carriage.on && self.registry.reals[id].carried.tunnel.is_some() {
            self.carriage.open.retain(|&other| other != id);
            self.close_tunnel(id);
        }
    }

    /// Takes the flows of all real servers with this address back.
    pub(super) fn take_back_at(&mut self, address: IpAddr) {
        let at = |id: &RealId| self.registry.reals[*id].address() == address;
        let open: Vec<_> = self.carriage.open.iter().copied().filter(at).collect();
        open.into_iter().for_each(|id| self.take_back_of(id));
    }

    fn close_tunnel(&mut self, id: RealId) {
        let Some(tunnel) = self.registry.reals[id].carried.tunnel.take() else { return };
        let Some(carrier) = self.tables.connections.carrier() else { return };
        let carried = carrier.close(tunnel);
        self.count_carried(id, carried);
    }

    /// Counts the packets carried so far, for listings.
    pub fn collect_carried(&mut self, now: Millis) {
        if self.carriage.open.is_empty() || self.carriage.collected.until(now) < COLLECTED_EVERY {
            return;
        }
        self.carriage.collected = now;
        for index in 0..self.carriage.open.len() {
            let id = self.carriage.open[index];
            let Some(tunnel) = self.registry.reals[id].carried.tunnel else { continue };
            let Some(carrier) = self.tables.connections.carrier() else { return };
            let carried = carrier.carried(tunnel);
            self.count_carried(id, carried);
        }
    }

    fn count_carried(&mut self, id: RealId, carried: Carried) {
        self.registry.reals[id].count_carried(carried);
        self.counters.read += carried.frames;
        self.counters.tunnelled += carried.frames;
        self.counters.carried += carried.frames;
    }

    pub(super) fn set_interfaces(&mut self, interfaces: &Interfaces) {
        self.carriage.interfaces.clone_from(interfaces);
    }
}

/// Whether a packet of the flow changes nothing but its position and its deadline.
fn is_settled(entry: &Entry) -> bool {
    let marks = entry.marks();
    let other = Marks::CARRIED | Marks::HAS_FORMER | Marks::TALKS | Marks::HALF_CLOSED;
    matches!(entry.state(), ConnState::Established | ConnState::Udp)
        && marks.may_be_carried()
        && !marks.has(other)
        && !entry.position().opening
        && !entry.key().is_former()
}
