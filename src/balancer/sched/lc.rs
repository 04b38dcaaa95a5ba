//! Least connections. Weights are ignored, except for 0; the progress of a slow start counts.

use super::load::overhead;
use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct LeastConnections;

impl Scheduler for LeastConnections {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let by_growth = |a: &Real, b: &Real| {
            (overhead(a) * u64::from(b.grown(pool.now)))
                .cmp(&(overhead(b) * u64::from(a.grown(pool.now))))
        };
        pool.usable().min_by(|(_, a), (_, b)| by_growth(a, b)).map(|(index, _)| index)
    }
}
