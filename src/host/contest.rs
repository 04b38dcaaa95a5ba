//! Contests over steps that another program undoes: a step is restored a few times, at growing
//! intervals, and then left undone.

use std::time::{Duration, Instant};

/// How often a step is restored before it is left undone.
pub const ROUNDS: u32 = 5;
/// The pause before the second time; each later pause is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A step that has stayed in force for this long starts from the beginning.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The state of a step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Contest {
    /// It was not undone recently.
    #[default]
    Kept,
    /// It was restored.
    PutBack {
        /// How often.
        rounds: u32,
        /// The last time.
        at: Instant,
    },
    /// It is left undone.
    Yielded,
}

/// What a check of the host shows of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It is in force.
    InForce,
    /// It is not in force.
    Missing,
    /// It is not in force because its interface was down: no program undid it.
    LostWithLink,
}

/// What to do about a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContestMove {
    /// Nothing.
    Nothing,
    /// Restore it; it was not undone for a long time.
    PutBack,
    /// Restore it without a line in the log.
    PutBackUnlogged,
    /// Not yet: it was restored just now.
    Wait,
    /// Leave it undone, and report that.
    Yield,
    /// Leave it undone, as before.
    LeaveUndone,
}

impl Contest {
    /// The next state and the action, by what was seen.
    #[must_use]
    pub fn next(self, seen: Presence, now: Instant) -> (Self, ContestMove) {
        use Contest::{Kept, PutBack, Yielded};
        use ContestMove::{LeaveUndone, Nothing, PutBackUnlogged, Wait, Yield};
        use Presence::{InForce, LostWithLink, Missing};
        let again = |rounds| (PutBack { rounds, at: now }, ContestMove::PutBack);
        match (self, seen) {
            (Kept | Yielded, InForce) => (Kept, Nothing),
            (Kept, Missing) => again(1),
            (PutBack { at, .. }, InForce) if elapsed(at, now) >= FORGOTTEN_AFTER => (Kept, Nothing),
            (PutBack { .. }, InForce) => (self, Nothing),
            (PutBack { at, rounds }, Missing) if elapsed(at, now) < pause(rounds) => (self, Wait),
            (PutBack { at, .. }, Missing) if elapsed(at, now) >= FORGOTTEN_AFTER => again(1),
            (PutBack { rounds, .. }, Missing) if rounds >= ROUNDS => (Yielded, Yield),
            (PutBack { rounds, .. }, Missing) => again(rounds + 1),
            (Yielded, Missing) => (Yielded, LeaveUndone),
            (state @ (Kept | PutBack { .. }), LostWithLink) => (state, PutBackUnlogged),
            (Yielded, LostWithLink) => (Kept, PutBackUnlogged),
        }
    }

    /// How often it was restored.
    #[must_use]
    pub fn rounds(self) -> u32 {
        match self {
            Self::Kept => 0,
            Self::PutBack { rounds, .. } => rounds,
            Self::Yielded => ROUNDS,
        }
    }
}

fn elapsed(from: Instant, to: Instant) -> Duration {
    to.saturating_duration_since(from)
}

/// The least pause after a step was restored this often.
fn pause(rounds: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(rounds.saturating_sub(1).min(ROUNDS))
}
