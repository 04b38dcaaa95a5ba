//! The packet thread's moments, since the daemon started.

use std::time::Instant;

use super::DirectorLoop;
use crate::model::Millis;

impl DirectorLoop {
    /// The moment in the balancer's unit.
    pub(super) fn millis(&self, moment: Instant) -> Millis {
        let passed = moment.saturating_duration_since(self.started);
        Millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Sets the balancer's finer time, for latencies.
    pub(super) fn stamp(&mut self, moment: Instant) {
        let passed = moment.saturating_duration_since(self.started);
        self.balancer.stamp(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX));
    }
}
