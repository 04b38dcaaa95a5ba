//! When connections leave the table: their timers, and eviction.

use std::time::Duration;

use super::Table;
use super::entry::{Entry, Handle};
use super::wheel::{TICK_MILLIS, tick, tick_after};
use crate::balancer::tcp::ConnState;
use crate::model::Millis;

impl Table {
    /// Evicts the unproven connection that has been silent longest, for another.
    pub fn evict(&mut self) -> Option<Entry> {
        let evicted = self.remove(Handle(self.waiting.first()?));
        self.turnover.evicted += u64::from(evicted.is_some());
        evicted
    }

    /// Returns the next expired connection. It has no timer any more: the caller has to
    /// [`Self::renew`] or [`Self::end`] it. `budget` counts down by each entry examined.
    pub fn due(&mut self, now: Millis, budget: &mut usize) -> Option<Handle> {
        let now = tick(now);
        if let Some((place, deadline)) = self.first_waiting()
            && deadline <= now
            && *budget > 0
        {
            *budget -= 1;
            self.waiting.remove(&mut self.entries, place);
            return Some(Handle(place));
        }
        while *budget > 0 {
            let place = self.wheel.pop(&mut self.entries, now)?;
            *budget -= 1;
            match self.entries.entries.get(place as usize) {
                Some(Some(entry)) if entry.deadline > now => {
                    let deadline = entry.deadline;
                    self.wheel.queue(&mut self.entries, place, deadline);
                    self.turnover.requeued += 1;
                }
                _ => return Some(Handle(place)),
            }
        }
        None
    }

    /// Gives an expired connection another state and timeout.
    pub fn renew(&mut self, handle: Handle, state: ConnState, timeout: Duration) {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.place()) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        let due = Millis(u64::from(entry.deadline) * TICK_MILLIS);
        entry.deadline = tick_after(due, timeout);
        let deadline = entry.deadline;
        self.requeue(handle.0, before, state, deadline);
        self.turnover.requeued += 1;
    }

    /// Removes an expired connection.
    pub fn end(&mut self, handle: Handle) -> Option<Entry> {
        let entry = self.remove(handle)?;
        self.turnover.expired += 1;
        Some(entry)
    }

    /// When [`Self::due`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let waiting = self.first_waiting().map(|(_, deadline)| deadline);
        let tick = self.wheel.next_tick().into_iter().chain(waiting).min();
        tick.map(|tick| Millis(u64::from(tick) * TICK_MILLIS))
    }

    /// The index and the deadline of the first unproven connection.
    fn first_waiting(&self) -> Option<(u32, u32)> {
        let place = self.waiting.first()?;
        Some((place, self.entry(Handle(place))?.deadline))
    }

    /// Queues an entry on the list for its state.
    pub(super) fn queue(&mut self, place: u32, state: ConnState, deadline: u32) {
        if state.unproven() {
            self.waiting.push(&mut self.entries, place);
        } else {
            self.wheel.queue(&mut self.entries, place, deadline);
        }
    }

    /// Takes an entry off the list for its state.
    pub(super) fn unqueue(&mut self, place: u32, state: ConnState) {
        if state.unproven() {
            self.waiting.remove(&mut self.entries, place);
        } else {
            self.wheel.unqueue(&mut self.entries, place);
        }
    }

    /// The less frequent part of [`Self::touch`].
    #[cold]
    pub(super) fn requeue(
        &mut self,
        place: u32,
        before: ConnState,
        after: ConnState,
        deadline: u32,
    ) {
        self.unqueue(place, before);
        self.queue(place, after, deadline);
    }
}
