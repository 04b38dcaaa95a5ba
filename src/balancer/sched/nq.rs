//! Never queue: the first server without an active connection, whatever its weight; if all have
//! one, the choice of sed.

use super::scheduler::Scheduler;
use super::sed::shortest;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;

#[derive(Clone, Debug)]
pub(super) struct NeverQueue;

impl Scheduler for NeverQueue {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let idle = pool.usable().find(|(_, real)| real.busy() == 0);
        idle.map(|(index, _)| index).or_else(|| shortest(pool))
    }
}
