//! Thresholds: the number of connections at which a real server takes no new ones, and the number
//! below which it does again.

use std::fmt;

/// A real server's thresholds, as configured. They count all its connections, active or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Thresholds {
    /// At this many connections it takes no new one; 0: no threshold.
    pub upper: u32,
    /// Below this many it takes new ones again; 0: below three quarters of `upper`.
    pub lower: u32,
}

impl Thresholds {
    /// The largest threshold: the number of entries of the largest connection table.
    pub const MAX: u32 = 16_777_216;

    /// Whether `lower` and `upper` are consistent.
    #[must_use]
    pub fn valid(self) -> bool {
        self.lower <= self.upper && self.upper <= Self::MAX
    }

    /// Whether a real server with `connections` is full; `before`: whether it was. Between the
    /// thresholds it stays as it was: IPVS's hysteresis.
    #[must_use]
    pub fn full(self, connections: u64, before: bool) -> bool {
        if self.upper == 0 {
            return false;
        }
        let upper = u64::from(self.upper);
        // Rounded up, as IPVS compares connections × 4 with upper × 3.
        let lower = if self.lower == 0 { upper - upper / 4 } else { u64::from(self.lower) };
        connections >= upper || (before && connections >= lower)
    }
}

/// `upper 10 lower 4`.
impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upper, lower } = self;
        match (upper, lower) {
            (0, _) => f.write_str("none"),
            (_, 0) => write!(f, "upper {upper}"),
            _ => write!(f, "upper {upper} lower {lower}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_at_the_upper_and_not_below_the_lower() {
        let rows = [
            // upper, lower, the highest count at which a full one takes new connections again
            (10, 4, 3),
            (10, 10, 9),
            (10, 1, 0),
            (10, 0, 7),
            (9, 0, 6),
            (4, 0, 2),
            (1, 0, 0),
        ];
        for (upper, lower, again) in rows {
            let thresholds = Thresholds { upper, lower };
            assert!(!thresholds.full(u64::from(upper) - 1, false), "{thresholds:?}");
            assert!(thresholds.full(u64::from(upper), false), "{thresholds:?}");
            assert!(thresholds.full(again + 1, true), "{thresholds:?}");
            assert!(!thresholds.full(again, true), "{thresholds:?}");
        }
        assert!(!Thresholds::default().full(u64::MAX, true));
    }

    #[test]
    fn the_lower_is_not_above_the_upper_nor_the_upper_above_its_bound() {
        let valid = |upper, lower| Thresholds { upper, lower }.valid();
        assert!(valid(0, 0) && valid(5, 5) && valid(Thresholds::MAX, 0));
        assert!(!valid(5, 6) && !valid(0, 1) && !valid(Thresholds::MAX + 1, 0));
    }

    proptest! {
        /// The model is IPVS's: the flag is set when a connection opens, and cleared when one ends.
        #[test]
        fn behaves_as_ipvs_does(
            upper in 0_u32..12,
            lower in 0_u32..12,
            steps in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let thresholds = Thresholds { upper, lower: lower.min(upper) };
            let (mut connections, mut full, mut model) = (0_u64, false, false);
            for comes in steps {
                if comes {
                    connections += 1;
                    model |= upper != 0 && connections >= u64::from(upper);
                } else if connections > 0 {
                    connections -= 1;
                    model &= if thresholds.lower != 0 {
                        connections >= u64::from(thresholds.lower)
                    } else {
                        upper != 0 && connections * 4 >= u64::from(upper) * 3
                    };
                }
                full = thresholds.full(connections, full);
                prop_assert_eq!(full, model, "{:?} at {}", thresholds, connections);
            }
        }
    }
}
