//! Fragments: all fragments of a datagram go to the real server of its first one, in whatever order
//! they arrive.
//!
//! Only the first fragment has ports. It gets its verdict like a whole packet, the others follow
//! it, and those that arrive before it are held. Nothing is reassembled here: the real server's
//! kernel does that, and gets every fragment as it was sent. But fragments that different receivers
//! could reassemble differently are refused, with their whole datagram.
//!
//! Everything is bounded: the number of datagrams with and without their first fragment, the
//! fragments of a datagram, the bytes held, and the time since a datagram's first arrival. If there
//! is one datagram too many, the oldest of its kind is evicted. A complete datagram is forgotten at
//! once, since busy clients reuse a 16-bit identification within seconds (RFC 6864 section 4.3).

mod datagrams;
mod forward;
mod seen;
mod store;

use std::time::Duration;

use super::Counters;
use super::flow::Key;
use super::snapshot;
use super::verdict::Reason;
use crate::model::{Millis, RealId, Seed};
use crate::wire::packet::Part;
use datagrams::{DatagramState, Datagrams, FragmentKind};
use store::{Queue, Store};

pub use seen::MAX_PARTS;

/// How long a datagram's fragments may take to arrive: Linux's `ipfrag_time`.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// The most datagrams that one call of [`Fragments::expire`] forgets.
const EXPIRE_BUDGET: usize = 256;

/// The bounds for all datagrams together.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Datagrams whose first fragment has not arrived.
    pub waiting: usize,
    /// Datagrams whose first fragment has arrived, or that are refused.
    pub decided: usize,
    /// Bytes of held fragments, in blocks of 512.
    pub bytes: usize,
}

impl Bounds {
    /// 4 MiB are Linux's `ipfrag_high_thresh`.
    pub const DEFAULT: Self = Self { waiting: 1_024, decided: 4_096, bytes: 4 << 20 };
}

/// The state of fragmented datagrams.
#[derive(Debug)]
pub(super) struct Fragments {
    datagrams: Datagrams,
    store: Store,
    /// Held fragments whose first one has arrived.
    released: Queue,
    /// How often all decided datagrams have been scanned.
    #[cfg(test)]
    pub(super) sweeps: usize,
}

/// A datagram's index, valid until a fragment of another one arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct DatagramIndex(u32);

/// How a fragment relates to its datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FragmentRole {
    /// The first one: its verdict applies to the datagram.
    First(DatagramIndex),
    /// It arrived before the first one.
    Ahead(DatagramIndex),
    /// It goes to the first one's real server, if there is one.
    Follows(Option<RealId>),
}

impl Fragments {
    pub(super) fn new(bounds: Bounds, seed: Seed) -> Self {
        Self {
            datagrams: Datagrams::new(bounds.waiting, bounds.decided, seed),
            store: Store::new(bounds.bytes),
            released: Queue::EMPTY,
            #[cfg(test)]
            sweeps: 0,
        }
    }

    /// Records a fragment with its datagram.
    ///
    /// # Errors
    /// The reason to drop it. Unless it is a duplicate, its datagram is refused from now on, and
    /// its held fragments are dropped for the same reason.
    fn file(
        &mut self,
        now: Millis,
        key: Key,
        part: Part,
        counters: &mut Counters,
    ) -> Result<FragmentRole, Reason> {
        let index = match self.find(now, &key, counters) {
            Some(index) => index,
            None => self.enter(now, key, part.start == 0, counters),
        };
        let datagram = self.datagrams.get_mut(index).ok_or(Reason::Fragment)?;
        if let DatagramState::Refused(reason) = datagram.state {
            return Err(reason);
        }
        match datagram.seen.add(part) {
            Ok(()) => {}
            Err(Reason::FragmentDuplicate) => return Err(Reason::FragmentDuplicate),
            Err(reason) => {
                self.refuse(index, reason, counters);
                return Err(reason);
            }
        }
        match datagram.state {
            DatagramState::Decided(real) => {
                if datagram.seen.is_complete() {
                    self.datagrams.remove(index);
                }
                Ok(FragmentRole::Follows(real))
            }
            _ if part.start == 0 => Ok(FragmentRole::First(DatagramIndex(index))),
            _ => Ok(FragmentRole::Ahead(DatagramIndex(index))),
        }
    }

    /// The first fragment was sent to this real server, or to none: the held fragments of its
    /// datagram follow it.
    fn decide(&mut self, handle: DatagramIndex, real: Option<RealId>, counters: &mut Counters) {
        let DatagramIndex(index) = handle;
        let Some(datagram) = self.datagrams.get_mut(index) else { return };
        match real {
            Some(real) => {
                self.store.release(&mut datagram.held, &mut self.released, real);
            }
            None => counters.unhold(Reason::Fragment, self.store.clear(&mut datagram.held)),
        }
        datagram.state = DatagramState::Decided(real);
        if datagram.seen.is_complete() {
            self.datagrams.remove(index);
        } else {
            self.settle(index, counters);
        }
    }

    /// Holds a fragment that arrived before its datagram's first one. Evicts older datagrams for
    /// space; if its own datagram is the oldest, that one is refused and the result is false.
    fn hold(&mut self, handle: DatagramIndex, packet: &[u8], counters: &mut Counters) -> bool {
        let DatagramIndex(index) = handle;
        while !self.store.fits(packet.len()) {
            match self.datagrams.oldest(FragmentKind::Waiting) {
                Some(oldest) if oldest != index => {
                    self.forget(oldest, Reason::FragmentLimit, counters);
                }
                _ => {
                    self.refuse(index, Reason::FragmentLimit, counters);
                    return false;
                }
            }
        }
        match self.datagrams.get_mut(index) {
            Some(datagram) => self.store.push(&mut datagram.held, packet),
            None => return false,
        }
        true
    }

    /// Whether [`Self::take_released`] has a fragment.
    #[inline]
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Copies the next released fragment to `room`; returns its real server and length.
    pub(super) fn take_released(&mut self, room: &mut [u8]) -> Option<(RealId, usize)> {
        self.store.pop(&mut self.released, room)
    }

    /// Forgets expired datagrams.
    pub(super) fn expire(&mut self, now: Millis, counters: &mut Counters) {
        for _ in 0..EXPIRE_BUDGET {
            let due = [FragmentKind::Waiting, FragmentKind::Decided].into_iter().find_map(|kind| {
                let index = self.datagrams.oldest(kind)?;
                self.datagrams.get(index).filter(|it| it.until <= now).map(|_| index)
            });
            let Some(index) = due else { return };
            self.forget(index, Reason::FragmentExpired, counters);
        }
    }

    /// When [`Self::expire`] is due.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let until = |kind| Some(self.datagrams.get(self.datagrams.oldest(kind)?)?.until);
        [FragmentKind::Waiting, FragmentKind::Decided].into_iter().filter_map(until).min()
    }

    /// The real servers of decided datagrams that are not complete.
    #[cfg(test)]
    pub(super) fn reals(&self) -> impl Iterator<Item = RealId> {
        self.datagrams.listed(FragmentKind::Decided).filter_map(|datagram| match datagram.state {
            DatagramState::Decided(real) => real,
            _ => None,
        })
    }

    /// No service has the real server any more: its released and further fragments go nowhere, even
    /// if its ID is reused. Scans all datagrams.
    pub(super) fn real_is_gone(&mut self, real: RealId) {
        #[cfg(test)]
        {
            self.sweeps += 1;
        }
        for datagram in self.datagrams.decided() {
            if datagram.state == DatagramState::Decided(Some(real)) {
                datagram.state = DatagramState::Decided(None);
            }
        }
    }

    pub(super) fn snapshot(&self) -> snapshot::FragmentsSnapshot {
        snapshot::FragmentsSnapshot {
            waiting: self.datagrams.len(FragmentKind::Waiting),
            decided: self.datagrams.len(FragmentKind::Decided),
            bytes: self.store.held(),
        }
    }

    /// The datagram with this key. It may have expired without notice: a decided datagram may be
    /// queued behind a newer one, if its first fragment arrived late.
    fn find(&mut self, now: Millis, key: &Key, counters: &mut Counters) -> Option<u32> {
        let index = self.datagrams.find(key)?;
        if self.datagrams.get(index)?.until <= now {
            self.forget(index, Reason::FragmentExpired, counters);
            return None;
        }
        Some(index)
    }

    /// Adds a datagram; evicts the oldest of its list if that is full.
    fn enter(&mut self, now: Millis, key: Key, first: bool, counters: &mut Counters) -> u32 {
        let kind = if first { FragmentKind::Decided } else { FragmentKind::Waiting };
        self.make_room(kind, counters);
        self.datagrams.insert(key, kind, now.after(LIFETIME))
    }

    /// Drops all fragments of this datagram from now on.
    fn refuse(&mut self, index: u32, reason: Reason, counters: &mut Counters) {
        if let Some(datagram) = self.datagrams.get_mut(index) {
            counters.unhold(reason, self.store.clear(&mut datagram.held));
            datagram.state = DatagramState::Refused(reason);
            self.settle(index, counters);
        }
    }

    /// Moves a datagram that holds no packets to the decided ones.
    fn settle(&mut self, index: u32, counters: &mut Counters) {
        if self.datagrams.get(index).is_some_and(|it| it.kind() == FragmentKind::Waiting) {
            self.make_room(FragmentKind::Decided, counters);
            self.datagrams.decide(index);
        }
    }

    fn make_room(&mut self, kind: FragmentKind, counters: &mut Counters) {
        if self.datagrams.is_full(kind)
            && let Some(oldest) = self.datagrams.oldest(kind)
        {
            self.forget(oldest, Reason::FragmentLimit, counters);
        }
    }

    /// Forgets a datagram and drops its held fragments.
    fn forget(&mut self, index: u32, reason: Reason, counters: &mut Counters) {
        if let Some(datagram) = self.datagrams.get_mut(index) {
            counters.unhold(reason, self.store.clear(&mut datagram.held));
            self.datagrams.remove(index);
        }
    }
}
