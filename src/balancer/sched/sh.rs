//! Source hashing: a client always meets the same real server; with `hash_ports`, a flow.
//!
//! IPVS deals out 256 buckets anew whenever a server comes or goes, so that almost every client
//! moves. Here it is weighted rendezvous hashing with the seed that directors share: only a lost
//! server's clients move.

use super::{Pool, Scheduler};
use crate::balancer::placement::{PlacementKey, by_policy};
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct SourceHashing;

impl Scheduler for SourceHashing {
    fn pick(&mut self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let hash = flow.client_hash(pool.policy.hash_ports.unwrap_or(false));
        by_policy(hash, pool, Real::hash_weight)
    }
}
