//! A token bucket, so that answers to packets nobody wants cost a bounded amount of work and
//! bandwidth.

use crate::model::Millis;

/// Answers allowed a second, and in one burst after a quiet second.
#[derive(Debug)]
pub(super) struct Limit {
    per_second: u32,
    /// Thousandths of an answer that are left.
    tokens: u64,
    refilled: Millis,
}

const ONE: u64 = 1_000;

impl Limit {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, tokens: u64::from(per_second) * ONE, refilled: Millis(0) }
    }

    /// Takes one answer's worth, if it is there.
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

/// Something while there is an answer's worth left, and then with one less.
pub(super) fn within(limit: &mut Limit, now: Millis) -> Option<()> {
    limit.allow(now).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_s_worth_and_then_the_rate() {
        let mut limit = Limit::new(10);
        let burst = (0..100).filter(|_| limit.allow(Millis(5_000))).count();
        assert_eq!(burst, 10);
        assert!(!limit.allow(Millis(5_099)));
        assert!(limit.allow(Millis(5_100)));
        assert!(!limit.allow(Millis(5_100)));
        assert_eq!((0..100).filter(|_| limit.allow(Millis(99_000))).count(), 10);
    }
}
