//! Round robin: each usable real server in turn.

use super::{Pool, Scheduler};
use crate::balancer::placement::Flow;

#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    /// The place after the last one chosen.
    next: usize,
}

impl Scheduler for RoundRobin {
    fn pick(&mut self, _flow: Flow<'_>, pool: Pool<'_>) -> Option<usize> {
        let after = pool.usable().find(|&(place, _)| place >= self.next);
        let (place, _) = after.or_else(|| pool.usable().next())?;
        self.next = place + 1;
        Some(place)
    }
}
