//! The unproven connections, longest silent first: one list through the entries themselves.
//!
//! They are here and not on the wheel, so that the first can be evicted without a search. All have
//! the same timeout, so the order of their last packets is the order in which they expire, and the
//! first one's deadline is the list's.

use super::wheel::{Linked, Links, NIL};

/// In a `prev` link: the entry is the list's first. [`NIL`] means that it is not on the list.
const FIRST: u32 = NIL - 1;

/// The list's two ends.
#[derive(Debug)]
pub(super) struct Waiting {
    first: u32,
    last: u32,
}

impl Waiting {
    pub(super) const EMPTY: Self = Self { first: NIL, last: NIL };

    /// The connection that has been silent longest.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NIL).then_some(self.first)
    }

    /// Appends an entry that is on no list.
    pub(super) fn push(&mut self, entries: &mut impl Linked, entry: u32) {
        let prev = if self.last == NIL { FIRST } else { self.last };
        *entries.links(entry) = Links { next: NIL, prev };
        if self.last == NIL {
            self.first = entry;
        } else {
            entries.links(self.last).next = entry;
        }
        self.last = entry;
    }

    /// Removes an entry from this list, if it is on it: an expired one is not.
    pub(super) fn remove(&mut self, entries: &mut impl Linked, entry: u32) {
        let Links { next, prev } = std::mem::replace(entries.links(entry), Links::NONE);
        if prev == NIL {
            return;
        }
        if next == NIL {
            self.last = if prev == FIRST { NIL } else { prev };
        } else {
            entries.links(next).prev = prev;
        }
        if prev == FIRST {
            self.first = next;
        } else {
            entries.links(prev).next = next;
        }
    }
}
