//! When the next probe of a check is due.

use std::time::Duration;

use super::spec::Timing;
use super::state::{CheckState, Phase};
use crate::model::Millis;

/// How much earlier or later than the interval a probe may start, in thousandths, so that checks
/// that started together drift apart.
const JITTER: u64 = 100;

/// Probes start at multiples of a step, of at most this length. Probes of many checks that start
/// together cost the thread one wake-up, and so do their answers.
const STEP: Duration = Duration::from_millis(20);

/// How many steps an interval has at least.
const STEPS: u64 = 50;

/// A probe that takes this many times as long as the last one that passed is unusual.
const USUAL: u32 = 3;

/// The first probes are spread over this time, or over the interval if that is shorter: a thousand
/// checks do not start at once, and a dead server is found soon.
const FIRST: Duration = Duration::from_secs(1);

/// Why a check is brought forward: something other than its probes makes its real server doubtful.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Doubt {
    /// An ICMP error that quotes a packet which was sent to the real server.
    Quoted,
    /// An ICMP error that does not: any host can send one.
    Unverified,
    /// Clients' handshakes with the real server that are not completed.
    Handshakes,
}

impl Doubt {
    /// The number of variants.
    pub const COUNT: usize = 3;

    /// Whether it begins a row of probes that do not wait for each other's timeouts: nothing has
    /// come from the real server for a while, so its answers may not come either.
    pub(super) fn begins_row(self) -> bool {
        self == Self::Handshakes
    }

    /// The shortest time between two extra probes. Each sort of doubt has its own, so that forged
    /// errors do not delay the probes for genuine ones.
    fn spacing(self, timing: &Timing) -> Duration {
        match self {
            Self::Quoted | Self::Unverified => fast(timing),
            Self::Handshakes => timing.interval,
        }
    }
}

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
        let due = now.0.saturating_add(self.number(0) % spread.max(1));
        now.max(on_step(due, timing))
    }

    /// When the next probe is due after one that started at `started`; `run` is its number.
    #[must_use]
    pub fn next(self, started: Millis, run: u64, in_doubt: bool, timing: &Timing) -> Millis {
        if in_doubt {
            return started.after(fast(timing));
        }
        let interval = millis(timing.interval);
        let width = interval / 1_000 * (2 * JITTER) + interval % 1_000 * (2 * JITTER) / 1_000;
        let early = width / 2;
        let late = self.number(run) % (width + 1);
        on_step(started.0.saturating_add(interval - early).saturating_add(late), timing)
    }

    /// When an extra probe is due for a doubt; `last` is when one was due for such a doubt before.
    #[must_use]
    pub fn hurried(now: Millis, last: Option<Millis>, doubt: Doubt, timing: &Timing) -> Millis {
        last.map_or(now, |last| now.max(last.after(doubt.spacing(timing))))
    }

    /// How long after a probe the next one of a row starts. All probes of a row start within a
    /// timeout. A probe that is answered as fast as the last ones has ended by then, so an
    /// unfounded doubt costs one probe.
    #[must_use]
    pub fn beside(usual: Duration, timing: &Timing) -> Duration {
        (fast(timing).min(timing.timeout) / timing.fall.max(1)).max(usual * USUAL)
    }

    /// When the next probe is due after one that started at `started` and was refused. It is due at
    /// once while the state is in doubt, and after the fast interval when refusals have just
    /// changed the state to down.
    #[must_use]
    pub fn refused(
        now: Millis,
        started: Millis,
        state: CheckState,
        timing: &Timing,
    ) -> Option<Millis> {
        match state.phase() {
            Phase::Falling => Some(now),
            Phase::Down if state.streak() == timing.fall => Some(started.after(fast(timing))),
            Phase::Down | Phase::Up | Phase::Rising => None,
        }
    }
}

/// The last common start of probes that is not after `due`.
fn on_step(due: u64, timing: &Timing) -> Millis {
    let step = (millis(timing.interval) / STEPS).clamp(1, millis(STEP));
    Millis(due / step * step)
}

fn fast(timing: &Timing) -> Duration {
    timing.fast_interval.min(timing.interval)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probes_stay_near_their_interval(
            seed: u64,
            run: u64,
            start in 0_u64..1 << 40,
            millis in 10_u64..86_400_000,
        ) {
            let timing = Timing { interval: Duration::from_millis(millis), ..Timing::DEFAULT };
            let next = Jitter(seed).next(Millis(start), run, false, &timing).0 - start;
            let step = (millis / STEPS).clamp(1, 20);
            let near = millis - millis / 10 - step..=millis + millis / 10 + 1;
            prop_assert!(near.contains(&next), "{next} of {millis}");
            prop_assert_eq!((start + next) % step, 0);
            let first = Jitter(seed).first(Millis(start), &timing).0 - start;
            prop_assert!(first < millis.min(1_000));
        }

        #[test]
        fn an_extra_probe_keeps_the_distance_to_the_one_before(
            now in 0_u64..10_000,
            last in 0_u64..10_000,
        ) {
            let timing = Timing::DEFAULT;
            for (doubt, spacing) in [
                (Doubt::Quoted, timing.fast_interval),
                (Doubt::Unverified, timing.fast_interval),
                (Doubt::Handshakes, timing.interval),
            ] {
                let at = |last| Jitter::hurried(Millis(now), last, doubt, &timing).0;
                prop_assert_eq!(at(Some(Millis(last))), now.max(last + millis(spacing)));
                prop_assert_eq!(at(None), now);
            }
        }
    }

    /// Checks that started together drift apart, also those of less than a second.
    #[test]
    fn each_probe_is_earlier_or_later_than_the_interval() {
        for interval in [100_u64, 500, 2_000, 2_500, 60_000] {
            let timing = Timing { interval: Duration::from_millis(interval), ..Timing::DEFAULT };
            let next = |seed, run| Jitter(seed).next(Millis(0), run, false, &timing).0;
            for nexts in [
                (0..200).map(|run| next(7, run)).collect::<Vec<_>>(),
                (0..200).map(|seed| next(seed, 1)).collect(),
            ] {
                let (first, last) = (nexts.iter().min(), nexts.iter().max());
                assert!(first.is_some_and(|first| *first < interval * 95 / 100), "{first:?}");
                assert!(last.is_some_and(|last| *last > interval * 105 / 100), "{last:?}");
            }
        }
    }

    #[test]
    fn a_check_that_is_in_doubt_waits_no_longer_than_its_interval() {
        for (interval, fast_interval, waits) in [(100, 200, 100), (2_000, 200, 200)] {
            let [interval, fast_interval] = [interval, fast_interval].map(Duration::from_millis);
            let timing = Timing { interval, fast_interval, ..Timing::DEFAULT };
            assert_eq!(Jitter(7).next(Millis(5), 1, true, &timing), Millis(5 + waits));
            let last = Some(Millis(5));
            let hurried = Jitter::hurried(Millis(5), last, Doubt::Quoted, &timing);
            assert_eq!(hurried, Millis(5 + waits));
        }
    }

    #[test]
    fn a_thousand_checks_do_not_run_at_once() {
        let timing = Timing { interval: Duration::from_secs(1), ..Timing::DEFAULT };
        let (mut slots, mut starts) = ([0_u32; 10], BTreeSet::new());
        for seed in 0..1_000 {
            let first = Jitter(seed).first(Millis(0), &timing);
            slots[usize::try_from(first.0 / 100).unwrap_or(9)] += 1;
            starts.insert(first);
        }
        assert_eq!(starts.len(), 50, "a wake-up every {STEP:?}");
        assert!(slots.iter().all(|&count| (50..200).contains(&count)), "{slots:?}");
    }
}
