//! The fragmented datagrams: a fixed number, found by keyed hash, in two lists ordered by age.

use super::seen::SeenParts;
use super::store::Queue;
use crate::balancer::flow::Key;
use crate::balancer::verdict::Reason;
use crate::model::{Millis, RealId, Seed};

/// No datagram.
const NIL: u32 = u32::MAX;

/// The state of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DatagramState {
    /// Its first fragment has not arrived.
    Waiting,
    /// Its first fragment was sent to this real server, or to none.
    Decided(Option<RealId>),
    /// All its fragments are dropped, for this reason.
    Refused(Reason),
}

/// One of the two lists. Each has its own bound, so that a flood of one sort does not evict the
/// other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FragmentKind {
    /// Datagrams whose first fragment has not arrived. Only they hold packets.
    Waiting,
    /// All others.
    Decided,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    key: Key,
    /// When its state is forgotten.
    pub(super) until: Millis,
    pub(super) state: DatagramState,
    pub(super) held: Queue,
    pub(super) seen: SeenParts,
    kind: FragmentKind,
    bucket: u32,
    /// The next datagram in its bucket, or the next free index.
    chain: u32,
    older: u32,
    newer: u32,
}

impl Datagram {
    pub(super) fn kind(&self) -> FragmentKind {
        self.kind
    }
}

/// A list ordered by age.
#[derive(Clone, Copy, Debug)]
struct AgeList {
    oldest: u32,
    newest: u32,
    len: usize,
    most: usize,
}

/// The datagrams.
#[derive(Debug)]
pub(super) struct Datagrams {
    seed: Seed,
    /// All datagrams at indexes that are or have been in use.
    slots: Vec<Datagram>,
    free: u32,
    buckets: Vec<u32>,
    waiting: AgeList,
    decided: AgeList,
}

impl Datagrams {
    /// Allocates the given number of datagrams for each list.
    pub(super) fn new(waiting: usize, decided: usize, seed: Seed) -> Self {
        let list = |most| AgeList { oldest: NIL, newest: NIL, len: 0, most };
        Self {
            seed,
            slots: Vec::with_capacity(waiting + decided),
            free: NIL,
            buckets: vec![NIL; ((waiting + decided) * 2).next_power_of_two()],
            waiting: list(waiting),
            decided: list(decided),
        }
    }

    pub(super) fn len(&self, kind: FragmentKind) -> usize {
        self.list(kind).len
    }

    pub(super) fn is_full(&self, kind: FragmentKind) -> bool {
        let list = self.list(kind);
        list.len >= list.most
    }

    /// The oldest datagram of this list.
    pub(super) fn oldest(&self, kind: FragmentKind) -> Option<u32> {
        Some(self.list(kind).oldest).filter(|&index| index != NIL)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Datagram> {
        self.slots.get(index as usize)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Datagram> {
        self.slots.get_mut(index as usize)
    }

    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        let mut at = *self.buckets.get(self.bucket(key) as usize)?;
        while let Some(datagram) = self.get(at) {
            if datagram.key == *key {
                return Some(at);
            }
            at = datagram.chain;
        }
        None
    }

    /// Adds a datagram without fragments, as the newest of its list, which must not be
    /// [full](Self::is_full).
    pub(super) fn insert(&mut self, key: Key, kind: FragmentKind, until: Millis) -> u32 {
        let bucket = self.bucket(&key);
        let chain = self.buckets.get(bucket as usize).copied().unwrap_or(NIL);
        let (state, held, seen) = (DatagramState::Waiting, Queue::EMPTY, SeenParts::NOTHING);
        let (older, newer) = (NIL, NIL);
        let datagram =
            Datagram { key, until, state, held, seen, kind, bucket, chain, older, newer };
        let index = match self.slots.get_mut(self.free as usize) {
            Some(free) => {
                let next = std::mem::replace(free, datagram).chain;
                std::mem::replace(&mut self.free, next)
            }
            None => {
                self.slots.push(datagram);
                u32::try_from(self.slots.len() - 1).unwrap_or(NIL)
            }
        };
        if let Some(head) = self.buckets.get_mut(bucket as usize) {
            *head = index;
        }
        self.link(index, kind);
        index
    }

    /// Removes a datagram, which must hold no packets.
    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
        let Some(&Datagram { bucket, chain, .. }) = self.get(index) else { return };
        let mut at = self.buckets.get(bucket as usize).copied().unwrap_or(NIL);
        if at == index {
            self.buckets[bucket as usize] = chain;
        }
        while let Some(datagram) = self.get_mut(at) {
            at = datagram.chain;
            if at == index {
                datagram.chain = chain;
            }
        }
        let free = std::mem::replace(&mut self.free, index);
        if let Some(datagram) = self.get_mut(index) {
            datagram.chain = free;
        }
    }

    /// Moves a datagram to the list of decided ones, as the newest; that list must not be full.
    pub(super) fn decide(&mut self, index: u32) {
        self.unlink(index);
        self.link(index, FragmentKind::Decided);
    }

    /// All decided datagrams.
    pub(super) fn decided(&mut self) -> impl Iterator<Item = &mut Datagram> {
        // Free entries keep their last list; including them does no harm.
        self.slots.iter_mut().filter(|datagram| datagram.kind == FragmentKind::Decided)
    }

    /// The datagrams of one list, oldest first.
    #[cfg(test)]
    pub(super) fn listed(&self, kind: FragmentKind) -> impl Iterator<Item = &Datagram> {
        let first = self.get(self.list(kind).oldest);
        std::iter::successors(first, |datagram| self.get(datagram.newer))
    }

    fn bucket(&self, key: &Key) -> u32 {
        let mask = self.buckets.len() as u64 - 1;
        u32::try_from(key.hash(self.seed) & mask).unwrap_or_default()
    }

    fn list(&self, kind: FragmentKind) -> &AgeList {
        match kind {
            FragmentKind::Waiting => &self.waiting,
            FragmentKind::Decided => &self.decided,
        }
    }

    fn list_mut(&mut self, kind: FragmentKind) -> &mut AgeList {
        match kind {
            FragmentKind::Waiting => &mut self.waiting,
            FragmentKind::Decided => &mut self.decided,
        }
    }

    fn link(&mut self, index: u32, kind: FragmentKind) {
        let list = self.list_mut(kind);
        let older = std::mem::replace(&mut list.newest, index);
        if older == NIL {
            list.oldest = index;
        }
        list.len += 1;
        if let Some(datagram) = self.get_mut(older) {
            datagram.newer = index;
        }
        if let Some(datagram) = self.get_mut(index) {
            (datagram.kind, datagram.older, datagram.newer) = (kind, older, NIL);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(&Datagram { kind, older, newer, .. }) = self.get(index) else { return };
        match self.get_mut(older) {
            Some(datagram) => datagram.newer = newer,
            None => self.list_mut(kind).oldest = newer,
        }
        match self.get_mut(newer) {
            Some(datagram) => datagram.older = older,
            None => self.list_mut(kind).newest = older,
        }
        self.list_mut(kind).len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u16) -> Key {
        Key::new(17, [198, 51, 100, 7].into(), 0, [192, 0, 2, 10].into(), number)
    }

    fn number(datagrams: &Datagrams, index: u32) -> u16 {
        datagrams.get(index).map(|datagram| datagram.key.virtual_port()).unwrap_or_default()
    }

    /// Both lists, oldest first.
    fn listed(datagrams: &Datagrams) -> [Vec<u16>; 2] {
        [FragmentKind::Waiting, FragmentKind::Decided].map(|kind| {
            let next = |&index: &u32| {
                datagrams.get(index).map(|it| it.newer).filter(|&newer| newer != NIL)
            };
            let indexes = std::iter::successors(datagrams.oldest(kind), next);
            indexes.map(|index| number(datagrams, index)).collect()
        })
    }

    #[test]
    fn datagrams_are_found_and_listed_by_age_through_any_changes() {
        let mut datagrams = Datagrams::new(4, 4, Seed(1, 2));
        let mut indexes = BTreeMap::new();
        let mut model: [Vec<u16>; 2] = Default::default();
        // The next number has no pattern: a multiple of a prime.
        for step in 0_u16..2_000 {
            let name = step.wrapping_mul(7_919) % 11;
            let index = indexes.get(&name).copied();
            assert_eq!(datagrams.find(&key(name)), index, "{step}");
            match index {
                None if !datagrams.is_full(FragmentKind::Waiting) => {
                    let index = datagrams.insert(key(name), FragmentKind::Waiting, Millis(0));
                    indexes.insert(name, index);
                    model[0].push(name);
                }
                Some(index)
                    if model[0].contains(&name) && !datagrams.is_full(FragmentKind::Decided) =>
                {
                    datagrams.decide(index);
                    model[0].retain(|&other| other != name);
                    model[1].push(name);
                }
                Some(index) => {
                    datagrams.remove(index);
                    indexes.remove(&name);
                    model.iter_mut().for_each(|list| list.retain(|&other| other != name));
                }
                None => {}
            }
            assert_eq!(listed(&datagrams), model, "{step}");
            assert_eq!(datagrams.len(FragmentKind::Waiting), model[0].len());
        }
        assert!(datagrams.slots.len() <= 8, "indexes are reused");
    }
}
