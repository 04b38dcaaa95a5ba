//! Turns that a real server passes up during its slow start, for round robin, which offers every
//! server a turn.

use super::Pool;
use crate::balancer::ramp::FULL;
use crate::balancer::real::Real;

/// The progress of each real server towards its next turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    saved: Vec<u32>,
}

impl Turns {
    /// Whether the real server at `place` takes the turn that it is offered: as many of a thousand
    /// turns as thousandths of its weight are reached. The server with the largest share takes
    /// every turn, so each round has a taker, and servers that come up together share equally.
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
