//! The memory of the entries.

use super::entry::Entry;
use super::segments::Segments;
use super::wheel::{Linked, Links, NIL};

/// The entries, and the indexes that are free. No entry ever moves.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) entries: Segments<Option<Entry>>,
    free: Segments<u32>,
}

impl Slab {
    /// Reserves memory for `capacity` entries.
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { entries: Segments::with_capacity(capacity), free: Segments::with_capacity(capacity) }
    }

    /// The number of entries that there is memory for.
    pub(super) fn room(&self) -> usize {
        self.entries.room()
    }

    /// Reserves memory for `capacity` entries in all.
    pub(super) fn grow(&mut self, capacity: u32) {
        self.entries.grow(capacity as usize);
        self.free.grow(capacity as usize);
    }

    /// Stores an entry; returns its index.
    pub(super) fn put(&mut self, entry: Option<Entry>) -> u32 {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.entries.get_mut(index as usize)
        {
            *place = entry;
            return index;
        }
        self.entries.push(entry);
        // The capacity is below 2^24, so the index always fits.
        u32::try_from(self.entries.len() - 1).unwrap_or(NIL)
    }

    /// Removes the entry at an index.
    pub(super) fn take(&mut self, index: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(entry)
    }
}

impl Linked for Slab {
    fn links(&mut self, entry: u32) -> &mut Links {
        // Lists only contain entries that are in use: removal takes an entry off its list first.
        let place = self.entries.get_mut(entry as usize);
        &mut place.and_then(Option::as_mut).expect("a queued entry is alive").links
    }
}
