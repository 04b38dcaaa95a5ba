//! What a service makes of its real servers' checks: quorum with hysteresis, and the panic
//! threshold.

/// When a service counts as served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// The weights of those that are up have to add up to so much.
    pub quorum: u32,
    /// So much more brings a lost quorum back, and so much less loses it.
    pub hysteresis: u32,
}

impl Quorum {
    /// One real server of weight 1.
    pub const DEFAULT: Self = Self { quorum: 1, hysteresis: 0 };

    /// Whether there is a quorum, where `alive` is the sum of the weights of those that are up and
    /// `before` says whether there was one. Without anybody there is none.
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

/// The share of a service's real servers, in per cent, of which more cannot be down: then the
/// checks are disbelieved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Panic(pub u32);

impl Panic {
    /// Never.
    pub const NEVER: Self = Self(100);

    /// Whether so many of so many are more than the checks are believed.
    #[must_use]
    pub fn exceeded(self, down: usize, all: usize) -> bool {
        (down as u64) * 100 > (all as u64) * u64::from(self.0)
    }
}

/// Both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// When the service counts as served.
    pub quorum: Quorum,
    /// When its checks are disbelieved.
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
    fn a_quorum_is_lost_and_comes_back_with_hysteresis() {
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
            // Whatever the hysteresis, nobody is no quorum.
            (Quorum { quorum: 1, hysteresis: 1 }, true, 0, false),
        ];
        for (quorum, before, alive, expected) in rows {
            assert_eq!(quorum.reached(before, alive), expected, "{quorum:?} {before} {alive}");
        }
    }

    #[test]
    fn more_than_the_share_is_disbelieved_and_exactly_the_share_is_not() {
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
