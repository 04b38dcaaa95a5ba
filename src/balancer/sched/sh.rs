//! Source hashing: all flows of a client go to the same real server; with `hash_ports`, each flow
//! is hashed on its own.
//!
//! IPVS redistributes 256 buckets whenever a server is added or removed, so that almost every
//! client moves. Here it is weighted rendezvous hashing with the seed that directors share: only a
//! lost server's clients move.

use super::scheduler::Scheduler;
use crate::balancer::placement::{PlacementKey, by_policy};
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct SourceHashing;

impl Scheduler for SourceHashing {
    fn pick(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let hash = flow.client_hash(pool.policy.hash_ports.unwrap_or(false));
        by_policy(hash, pool, Real::stepped_weight)
    }
}
