//! Defends a virtual IP against another host that claims it, as in RFC 5227 2.4 (c) for an address
//! that must be kept: one announcement in ten seconds, however often it is claimed. A claim that
//! comes sooner is answered when the ten seconds are over, since neighbours use the last packet
//! that they received.

use std::time::{Duration, Instant};

/// RFC 5227 1.1, `DEFEND_INTERVAL`.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// The time without a claim after which the conflict is over.
pub const CONFLICT_END: Duration = Duration::from_secs(60);
/// The least time between two answers to probes.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);

/// The state of claims to one virtual IP on one uplink.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Defence {
    /// When it was last defended.
    defended: Option<Instant>,
    /// When a probe was last answered.
    answered: Option<Instant>,
    /// When it was last claimed, and by which hardware address.
    claimed: Option<(Instant, [u8; 6])>,
    /// Whether it was claimed after it was last defended.
    claimed_since: bool,
}

/// Another host's packet about the virtual IP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It has the address.
    Has([u8; 6]),
    /// It probes whether a host has the address, to use it if not (RFC 5227 2.1.1).
    Probes,
}

impl Defence {
    /// Records a claim. Returns whether to announce the virtual IP now.
    pub fn record(&mut self, claim: Claim, now: Instant) -> bool {
        let (last, interval) = match claim {
            Claim::Has(mac) => {
                self.claimed = Some((now, mac));
                (&mut self.defended, DEFEND_INTERVAL)
            }
            Claim::Probes => (&mut self.answered, ANSWER_INTERVAL),
        };
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= interval);
        if due {
            *last = Some(now);
        }
        if let Claim::Has(_) = claim {
            self.claimed_since = !due;
        }
        due
    }

    /// When to announce the virtual IP again without a further claim.
    #[must_use]
    pub fn next_defence(&self) -> Option<Instant> {
        self.defended.filter(|_| self.claimed_since).map(|last| last + DEFEND_INTERVAL)
    }

    /// Whether to announce it now without a further claim. If so, records that it is defended.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.next_defence().is_some_and(|at| at <= now);
        if due {
            (self.claimed_since, self.defended) = (false, Some(now));
        }
        due
    }

    /// The other host, while the conflict lasts.
    #[must_use]
    pub fn rival(&self, now: Instant) -> Option<[u8; 6]> {
        let (at, mac) = self.claimed?;
        (now.saturating_duration_since(at) < CONFLICT_END).then_some(mac)
    }
}
