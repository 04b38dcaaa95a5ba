//! A service's rules for its real servers' checks: quorum with hysteresis, and the panic threshold.

/// When a service has its quorum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// The least sum of weights of the real servers that are up.
    pub quorum: u32,
    /// A lost quorum needs this much more to return; a quorum is lost at this much less.
    pub hysteresis: u32,
}

impl Quorum {
    /// One real server of weight 1.
    pub const DEFAULT: Self = Self { quorum: 1, hysteresis: 0 };

    /// Whether there is a quorum. `alive` is the sum of the weights of the real servers that are
    /// up; `before` says whether there was a quorum. A sum of zero is never one.
    #[must_use]
    pub fn reached(self, before: bool, alive: u64) -> bool {
        let (quorum, hysteresis) = (u64::from(self.quorum), u64::from(self.hysteresis));
        alive > 0
            && if before {
                alive >= quorum.saturating_sub(hysteresis)
            } else {
                alive >= quorum + hysteresis
            }
    }
}

/// The panic threshold: if more than this per cent of a service's real servers would be down, its
/// checks are ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Panic(pub u32);

impl Panic {
    /// Never.
    pub const NEVER: Self = Self(100);

    /// Whether `down` of `all` real servers exceed the threshold.
    #[must_use]
    pub fn exceeded(self, down: usize, all: usize) -> bool {
        (down as u64) * 100 > (all as u64) * u64::from(self.0)
    }
}

/// Quorum and panic threshold of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// When the service has its quorum.
    pub quorum: Quorum,
    /// When its checks are ignored.
    pub panic: Panic,
}

impl Rules {
    /// The defaults of the configuration.
    pub const DEFAULT: Self = Self { quorum: Quorum::DEFAULT, panic: Panic::NEVER };
}

impl Default for Rules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_lost_and_regained_with_hysteresis() {
        let three = Quorum { quorum: 3, hysteresis: 1 };
        let rows = [
            (Quorum::DEFAULT, true, 1, true),
            (Quorum::DEFAULT, true, 0, false),
            (Quorum::DEFAULT, false, 1, true),
            (three, true, 3, true),
            (three, true, 2, true),
            (three, true, 1, false),
            (three, false, 3, false),
            (three, false, 4, true),
            // A sum of zero is not a quorum, whatever the hysteresis.
            (Quorum { quorum: 1, hysteresis: 1 }, true, 0, false),
        ];
        for (quorum, before, alive, expected) in rows {
            assert_eq!(quorum.reached(before, alive), expected, "{quorum:?} {before} {alive}");
        }
    }

    #[test]
    fn checks_are_ignored_above_the_threshold_and_not_at_it() {
        for (panic, down, all, expected) in [
            (30, 3, 10, false),
            (30, 4, 10, true),
            (50, 1, 2, false),
            (50, 2, 2, true),
            (0, 0, 3, false),
            (0, 1, 3, true),
            (100, 3, 3, false),
            (100, 0, 0, false),
            (34, 1, 3, false),
            (33, 1, 3, true),
        ] {
            assert_eq!(Panic(panic).exceeded(down, all), expected, "{panic}%: {down} of {all}");
        }
    }
}
