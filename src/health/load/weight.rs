//! From reports to an effective weight: smoothed, with hysteresis, bounds and a limited rate.

use std::time::Duration;

use super::report::FULL;
use crate::model::{Load, Millis};

/// The least share of a weight that load leaves, in thousandths: the smallest that an agent can
/// report. Only an agent that reports `0%`, or takes its real server out, makes it 0. With a larger
/// minimum, a real server without free CPU would get the slowest hundredth of all requests.
pub const LEAST: u32 = 10;

/// The largest share, for agents that report more than 100 %.
pub const MOST: u32 = Load::MOST;

/// How much the smoothed value has to differ before the weight follows it, in thousandths.
pub const STEP: u32 = 50;

/// How much the weight changes in a second at most, in thousandths.
pub const RATE: u32 = 200;

/// The time in which the smoothed value goes half of the way to a steady report.
pub const SMOOTHING: Duration = Duration::from_secs(1);

/// The age at which a report expires: the weight returns to the configured one.
pub const STALE: Duration = Duration::from_secs(10);

/// The effective weight of one real server, in thousandths of the configured one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weighting {
    /// The smoothed reports.
    level: u32,
    given: u32,
    at: Option<Millis>,
}

impl Default for Weighting {
    fn default() -> Self {
        Self { level: FULL, given: FULL, at: None }
    }
}

impl Weighting {
    /// The weighting after a report of `wanted` thousandths; without a report, of [`FULL`].
    #[must_use]
    pub fn after(self, now: Millis, wanted: u32) -> Self {
        let at = Some(now);
        if wanted == 0 {
            return Self { level: 0, given: 0, at };
        }
        let passed = self.at.map_or(Duration::ZERO, |before| before.until(now)).min(STALE);
        let level = approach(self.level.max(LEAST), wanted.clamp(LEAST, MOST), passed);
        let given = self.given.max(LEAST);
        let most = u32::try_from(passed.as_millis() * u128::from(RATE) / 1_000).unwrap_or(MOST);
        let end = [LEAST, FULL].into_iter().find(|end| level.abs_diff(*end) < STEP / 5);
        let aim = end.unwrap_or(level);
        let given = match aim.abs_diff(given) {
            apart if apart < STEP && end.is_none() => given,
            apart if aim > given => given + apart.min(most),
            apart => given - apart.min(most),
        };
        Self { level, given, at }
    }

    /// Thousandths of the configured weight.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.given
    }
}

/// Moves half of the way to `wanted` in [`SMOOTHING`], two thirds in twice that time, and finally
/// all of it.
fn approach(level: u32, wanted: u32, passed: Duration) -> u32 {
    let (passed, smoothing) = (passed.as_millis(), SMOOTHING.as_millis());
    let apart = u128::from(level.abs_diff(wanted));
    let way = (apart * passed).div_ceil(passed + smoothing);
    let way = u32::try_from(way).unwrap_or(MOST);
    if wanted > level { level + way } else { level - way }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The weights after a report a second, each for so many seconds.
    fn course(reports: &[(u32, u32)]) -> Vec<u32> {
        let mut weighting = Weighting::default().after(Millis(0), FULL);
        let mut now = 0;
        let mut all = Vec::new();
        for &(wanted, seconds) in reports {
            for _ in 0..seconds {
                now += 1_000;
                weighting = weighting.after(Millis(now), wanted);
                all.push(weighting.thousandths());
            }
        }
        all
    }

    #[test]
    fn a_loaded_server_loses_most_of_its_weight_and_has_it_back_within_ten_seconds() {
        let all = course(&[(10, 20), (FULL, 10)]);
        assert!(all[3] < 600, "{all:?}");
        assert_eq!(all[19], LEAST, "{all:?}");
        assert_eq!(all[29], FULL, "{all:?}");
    }

    #[test]
    fn small_differences_change_nothing_and_one_bad_report_little() {
        let restless: Vec<_> = (0..20).map(|turn| (FULL - turn % 2 * STEP, 1)).collect();
        assert!(course(&restless).iter().all(|&weight| weight == FULL));
        let once = course(&[(LEAST, 1), (FULL, 10)]);
        assert!(once[0] >= FULL - RATE && once[10] == FULL, "{once:?}");
    }

    #[test]
    fn a_weight_follows_a_difference_of_a_twentieth_and_none_below_that() {
        for (level, given) in [(951, FULL), (950, 950), (1_049, FULL), (1_050, 1_050)] {
            let weighting = Weighting { level, given: FULL, at: Some(Millis(0)) };
            assert_eq!(weighting.after(Millis(1_000), level).thousandths(), given, "{level}");
        }
    }

    #[test]
    fn only_an_agent_makes_it_zero_and_at_once() {
        assert_eq!(course(&[(0, 1)]), [0]);
        let back = course(&[(0, 1), (FULL, 1)]);
        assert!((LEAST..=LEAST + RATE).contains(&back[1]), "{back:?}");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_its_rate(
            reports in prop::collection::vec((1_u32..5_000, 0_u64..30_000), 1..60),
        ) {
            let mut weighting = Weighting::default();
            let mut now = 0;
            for (wanted, passed) in reports {
                now += passed;
                let before = weighting.thousandths();
                weighting = weighting.after(Millis(now), wanted);
                let weight = weighting.thousandths();
                prop_assert!((LEAST..=MOST).contains(&weight), "{weight}");
                let most = u64::from(RATE) * passed.min(10_000) / 1_000;
                let moved = u64::from(weight.abs_diff(before));
                prop_assert!(moved <= most, "{before} to {weight} in {passed} ms");
            }
        }
    }
}
