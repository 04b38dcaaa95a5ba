//! The hash index of the connection table: open addressing, linear probing, deletion by shifting
//! back.
//!
//! A slot is one word, tag (32 bits of the keyed hash) and entry number, so a miss costs one cache
//! line and a hit one more for the entry itself. At most half the slots are full.
//!
//! The index grows with the table, four times at each step: the slots of few connections are on few
//! pages, so lookups miss neither the cache nor the TLB. (Measured with 256 flows in a table of a
//! million: 6 % of a small packet's cost.) Growth never stops the packets: each insertion moves a
//! few slots. All sizes share one zeroed allocation, which the kernel backs with memory only where
//! it is touched:
//!
//! ```text
//! | 512 | 2,048 | 8,192 | ...             | two to four times the capacity |
//!         old →   current
//! ```
//!
//! An index for more entries than that is another allocation, to which each insertion and each turn
//! moves some of the slots.
//!
//! The kernel zeroes a page when it is first touched: 2 MiB at once if it has huge pages. Slots
//! that move keep their order, but those of new flows are random: a batch of them would have the
//! kernel zero as many pages of a large region in one turn. So the region is touched page by page
//! before: by the insertions before the index grows, or by the turns before a larger index is moved
//! to.

use std::ops::Range;

/// Finds entry numbers by hash.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<u64>,
    current: Region,
    /// The region that the current one replaces, and its first slot that may still be full.
    old: Option<(Region, u32)>,
    /// Those of smaller indexes that this one replaces.
    former: Vec<Former>,
    /// The memory of smaller indexes without entries.
    emptied: Vec<Vec<u64>>,
    /// Whether an entry is in the current region or nowhere.
    settled: bool,
    /// The first slot that is not touched yet, in the next region, or in that of a larger index.
    untouched: usize,
    len: u32,
}

/// What is left of a smaller index.
#[derive(Debug)]
struct Former {
    slots: Vec<u64>,
    /// Its regions with entries, each with its first slot that may still be full.
    regions: Vec<(Region, u32)>,
}

const EMPTY: u64 = 0;

/// How many times larger the next region is.
const GROWTH: u32 = 4;

/// The size of the first region is at most this.
const SMALL: u32 = 1_024;

/// How many slots each insertion moves. A region of n slots is left when n/2 are full, and the next
/// one is full n × 3/2 insertions later, so one slot per insertion would suffice.
const STEPS: usize = 4;

/// The slots of a page.
const PAGE: usize = 4_096 / size_of::<u64>();

/// How many insertions touch one page of the next region. A region of n slots is left when n/2 are
/// full. From n/4 on, n/4 insertions have n × 4 slots to touch: a page in 32 would suffice.
const INSERTIONS_A_PAGE: u32 = 16;

/// Slots touched for one that may be moved: 512 KiB for those of a turn, 0.4 ms in small pages.
const TOUCHED_FOR_ONE: usize = 8;

/// A power of two of consecutive slots.
#[derive(Clone, Copy, Debug)]
struct Region {
    start: usize,
    mask: u32,
}

impl Index {
    /// An index for up to `capacity` entries.
    pub(super) fn new(capacity: u32) -> Self {
        let largest = (capacity.max(8) * 2).next_power_of_two();
        let (mut size, mut slots) = (largest, largest as usize);
        while size > SMALL {
            size /= GROWTH;
            slots += size as usize;
        }
        let current = Region { start: 0, mask: size - 1 };
        let slots = vec![EMPTY; slots];
        Self {
            slots,
            current,
            old: None,
            former: Vec::new(),
            emptied: Vec::new(),
            settled: true,
            untouched: 0,
            len: 0,
        }
    }

    /// Makes room for up to `capacity` entries. They are moved later: by insertions, and by
    /// [`Self::settle`].
    pub(super) fn enlarge(&mut self, capacity: u32) {
        let mut larger = Self::new(capacity);
        while self.len > larger.current.mask / 2
            && larger.current.next().end() <= larger.slots.len()
        {
            larger.current = larger.current.next();
        }
        larger.len = self.len;
        larger.untouched = larger.current.start;
        std::mem::swap(self, &mut larger);
        let Self { slots, current, old, former, emptied, .. } = larger;
        self.emptied = emptied;
        let regions = old.into_iter().chain([(current, 0)]).collect();
        self.former = former;
        self.former.push(Former { slots, regions });
        self.settled = false;
    }

    /// Whether [`Self::settle`] has nothing to do.
    pub(super) fn has_settled(&self) -> bool {
        self.former.is_empty()
    }

    /// Moves entries of a smaller index; reads at most that many slots.
    #[cold]
    pub(super) fn settle(&mut self, slots: usize) {
        let end = self.current.end();
        if self.untouched < end {
            self.touch((self.untouched + slots * TOUCHED_FOR_ONE).min(end));
            return;
        }
        let Self { slots: all, current, former, emptied, .. } = self;
        let mut left = slots;
        while let Some(last) = former.last_mut() {
            let Former { slots, regions } = last;
            let Some((region, position)) = regions.last_mut() else {
                emptied.push(std::mem::take(slots));
                former.pop();
                continue;
            };
            if left == 0 {
                break;
            }
            let (done, looked) =
                region.move_to(slots, position, left, |slot| current.insert(all, slot));
            left -= looked;
            if done {
                regions.pop();
            }
        }
        self.settled = self.old.is_none() && self.former.is_empty();
    }

    /// Takes out memory that [`Self::settle`] has emptied; to free it takes milliseconds.
    pub(super) fn take_emptied(&mut self) -> Option<Vec<u64>> {
        self.emptied.pop()
    }

    /// The first result of `look` for an entry with this tag.
    #[inline(always)]
    pub(super) fn find<T>(&self, tag: u32, look: impl Fn(u32) -> Option<T>) -> Option<T> {
        match self.current.find(&self.slots, tag, &look) {
            None if !self.settled => self.find_moving(tag, &look),
            found => found,
        }
    }

    #[cold]
    fn find_moving<T>(&self, tag: u32, look: &impl Fn(u32) -> Option<T>) -> Option<T> {
        let found = self.old.and_then(|(old, _)| old.find(&self.slots, tag, look));
        found.or_else(|| {
            self.former.iter().find_map(|Former { slots, regions }| {
                regions.iter().find_map(|(region, _)| region.find(slots, tag, look))
            })
        })
    }

    /// The entry in the first slot for this tag, whatever its flow; any number if the slot is free.
    #[inline]
    pub(super) fn first_at(&self, tag: u32) -> u32 {
        let position = self.current.start + (tag & self.current.mask) as usize;
        self.slots.get(position).map_or(u32::MAX, |&slot| slot_entry(slot))
    }

    /// The slots' address range in the process's memory.
    pub(super) fn memory(&self) -> Range<usize> {
        let Range { start, end } = self.slots.as_ptr_range();
        start as usize..end as usize
    }

    /// Adds an entry that is not there yet. The table never has more entries than the index has
    /// capacity for.
    pub(super) fn insert(&mut self, tag: u32, entry: u32) {
        self.grow();
        self.current.insert(&mut self.slots, slot(tag, entry));
        self.len += 1;
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, tag: u32, entry: u32) {
        let slot = slot(tag, entry);
        let removed = self.current.remove(&mut self.slots, slot)
            || self.old.is_some_and(|(old, _)| old.remove(&mut self.slots, slot))
            || self.former.iter_mut().any(|Former { slots, regions }| {
                regions.iter().any(|(region, _)| region.remove(slots, slot))
            });
        self.len -= u32::from(removed);
    }

    /// Writes to each page from the first untouched slot to `end`; the slots stay as they are.
    fn touch(&mut self, end: usize) {
        for slot in self.slots[self.untouched..end].iter_mut().step_by(PAGE) {
            *slot = std::hint::black_box(*slot);
        }
        self.untouched = end;
    }

    /// Switches to the next region when half of this one is full, and moves a few slots.
    fn grow(&mut self) {
        let next = self.current.next();
        if self.len > self.current.mask / 4
            && self.len.is_multiple_of(INSERTIONS_A_PAGE)
            && self.former.is_empty()
            && self.untouched.max(next.start) < next.end().min(self.slots.len())
        {
            self.untouched = self.untouched.max(next.start);
            self.touch((self.untouched + PAGE).min(next.end()));
        }
        if self.old.is_none() && self.len > self.current.mask / 2 && next.end() <= self.slots.len()
        {
            self.old = Some((std::mem::replace(&mut self.current, next), 0));
            self.settled = false;
        }
        if self.settled {
            return;
        }
        if !self.former.is_empty() {
            self.settle(STEPS);
        }
        let Some((old, mut position)) = self.old else { return };
        for _ in 0..STEPS {
            match self.slots[old.start + position as usize] {
                EMPTY => position += 1,
                // Removal moves later slots into the gap, so this slot is looked at again. A slot
                // after a gap never belongs before the gap.
                slot => {
                    old.remove(&mut self.slots, slot);
                    self.current.insert(&mut self.slots, slot);
                }
            }
            if position > old.mask {
                self.old = None;
                self.settled = self.former.is_empty();
                return;
            }
        }
        self.old = Some((old, position));
    }
}

impl Region {
    fn end(self) -> usize {
        self.start + self.mask as usize + 1
    }

    fn next(self) -> Self {
        Self { start: self.end(), mask: (self.mask + 1).saturating_mul(GROWTH) - 1 }
    }

    #[inline(always)]
    fn find<T>(self, slots: &[u64], tag: u32, look: &impl Fn(u32) -> Option<T>) -> Option<T> {
        let mut position = tag & self.mask;
        loop {
            let slot = slots[self.start + position as usize];
            if slot == EMPTY {
                return None;
            }
            if slot_tag(slot) == tag
                && let Some(found) = look(slot_entry(slot))
            {
                return Some(found);
            }
            position = (position + 1) & self.mask;
        }
    }

    fn insert(self, slots: &mut [u64], slot: u64) {
        let mut position = slot_tag(slot) & self.mask;
        while slots[self.start + position as usize] != EMPTY {
            position = (position + 1) & self.mask;
        }
        slots[self.start + position as usize] = slot;
    }

    /// Moves entries from the slots from `position` on, of which it reads `budget`. Returns whether
    /// the region is empty now, and how many slots were read.
    fn move_to(
        self,
        slots: &mut [u64],
        position: &mut u32,
        budget: usize,
        mut take: impl FnMut(u64),
    ) -> (bool, usize) {
        for looked in 0..budget {
            if *position > self.mask {
                return (true, looked);
            }
            match slots[self.start + *position as usize] {
                EMPTY => *position += 1,
                // As in [`Index::grow`].
                slot => {
                    self.remove(slots, slot);
                    take(slot);
                }
            }
        }
        (*position > self.mask, budget)
    }

    /// Removes a slot and closes the gap, so that no probe sequence is interrupted. Returns whether
    /// it was there.
    fn remove(self, slots: &mut [u64], slot: u64) -> bool {
        let mut gap = slot_tag(slot) & self.mask;
        loop {
            match slots[self.start + gap as usize] {
                EMPTY => return false,
                other if other == slot => break,
                _ => gap = (gap + 1) & self.mask,
            }
        }
        let mut position = gap;
        loop {
            position = (position + 1) & self.mask;
            let slot = slots[self.start + position as usize];
            if slot == EMPTY {
                break;
            }
            // The slot may fill the gap if the gap is not before its home on its probe sequence.
            let home = slot_tag(slot) & self.mask;
            if position.wrapping_sub(home) & self.mask >= position.wrapping_sub(gap) & self.mask {
                slots[self.start + gap as usize] = slot;
                gap = position;
            }
        }
        slots[self.start + gap as usize] = EMPTY;
        true
    }
}

#[inline]
fn slot(tag: u32, entry: u32) -> u64 {
    u64::from(tag) << 32 | (u64::from(entry) + 1)
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the upper half of 64 bits
fn slot_tag(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the lower half of 64 bits, never 0 in a full slot
fn slot_entry(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests;
