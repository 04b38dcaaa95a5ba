//! When the next probe of a check is due.

use std::time::Duration;

use super::spec::Timing;
use crate::model::Millis;

/// How much earlier or later than the interval a probe may start, in thousandths, so that checks
/// that started together drift apart.
const JITTER: u64 = 100;

/// The first probes are spread over this time, or over the interval if that is shorter: a thousand
/// checks do not start at once, and a dead server is found soon.
const FIRST: Duration = Duration::from_secs(1);

/// The seed of a check's jitter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Jitter(pub u64);

impl Jitter {
    /// The pseudo-random number with this index, by splitmix64 (Steele, Lea and Flood, 2014).
    fn number(self, number: u64) -> u64 {
        let mut word =
            self.0.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// When the first probe is due.
    #[must_use]
    pub fn first(self, now: Millis, timing: &Timing) -> Millis {
        let spread = millis(timing.interval.min(FIRST));
        Millis(now.0.saturating_add(self.number(0) % spread.max(1)))
    }

    /// When the next probe is due after one that started at `started`; `run` is its number.
    #[must_use]
    pub fn next(self, started: Millis, run: u64, in_doubt: bool, timing: &Timing) -> Millis {
        if in_doubt {
            return started.after(timing.fast_interval.min(timing.interval));
        }
        let interval = millis(timing.interval);
        let width = interval / 1_000 * (2 * JITTER) + interval % 1_000 * (2 * JITTER) / 1_000;
        let early = width / 2;
        let late = self.number(run) % (width + 1);
        Millis(started.0.saturating_add(interval - early).saturating_add(late))
    }

    /// The earliest time for a hurried probe after one that started at `started`: the fast interval
    /// limits how many probes forged errors can cause.
    #[must_use]
    pub fn hurried(now: Millis, started: Option<Millis>, timing: &Timing) -> Millis {
        let fast = timing.fast_interval.min(timing.interval);
        started.map_or(now, |started| now.max(started.after(fast)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probes_stay_near_their_interval(seed: u64, run: u64, start in 0_u64..1 << 40, millis in 10_u64..86_400_000) {
            let timing = Timing { interval: Duration::from_millis(millis), ..Timing::DEFAULT };
            let next = Jitter(seed).next(Millis(start), run, false, &timing).0 - start;
            prop_assert!(next >= millis - millis / 10 && next <= millis + millis / 10 + 1, "{next} of {millis}");
            let first = Jitter(seed).first(Millis(start), &timing).0 - start;
            prop_assert!(first < millis.min(1_000));
        }

        #[test]
        fn a_hurried_probe_keeps_the_fast_interval(now in 0_u64..10_000, started in 0_u64..10_000) {
            let fast = millis(Timing::DEFAULT.fast_interval);
            let at = Jitter::hurried(Millis(now), Some(Millis(started)), &Timing::DEFAULT).0;
            prop_assert_eq!(at, now.max(started + fast));
        }
    }

    #[test]
    fn a_thousand_checks_do_not_run_at_once() {
        let timing = Timing { interval: Duration::from_secs(1), ..Timing::DEFAULT };
        let mut slots = [0_u32; 10];
        for seed in 0..1_000 {
            let first = Jitter(seed).first(Millis(0), &timing);
            slots[usize::try_from(first.0 / 100).unwrap_or(9)] += 1;
        }
        assert!(slots.iter().all(|&count| (50..200).contains(&count)), "{slots:?}");
    }
}
