//! Least connections. Weights count for nothing, but for 0.

use super::load::overhead;
use super::{Pool, Scheduler};
use crate::balancer::placement::Flow;

#[derive(Debug)]
pub(super) struct LeastConnections;

impl Scheduler for LeastConnections {
    fn pick(&mut self, _flow: Flow<'_>, pool: Pool<'_>) -> Option<usize> {
        pool.usable().min_by_key(|(_, real)| overhead(real)).map(|(place, _)| place)
    }
}
