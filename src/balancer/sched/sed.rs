//! Shortest expected delay: the least active connections per weight, with the new one counted in.
//! When all are idle it chooses the fastest server, where wlc chooses the first.

use super::load::least;
use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct ShortestExpectedDelay;

impl Scheduler for ShortestExpectedDelay {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        shortest(pool)
    }
}

/// The choice of sed.
pub(super) fn shortest(pool: Pool<'_>) -> Option<usize> {
    least(pool, |real: &Real| real.busy() + 1)
}
