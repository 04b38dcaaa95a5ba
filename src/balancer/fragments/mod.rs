//! Fragments: all of a datagram reach the real server that its first one is given to, in whatever
//! order they come.
//!
//! Only the first has ports. So it gets its verdict as a whole packet does, the others follow it,
//! and those that are ahead of it are held until it comes. Nothing is put together here: that the
//! real server's kernel does, which gets every fragment as it was sent. But what would make two
//! receivers see two different datagrams is refused, and with it the whole datagram.
//!
//! Everything is bounded: the datagrams whose first fragment has come, and the others, of each of
//! which the oldest gives way to the newest; the fragments of one; the bytes held; and the time,
//! which counts from the fragment of a datagram that comes first. A datagram that is complete is
//! forgotten at once, for busy clients use a number of 16 bits again within seconds (RFC 6864
//! section 4.3).

mod datagrams;
mod seen;
mod store;
mod way;

use std::time::Duration;

use super::Counters;
use super::flow::Key;
use super::snapshot;
use super::verdict::Reason;
use crate::model::{Millis, RealId, Seed};
use crate::wire::packet::Part;
use datagrams::{Datagrams, FragmentKind, State};
use store::{Queue, Store};

pub use seen::MAX_PARTS;

/// How long the fragments of one datagram may take: Linux's `ipfrag_time`.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Datagrams that one call of [`Fragments::expire`] forgets at most.
const EXPIRE_BUDGET: usize = 256;

/// What bounds the fragments of all datagrams together.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Datagrams whose first fragment has not come.
    pub waiting: usize,
    /// Datagrams whose first fragment has come, or that are refused.
    pub decided: usize,
    /// Bytes of held fragments, in blocks of 512.
    pub bytes: usize,
}

impl Bounds {
    /// 4 MiB are Linux's `ipfrag_high_thresh`.
    pub const DEFAULT: Self = Self { waiting: 1_024, decided: 4_096, bytes: 4 << 20 };
}

/// What is known of datagrams that come in fragments.
#[derive(Debug)]
pub(super) struct Fragments {
    datagrams: Datagrams,
    store: Store,
    /// Held fragments whose first one has come.
    released: Queue,
    /// How often all decided datagrams have been looked at.
    #[cfg(test)]
    pub(super) sweeps: usize,
}

/// A datagram's place, until another one's fragment comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Handle(u32);

/// What a fragment is to its datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// The first one: its verdict is the datagram's.
    First(Handle),
    /// Ahead of the first one.
    Ahead(Handle),
    /// It goes where the first one went, if anywhere.
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

    /// Files a fragment with its datagram.
    ///
    /// # Errors
    /// Why it is dropped. Unless it is a mere duplicate, its datagram is refused from now on, and
    /// what was held of it is dropped for the same reason.
    fn file(
        &mut self,
        now: Millis,
        key: Key,
        part: Part,
        counters: &mut Counters,
    ) -> Result<Role, Reason> {
        let place = match self.find(now, &key, counters) {
            Some(place) => place,
            None => self.enter(now, key, part.start == 0, counters),
        };
        let datagram = self.datagrams.get_mut(place).ok_or(Reason::Fragment)?;
        if let State::Refused(reason) = datagram.state {
            return Err(reason);
        }
        match datagram.seen.add(part) {
            Ok(()) => {}
            Err(Reason::FragmentDuplicate) => return Err(Reason::FragmentDuplicate),
            Err(reason) => {
                self.refuse(place, reason, counters);
                return Err(reason);
            }
        }
        match datagram.state {
            State::Decided(real) => {
                if datagram.seen.is_complete() {
                    self.datagrams.remove(place);
                }
                Ok(Role::Follows(real))
            }
            _ if part.start == 0 => Ok(Role::First(Handle(place))),
            _ => Ok(Role::Ahead(Handle(place))),
        }
    }

    /// The first fragment has gone to this real server, or to none: what was held of its datagram
    /// follows it.
    fn decide(&mut self, handle: Handle, real: Option<RealId>, counters: &mut Counters) {
        let Handle(place) = handle;
        let Some(datagram) = self.datagrams.get_mut(place) else { return };
        match real {
            Some(real) => {
                self.store.release(&mut datagram.held, &mut self.released, real);
            }
            None => counters.unhold(Reason::Fragment, self.store.clear(&mut datagram.held)),
        }
        datagram.state = State::Decided(real);
        if datagram.seen.is_complete() {
            self.datagrams.remove(place);
        } else {
            self.settle(place, counters);
        }
    }

    /// Holds a fragment that is ahead of its datagram's first one. False where there is no room:
    /// older datagrams give way to newer ones, this one too.
    fn hold(&mut self, handle: Handle, packet: &[u8], counters: &mut Counters) -> bool {
        let Handle(place) = handle;
        while !self.store.fits(packet.len()) {
            match self.datagrams.oldest(FragmentKind::Waiting) {
                Some(oldest) if oldest != place => {
                    self.forget(oldest, Reason::FragmentLimit, counters);
                }
                _ => {
                    self.refuse(place, Reason::FragmentLimit, counters);
                    return false;
                }
            }
        }
        match self.datagrams.get_mut(place) {
            Some(datagram) => self.store.push(&mut datagram.held, packet),
            None => return false,
        }
        true
    }

    /// Whether [`Self::take_released`] has something.
    #[inline]
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Copies the next fragment that waits no longer to `room`; says where it goes and how long it
    /// is.
    pub(super) fn take_released(&mut self, room: &mut [u8]) -> Option<(RealId, usize)> {
        self.store.pop(&mut self.released, room)
    }

    /// Forgets datagrams whose time is up.
    pub(super) fn expire(&mut self, now: Millis, counters: &mut Counters) {
        for _ in 0..EXPIRE_BUDGET {
            let due = [FragmentKind::Waiting, FragmentKind::Decided].into_iter().find_map(|kind| {
                let place = self.datagrams.oldest(kind)?;
                self.datagrams.get(place).filter(|it| it.until <= now).map(|_| place)
            });
            let Some(place) = due else { return };
            self.forget(place, Reason::FragmentExpired, counters);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let until = |kind| Some(self.datagrams.get(self.datagrams.oldest(kind)?)?.until);
        [FragmentKind::Waiting, FragmentKind::Decided].into_iter().filter_map(until).min()
    }

    /// The real servers to which what is still to come of datagrams goes.
    #[cfg(test)]
    pub(super) fn reals(&self) -> impl Iterator<Item = RealId> {
        self.datagrams.listed(FragmentKind::Decided).filter_map(|datagram| match datagram.state {
            State::Decided(real) => real,
            _ => None,
        })
    }

    /// No service has the real server any more: what was on its way to it goes nowhere, also when
    /// its place is another's. Looks at all datagrams.
    pub(super) fn real_is_gone(&mut self, real: RealId) {
        #[cfg(test)]
        {
            self.sweeps += 1;
        }
        for datagram in self.datagrams.decided() {
            if datagram.state == State::Decided(Some(real)) {
                datagram.state = State::Decided(None);
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

    /// The datagram with this key. That its time is up may have gone unnoticed: among the decided
    /// an older one may be behind a newer one, since its first fragment took long to come.
    fn find(&mut self, now: Millis, key: &Key, counters: &mut Counters) -> Option<u32> {
        let place = self.datagrams.find(key)?;
        if self.datagrams.get(place)?.until <= now {
            self.forget(place, Reason::FragmentExpired, counters);
            return None;
        }
        Some(place)
    }

    /// A new datagram, for which the oldest of its kind gives way.
    fn enter(&mut self, now: Millis, key: Key, first: bool, counters: &mut Counters) -> u32 {
        let kind = if first { FragmentKind::Decided } else { FragmentKind::Waiting };
        self.make_room(kind, counters);
        self.datagrams.insert(key, kind, now.after(LIFETIME))
    }

    /// Nothing of this datagram passes any more.
    fn refuse(&mut self, place: u32, reason: Reason, counters: &mut Counters) {
        if let Some(datagram) = self.datagrams.get_mut(place) {
            counters.unhold(reason, self.store.clear(&mut datagram.held));
            datagram.state = State::Refused(reason);
            self.settle(place, counters);
        }
    }

    /// A datagram that holds nothing any more is one of the decided.
    fn settle(&mut self, place: u32, counters: &mut Counters) {
        if self.datagrams.get(place).is_some_and(|it| it.kind() == FragmentKind::Waiting) {
            self.make_room(FragmentKind::Decided, counters);
            self.datagrams.decide(place);
        }
    }

    fn make_room(&mut self, kind: FragmentKind, counters: &mut Counters) {
        if self.datagrams.is_full(kind)
            && let Some(oldest) = self.datagrams.oldest(kind)
        {
            self.forget(oldest, Reason::FragmentLimit, counters);
        }
    }

    /// Forgets a datagram; what was held of it is dropped.
    fn forget(&mut self, place: u32, reason: Reason, counters: &mut Counters) {
        if let Some(datagram) = self.datagrams.get_mut(place) {
            counters.unhold(reason, self.store.clear(&mut datagram.held));
            self.datagrams.remove(place);
        }
    }
}
