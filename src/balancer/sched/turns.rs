//! Turns that a real server in its slow start lets pass, for round robin, which gives everybody a
//! turn.

use super::Pool;
use crate::balancer::ramp::FULL;
use crate::balancer::real::Real;

/// What each real server has saved up towards its next turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    saved: Vec<u32>,
}

impl Turns {
    /// Whether the real server at `place`, whose turn it is, takes it: as many turns of a thousand
    /// as it has grown to. Who has grown most takes each, so somebody does in every round, and
    /// those that come up together share as ever.
    #[inline]
    pub(super) fn takes(&mut self, pool: Pool<'_>, place: usize, real: &Real) -> bool {
        real.grown() == FULL || self.takes_in_slow_start(pool, place, real)
    }

    #[cold]
    fn takes_in_slow_start(&mut self, pool: Pool<'_>, place: usize, real: &Real) -> bool {
        let most = pool.usable().map(|(_, real)| real.grown()).max().unwrap_or(FULL);
        let Some(saved) = self.saved.get_mut(place) else { return true };
        *saved += real.grown();
        if *saved < most {
            return false;
        }
        *saved = (*saved - most).min(most);
        true
    }

    /// The pool has changed.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.saved.clear();
        self.saved.resize(pool.ids.len(), 0);
    }
}
