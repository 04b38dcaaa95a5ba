//! The connection table: a fixed number of entries, found by keyed hash, expired by a lazy timer
//! wheel.
//!
//! Its capacity is fixed. Memory is reserved at the start and touched only as entries are added: an
//! empty table of a million costs next to nothing. One entry is one cache line; with the index a
//! flow of either family costs 87 bytes in a full table of a million (IPVS: 256 to 300).

mod index;
mod waiting;
mod wheel;

use std::ops::Range;
use std::time::Duration;

use super::flow::{Ends, Key};
use super::position::{Position, Segment};
use super::tcp::State;
use crate::model::{Millis, RealId, Seed, Thresholds};
use index::Index;
use waiting::Waiting;
use wheel::{Linked, Links, NIL, TICK_MILLIS, Wheel};

/// The largest capacity: the index then takes 512 MiB of address space.
pub const MAX_CAPACITY: u32 = Thresholds::MAX;

/// The most entries examined per turn, so that many deadlines at once do not delay packets.
pub const EXPIRE_BUDGET: usize = 4_096;

/// The most flows that one call of [`Table::look_ahead`] prefetches.
pub const AHEAD: usize = 64;

/// A connection.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Entry {
    ends: Ends,
    protocol: u8,
    state: State,
    template: TemplatePlace,
    /// A TCP client's [`Position`], without its padding.
    next: u32,
    acknowledged: u16,
    marks: Marks,
    real: RealId,
    /// The tick at whose end the connection expires.
    deadline: u32,
    links: Links,
}

impl Entry {
    /// The flow's key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { ends: self.ends, protocol: self.protocol }
    }

    #[inline(always)]
    fn has_key(&self, key: &Key) -> bool {
        self.ends == key.ends && self.protocol == key.protocol
    }

    /// The client's position in its TCP stream.
    #[inline(always)]
    pub(super) fn position(&self) -> Position {
        let opening = self.marks.has(Marks::OPENING);
        Position { next: self.next, acknowledged: self.acknowledged, opening }
    }

    /// The marks of a TCP connection.
    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    #[inline(always)]
    fn set_position(&mut self, position: Position) {
        (self.next, self.acknowledged) = (position.next, position.acknowledged);
        self.marks.set(Marks::OPENING, position.opening);
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Its real server.
    #[must_use]
    pub fn real(&self) -> RealId {
        self.real
    }

    /// Its template, in the table of templates.
    pub(super) fn template(&self) -> Option<Handle> {
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

/// What is known of a TCP connection beside its state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Only the client's SYN has been seen: see [`Position::opening`].
    const OPENING: u8 = 1;
    /// One segment has followed the client's FIN, which may be the last acknowledgement.
    pub(super) const TALKS: u8 = 2;
    /// More have followed: the client has closed its direction and still receives.
    pub(super) const HALF_CLOSED: u8 = 4;
    /// There is, or was, an earlier connection with the same ends: see [`Key::former`].
    pub(super) const HAS_FORMER: u8 = 8;

    #[inline(always)]
    pub(super) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    #[inline(always)]
    fn set(&mut self, mark: u8, value: bool) {
        self.0 = if value { self.0 | mark } else { self.0 & !mark };
    }
}

/// An entry's index in the table, valid until the entry is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handle(u32);

/// A template's index in the three bytes that an entry has for it. There are fewer templates than
/// they can number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TemplatePlace([u8; 3]);

impl TemplatePlace {
    const NONE: Self = Self([u8::MAX; 3]);

    fn of(handle: Handle) -> Self {
        let [high, rest @ ..] = handle.0.to_be_bytes();
        if high == 0 { Self(rest) } else { Self::NONE }
    }

    fn handle(self) -> Option<Handle> {
        let Self([a, b, c]) = self;
        (self != Self::NONE).then_some(Handle(u32::from_be_bytes([0, a, b, c])))
    }
}

impl Handle {
    /// Its index in the table, below the capacity.
    pub(super) fn place(self) -> usize {
        self.0 as usize
    }
}

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
    /// Connections in a state that is [`State::unproven`]; all others are on the wheel.
    waiting: Waiting,
}

/// The entries; the table chains free ones through `links.next`.
#[derive(Debug)]
struct Slab {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

impl Linked for Slab {
    fn links(&mut self, entry: u32) -> &mut Links {
        // Lists only contain entries that are in use: removal takes an entry off its list first.
        &mut self.entries[entry as usize].as_mut().expect("a queued entry is alive").links
    }
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
            entries: Slab {
                entries: Vec::with_capacity(capacity as usize),
                free: Vec::with_capacity(capacity as usize),
            },
            index: Index::new(capacity),
            wheel: Wheel::new(),
            waiting: Waiting::EMPTY,
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
        let entries = &self.entries.entries;
        self.index
            .find(self.tag(key), |entry| {
                matches!(entries.get(entry as usize), Some(Some(entry)) if entry.has_key(key))
            })
            .map(Handle)
    }

    /// Finds a connection like [`Self::find`], with the fields that its packets need.
    #[inline(always)]
    #[must_use]
    pub fn look_up(&self, key: &Key) -> Option<(Handle, State, RealId)> {
        let mut found = None;
        let entries = &self.entries.entries;
        let place = self.index.find(self.tag(key), |place| match entries.get(place as usize) {
            Some(Some(entry)) if entry.has_key(key) => {
                found = Some((entry.state, entry.real));
                true
            }
            _ => false,
        })?;
        let (state, real) = found?;
        Some((Handle(place), state, real))
    }

    /// The connection with a handle from [`Self::find`] or [`Self::insert`].
    #[inline]
    #[must_use]
    pub fn entry(&self, handle: Handle) -> Option<&Entry> {
        self.entries.entries.get(handle.0 as usize)?.as_ref()
    }

    /// Adds a connection whose key is not in the table. [`State::unproven`] connections expire in
    /// the order of their last packets, since the caller gives them all the same timeout.
    ///
    /// # Errors
    /// [`Full`] at the capacity; then nothing has changed.
    pub fn insert(
        &mut self,
        key: Key,
        real: RealId,
        state: State,
        now: Millis,
        timeout: Duration,
    ) -> Result<Handle, Full> {
        if self.is_full() {
            return Err(Full);
        }
        let tag = self.tag(&key);
        let deadline = tick_after(now, timeout);
        let template = TemplatePlace::NONE;
        let entry = Some(Entry {
            ends: key.ends,
            protocol: key.protocol,
            state,
            template,
            next: 0,
            acknowledged: 0,
            marks: Marks::default(),
            real,
            deadline,
            links: Links::NONE,
        });
        let place = self.entries.put(entry);
        self.index.insert(tag, place);
        self.queue(place, state, deadline);
        self.len += 1;
        Ok(Handle(place))
    }

    /// Records a packet: the new state, and the new timeout from now on. Returns the state before.
    #[inline(always)]
    pub fn touch(&mut self, handle: Handle, state: State, now: Millis, timeout: Duration) -> State {
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

    /// Records the template of a connection.
    pub(super) fn set_template(&mut self, handle: Handle, template: Handle) {
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.place()) {
            entry.template = TemplatePlace::of(template);
        }
    }

    /// Advances a TCP client's position by a segment, if the segment fits it. Otherwise nothing
    /// changes.
    #[inline(always)]
    pub(super) fn follow(&mut self, handle: Handle, segment: &Segment) -> bool {
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
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.place()) {
            entry.set_position(position);
        }
    }

    /// Sets or clears one of the [`Marks`].
    pub(super) fn mark(&mut self, handle: Handle, mark: u8, value: bool) {
        if let Some(Some(entry)) = self.entries.entries.get_mut(handle.place()) {
            entry.marks.set(mark, value);
        }
    }

    /// Moves a connection to another key, which no other connection has.
    pub(super) fn rekey(&mut self, handle: Handle, key: Key) {
        let Some(Some(entry)) = self.entries.entries.get_mut(handle.place()) else { return };
        let before = entry.key();
        (entry.ends, entry.protocol) = (key.ends, key.protocol);
        self.index.remove(self.tag(&before), handle.0);
        self.index.insert(self.tag(&key), handle.0);
    }

    /// Moves an entry to another real server; returns the previous one.
    pub(super) fn set_real(&mut self, handle: Handle, real: RealId) -> Option<RealId> {
        let entry = self.entries.entries.get_mut(handle.place())?.as_mut()?;
        Some(std::mem::replace(&mut entry.real, real))
    }

    /// The less frequent part of [`Self::touch`].
    #[cold]
    fn requeue(&mut self, place: u32, before: State, after: State, deadline: u32) {
        self.unqueue(place, before);
        self.queue(place, after, deadline);
    }

    /// Removes a connection.
    pub fn remove(&mut self, handle: Handle) -> Option<Entry> {
        let state = self.entry(handle)?.state;
        self.unqueue(handle.0, state);
        let entry = self.entries.take(handle.0)?;
        self.index.remove(self.tag(&entry.key()), handle.0);
        self.len -= 1;
        Some(entry)
    }

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
    pub fn renew(&mut self, handle: Handle, state: State, timeout: Duration) {
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
    fn queue(&mut self, place: u32, state: State, deadline: u32) {
        if state.unproven() {
            self.waiting.push(&mut self.entries, place);
        } else {
            self.wheel.queue(&mut self.entries, place, deadline);
        }
    }

    fn unqueue(&mut self, place: u32, state: State) {
        if state.unproven() {
            self.waiting.remove(&mut self.entries, place);
        } else {
            self.wheel.unqueue(&mut self.entries, place);
        }
    }

    /// The number of indexes that hold or have held a connection.
    #[must_use]
    pub fn places(&self) -> usize {
        self.entries.entries.len()
    }

    /// The connections in a range of indexes, with their indexes.
    pub fn iter_in(&self, places: Range<usize>) -> impl Iterator<Item = (usize, &Entry)> {
        let Range { start, end } = places;
        let entries = self.entries.entries.iter().enumerate().take(end).skip(start);
        entries.filter_map(|(place, entry)| Some((place, entry.as_ref()?)))
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
        let mut places = [0; AHEAD];
        for (place, &tag) in places.iter_mut().zip(&tags).take(count) {
            *place = self.index.first_at(tag);
        }
        let mut states = 0;
        for &place in places.iter().take(count) {
            if let Some(Some(entry)) = self.entries.entries.get(place as usize) {
                states ^= entry.state as u8;
            }
        }
        std::hint::black_box(states);
    }

    /// The address ranges of index and entries in the process's memory, for madvise(2).
    #[must_use]
    pub fn memory(&self) -> [Range<usize>; 2] {
        let entries = &self.entries.entries;
        let start = entries.as_ptr() as usize;
        [self.index.memory(), start..start + entries.capacity() * size_of::<Option<Entry>>()]
    }

    /// The upper half of the keyed hash: an entry's tag in the index.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // 32 of 64 bits, on purpose
    fn tag(&self, key: &Key) -> u32 {
        (key.hash(self.seed) >> 32) as u32
    }
}

impl Slab {
    fn put(&mut self, entry: Option<Entry>) -> u32 {
        if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            return place;
        }
        self.entries.push(entry);
        // The capacity is below 2^24, so the index always fits.
        u32::try_from(self.entries.len() - 1).unwrap_or(NIL)
    }

    fn take(&mut self, place: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(entry)
    }
}

/// The tick at `now`.
fn tick(now: Millis) -> u32 {
    u32::try_from(now.0 / TICK_MILLIS).unwrap_or(u32::MAX)
}

/// The first tick that begins at least `timeout` after `now`.
#[inline]
fn tick_after(now: Millis, timeout: Duration) -> u32 {
    let last = now.after(timeout).0.saturating_add(TICK_MILLIS - 1);
    u32::try_from(last / TICK_MILLIS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
