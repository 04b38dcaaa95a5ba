//! Least connections, plain and weighted. An active connection weighs as much as 257 inactive ones.

use super::{Pool, Scheduler};
use crate::balancer::service::Real;

/// IPVS's overhead of a real server: 256 × active + all.
fn overhead(real: &Real) -> u64 {
    257 * real.active() + real.inactive()
}

#[derive(Debug)]
pub(super) struct Connections;

impl Scheduler for Connections {
    fn pick(&mut self, pool: Pool<'_>) -> Option<usize> {
        pool.usable().min_by_key(|(_, real)| overhead(real)).map(|(place, _)| place)
    }
}

#[derive(Debug)]
pub(super) struct WeightedConnections;

impl Scheduler for WeightedConnections {
    fn pick(&mut self, pool: Pool<'_>) -> Option<usize> {
        pool.usable().min_by(|(_, a), (_, b)| by_load(a, b)).map(|(place, _)| place)
    }
}

/// Compares overhead per weight, crosswise, so that nothing is rounded. At most 2^24 connections and a
/// weight below 2^16 stay below 2^49.
fn by_load(a: &Real, b: &Real) -> std::cmp::Ordering {
    let left = overhead(a) * u64::from(b.weight());
    let right = overhead(b) * u64::from(a.weight());
    left.cmp(&right)
}
