//! Slow start: how much of its weight a real server has after it comes up.
//!
//! Without it wlc gives all new connections to a server that has none yet.

use std::time::Duration;

use crate::model::Millis;

/// The whole weight, in thousandths: the unit in which schedulers compare.
pub(super) const FULL: u32 = 1_000;

/// A slow start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ramp {
    /// When it came up.
    since: Millis,
    /// How long it takes to reach its whole weight.
    over: Duration,
}

impl Ramp {
    /// `None` for a duration of zero.
    pub(super) fn new(since: Millis, over: Duration) -> Option<Self> {
        (!over.is_zero()).then_some(Self { since, over })
    }

    /// Thousandths of the weight at `now`, from 1 to [`FULL`]: a whole number that depends only on
    /// the moment.
    pub(super) fn at(self, now: Millis) -> u32 {
        let passed = self.since.until(now).as_millis();
        let grown = passed.saturating_mul(u128::from(FULL)) / self.over.as_millis().max(1);
        u32::try_from(grown).unwrap_or(FULL).clamp(1, FULL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ramp_grows_from_a_thousandth_to_all_in_its_time() {
        let ramp = Ramp::new(Millis(5_000), Duration::from_secs(30)).expect("a ramp");
        let rows = [
            (0, 1),
            (5_000, 1),
            (5_030, 1),
            (5_060, 2),
            (20_000, 500),
            (34_999, 999),
            (35_000, 1_000),
            (35_001, 1_000),
            (u64::MAX, 1_000),
        ];
        for (now, thousandths) in rows {
            assert_eq!(ramp.at(Millis(now)), thousandths, "{now}");
        }
        assert_eq!(Ramp::new(Millis(0), Duration::ZERO), None);
    }

    proptest! {
        #[test]
        fn a_ramp_never_falls(since in 0_u64..1_000, over in 1_u64..100_000_000, a: u64, b: u64) {
            let ramp = Ramp::new(Millis(since), Duration::from_millis(over)).expect("a ramp");
            prop_assert!(ramp.at(Millis(a.min(b))) <= ramp.at(Millis(a.max(b))));
        }
    }
}
