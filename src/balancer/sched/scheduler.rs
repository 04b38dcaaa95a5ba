//! The trait of schedulers.

use std::fmt::Debug;

use crate::balancer::placement::{self, PlacementKey};
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

/// Chooses the real server of a new flow.
pub(in crate::balancer) trait Scheduler: Debug + Send {
    /// The index in `pool` of the chosen real server; `None` if there is none. The same until
    /// [`Self::taken`].
    fn pick(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize>;

    /// Moves the turn on after [`Self::pick`] has chosen for a flow, from the same pool.
    fn taken(&mut self, _picked: Option<usize>, _pool: Pool<'_>) {}

    /// Where a flow without an entry belongs: independent of other flows, and the same at every
    /// call. By hash, unless a scheduler's choice depends on no other flow anyway.
    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        placement::usable(flow.hash(), pool, Real::hash_weight)
    }

    /// Called when the pool has changed: members, weights, or the table. (The progress of a slow
    /// start is not a change.)
    fn changed(&mut self, _pool: Pool<'_>) {}
}
