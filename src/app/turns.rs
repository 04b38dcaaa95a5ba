//! How long the turns of a packet thread take. A packet that arrives during a turn waits for its
//! end.

use std::time::Duration;

use crate::control::{TurnBucket, TurnStats};

/// The bounds of the buckets, in microseconds. The last bucket has none. No bound is a whole number
/// of seconds: such a bound has two spellings in the formats for Prometheus.
const BOUNDS: [u32; 5] = [50, 200, 1_000, 10_000, 100_000];

/// A histogram of turn lengths.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TurnLengths {
    total: Duration,
    counts: [u64; BOUNDS.len() + 1],
}

impl TurnLengths {
    /// Counts a turn.
    pub(super) fn note(&mut self, length: Duration) {
        let micros = length.as_micros();
        let bucket = BOUNDS.iter().position(|bound| micros <= u128::from(*bound));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.total += length;
    }

    /// The counters.
    pub(super) fn report(&self) -> TurnStats {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let bucket = |(up_to_microseconds, count)| TurnBucket { up_to_microseconds, count };
        TurnStats {
            microseconds: u64::try_from(self.total.as_micros()).unwrap_or(u64::MAX),
            buckets: bounds.zip(self.counts).map(bucket).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_in_the_first_bucket_that_it_fits() {
        let mut lengths = TurnLengths::default();
        for micros in [0, 50, 51, 100_000, 100_001, 5_000_000] {
            lengths.note(Duration::from_micros(micros));
        }
        let TurnStats { microseconds, buckets } = lengths.report();
        assert_eq!(microseconds, 5_200_102);
        let counts: Vec<_> =
            buckets.iter().map(|one| (one.up_to_microseconds, one.count)).collect();
        let expected = [
            (Some(50), 2),
            (Some(200), 1),
            (Some(1_000), 0),
            (Some(10_000), 0),
            (Some(100_000), 1),
        ];
        assert_eq!(counts[..5], expected);
        assert_eq!(counts[5], (None, 2));
    }
}
