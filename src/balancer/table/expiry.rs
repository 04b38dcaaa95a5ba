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
        if let Some((index, deadline)) = self.first_waiting()
            && deadline <= now
            && *budget > 0
        {
            *budget -= 1;
            self.waiting.remove(&mut self.entries, index);
            return Some(Handle(index));
        }
        while *budget > 0 {
            let index = self.wheel.pop(&mut self.entries, now)?;
            *budget -= 1;
            match self.entries.entries.get(index as usize) {
                Some(Some(entry)) if entry.deadline > now => {
                    let deadline = entry.deadline;
                    self.wheel.queue(&mut self.entries, index, deadline);
                    self.turnover.requeued += 1;
                }
                _ => return Some(Handle(index)),
            }
        }
        None
    }

    /// Gives an expired connection another state and timeout.
    pub fn renew(&mut self, handle: Handle, state: ConnState, timeout: Duration) {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) else { return };
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
        let index = self.waiting.first()?;
        Some((index, self.entry(Handle(index))?.deadline))
    }

    /// Queues an entry on the list for its state.
    pub(super) fn queue(&mut self, index: u32, state: ConnState, deadline: u32) {
        if state.unproven() {
            self.waiting.push(&mut self.entries, index);
        } else {
            self.wheel.queue(&mut self.entries, index, deadline);
        }
    }

    /// Takes an entry off the list for its state.
    pub(super) fn unqueue(&mut self, index: u32, state: ConnState) {
        if state.unproven() {
            self.waiting.remove(&mut self.entries, index);
        } else {
            self.wheel.unqueue(&mut self.entries, index);
        }
    }

    /// The less frequent part of [`Self::touch`].
    #[cold]
    pub(super) fn requeue(
        &mut self,
        index: u32,
        before: ConnState,
        after: ConnState,
        deadline: u32,
    ) {
        self.unqueue(index, before);
        self.queue(index, after, deadline);
    }
}
