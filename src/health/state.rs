//! Rise and fall: how many results in a row change a check's state. A table.

use super::spec::{Initial, Timing};

/// The phase of a check.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// Up, and the last result was a pass.
    Up,
    /// Up, but the last results were failures: in doubt.
    Falling,
    /// Down, and the last result was a failure.
    Down,
    /// Down, but the last results were passes: in doubt.
    Rising,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Up, Self::Falling, Self::Down, Self::Rising];

    /// Whether the check counts as passed.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Falling)
    }

    /// Whether the last result contradicts the state.
    #[must_use]
    pub fn in_doubt(self) -> bool {
        matches!(self, Self::Falling | Self::Rising)
    }

    /// The name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Falling => "falling",
            Self::Down => "down",
            Self::Rising => "rising",
        }
    }
}

/// A result, and whether it completes the row that a change needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Result {
    Pass,
    LastPass,
    Fail,
    LastFail,
}

/// Rows are phases in the order of [`Phase::ALL`]; columns are a pass, the pass that reaches
/// `rise`, a failure, and the failure that reaches `fall`.
#[rustfmt::skip]
const NEXT: [[Phase; 4]; 4] = {
    use Phase::{Down, Falling, Rising, Up};
    [
        //            pass    last    fail     last
        /* Up      */ [Up,     Up,    Falling, Down],
        /* Falling */ [Up,     Up,    Falling, Down],
        /* Down    */ [Rising, Up,    Down,    Down],
        /* Rising  */ [Rising, Up,    Down,    Down],
    ]
};

/// How many results in a row change a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Needed {
    /// This many passes change it to up.
    pub rise: u32,
    /// This many failures change it to down.
    pub fall: u32,
}

impl Needed {
    /// For the words of an agent's owner, which are no measurements: each one counts.
    pub const EACH: Self = Self { rise: 1, fall: 1 };
}

impl From<&Timing> for Needed {
    fn from(timing: &Timing) -> Self {
        Self { rise: timing.rise, fall: timing.fall }
    }
}

/// A check's state: its phase, and how many results in a row were alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CheckState {
    phase: Phase,
    /// Passes in a row, if the last result was one, otherwise failures in a row.
    streak: u32,
    passed: bool,
}

impl CheckState {
    /// The state before the first result.
    #[must_use]
    pub fn new(initial: Initial) -> Self {
        let up = initial == Initial::Up;
        Self { phase: if up { Phase::Up } else { Phase::Down }, streak: 0, passed: up }
    }

    /// The phase.
    #[must_use]
    pub fn phase(self) -> Phase {
        self.phase
    }

    /// How many of the last results in a row were alike.
    #[must_use]
    pub fn streak(self) -> u32 {
        self.streak
    }

    /// The state after one more result.
    #[must_use]
    pub fn after(self, passed: bool, needed: Needed) -> Self {
        let streak = if passed == self.passed { self.streak.saturating_add(1) } else { 1 };
        let result = match (passed, streak >= if passed { needed.rise } else { needed.fall }) {
            (true, false) => Result::Pass,
            (true, true) => Result::LastPass,
            (false, false) => Result::Fail,
            (false, true) => Result::LastFail,
        };
        Self { phase: NEXT[self.phase as usize][result as usize], streak, passed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timing(rise: u32, fall: u32) -> Timing {
        Timing { rise, fall, ..Timing::DEFAULT }
    }

    fn run(initial: Initial, timing: &Timing, results: &str) -> CheckState {
        let after = |state: CheckState, result| state.after(result == '+', timing.into());
        results.chars().fold(CheckState::new(initial), after)
    }

    #[test]
    fn results_and_the_phase_after_them() {
        use Initial::{Down as StartsDown, Up as StartsUp};
        let rows = [
            (StartsUp, 2, 3, "", Phase::Up),
            (StartsUp, 2, 3, "-", Phase::Falling),
            (StartsUp, 2, 3, "--", Phase::Falling),
            (StartsUp, 2, 3, "---", Phase::Down),
            (StartsUp, 2, 3, "--+", Phase::Up),
            (StartsUp, 2, 3, "--+--", Phase::Falling),
            (StartsUp, 2, 3, "---+", Phase::Rising),
            (StartsUp, 2, 3, "---+-", Phase::Down),
            (StartsUp, 2, 3, "---+-+", Phase::Rising),
            (StartsUp, 2, 3, "---++", Phase::Up),
            (StartsUp, 1, 1, "-", Phase::Down),
            (StartsUp, 1, 1, "-+", Phase::Up),
            (StartsDown, 2, 3, "", Phase::Down),
            (StartsDown, 2, 3, "+", Phase::Rising),
            (StartsDown, 2, 3, "++", Phase::Up),
            (StartsDown, 1, 3, "+", Phase::Up),
            (StartsDown, 2, 3, "+-+", Phase::Rising),
        ];
        for (initial, rise, fall, results, expected) in rows {
            let phase = run(initial, &timing(rise, fall), results).phase();
            assert_eq!(phase, expected, "{initial:?}, rise {rise}, fall {fall}: {results:?}");
        }
    }

    proptest! {
        /// The model: the state changes to the result that the last `rise` or `fall` probes all
        /// had. Failures that are not in a row do not add up.
        #[test]
        fn only_results_in_a_row_change_the_state(
            rise in 1_u32..5,
            fall in 1_u32..5,
            up: bool,
            results in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let timing = timing(rise, fall);
            let mut state = CheckState::new(if up { Initial::Up } else { Initial::Down });
            let mut model = up;
            for (number, &result) in results.iter().enumerate() {
                state = state.after(result, (&timing).into());
                let needed = if result { rise } else { fall } as usize;
                let seen = &results[..=number];
                let in_a_row = seen.iter().rev().take_while(|&&one| one == result).count();
                if in_a_row >= needed {
                    model = result;
                }
                prop_assert_eq!(state.phase().is_up(), model);
                prop_assert_eq!(state.phase().in_doubt(), model != result);
            }
        }
    }
}
