//! Weights in steps, for schedulers that place flows by hash: each step moves flows, so there are
//! only few steps.

/// A share of a real server's weight, in eighths. It follows a share of the weight in thousandths
/// with hysteresis: a share that varies by less than a step moves no flow.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WeightStep(u32);

/// Thousandths in a step.
const WIDTH: u32 = 125;

impl WeightStep {
    /// The whole weight.
    pub const FULL: Self = Self(8);

    /// The smallest step. It is above zero: load alone takes no real server out.
    pub const LEAST: Self = Self(1);

    /// The largest: twice the weight.
    pub const MOST: Self = Self(16);

    /// The step for this share of the weight, in thousandths. The step changes only if the share is
    /// at least a whole step away; it is then the nearest. A share of 0 takes the real server out.
    /// The step stays, so that the same flows return afterwards.
    #[must_use]
    pub fn after(self, thousandths: u32) -> Self {
        if thousandths == 0 || thousandths.abs_diff(self.thousandths()) < WIDTH {
            return self;
        }
        let nearest = Self(thousandths.saturating_add(WIDTH / 2) / WIDTH);
        nearest.clamp(Self::LEAST, Self::MOST)
    }

    /// Eighths of the weight.
    #[must_use]
    pub fn eighths(self) -> u32 {
        self.0
    }

    /// Thousandths of the weight.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0 * WIDTH
    }

    /// `weight` times this share, in eighths.
    #[must_use]
    pub fn of(self, weight: u32) -> u32 {
        weight.saturating_mul(self.0)
    }
}

impl Default for WeightStep {
    fn default() -> Self {
        Self::FULL
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_step_needs_a_whole_step_of_difference_and_is_then_the_nearest() {
        let rows = [
            (8, 1_000, 8),
            (8, 876, 8),
            (8, 875, 7),
            (8, 1_124, 8),
            (8, 1_125, 9),
            (7, 999, 7),
            (7, 1_000, 8),
            (8, 560, 4),
            (8, 563, 5),
            (2, 126, 2),
            (2, 100, 1),
            (8, 1, 1),
            (1, 100, 1),
            (8, 0, 8),
            (3, 0, 3),
            (8, 2_000, 16),
            (8, u32::MAX, 16),
        ];
        for (before, thousandths, after) in rows {
            assert_eq!(
                WeightStep(before).after(thousandths),
                WeightStep(after),
                "{before} {thousandths}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_share_that_varies_by_less_than_half_a_step_changes_it_at_most_once(
            before in 1_u32..=16,
            around in 63_u32..=1_900,
            wavers in prop::collection::vec(0_u32..WIDTH / 2, 1..40),
        ) {
            let mut step = WeightStep(before);
            let mut moves = 0;
            for waver in wavers {
                let after = step.after(around + waver);
                moves += u32::from(after != step);
                step = after;
            }
            prop_assert!(moves <= 1, "{moves}");
        }
    }
}
