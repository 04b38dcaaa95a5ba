//! The packets that only prolong their flow, found by a few comparisons.
//!
//! Most packets are an acknowledgement, with data or without, of an established connection, or a
//! datagram of a known flow. If the real server is up, such a packet changes nothing but its
//! entry's deadline and position. TCP receivers predict headers in the same way. Every other packet
//! takes all steps of [`super::forward`], which have the same effect on these packets.

use super::Balancer;
use super::position::SegmentFields;
use super::segment::Found;
use super::tcp::ConnState;
use crate::model::Millis;
use crate::wire::Packet;

impl Balancer {
    /// Whether a segment only prolongs its connection. It has done so then; otherwise nothing has
    /// changed.
    #[inline(always)]
    pub(super) fn segment_goes_on(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        (handle, state, id): Found,
        segment: &SegmentFields,
    ) -> bool {
        let real = &self.registry.reals[id];
        if state != ConnState::Established
            || !segment.flags.only_acknowledges()
            || !real.takes(packet.wire_len())
            || real.latency.concerns(handle, self.stamp, segment)
        {
            return false;
        }
        let timeout = state.timeout(&self.settings.timeouts);
        let deadline = self.settings.renewals.established.deadline(now, timeout);
        self.tables.connections.prolong_by(handle, deadline, segment)
    }

    /// The same for a datagram.
    #[inline(always)]
    pub(super) fn datagram_goes_on(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        (handle, state, id): Found,
    ) -> bool {
        if state != ConnState::Udp || !self.registry.reals[id].takes(packet.wire_len()) {
            return false;
        }
        let timeout = state.timeout(&self.settings.timeouts);
        let deadline = self.settings.renewals.udp.deadline(now, timeout);
        self.tables.connections.prolong(handle, deadline)
    }
}
