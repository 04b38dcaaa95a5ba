//! Memory that grows without being moved.

use std::ops::Range;

/// Values in order. More room is another piece of memory, so it costs the same however many values
/// there are.
#[derive(Debug)]
pub(in crate::balancer) struct Segments<T> {
    /// All values of a table that was never made larger: each is found as in a `Vec`.
    first: Vec<T>,
    /// The later pieces, each with the index of its first value.
    more: Vec<(usize, Vec<T>)>,
}

impl<T> Segments<T> {
    /// Reserves memory for `capacity` values.
    pub(in crate::balancer) fn with_capacity(capacity: usize) -> Self {
        Self { first: Vec::with_capacity(capacity), more: Vec::new() }
    }

    /// The number of values that there is memory for.
    pub(super) fn room(&self) -> usize {
        match self.more.last() {
            Some((start, values)) => start + values.capacity(),
            None => self.first.capacity(),
        }
    }

    /// Reserves memory for `capacity` values in all. Touches no value.
    pub(in crate::balancer) fn grow(&mut self, capacity: usize) {
        let room = self.room();
        if capacity > room {
            self.more.push((room, Vec::with_capacity(capacity - room)));
        }
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        match self.more.iter().rev().find(|(_, values)| !values.is_empty()) {
            Some((start, values)) => start + values.len(),
            None => self.first.len(),
        }
    }

    #[inline(always)]
    pub(in crate::balancer) fn get(&self, index: usize) -> Option<&T> {
        match self.first.get(index) {
            Some(value) => Some(value),
            None => self.get_beyond(index),
        }
    }

    #[inline(always)]
    pub(in crate::balancer) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index < self.first.len() {
            return self.first.get_mut(index);
        }
        self.get_beyond_mut(index)
    }

    #[inline(never)]
    fn get_beyond(&self, index: usize) -> Option<&T> {
        let (start, values) = self.more.get(self.piece_of(index)?)?;
        values.get(index - start)
    }

    #[inline(never)]
    fn get_beyond_mut(&mut self, index: usize) -> Option<&mut T> {
        let piece = self.piece_of(index)?;
        let (start, values) = self.more.get_mut(piece)?;
        values.get_mut(index - *start)
    }

    /// The last of the later pieces that begins at or before this index.
    fn piece_of(&self, index: usize) -> Option<usize> {
        self.more.partition_point(|(start, _)| *start <= index).checked_sub(1)
    }

    /// Adds a value behind the others.
    pub(in crate::balancer) fn push(&mut self, value: T) {
        let has_room = |values: &Vec<T>| values.len() < values.capacity();
        let free = self.more.iter().position(|(_, values)| has_room(values));
        let last = self.more.len().saturating_sub(1);
        match self.more.get_mut(free.unwrap_or(last)) {
            Some((_, values)) if !has_room(&self.first) => values.push(value),
            _ => self.first.push(value),
        }
    }

    /// Takes the last value.
    pub(super) fn pop(&mut self) -> Option<T> {
        let later = self.more.iter_mut().rev().find_map(|(_, values)| values.pop());
        later.or_else(|| self.first.pop())
    }

    /// The values in a range of indexes, with their indexes.
    pub(super) fn iter_in(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &T)> {
        let indexes = range.start..range.end.min(self.len());
        indexes.filter_map(|index| Some((index, self.get(index)?)))
    }

    /// The address range of each piece in the process's memory.
    pub(super) fn memory(&self) -> impl Iterator<Item = Range<usize>> {
        let pieces = std::iter::once(&self.first).chain(self.more.iter().map(|(_, piece)| piece));
        pieces.map(|piece| {
            let start = piece.as_ptr() as usize;
            start..start + piece.capacity() * size_of::<T>()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model: a vector. What is there stays where it is.
        #[test]
        fn a_value_has_its_index_and_its_address_for_life(
            steps in prop::collection::vec(0_u32..10, 0..300),
        ) {
            let (mut values, mut model) = (Segments::with_capacity(4), Vec::new());
            let mut addresses: Vec<*const u32> = Vec::new();
            for (number, step) in (0_u32..).zip(steps) {
                match step {
                    0 => values.grow(values.room() + number as usize % 5),
                    1..4 => {
                        prop_assert_eq!(values.pop(), model.pop());
                        addresses.truncate(model.len());
                    }
                    _ if model.len() < values.room() => {
                        values.push(number);
                        model.push(number);
                        addresses.extend(values.get(model.len() - 1).map(std::ptr::from_ref));
                    }
                    _ => {}
                }
                prop_assert_eq!(values.len(), model.len());
                for (index, expected) in model.iter().enumerate() {
                    prop_assert_eq!(values.get(index), Some(expected));
                    prop_assert_eq!(values.get_mut(index).copied(), Some(*expected));
                    let address = values.get(index).map(std::ptr::from_ref);
                    prop_assert_eq!(address, Some(addresses[index]));
                }
                prop_assert_eq!(values.get(model.len()), None);
                let listed = values.iter_in(1..usize::MAX).map(|(index, &value)| (index, value));
                let listed: Vec<_> = listed.collect();
                let expected: Vec<_> = model.iter().copied().enumerate().skip(1).collect();
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
