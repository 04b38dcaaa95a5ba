//! Clients' handshakes with a real server, as far as the director sees them: SYNs, and the first
//! segment that the client sends when it has its answer.
//!
//! Where a host is cut off, a program is dead or a firewall drops SYNs, handshakes do not complete.
//! SYNs can be forged, so unanswered ones only bring a health check forward.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Millis, RealId};

/// How many SYNs in a row, new or sent again, with no handshake that ends among them, make a real
/// server suspicious at most.
pub const UNANSWERED: u32 = 8;

/// How long ago the first of them must be at most: longer than the round trip of most clients.
pub const UNANSWERED_FOR: Duration = Duration::from_millis(100);

/// A row that is so many times as long as the longest one of late is unusual.
const UNUSUAL: u32 = 2;

/// So many SYNs are needed where the rows of late were short.
pub const FEWEST: u32 = 4;

/// And so old must the first of them be there.
pub const BRIEFEST: Duration = Duration::from_millis(20);

/// The longest row of late loses such a part of its length with each handshake that ends. Lengths
/// are counted in such parts.
const PART: u32 = 16;

/// After such a time without a SYN they are counted anew: the real server may have been down. A
/// client sends its SYN again after 1, 3 and 7 seconds.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// The shortest time between two suspicions of one real server. Its checks have longer intervals of
/// their own for that.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The most suspicions that wait for the caller. One that finds no place comes again after
/// [`PAUSE`].
pub const MAX_WAITING: usize = 64;

/// Clients' SYNs at a real server do not lead to connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suspicion {
    /// The service's name.
    pub service: String,
    /// The real server.
    pub address: IpAddr,
    /// SYNs since the last handshake that ended.
    pub syns: u32,
    /// The time since the first of them.
    pub lasting: Duration,
}

/// The handshakes of one real server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshakes {
    /// SYNs since the last handshake that ended.
    syns: u32,
    /// When the first of them came.
    since: Millis,
    /// When the last of them came.
    last: Millis,
    suspected: Option<Millis>,
    /// The longest row of late: its SYNs, and its milliseconds.
    usual: [Fading; 2],
}

/// The largest number of late, in [`PART`]s; it fades with each one that follows.
#[derive(Clone, Copy, Debug)]
struct Fading(u32);

impl Fading {
    #[inline]
    fn take(&mut self, number: u32) {
        self.0 = (self.0 - self.0 / PART).max(number.saturating_mul(PART));
    }

    /// What is unusually large, between these.
    fn unusual(self, least: u32, most: u32) -> u32 {
        (self.0.saturating_mul(UNUSUAL) / PART).clamp(least, most)
    }
}

impl Default for Handshakes {
    /// Nothing is known yet, so only the longest rows are unusual.
    fn default() -> Self {
        let at_first = |most: u32| Fading(most / UNUSUAL * PART);
        let (syns, since, last, suspected) = (0, Millis(0), Millis(0), None);
        let usual = [at_first(UNANSWERED), at_first(millis(UNANSWERED_FOR))];
        Self { syns, since, last, suspected, usual }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Handshakes {
    /// Counts a SYN. True: the real server is suspicious now.
    #[inline]
    pub(super) fn open(&mut self, now: Millis) -> bool {
        if self.syns == 0 || self.last.until(now) > FORGOTTEN_AFTER {
            (self.syns, self.since) = (0, now);
        }
        self.last = now;
        self.syns = self.syns.saturating_add(1);
        let [syns, lasting] = self.usual;
        if self.syns < syns.unusual(FEWEST, UNANSWERED)
            || millis(self.since.until(now))
                < lasting.unusual(millis(BRIEFEST), millis(UNANSWERED_FOR))
        {
            return false;
        }
        let again = self.suspected.is_none_or(|last| last.until(now) >= PAUSE);
        if again {
            self.suspected = Some(now);
        }
        again
    }

    /// A client has gone on after its SYN.
    #[inline]
    pub(super) fn end(&mut self, now: Millis) {
        if self.syns > 0 {
            let [syns, lasting] = &mut self.usual;
            syns.take(self.syns);
            lasting.take(millis(self.since.until(now)));
        }
        self.syns = 0;
    }

    /// The SYNs since the last handshake that ended, and the time since the first of them.
    pub(super) fn unanswered(self, now: Millis) -> (u32, Duration) {
        (self.syns, if self.syns == 0 { Duration::ZERO } else { self.since.until(now) })
    }
}

/// The real servers that are suspicious. The memory is there from the start, since packets allocate
/// nothing.
#[derive(Debug)]
pub(super) struct Suspects(Vec<RealId>);

impl Default for Suspects {
    fn default() -> Self {
        Self(Vec::with_capacity(MAX_WAITING))
    }
}

impl Suspects {
    pub(super) fn push(&mut self, real: RealId) {
        if self.0.len() < MAX_WAITING {
            self.0.push(real);
        }
    }

    pub(super) fn pop(&mut self) -> Option<RealId> {
        self.0.pop()
    }
}
