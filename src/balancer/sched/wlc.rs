//! Weighted least connections: the server with the least load per weight.

use super::load::{least, overhead};
use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;

#[derive(Clone, Debug)]
pub(super) struct WeightedLeastConnections;

impl Scheduler for WeightedLeastConnections {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        least(pool, overhead)
    }
}
