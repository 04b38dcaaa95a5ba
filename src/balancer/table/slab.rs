//! The memory of the entries.

use super::entry::Entry;
use super::wheel::{Linked, Links, NIL};

/// The entries, and the indexes that are free.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

impl Slab {
    /// Reserves memory for `capacity` entries.
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity) }
    }

    /// The number of entries that there is memory for.
    pub(super) fn room(&self) -> usize {
        self.entries.capacity()
    }

    /// Moves the entries to memory for `capacity` entries, at the same indexes.
    ///
    /// Allocators reallocate a large piece by mremap(2), which moves pages and copies nothing:
    /// glibc from 32 MiB on (`DEFAULT_MMAP_THRESHOLD_MAX`). A smaller one would be copied whole, so
    /// there only what was used is copied.
    pub(super) fn grow(&mut self, capacity: u32) {
        const MOVED: usize = 32 << 20;
        let more = (capacity as usize).saturating_sub(self.entries.len());
        if self.entries.capacity() * size_of::<Option<Entry>>() >= MOVED {
            self.entries.reserve_exact(more);
            self.free.reserve_exact((capacity as usize).saturating_sub(self.free.len()));
            return;
        }
        let Self { entries, free } = Self::new(capacity);
        let (mut entries, mut unused) = (entries, free);
        entries.append(&mut self.entries);
        unused.append(&mut self.free);
        *self = Self { entries, free: unused };
    }

    /// Stores an entry; returns its index.
    pub(super) fn put(&mut self, entry: Option<Entry>) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
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
        &mut self.entries[entry as usize].as_mut().expect("a queued entry is alive").links
    }
}
