//! Estimates a real server's latency from its clients' packets: replies bypass the director.
//!
//! Two times are taken. Both include the way from the director over the real server and the client
//! back to the director, which is as long as the client's own round trip.
//!
//! - *Handshake*: from a SYN to the acknowledgement that completes the handshake. The real server's
//!   kernel answers it, so this is the network's share.
//! - *Response*: from the last segment of a request to the next larger acknowledgement number,
//!   which acknowledges the first segment of the response.
//!
//! A real server has [`SLOTS`] slots; a flow's index in the table selects one of them. A slot times
//! one flow at a time, so memory is constant and most packets cost one comparison. Its next flow is
//! the first one with a request after that, whatever happened before, so slow requests are as
//! likely to be chosen as quick ones.
//!
//! Limits: a client that delays its acknowledgement (RFC 9293 section 3.8.6.3: up to 500 ms, Linux
//! 40 ms) and has no data to send adds the delay. Data that the real server sends without a request
//! ends the measurement early. Retransmitted requests are left out (Karn's rule, RFC 6298 section
//! 3).

mod histogram;

pub use histogram::{BOUNDS_MICROS, LatencySnapshot, TimesSnapshot};

use super::position::{SegmentFields, is_after};
use super::table::Handle;
use histogram::Times;

/// How many flows of a real server are timed at once.
pub(super) const SLOTS: usize = 4;

/// Microseconds after which a measurement that has not ended is given up for another.
const LONGEST: u32 = 10_000_000;

/// Microseconds between the end of a measurement and the next one in its slot: a busy real server
/// gives up to 4,000 samples a second, however many packets it gets.
const REST: u32 = 1_000;

/// Not an index of the table.
const FREE: u32 = u32::MAX;

/// The latencies of one real server.
#[derive(Debug, Default)]
pub(super) struct Latency {
    slots: [Measurement; SLOTS],
    /// Allocated with the first sample.
    times: Option<Box<Both>>,
}

/// The two measured times.
#[derive(Debug, Default)]
struct Both {
    handshake: Times,
    response: Times,
}

/// A measurement, or the pause after it.
#[derive(Clone, Copy, Debug)]
struct Measurement {
    /// The flow's index in the table, or [`FREE`].
    flow: u32,
    /// The moment of its SYN or of its request's last segment; in a free slot, the end of its last
    /// measurement.
    since: u32,
    /// The request's last acknowledgement number; `None`: the handshake is timed.
    acknowledged: Option<u32>,
    /// The sequence number after the request.
    end: u32,
}

impl Default for Measurement {
    fn default() -> Self {
        Self { flow: FREE, since: 0, acknowledged: None, end: 0 }
    }
}

/// What a segment does to the measurement of its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SegmentEffect {
    /// The response has come.
    Ends,
    /// More of the request: the time starts again.
    Restarts,
    /// The measurement is useless.
    Fails,
    /// The measurement goes on unchanged.
    GoesOn,
}

impl Measurement {
    /// Whether another flow may be timed.
    #[inline]
    fn is_due(&self, at: u32) -> bool {
        let wait = if self.flow == FREE { REST } else { LONGEST };
        at.wrapping_sub(self.since) >= wait
    }

    /// The effect of a fitting segment of the timed flow.
    fn step(&self, segment: &SegmentFields) -> SegmentEffect {
        if segment.flags.rst() {
            return SegmentEffect::Fails;
        }
        let Some(acknowledged) = self.acknowledged else {
            let answered = segment.flags.ack() && !segment.flags.syn();
            return if answered { SegmentEffect::Ends } else { SegmentEffect::Fails };
        };
        if segment.flags.ack() && is_after(segment.acknowledgement(), acknowledged) {
            return SegmentEffect::Ends;
        }
        match segment.has_data() {
            true if is_after(segment.end(), self.end) => SegmentEffect::Restarts,
            // A retransmission: it is unknown which copy is answered.
            true => SegmentEffect::Fails,
            false => SegmentEffect::GoesOn,
        }
    }
}

impl Latency {
    /// Whether [`Self::note`] may have something to do for a segment without SYN of this flow.
    #[inline(always)]
    pub(super) fn concerns(&self, flow: Handle, at: u32, segment: &SegmentFields) -> bool {
        let slot = &self.slots[flow.index() % SLOTS];
        slot.flow == number(flow) || (segment.has_data() && slot.is_due(at))
    }

    /// Times a SYN. A repeated one ends the measurement of its flow.
    pub(super) fn opens(&mut self, flow: Handle, at: u32) {
        let slot = &mut self.slots[flow.index() % SLOTS];
        if slot.flow == number(flow) {
            *slot = Measurement { since: at, ..Measurement::default() };
        } else if slot.is_due(at) {
            *slot = Measurement { flow: number(flow), since: at, acknowledged: None, end: 0 };
        }
    }

    /// Times a fitting segment.
    pub(super) fn note(&mut self, flow: Handle, at: u32, segment: &SegmentFields) {
        let slot = &mut self.slots[flow.index() % SLOTS];
        let mut free_since = at;
        if slot.flow == number(flow) {
            match slot.step(segment) {
                SegmentEffect::GoesOn => return,
                SegmentEffect::Restarts => {
                    (slot.since, slot.end) = (at, segment.end());
                    return;
                }
                SegmentEffect::Fails => {}
                SegmentEffect::Ends => {
                    let times = self.times.get_or_insert_default();
                    let passed = at.wrapping_sub(slot.since);
                    match slot.acknowledged {
                        Some(_) => times.response.add(at, passed),
                        None => {
                            times.handshake.add(at, passed);
                            // The next request is timed without a pause.
                            free_since = at.wrapping_sub(REST);
                        }
                    }
                }
            }
            *slot = Measurement { since: free_since, ..Measurement::default() };
        }
        if segment.has_data() && segment.flags.ack() && slot.is_due(at) {
            let acknowledged = Some(segment.acknowledgement());
            *slot = Measurement { flow: number(flow), since: at, acknowledged, end: segment.end() };
        }
    }

    /// Ends the measurement of a flow, whose further packets may not come here.
    pub(super) fn forget(&mut self, flow: Handle) {
        let slot = &mut self.slots[flow.index() % SLOTS];
        if slot.flow == number(flow) {
            *slot = Measurement { since: slot.since, ..Measurement::default() };
        }
    }

    /// The measured times; `None` before the first sample.
    pub(super) fn snapshot(&self, at: u32) -> Option<Box<LatencySnapshot>> {
        let both = self.times.as_deref()?;
        Some(Box::new(LatencySnapshot {
            handshake: both.handshake.snapshot(at),
            response: both.response.snapshot(at),
        }))
    }
}

/// The flow's index as stored in slots. The largest table is too small for an index of [`FREE`].
fn number(flow: Handle) -> u32 {
    u32::try_from(flow.index()).unwrap_or(FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_forgotten_flow_times_another_at_once() {
        let mut latency = Latency::default();
        let (first, second) = (Handle::at(1), Handle::at(1 + SLOTS));
        latency.opens(first, REST);
        latency.opens(second, 2 * REST);
        latency.forget(second);
        assert_eq!(latency.slots[1].flow, number(first), "which is still timed");
        latency.forget(first);
        latency.opens(second, 2 * REST);
        assert_eq!(latency.slots[1].flow, number(second));
    }
}
