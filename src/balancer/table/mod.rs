//! The connection table: a fixed number of entries, found by keyed hash, expired by a lazy timer
//! wheel.
//!
//! Memory is reserved for its capacity and touched only as entries are added: an empty table of a
//! million costs next to nothing. One entry is one cache line; with the index a
//! flow of either family costs 87 bytes in a full table of a million (IPVS: 256 to 300).

mod carried;
mod entry;
mod expiry;
mod index;
mod renewal;
mod segments;
mod slab;
mod waiting;
mod wheel;

use std::ops::Range;
use std::time::Duration;

use super::carrier::Carrier;
use super::flow::Key;
use super::position::{Position, SegmentFields};
use super::tcp::ConnState;
use crate::model::{Millis, RealId, Seed, Thresholds};
use entry::TemplateIndex;
use index::Index;
use slab::Slab;
use waiting::Waiting;
use wheel::{Wheel, tick_after};

pub(super) use carried::CarryState;
pub(super) use entry::Marks;
pub use entry::{Entry, Handle};
pub(super) use renewal::Renewals;
pub(super) use segments::Segments;

/// The largest capacity: the index then takes 512 MiB of address space.
pub const MAX_CAPACITY: u32 = Thresholds::MAX;

/// The most slots of the index for each connection of capacity.
const INDEX_SLOTS: usize = 6;

/// The most entries examined per turn, so that many deadlines at once do not delay packets.
pub const EXPIRE_BUDGET: usize = 4_096;

/// Slots of the index that are moved in one turn after the table was made larger: half a
/// millisecond or less.
const MOVED_A_TURN: usize = 8_192;

/// The most flows that one call of [`Table::look_ahead`] prefetches.
pub const AHEAD: usize = 64;

/// The table is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// Counters of the timers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Turnover {
    /// Connections that have expired.
    pub expired: u64,
    /// Timers that fired before their connection's deadline, and were queued again.
    pub requeued: u64,
    /// Connections evicted before their deadline, for others ([`Table::evict`]).
    pub evicted: u64,
}

/// The connection table.
#[derive(Debug)]
pub struct Table {
    seed: Seed,
    capacity: u32,
    len: u32,
    turnover: Turnover,
    entries: Slab,
    index: Index,
    wheel: Wheel,
    /// Connections in a state that is [`ConnState::unproven`]; all others are on the wheel.
    waiting: Waiting,
    carrier: Option<Box<dyn Carrier>>,
}

impl Table {
    /// A table for up to `capacity` connections, at most [`MAX_CAPACITY`].
    #[must_use]
    pub fn new(capacity: u32, seed: Seed) -> Self {
        let capacity = capacity.min(MAX_CAPACITY);
        Self {
            seed,
            capacity,
            len: 0,
            turnover: Turnover::default(),
            entries: Slab::new(capacity),
            index: Index::new(capacity),
            wheel: Wheel::new(),
            waiting: Waiting::EMPTY,
            carrier: None,
        }
    }

    /// The number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capacity.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Whether there is memory for a table of this capacity.
    #[must_use]
    pub fn fits(&self, capacity: u32) -> bool {
        let capacity = capacity.min(MAX_CAPACITY) as usize;
        let more = capacity.saturating_sub(self.entries.room());
        more == 0 || {
            let mut entries: Vec<Option<Entry>> = Vec::new();
            let mut slots: Vec<[u64; INDEX_SLOTS]> = Vec::new();
            entries.try_reserve_exact(more).is_ok() && slots.try_reserve_exact(capacity).is_ok()
        }
    }

    /// Sets the capacity, at most [`MAX_CAPACITY`]. With more connections than that the table is
    /// full, and all of them stay. Beyond the largest capacity so far it needs more memory;
    /// [`Self::fits`] says whether there is any. The entries stay where they are, and the index
    /// moves bit by bit in [`Self::settle`]. The memory of a smaller table stays reserved.
    pub fn resize(&mut self, capacity: u32) {
        self.capacity = capacity.min(MAX_CAPACITY);
        if self.capacity as usize > self.entries.room() {
            self.entries.grow(self.capacity);
            self.index.enlarge(self.capacity);
        }
    }

    /// Whether [`Self::settle`] has nothing to do.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.index.has_settled()
    }

    /// Goes on with what [`Self::resize`] has begun. Call it once a turn.
    pub fn settle(&mut self) {
        if !self.index.has_settled() {
            self.index.settle(MOVED_A_TURN);
        }
    }

    /// Takes out memory that [`Self::settle`] has emptied, to be freed where no packet waits: the
    /// kernel needs 0.16 ms for each megabyte in small pages.
    pub fn take_emptied(&mut self) -> Option<Vec<u64>> {
        self.index.take_emptied()
    }

    /// Whether the table is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    /// The counters of the timers and of [`Self::evict`].
    #[must_use]
    pub fn turnover(&self) -> Turnover {
        self.turnover
    }

    /// Finds a connection. An expired one is still found until [`Self::due`] returns it; the caller
    /// calls that before each batch of packets.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Handle> {
        self.look_up(key).map(|(handle, ..)| handle)
    }

    /// Finds a connection like [`Self::find`], with the fields that its packets need.
    #[inline(always)]
    #[must_use]
    pub fn look_up(&self, key: &Key) -> Option<(Handle, ConnState, RealId)> {
        let entries = &self.entries.entries;
        self.index.find(self.tag(key), |index| match entries.get(index as usize) {
            Some(Some(entry)) if entry.has_key(key) => {
                Some((Handle(index), entry.state, entry.real))
            }
            _ => None,
        })
    }

    /// The connection with a handle from [`Self::find`] or [`Self::insert`].
    #[inline]
    #[must_use]
    pub fn entry(&self, handle: Handle) -> Option<&Entry> {
        self.entries.entries.get(handle.0 as usize)?.as_ref()
    }

    /// Adds a connection whose key is not in the table. [`ConnState::unproven`] connections expire
    /// in the order of their last packets, since the caller gives them all the same timeout.
    ///
    /// # Errors
    /// [`Full`] at the capacity; then nothing has changed.
    pub fn insert(
        &mut self,
        key: Key,
        real: RealId,
        state: ConnState,
        now: Millis,
        timeout: Duration,
    ) -> Result<Handle, Full> {
        if self.is_full() {
            return Err(Full);
        }
        let tag = self.tag(&key);
        let deadline = tick_after(now, timeout);
        let entry = Some(Entry::new(key, real, state, deadline));
        let index = self.entries.put(entry);
        self.index.insert(tag, index);
        self.queue(index, state, deadline);
        self.len += 1;
        Ok(Handle(index))
    }

    /// Records a packet: the new state, and the new timeout from now on. Returns the state before.
    #[inline(always)]
    pub fn touch(
        &mut self,
        handle: Handle,
        state: ConnState,
        now: Millis,
        timeout: Duration,
    ) -> ConnState {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.0 as usize) else {
            return state;
        };
        let before = std::mem::replace(&mut entry.state, state);
        let deadline = tick_after(now, timeout);
        let sooner = deadline < entry.deadline;
        entry.deadline = deadline;
        if sooner || before.unproven() || state.unproven() {
            self.requeue(handle.0, before, state, deadline);
        }
        before
    }

    /// Records a packet that leaves the state as it is, if its deadline is no sooner than the
    /// current one; the state is not [`ConnState::unproven`]. Otherwise nothing changes.
    #[inline(always)]
    pub(super) fn prolong(&mut self, handle: Handle, deadline: u32) -> bool {
        match self.entries.entries.get_mut(handle.0 as usize) {
            Some(Some(entry)) if entry.deadline <= deadline => {
                entry.deadline = deadline;
                true
            }
            _ => false,
        }
    }

    /// As [`Self::prolong`] and [`Self::follow`], if both would change the entry.
    #[inline(always)]
    pub(super) fn prolong_by(
        &mut self,
        handle: Handle,
        deadline: u32,
        segment: &SegmentFields,
    ) -> bool {
        match self.entries.entries.get_mut(handle.0 as usize) {
            Some(Some(entry)) if entry.deadline <= deadline && entry.position().fits(segment) => {
                entry.deadline = deadline;
                entry.set_position(entry.position().moved_by(segment));
                true
            }
            _ => false,
        }
    }

    /// Records the template of a connection.
    pub(super) fn set_template(&mut self, handle: Handle, template: Option<Handle>) {
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) {
            entry.template = template.map_or(TemplateIndex::NONE, TemplateIndex::of);
        }
    }

    /// Advances a TCP client's position by a segment, if the segment fits it. Otherwise nothing
    /// changes.
    #[inline(always)]
    pub(super) fn follow(&mut self, handle: Handle, segment: &SegmentFields) -> bool {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.0 as usize) else {
            return false;
        };
        let position = entry.position();
        let fits = position.fits(segment);
        if fits {
            entry.set_position(position.moved_by(segment));
        }
        fits
    }

    /// Sets a TCP client's position, whatever it was.
    pub(super) fn set_position(&mut self, handle: Handle, position: Position) {
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) {
            entry.set_position(position);
        }
    }

    /// Sets or clears one of the [`Marks`].
    pub(super) fn mark(&mut self, handle: Handle, mark: u8, value: bool) {
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) {
            entry.marks.set(mark, value);
        }
    }

    /// Moves a connection to another key, which no other connection has.
    pub(super) fn rekey(&mut self, handle: Handle, key: Key) {
        self.forget_carried(handle.0);
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.index()) else { return };
        let before = entry.key();
        (entry.ends, entry.protocol) = (key.ends, key.protocol);
        self.index.remove(self.tag(&before), handle.0);
        self.index.insert(self.tag(&key), handle.0);
    }

    /// Moves an entry to another real server; returns the previous one.
    pub(super) fn set_real(&mut self, handle: Handle, real: RealId) -> Option<RealId> {
        let entry = self.entries.entries.get_mut(handle.index())?.as_mut()?;
        Some(std::mem::replace(&mut entry.real, real))
    }

    /// Removes a connection.
    pub fn remove(&mut self, handle: Handle) -> Option<Entry> {
        let state = self.entry(handle)?.state;
        self.forget_carried(handle.0);
        self.unqueue(handle.0, state);
        let entry = self.entries.take(handle.0)?;
        self.index.remove(self.tag(&entry.key()), handle.0);
        self.len -= 1;
        Some(entry)
    }

    /// The number of indexes that hold or have held a connection.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.entries.len()
    }

    /// The connections in a range of indexes, with their indexes.
    pub fn iter_in(&self, entry_count: Range<usize>) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.entries.iter_in(entry_count);
        entries.filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
    }

    /// Prefetches the connections of these flows into the processor's caches, if they are in the
    /// table: first all their slots of the index, then all the entries in those slots. The reads
    /// are independent, so they overlap.
    pub fn look_ahead(&self, keys: impl Iterator<Item = Key>) {
        let mut tags = [0; AHEAD];
        let mut count = 0;
        for (tag, key) in tags.iter_mut().zip(keys) {
            *tag = self.tag(&key);
            count += 1;
        }
        let mut entry_count = [0; AHEAD];
        for (index, &tag) in entry_count.iter_mut().zip(&tags).take(count) {
            *index = self.index.first_at(tag);
        }
        let mut states = 0;
        for &index in entry_count.iter().take(count) {
            if let Some(Some(entry)) = self.entries.entries.get(index as usize) {
                states ^= entry.state as u8;
            }
        }
        std::hint::black_box(states);
    }

    /// The address ranges of index and entries in the process's memory, for madvise(2).
    #[must_use]
    pub fn memory(&self) -> Vec<Range<usize>> {
        std::iter::once(self.index.memory()).chain(self.entries.entries.memory()).collect()
    }

    /// The upper half of the keyed hash: an entry's tag in the index.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // 32 of 64 bits, on purpose
    fn tag(&self, key: &Key) -> u32 {
        (key.hash(self.seed) >> 32) as u32
    }
}

#[cfg(test)]
mod tests;
