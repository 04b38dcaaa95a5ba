//! Weighted failover: all flows go to the usable server with the highest weight. Flows without an
//! entry go there too, not by hash.

use super::load::heavier;
use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;

#[derive(Clone, Debug)]
pub(super) struct Failover;

impl Scheduler for Failover {
    fn pick(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        pool.usable().reduce(heavier).map(|(index, _)| index)
    }
}
