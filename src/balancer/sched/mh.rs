//! Maglev hashing: the flow's hash selects a slot of the [table](crate::balancer::maglev), and the
//! slot names a real server.
//!
//! A server that takes no new flow keeps its slots. Its flows are hashed again until they hit a
//! slot of a usable server, so that no other server's flow moves, and they return to it when it is
//! usable again. Without `fallback` they are refused.

use std::collections::HashMap;

use super::scheduler::Scheduler;
use crate::balancer::hash;
use crate::balancer::maglev::MaglevTable;
use crate::balancer::placement::{self, PlacementKey};
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

/// How often a flow is hashed again before all servers are searched.
const REHASHES: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Maglev {
    /// The pool index of each of the table's members.
    indexes: Vec<Option<usize>>,
}

impl Scheduler for Maglev {
    fn pick(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let mut hash = flow.client_hash(pool.policy.hash_ports.unwrap_or(true));
        let first = hash;
        if let Some(table) = pool.maglev {
            for _ in 0..=REHASHES {
                let member = table.member(hash).and_then(|member| self.indexes.get(member));
                let index = member.copied().flatten().filter(|&index| pool.is_usable(index));
                if index.is_some() || !pool.policy.fallback {
                    return index;
                }
                hash = hash::next_hash(hash);
            }
        }
        // Few servers are usable, or there is no table yet.
        placement::usable(first, pool, Real::stepped_weight)
    }

    fn changed(&mut self, pool: Pool<'_>) {
        let indexes: HashMap<_, _> =
            pool.configured().map(|(index, real)| (real.address(), index)).collect();
        let members = pool.maglev.map(MaglevTable::members).unwrap_or_default();
        self.indexes = members.iter().map(|address| indexes.get(address).copied()).collect();
    }
}
