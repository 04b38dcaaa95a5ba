//! The hash index of the connection table: open addressing, linear probing, deletion by shifting back.
//!
//! A slot is one word, tag (32 bits of the keyed hash) and entry number, so a miss costs one cache line
//! and a hit one more for the entry itself. There are at least twice as many slots as entries; the index is
//! allocated zeroed in one piece, which the kernel backs with memory only where it is touched.

/// Finds entry numbers by hash.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<u64>,
    mask: u32,
}

const EMPTY: u64 = 0;

impl Index {
    /// An index for up to `capacity` entries.
    pub(super) fn new(capacity: u32) -> Self {
        let slots = (capacity.max(8) * 2).next_power_of_two();
        Self { slots: vec![EMPTY; slots as usize], mask: slots - 1 }
    }

    /// The first entry with this tag for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = tag & self.mask;
        loop {
            let slot = self.slots[place as usize];
            if slot == EMPTY {
                return None;
            }
            if slot_tag(slot) == tag && is_it(slot_entry(slot)) {
                return Some(slot_entry(slot));
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Adds an entry that is not there yet. The table never holds more entries than the index was made for.
    pub(super) fn insert(&mut self, tag: u32, entry: u32) {
        let mut place = tag & self.mask;
        while self.slots[place as usize] != EMPTY {
            place = (place + 1) & self.mask;
        }
        self.slots[place as usize] = u64::from(tag) << 32 | (u64::from(entry) + 1);
    }

    /// Takes an entry out and closes the gap, so that no probe sequence meets a hole.
    pub(super) fn remove(&mut self, tag: u32, entry: u32) {
        let mut gap = tag & self.mask;
        loop {
            match self.slots[gap as usize] {
                EMPTY => return,
                slot if slot_tag(slot) == tag && slot_entry(slot) == entry => break,
                _ => gap = (gap + 1) & self.mask,
            }
        }
        let mut place = gap;
        loop {
            place = (place + 1) & self.mask;
            let slot = self.slots[place as usize];
            if slot == EMPTY {
                break;
            }
            // The slot may fill the gap if the gap is not before its home on its probe sequence.
            let home = slot_tag(slot) & self.mask;
            if place.wrapping_sub(home) & self.mask >= place.wrapping_sub(gap) & self.mask {
                self.slots[gap as usize] = slot;
                gap = place;
            }
        }
        self.slots[gap as usize] = EMPTY;
    }
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
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few distinct homes at the end of the slots, so that sequences collide and wrap round.
        #[test]
        fn behaves_like_a_map(operations in prop::collection::vec((0u32..6, 0u32..12), 1..200)) {
            let mut index = Index::new(8);
            let mut model: HashMap<u32, u32> = HashMap::new();
            for (home, entry) in operations {
                let tag = 13 + home;
                if let Some(tag) = model.remove(&entry) {
                    index.remove(tag, entry);
                } else if model.len() < 8 {
                    index.insert(tag, entry);
                    model.insert(entry, tag);
                }
                for candidate in 0..12 {
                    for tag in 13..19 {
                        let found = index.find(tag, |entry| entry == candidate).is_some();
                        prop_assert_eq!(found, model.get(&candidate) == Some(&tag));
                    }
                }
            }
        }
    }
}
