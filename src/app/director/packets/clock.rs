//! The packet thread's moments, since the daemon started.

use std::time::Instant;

use super::Packets;
use crate::model::Millis;

impl Packets {
    /// The moment as the balancer has it.
    pub(super) fn millis(&self, moment: Instant) -> Millis {
        let passed = moment.saturating_duration_since(self.started);
        Millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Latencies need a finer moment.
    pub(super) fn stamp(&mut self, moment: Instant) {
        let passed = moment.saturating_duration_since(self.started);
        self.balancer.stamp(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX));
    }
}
