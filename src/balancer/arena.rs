//! Real servers and services by typed ID.
//!
//! A lookup of an existing value is an index ([`Arena`] implements `Index`). It never fails
//! silently: a stale ID is a bug of the balancer and panics. Packets and requests contain no IDs,
//! so outside data cannot cause that. An ID that may have outlived its value is looked up with
//! [`Arena::get`].

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use crate::model::{RealId, ServiceId};

/// The ID of a value in an arena.
pub(super) trait Id: Copy {
    /// The ID of the `generation`th value at that index.
    fn new(index: u32, generation: u32) -> Self;

    /// The value's index.
    fn index(self) -> usize;

    /// Whether this can be the ID of the `generation`th value at its index.
    fn is_of(self, generation: u32) -> bool;
}

/// Connections and templates store a real server's ID in four bytes, so it has no generation. A
/// real server is freed only when no connection and no template names it any more.
impl Id for RealId {
    fn new(index: u32, _generation: u32) -> Self {
        Self(index)
    }

    #[inline(always)]
    fn index(self) -> usize {
        self.0 as usize
    }

    #[inline(always)]
    fn is_of(self, _generation: u32) -> bool {
        true
    }
}

/// A removed service's ID stays with its real servers until their last connection has expired.
impl Id for ServiceId {
    fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    #[inline(always)]
    fn index(self) -> usize {
        self.index as usize
    }

    #[inline(always)]
    fn is_of(self, generation: u32) -> bool {
        self.generation == generation
    }
}

/// Values with IDs. Free indexes are used again; the arena never shrinks.
#[derive(Debug)]
pub(super) struct Arena<I, T> {
    slots: Vec<Slot<T>>,
    /// Free indexes; the last one is used next.
    free: Vec<u32>,
    ids: PhantomData<I>,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    /// How many values were at this index before.
    generation: u32,
}

impl<I, T> Default for Arena<I, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ids: PhantomData }
    }
}

impl<I: Id, T> Arena<I, T> {
    /// Adds a value; `make` gets its ID.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(I) -> T) -> I {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { value: None, generation: 0 });
            u32::try_from(self.slots.len() - 1).expect("fewer values than 2^32")
        });
        let slot = &mut self.slots[index as usize];
        let id = I::new(index, slot.generation);
        slot.value = Some(make(id));
        id
    }

    /// Removes a value, if it is there. Its ID must not be stored anywhere, unless IDs have
    /// generations.
    pub(super) fn remove(&mut self, id: I) -> Option<T> {
        let slot = self.slots.get_mut(id.index()).filter(|slot| id.is_of(slot.generation))?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.extend(u32::try_from(id.index()));
        Some(value)
    }

    /// The value with this ID, if it is still there.
    #[inline(always)]
    pub(super) fn get(&self, id: I) -> Option<&T> {
        let slot = self.slots.get(id.index())?;
        slot.value.as_ref().filter(|_| id.is_of(slot.generation))
    }

    /// The value with this ID, if it is still there.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        slot.value.as_mut().filter(|_| id.is_of(slot.generation))
    }

    /// All values, in the order of their indexes.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// All values, in the order of their indexes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// The content of an index, for iterating; `None` past the last index.
    pub(super) fn at(&self, index: usize) -> Option<Option<&T>> {
        Some(self.slots.get(index)?.value.as_ref())
    }

    /// All values with their IDs, in the order of their indexes.
    pub(super) fn entries(&self) -> impl Iterator<Item = (I, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            Some((I::new(index, slot.generation), slot.value.as_ref()?))
        })
    }
}

impl<I: Id, T> Index<I> for Arena<I, T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, id: I) -> &T {
        match self.get(id) {
            Some(value) => value,
            None => names_nothing(id.index()),
        }
    }
}

impl<I: Id, T> IndexMut<I> for Arena<I, T> {
    #[inline(always)]
    fn index_mut(&mut self, id: I) -> &mut T {
        match self.get_mut(id) {
            Some(value) => value,
            None => names_nothing(id.index()),
        }
    }
}

#[cold]
#[inline(never)]
fn names_nothing(index: usize) -> ! {
    panic!("an id names nothing at index {index} of its arena")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model: a list of what was added and not removed.
        #[test]
        fn ids_find_their_own_value_and_no_other(
            steps in prop::collection::vec(0_usize..6, 0..60),
        ) {
            let mut arena: Arena<ServiceId, usize> = Arena::default();
            let (mut alive, mut dead) = (Vec::new(), Vec::new());
            for (number, step) in steps.into_iter().enumerate() {
                if step < 3 || alive.is_empty() {
                    alive.push((arena.insert_with(|_| number), number));
                } else {
                    let (id, value) = alive.swap_remove(step % alive.len());
                    prop_assert_eq!(arena.remove(id), Some(value));
                    dead.push(id);
                }
                for &(id, value) in &alive {
                    prop_assert_eq!(arena[id], value);
                    prop_assert_eq!(arena.get_mut(id).copied(), Some(value));
                }
                for &id in &dead {
                    prop_assert_eq!(arena.get(id), None);
                    prop_assert_eq!(arena.remove(id), None);
                }
                let mut listed: Vec<_> = arena.entries().map(|(id, &value)| (id, value)).collect();
                prop_assert_eq!(listed.len(), arena.iter().count());
                listed.sort_by_key(|&(_, value)| value);
                alive.sort_by_key(|&(_, value)| value);
                prop_assert_eq!(&listed, &alive);
            }
        }
    }

    #[test]
    fn an_index_is_reused_and_a_real_servers_id_with_it() {
        let mut arena: Arena<RealId, &str> = Arena::default();
        let ids = ["a", "b"].map(|value| arena.insert_with(|_| value));
        assert_eq!(arena.remove(ids[0]), Some("a"));
        assert_eq!(arena.get(ids[0]), None);
        assert_eq!(arena.insert_with(|_| "c"), ids[0]);
        assert_eq!((arena[ids[0]], arena[ids[1]]), ("c", "b"));
    }

    #[test]
    #[should_panic(expected = "an id names nothing at index 0")]
    fn a_stale_id_panics() {
        let mut arena: Arena<ServiceId, ()> = Arena::default();
        let id = arena.insert_with(|_| ());
        arena.remove(id);
        let () = arena[id];
    }
}
