//! Clients' handshakes with a real server. The director sees one half of them: SYNs, and the first
//! segment that the client sends after the server's answer.
//!
//! Where a host is cut off, a program is dead or a firewall drops SYNs, handshakes do not complete.
//! SYNs can be forged, so unanswered ones only bring a health check forward.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Millis, RealId};

/// The largest number of SYNs in a row that a real server can need to become suspicious. They are
/// new or retransmitted, and no handshake completes between them.
pub const UNANSWERED: u32 = 8;

/// The longest time that can be required since the first of them: longer than the round trip of
/// most clients.
pub const UNANSWERED_FOR: Duration = Duration::from_millis(100);

/// A row is unusual if it is this many times as long as the longest recent one.
const UNUSUAL: u32 = 2;

/// The fewest SYNs of a suspicious row, where recent rows were short.
pub const FEWEST: u32 = 4;

/// The shortest time since the first SYN of such a row.
pub const BRIEFEST: Duration = Duration::from_millis(20);

/// With each completed handshake the longest recent row loses a sixteenth of its length. Lengths
/// are counted in sixteenths.
const PART: u32 = 16;

/// After this time without a SYN the count starts again: the real server may have been down. A
/// client retransmits its SYN after 1, 3 and 7 seconds.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// The shortest time between two suspicions of one real server. Its checks limit their extra probes
/// further.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The most suspicions that wait for the caller. One for which there is no room is raised again
/// after [`PAUSE`].
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
    /// The longest recent row: its SYNs, and its milliseconds.
    usual: [Fading; 2],
}

/// The largest recent number, in [`PART`]s; it decreases with each number that follows.
#[derive(Clone, Copy, Debug)]
struct Fading(u32);

impl Fading {
    #[inline]
    fn take(&mut self, number: u32) {
        self.0 = (self.0 - self.0 / PART).max(number.saturating_mul(PART));
    }

    /// The bound from which on a number is unusual, between `least` and `most`.
    fn unusual(self, least: u32, most: u32) -> u32 {
        (self.0.saturating_mul(UNUSUAL) / PART).clamp(least, most)
    }
}

impl Default for Handshakes {
    /// There is no recent row yet, so only the longest rows are unusual.
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
    /// Counts a SYN. Returns whether the real server becomes suspicious.
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

    /// A client has completed its handshake.
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

/// The real servers that are suspicious. Their memory is allocated at the start, since the packet
/// path allocates nothing.
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
