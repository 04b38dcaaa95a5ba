//! Detects floods of strangers' packets. In a flood the kernel refuses them; otherwise the gate
//! reads and counts each.

use std::time::{Duration, Instant};

/// Strangers' packets in a second above which a flood begins.
pub const FLOOD: u64 = 1_000;
/// The time over which they are counted outside of a flood.
const SECOND: Duration = Duration::from_secs(1);
/// The time over which they are counted in a flood. The flood ends after a period with at most half
/// the rate at which it began.
const PERIOD: Duration = Duration::from_secs(10);
/// The most strangers' packets in a period that ends the flood.
const END_COUNT: u64 = FLOOD / 2 * PERIOD.as_secs();

/// Strangers' packets over time.
#[derive(Clone, Copy, Debug)]
pub struct Strangers {
    flood: bool,
    /// When the counting began, and the count at that time.
    since: Instant,
    before: u64,
}

/// A change of the state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterStep {
    /// A flood has begun: the kernel has to refuse strangers' packets.
    Began,
    /// The flood is over: the kernel no longer has to refuse them.
    Ended,
}

impl Strangers {
    /// Without a flood, and with a count of 0.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { flood: false, since: now, before: 0 }
    }

    /// Takes the count of all strangers' packets so far.
    #[must_use]
    pub fn next(&mut self, now: Instant, count: u64) -> Option<FilterStep> {
        let new = count.saturating_sub(self.before);
        let elapsed = now.saturating_duration_since(self.since);
        let (flood, over) = match self.flood {
            false if new > FLOOD => (true, true),
            false => (false, elapsed >= SECOND),
            true => (elapsed < PERIOD || new > END_COUNT, elapsed >= PERIOD),
        };
        let step = match (self.flood, flood) {
            (false, true) => Some(FilterStep::Began),
            (true, false) => Some(FilterStep::Ended),
            _ => None,
        };
        if over {
            (self.since, self.before) = (now, count);
        }
        self.flood = flood;
        step
    }

    /// Whether there is a flood.
    #[must_use]
    pub fn flood(&self) -> bool {
        self.flood
    }

    /// How long until [`Self::next`] has to be called even if no packet comes.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.flood.then(|| (self.since + PERIOD).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_begins_above_the_rate_and_ends_after_a_calm_period() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        let mut next = |milliseconds, count| {
            strangers.next(start + Duration::from_millis(milliseconds), count)
        };
        let table = [
            (999, 1_000, None),
            // The second is over: the next one begins from here.
            (1_000, 1_000, None),
            (1_999, 2_000, None),
            (1_999, 2_001, Some(FilterStep::Began)),
            (11_998, 2_001, None),
            // A period with more than half the rate, and one with as much.
            (11_999, 2_001 + 5_001, None),
            (21_999, 7_002 + 5_000, Some(FilterStep::Ended)),
            (22_000, 13_002, None),
            (22_000, 13_003, Some(FilterStep::Began)),
            (99_000, 13_003, Some(FilterStep::Ended)),
        ];
        for (milliseconds, count, expected) in table {
            assert_eq!(next(milliseconds, count), expected, "{count} after {milliseconds} ms");
        }
    }

    #[test]
    fn only_a_flood_has_to_be_checked_without_a_packet() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        assert_eq!(strangers.wait(start), None);
        assert_eq!(strangers.next(start, FLOOD + 1), Some(FilterStep::Began));
        assert!(strangers.flood());
        assert_eq!(strangers.wait(start + PERIOD / 4), Some(PERIOD / 4 * 3));
        assert_eq!(strangers.wait(start + PERIOD * 2), Some(Duration::ZERO));
    }
}
