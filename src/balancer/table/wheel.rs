//! The timer wheel: one list of entries per tick, threaded through the entries themselves.
//!
//! Timers are lazy. A packet only writes its entry's deadline and leaves the entry where it is
//! queued; when that tick comes the entry is queued again for its current deadline. Only an earlier
//! deadline moves the entry. Deadlines past the wheel's horizon are queued in its last slot and
//! queued again there.

use std::time::Duration;

use crate::model::Millis;

/// Ticks on the wheel. With [`TICK_MILLIS`] the horizon is 17 minutes, past the longest default
/// timeout.
pub(super) const SLOTS: u32 = 4096;

/// Length of a tick in milliseconds: how late an entry may expire.
pub(super) const TICK_MILLIS: u64 = 250;

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// In a `prev` link: the entry is its list's first, and the lower bits are the slot.
const FIRST: u32 = 0x8000_0000;

/// The tick at `now`.
pub(super) fn tick(now: Millis) -> u32 {
    u32::try_from(now.0 / TICK_MILLIS).unwrap_or(u32::MAX)
}

/// The first tick that begins at least `timeout` after `now`.
#[inline]
pub(super) fn tick_after(now: Millis, timeout: Duration) -> u32 {
    let last = now.after(timeout).0.saturating_add(TICK_MILLIS - 1);
    u32::try_from(last / TICK_MILLIS).unwrap_or(u32::MAX)
}

/// An entry's links for its list: one of the wheel's, or that of unproven connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) prev: u32,
}

impl Links {
    pub(super) const NONE: Self = Self { next: NIL, prev: NIL };
}

/// The wheel's view of the entries.
pub(super) trait Linked {
    fn links(&mut self, entry: u32) -> &mut Links;
}

/// The wheel: list heads, and a bitmap of those that are not empty.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: Vec<u32>,
    occupied: [u64; SLOTS as usize / 64],
    /// The next tick to process; all earlier ones are empty.
    current: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { heads: vec![NIL; SLOTS as usize], occupied: [0; SLOTS as usize / 64], current: 0 }
    }

    /// Queues an entry for `tick`; for the horizon if that is earlier, or for now if `tick` has
    /// passed.
    pub(super) fn queue(&mut self, entries: &mut impl Linked, entry: u32, tick: u32) {
        let distance = tick.saturating_sub(self.current).min(SLOTS - 1);
        let slot = (self.current.wrapping_add(distance)) % SLOTS;
        let head = std::mem::replace(&mut self.heads[slot as usize], entry);
        *entries.links(entry) = Links { next: head, prev: FIRST | slot };
        if head != NIL {
            entries.links(head).prev = entry;
        }
        self.occupied[slot as usize / 64] |= 1 << (slot % 64);
    }

    /// Removes an entry from the wheel.
    pub(super) fn unqueue(&mut self, entries: &mut impl Linked, entry: u32) {
        let Links { next, prev } = std::mem::replace(entries.links(entry), Links::NONE);
        if prev == NIL {
            return;
        }
        if next != NIL {
            entries.links(next).prev = prev;
        }
        if prev & FIRST == 0 {
            entries.links(prev).next = next;
            return;
        }
        let slot = prev & !FIRST;
        self.heads[slot as usize] = next;
        if next == NIL {
            self.occupied[slot as usize / 64] &= !(1 << (slot % 64));
        }
    }

    /// Removes one entry that is queued for `now` or earlier; skips empty ticks.
    pub(super) fn pop(&mut self, entries: &mut impl Linked, now: u32) -> Option<u32> {
        let due = self.next_tick().filter(|&tick| tick <= now);
        let Some(tick) = due else {
            self.current = self.current.max(now);
            return None;
        };
        self.current = tick;
        let entry = self.heads[(tick % SLOTS) as usize];
        self.unqueue(entries, entry);
        Some(entry)
    }

    /// The tick of the first queued entry.
    pub(super) fn next_tick(&self) -> Option<u32> {
        let start = self.current % SLOTS;
        let (first_word, first_bit) = ((start / 64) as usize, start % 64);
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (first_word + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << first_bit;
            } else if step == words {
                bits &= !(u64::MAX << first_bit);
            }
            if bits != 0 {
                let word = u32::try_from(word).unwrap_or_default();
                let slot = word * 64 + bits.trailing_zeros();
                return Some(self.current + (slot + SLOTS - start) % SLOTS);
            }
        }
        None
    }
}
