//! Passes connections' segments to the [latencies](super::latency) of their real servers.

use super::Balancer;
use super::position::SegmentFields;
use super::table::{Entry, Handle};
use crate::model::RealId;

impl Balancer {
    /// Sets the time of the packets that follow, in microseconds since the daemon started.
    /// Latencies are measured only if it is set.
    // 32 bits suffice: only differences below 71 minutes are needed.
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    pub fn stamp(&mut self, micros: u64) {
        self.stamp = micros as u32;
    }

    /// Times a segment of a connection, which does not open one.
    #[inline(always)]
    pub(super) fn time_segment(&mut self, flow: Handle, real: RealId, segment: &SegmentFields) {
        if self.registry.reals[real].latency.concerns(flow, self.stamp, segment) {
            self.note_time(flow, real, segment);
        }
    }

    #[cold]
    fn note_time(&mut self, flow: Handle, real: RealId, segment: &SegmentFields) {
        // A forged segment must not count as an answer.
        let fits = |entry: &Entry| entry.position().fits(segment);
        if self.tables.connections.entry(flow).is_some_and(fits) {
            self.registry.reals[real].latency.note(flow, self.stamp, segment);
        }
    }

    /// Times the SYN of a connection.
    pub(super) fn time_opening(&mut self, flow: Handle, real: RealId) {
        self.registry.reals[real].latency.opens(flow, self.stamp);
    }
}
