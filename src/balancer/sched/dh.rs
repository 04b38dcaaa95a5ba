//! Destination hashing: all flows of a virtual address to the same real server. Weights count for
//! nothing, but for 0.
//!
//! As with [`sh`](super::sh), rendezvous hashing in the place of IPVS's buckets.

use super::{Pool, Scheduler};
use crate::balancer::placement::{PlacementKey, by_policy};

#[derive(Clone, Debug)]
pub(super) struct DestinationHashing;

impl Scheduler for DestinationHashing {
    fn pick(&mut self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        by_policy(flow.vip_hash(), pool, |_| 1)
    }
}
