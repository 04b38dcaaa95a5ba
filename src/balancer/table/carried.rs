//! Carried flows: the table reports each removed entry to its carrier, so that the carrier never
//! contradicts the table.

use super::entry::{Entry, Handle, Marks};
use super::wheel::{tick, tick_after};
use super::{Carrier, Table};
use crate::balancer::carrier::CarriedFlow;
use crate::balancer::position::Position;
use crate::model::{Millis, Timeouts};

/// The meaning of a packet for the carriage of its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::balancer) enum CarryState {
    /// It has had too few packets to be carried.
    Early,
    /// It may be carried.
    Wanted,
    /// It was carried until now.
    WasCarried,
}

impl Table {
    /// Flows of this table are carried by `carrier`.
    pub(in crate::balancer) fn carry_by(&mut self, carrier: Box<dyn Carrier>) {
        self.carrier = Some(carrier);
    }

    /// The carrier.
    pub(in crate::balancer) fn carrier(&mut self) -> Option<&mut dyn Carrier> {
        match &mut self.carrier {
            Some(carrier) => Some(&mut **carrier),
            None => None,
        }
    }

    /// A packet of the flow has come here: takes the flow back if it is carried, and counts the
    /// packet.
    #[inline]
    pub(in crate::balancer) fn note(
        &mut self,
        handle: Handle,
        now: Millis,
        timeouts: &Timeouts,
    ) -> CarryState {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) else {
            return CarryState::Early;
        };
        if !entry.marks.has(Marks::CARRIED) {
            return if entry.marks.count_packet() { CarryState::Wanted } else { CarryState::Early };
        }
        if self.take_back(handle, now, timeouts) {
            CarryState::WasCarried
        } else {
            CarryState::Wanted
        }
    }

    /// Carries a flow from now on, if the carrier has room.
    pub(in crate::balancer) fn enter(&mut self, handle: Handle, flow: &CarriedFlow) {
        let Some(carrier) = &mut self.carrier else { return };
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.index())
            && carrier.enter(handle.index(), flow)
        {
            entry.marks.set(Marks::CARRIED, true);
        }
    }

    /// Takes a carried flow back, with what its carrier has recorded. Returns whether it was still
    /// carried: its tunnel may be closed.
    #[cold]
    fn take_back(&mut self, handle: Handle, now: Millis, timeouts: &Timeouts) -> bool {
        let Some(carrier) = &mut self.carrier else { return false };
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) else { return false };
        let was_carried = carrier.hold(handle.index());
        entry.marks.set(Marks::CARRIED, false);
        let seen = carrier.seen(handle.index());
        let Some(last) = seen.last else { return was_carried };
        entry.deadline =
            entry.deadline.max(tick_after(last.min(now), entry.state.timeout(timeouts)));
        let (next, acknowledged) = (seen.next, seen.acknowledged);
        entry.set_position(Position { next, acknowledged, opening: false });
        was_carried
    }

    /// Whether an expired connection goes on, because packets of it were carried meanwhile.
    /// Otherwise this stops carrying it.
    pub(in crate::balancer) fn goes_on(
        &mut self,
        handle: Handle,
        now: Millis,
        timeouts: &Timeouts,
    ) -> bool {
        let Some(entry) = self.entry(handle) else { return false };
        let (carried, state) = (entry.marks.has(Marks::CARRIED), entry.state);
        let deadline = self.deadline(handle, entry, now, timeouts);
        if !carried {
            return false;
        }
        if deadline <= tick(now) {
            self.take_back(handle, now, timeouts);
            return false;
        }
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) {
            entry.deadline = deadline;
        }
        self.queue(handle.0, state, deadline);
        self.turnover.requeued += 1;
        true
    }

    /// The entry, with what its carrier has recorded so far.
    pub(in crate::balancer) fn as_seen(
        &self,
        handle: Handle,
        now: Millis,
        timeouts: &Timeouts,
    ) -> Option<Entry> {
        let entry = self.entry(handle)?;
        let deadline = self.deadline(handle, entry, now, timeouts);
        let mut seen = entry.clone();
        seen.deadline = deadline;
        seen.set_position(self.position(handle, entry));
        let carries = self.carrier.as_ref().is_some_and(|carrier| carrier.carries(handle.index()));
        seen.marks.set(Marks::CARRIED, entry.marks.has(Marks::CARRIED) && carries);
        Some(seen)
    }

    fn deadline(&self, handle: Handle, entry: &Entry, now: Millis, timeouts: &Timeouts) -> u32 {
        let carrier = self.carrier.as_ref().filter(|_| entry.marks.has(Marks::CARRIED));
        let last = carrier.and_then(|carrier| carrier.seen(handle.index()).last);
        let deadline = last.map(|last| tick_after(last.min(now), entry.state.timeout(timeouts)));
        entry.deadline.max(deadline.unwrap_or_default())
    }

    fn position(&self, handle: Handle, entry: &Entry) -> Position {
        let carrier = self.carrier.as_ref().filter(|_| entry.marks.has(Marks::CARRIED));
        let seen = carrier.map(|carrier| carrier.seen(handle.index()));
        match seen.filter(|seen| seen.last.is_some()) {
            Some(seen) => {
                Position { next: seen.next, acknowledged: seen.acknowledged, opening: false }
            }
            None => entry.position(),
        }
    }

    /// The entry at an index is removed, or gets another key.
    #[inline]
    pub(super) fn forget_carried(&mut self, index: u32) {
        if self.carrier.is_some() {
            self.forget_at(index);
        }
    }

    fn forget_at(&mut self, index: u32) {
        let Some(carrier) = &mut self.carrier else { return };
        let Some(Some(entry)) = self.entries.entries.get_mut(index as usize) else { return };
        // A flow with fewer packets was never entered: short connections cost nothing here.
        if entry.marks.may_be_carried() {
            carrier.forget(index as usize, &entry.key());
            entry.marks.set(Marks::CARRIED, false);
        }
    }
}
