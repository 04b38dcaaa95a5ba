//! Who wins where a step of the plan is undone by somebody else: it is put back a few times, ever
//! more slowly, and then left to them.

use std::time::{Duration, Instant};

/// So often a step is put back before the other side has won.
pub const ROUNDS: u32 = 5;
/// The pause before the second time; each later one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A step that has stayed for so long begins anew.
pub const CALM: Duration = Duration::from_secs(600);

/// What is known of a step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Contest {
    /// Nobody has touched it lately.
    #[default]
    Kept,
    /// It was put back.
    PutBack {
        /// How often.
        rounds: u32,
        /// The last time.
        at: Instant,
    },
    /// It is left to whoever undoes it.
    Yielded,
}

/// What a look at the host shows of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// It is in force.
    InForce,
    /// It is not.
    Missing,
    /// It is not, because its interface was down: nobody's doing.
    LostWithLink,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// Make it again; it is the first time since long.
    PutBack,
    /// Make it again without a word.
    MakeAgain,
    /// Not yet: it was put back just now.
    Wait,
    /// Leave it, and say so loudly.
    Yield,
    /// It stays left.
    StayAway,
}

impl Contest {
    /// The next state and what is to be done, by what is seen.
    #[must_use]
    pub fn next(self, seen: Seen, now: Instant) -> (Self, Decision) {
        use Contest::{Kept, PutBack, Yielded};
        use Decision::{MakeAgain, Nothing, StayAway, Wait, Yield};
        use Seen::{InForce, LostWithLink, Missing};
        let again = |rounds| (PutBack { rounds, at: now }, Decision::PutBack);
        match (self, seen) {
            (Kept | Yielded, InForce) => (Kept, Nothing),
            (Kept, Missing) => again(1),
            (PutBack { at, .. }, InForce) if elapsed(at, now) >= CALM => (Kept, Nothing),
            (PutBack { .. }, InForce) => (self, Nothing),
            (PutBack { at, rounds }, Missing) if elapsed(at, now) < pause(rounds) => (self, Wait),
            (PutBack { at, .. }, Missing) if elapsed(at, now) >= CALM => again(1),
            (PutBack { rounds, .. }, Missing) if rounds >= ROUNDS => (Yielded, Yield),
            (PutBack { rounds, .. }, Missing) => again(rounds + 1),
            (Yielded, Missing) => (Yielded, StayAway),
            (state @ (Kept | PutBack { .. }), LostWithLink) => (state, MakeAgain),
            (Yielded, LostWithLink) => (Kept, MakeAgain),
        }
    }

    /// How often it was put back.
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

/// How long a step that was put back so often is left alone at least.
fn pause(rounds: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(rounds.saturating_sub(1).min(ROUNDS))
}
