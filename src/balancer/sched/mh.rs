//! Maglev hashing: the flow's hash names a slot of the [table](crate::balancer::maglev), and the
//! slot a real server.
//!
//! A server that takes no new flow keeps its slots. Its flows are hashed again until a slot's
//! server takes them, so that nobody else's flow moves, and come back with it; without `fallback`
//! they are refused.

use std::collections::HashMap;

use super::{Pool, Scheduler};
use crate::balancer::maglev::Table;
use crate::balancer::placement::{self, PlacementKey};
use crate::balancer::real::Real;

/// How often a flow is hashed again before all servers are looked at.
const REHASHES: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Maglev {
    /// The place in the pool of each of the table's members.
    places: Vec<Option<usize>>,
}

impl Scheduler for Maglev {
    fn pick(&mut self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.place(flow, pool)
    }

    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let mut hash = flow.client_hash(pool.policy.hash_ports.unwrap_or(true));
        let first = hash;
        if let Some(table) = pool.maglev {
            for _ in 0..=REHASHES {
                let member = table.member(hash).and_then(|member| self.places.get(member));
                let place = member.copied().flatten().filter(|&place| pool.is_usable(place));
                if place.is_some() || !pool.policy.fallback {
                    return place;
                }
                hash = placement::next_hash(hash);
            }
        }
        // Next to nobody is usable, or the table has not come yet.
        placement::usable(first, pool, Real::hash_weight)
    }

    fn changed(&mut self, pool: Pool<'_>) {
        let places: HashMap<_, _> =
            pool.configured().map(|(place, real)| (real.address(), place)).collect();
        let members = pool.maglev.map(Table::members).unwrap_or_default();
        self.places = members.iter().map(|address| places.get(address).copied()).collect();
    }
}
