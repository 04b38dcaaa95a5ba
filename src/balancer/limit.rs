//! A token bucket that bounds the work and bandwidth of answers to unwanted packets.

use crate::model::Millis;

/// Answers allowed per second, and in one burst after an idle second.
#[derive(Debug)]
pub(super) struct Limit {
    per_second: u32,
    /// The available thousandths of an answer.
    tokens: u64,
    refilled: Millis,
}

const ONE: u64 = 1_000;

impl Limit {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, tokens: u64::from(per_second) * ONE, refilled: Millis(0) }
    }

    /// Takes one answer from the bucket, if there is one.
    pub(super) fn allow(&mut self, now: Millis) -> bool {
        let passed = now.0.saturating_sub(self.refilled.0);
        let full = u64::from(self.per_second) * ONE;
        let earned = passed.saturating_mul(u64::from(self.per_second));
        self.tokens = self.tokens.saturating_add(earned).min(full);
        self.refilled = self.refilled.max(now);
        if self.tokens < ONE {
            return false;
        }
        self.tokens -= ONE;
        true
    }
}

/// The same as an `Option`.
pub(super) fn within(limit: &mut Limit, now: Millis) -> Option<()> {
    limit.allow(now).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_one_seconds_answers_and_then_the_rate() {
        let mut limit = Limit::new(10);
        let burst = (0..100).filter(|_| limit.allow(Millis(5_000))).count();
        assert_eq!(burst, 10);
        assert!(!limit.allow(Millis(5_099)));
        assert!(limit.allow(Millis(5_100)));
        assert!(!limit.allow(Millis(5_100)));
        assert_eq!((0..100).filter(|_| limit.allow(Millis(99_000))).count(), 10);
    }
}
