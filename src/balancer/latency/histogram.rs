//! Durations by size: four buckets for each doubling, so a quantile is within an eighth.

/// How many buckets there are; the last one begins at 14.3 seconds and has no end.
const BUCKETS: usize = 4 * DOUBLINGS;

/// From 1/64 millisecond to 16.4 seconds.
const DOUBLINGS: usize = 20;

/// The binary logarithm of the first doubling's lower bound, in units of 1/1024 millisecond.
const FIRST_BITS: u32 = 4;

/// The length of a period in microseconds. Quantiles are of two periods: the last 15 to 30 seconds.
const PERIOD: u32 = 15_000_000;

/// Upper bounds of the buckets in metrics, in microseconds: each about three times the one before.
/// Few, since each is a series for each real server.
pub const BOUNDS_MICROS: [u32; 7] = [1_000, 3_000, 10_000, 32_000, 96_000, 320_000, 1_024_000];

/// Durations since the start and of the last periods.
#[derive(Debug)]
pub(super) struct Times {
    all: [u32; BUCKETS],
    micros: u64,
    count: u64,
    current: [u32; BUCKETS],
    previous: [u32; BUCKETS],
    /// The beginning of the current period.
    began: u32,
}

/// The latencies of a real server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LatencySnapshot {
    /// From a SYN to the end of the handshake.
    pub handshake: TimesSnapshot,
    /// From a request to the first acknowledgement of its response.
    pub response: TimesSnapshot,
}

/// Durations of one kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TimesSnapshot {
    /// How many were measured.
    pub count: u64,
    /// Their sum in microseconds.
    pub micros: u64,
    /// How many are at most as long as each of [`BOUNDS_MICROS`] and longer than the one before.
    pub buckets: [u64; BOUNDS_MICROS.len()],
    /// The median of the last 15 to 30 seconds in microseconds; `None` without samples.
    pub p50_micros: Option<u32>,
    /// The 99th percentile of the same samples.
    pub p99_micros: Option<u32>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            all: [0; BUCKETS],
            micros: 0,
            count: 0,
            current: [0; BUCKETS],
            previous: [0; BUCKETS],
            began: 0,
        }
    }
}

impl Times {
    pub(super) fn add(&mut self, at: u32, micros: u32) {
        if self.count == 0 {
            self.began = at;
        }
        match at.wrapping_sub(self.began) / PERIOD {
            0 => {}
            periods => {
                let empty = [0; BUCKETS];
                self.previous = std::mem::replace(&mut self.current, empty);
                if periods > 1 {
                    self.previous = empty;
                }
                self.began = at;
            }
        }
        let bucket = bucket(micros);
        for counts in [&mut self.all, &mut self.current] {
            counts[bucket] = counts[bucket].saturating_add(1);
        }
        self.micros += u64::from(micros);
        self.count += 1;
    }

    pub(super) fn snapshot(&self, at: u32) -> TimesSnapshot {
        let mut buckets = [0; BOUNDS_MICROS.len()];
        for (index, &count) in self.all.iter().enumerate() {
            let upper = bound(index + 1);
            if let Some(bucket) = BOUNDS_MICROS.iter().position(|&limit| upper <= f64::from(limit))
            {
                buckets[bucket] += u64::from(count);
            }
        }
        let latest = self.latest(at);
        TimesSnapshot {
            count: self.count,
            micros: self.micros,
            buckets,
            p50_micros: quantile(&latest, 0.5),
            p99_micros: quantile(&latest, 0.99),
        }
    }

    /// The counts of the last one to two periods.
    fn latest(&self, at: u32) -> [u32; BUCKETS] {
        let mut latest = self.current;
        match at.wrapping_sub(self.began) / PERIOD {
            0 => {
                for (sum, count) in latest.iter_mut().zip(self.previous) {
                    *sum = sum.saturating_add(count);
                }
            }
            1 => {}
            _ => latest = [0; BUCKETS],
        }
        latest
    }
}

/// The bucket of a duration: by its highest bit and the two below that.
fn bucket(micros: u32) -> usize {
    // In 1/1024 milliseconds, so that whole powers of two of milliseconds are bounds.
    let units = (u64::from(micros) * 1_024 / 1_000).max(1 << FIRST_BITS);
    let bits = u64::BITS - units.leading_zeros();
    let quarter = units >> (bits - 3) & 3;
    let bucket = u64::from(bits - FIRST_BITS - 1) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The lower bound of a bucket in microseconds. The first one's is 0.
fn bound(bucket: usize) -> f64 {
    let (doubling, quarter) = (bucket / 4, bucket % 4);
    let first = f64::from(1_u32 << FIRST_BITS) * 1_000.0 / 1_024.0;
    // Small whole numbers.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    #[allow(clippy::cast_possible_wrap)]
    let (scale, quarters) = (2_f64.powi(doubling as i32), 4.0 + quarter as f64);
    first * scale * quarters / 4.0
}

/// The quantile `part` in microseconds, as if the samples in a bucket were spread evenly.
fn quantile(counts: &[u32; BUCKETS], part: f64) -> Option<u32> {
    let all: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    // Counts stay far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let mut left = all as f64 * part;
    for (index, &count) in counts.iter().enumerate() {
        let here = f64::from(count);
        if count > 0 && here >= left {
            let low = if index == 0 { 0.0 } else { bound(index) };
            let micros = low + (bound(index + 1) - low) * left / here;
            // A cast of a float saturates.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            return Some(micros.round() as u32);
        }
        left -= here;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_its_bucket() {
        for micros in (0..40).map(|power| 1.37_f64.powi(power)) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let micros = micros as u32;
            let index = bucket(micros);
            let low = if index == 0 { 0.0 } else { bound(index) };
            assert!(low <= f64::from(micros) + 1.0, "{micros}: bucket {index} begins at {low}");
            if index + 1 < BUCKETS {
                let high = bound(index + 1);
                assert!(f64::from(micros) <= high, "{micros}: bucket {index} ends at {high}");
            }
        }
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_in_metrics_are_bounds_of_buckets() {
        let all: Vec<_> = (0..BUCKETS).map(bound).collect();
        for limit in BOUNDS_MICROS {
            assert!(all.contains(&f64::from(limit)), "{limit}");
        }
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut times = Times::default();
        assert_eq!(times.snapshot(0), TimesSnapshot::default());
        for micros in 1..=10_000 {
            times.add(5, micros);
        }
        let snapshot = times.snapshot(5);
        assert_eq!((snapshot.count, snapshot.micros), (10_000, 50_005_000));
        let p50 = f64::from(snapshot.p50_micros.expect("samples"));
        let p99 = f64::from(snapshot.p99_micros.expect("samples"));
        assert!((p50 / 5_000.0 - 1.0).abs() < 0.125, "{p50}");
        assert!((p99 / 9_900.0 - 1.0).abs() < 0.125, "{p99}");
        let counted: u64 = snapshot.buckets.iter().sum();
        assert_eq!(counted, 10_000);
        let [first, second, third, ..] = snapshot.buckets;
        assert!((900..=1_000).contains(&first), "{snapshot:?}");
        assert!((1_950..=2_100).contains(&second), "{snapshot:?}");
        assert!((6_900..=7_100).contains(&third), "{snapshot:?}");
    }

    #[test]
    fn quantiles_are_of_the_last_two_periods() {
        let mut times = Times::default();
        times.add(0, 1_000_000);
        let p50 = |times: &Times, at| times.snapshot(at).p50_micros;
        assert!(p50(&times, PERIOD * 2 - 1).is_some(), "one to two periods ago");
        assert_eq!(p50(&times, PERIOD * 2), None);
        times.add(PERIOD, 1_000);
        times.add(PERIOD, 1_000);
        assert!(p50(&times, PERIOD).is_some_and(|micros| micros < 1_300), "{times:?}");
        times.add(PERIOD * 2, 100);
        assert!(p50(&times, PERIOD * 2).is_some_and(|micros| micros < 1_300), "without the first");
        (0..3).for_each(|_| times.add(PERIOD * 2, 1_000_000));
        times.add(PERIOD * 9, 100);
        assert!(p50(&times, PERIOD * 9).is_some_and(|micros| micros < 130), "the last one alone");
        assert_eq!(times.snapshot(0).count, 8);
    }
}
