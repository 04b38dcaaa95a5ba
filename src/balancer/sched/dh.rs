//! Destination hashing: all flows of a virtual address go to the same real server. Weights are
//! ignored, except for 0.
//!
//! Like [`sh`](super::sh), with rendezvous hashing instead of IPVS's buckets.

use super::scheduler::Scheduler;
use crate::balancer::placement::{PlacementKey, by_policy};
use crate::balancer::pool::Pool;

#[derive(Clone, Debug)]
pub(super) struct DestinationHashing;

impl Scheduler for DestinationHashing {
    fn pick(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        by_policy(flow.vip_hash(), pool, |_| 1)
    }
}
