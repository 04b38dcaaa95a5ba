//! Turns that a real server skips during its slow start, for round robin, which offers every server
//! a turn.

use crate::balancer::pool::Pool;
use crate::balancer::ramp::FULL;
use crate::balancer::real::Real;

/// The progress of each real server towards its next turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    saved: Vec<u32>,
}

impl Turns {
    /// Whether the real server at `index` takes the turn that it is offered. A server that has
    /// grown to a third of its weight takes every third turn while another one has its full weight.
    /// The one that has grown most takes every turn, so a turn of each round is taken, and servers
    /// that come up together share equally.
    #[inline]
    pub(super) fn takes(&self, pool: Pool<'_>, index: usize, real: &Real) -> bool {
        let grown = real.grown(pool.now);
        grown == FULL || self.saved.get(index).is_none_or(|saved| saved + grown >= most(pool))
    }

    /// The real server at `index` was offered a turn, and has taken or skipped it.
    #[inline]
    pub(super) fn asked(&mut self, pool: Pool<'_>, index: usize, real: &Real) {
        let grown = real.grown(pool.now);
        if grown != FULL {
            self.save(pool, index, grown);
        }
    }

    #[cold]
    fn save(&mut self, pool: Pool<'_>, index: usize, grown: u32) {
        let most = most(pool);
        let Some(saved) = self.saved.get_mut(index) else { return };
        *saved += grown;
        if *saved >= most {
            *saved = (*saved - most).min(most);
        }
    }

    /// The pool has changed.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.saved.clear();
        self.saved.resize(pool.ids.len(), 0);
    }
}

/// The largest share that a real server of the pool has reached, in thousandths.
#[cold]
fn most(pool: Pool<'_>) -> u32 {
    pool.usable().map(|(_, real)| real.grown(pool.now)).max().unwrap_or(FULL)
}
