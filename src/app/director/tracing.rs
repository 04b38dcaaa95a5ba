//! The packet thread's end of traces: matches each decision and passes it on without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::recorder;
use crate::balancer::Record;
use crate::balancer::record::{DecisionBasis, RecordedVerdict};
use crate::model::Seed;
use crate::trace::Filter;
use crate::trace::capture::Snaplen;

/// Decisions queued for a slow reader. Further ones are lost, and counted.
pub(super) const QUEUE: usize = 1_024;

/// The most traces at the same time: each costs every packet.
pub(super) const TRACES: usize = 4;

/// A decision on its way to a trace.
#[derive(Debug)]
pub(super) struct TracedPacket {
    pub(super) record: Record,
    /// The kept part of the packet as it came, if requested.
    pub(super) came: Option<Vec<u8>>,
    /// The packets as they were sent: their lengths and their kept parts.
    pub(super) sent: Vec<(usize, Vec<u8>)>,
}

/// A trace in the packet thread.
#[derive(Debug)]
pub(super) struct LiveTrace {
    pub(super) filter: Filter,
    /// How much of the packets to keep; `None`: nothing.
    pub(super) packets: Option<Snaplen>,
    pub(super) outbox: Sender<TracedPacket>,
    /// How many decisions were lost because the queue was full.
    pub(super) lost: Arc<AtomicU64>,
}

/// The traces, and the decisions that wait for their packets to be sent.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    traces: Vec<LiveTrace>,
    waiting: Vec<(usize, TracedPacket)>,
    /// Whether decisions are recorded.
    recording: bool,
}

impl Tracing {
    /// Whether a trace or the recorder needs records.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.recording || !self.traces.is_empty()
    }

    /// Whether a trace runs: every packet has to come here then.
    pub(super) fn has_traces(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Starts recording decisions on this thread, whose clock was zero at `epoch`.
    pub(super) fn record(&mut self, capacity: u32, epoch: Timestamp, seeds: (Seed, Seed)) {
        recorder::begin(capacity, epoch, seeds);
        self.recording = true;
    }

    /// Begins a trace; false if there are [`TRACES`] already.
    pub(super) fn begin(&mut self, trace: LiveTrace) -> bool {
        self.end_closed();
        let room = self.traces.len() < TRACES;
        if room {
            self.traces.push(trace);
        }
        room
    }

    /// Ends the traces whose readers have gone.
    pub(super) fn end_closed(&mut self) {
        self.traces.retain(|trace| !trace.outbox.is_closed());
    }

    /// Passes a decision to the traces that it matches. Returns true if one of them needs the sent
    /// packets: then [`Self::sent`] has to follow.
    #[cold]
    pub(super) fn note(&mut self, record: Record, packet: &[u8]) -> bool {
        for (number, trace) in self.traces.iter().enumerate() {
            if !trace.filter.matches(&record) {
                continue;
            }
            let came = trace.packets.map(|snaplen| snaplen.came(packet).to_vec());
            let traced = TracedPacket { record: record.clone(), came, sent: Vec::new() };
            match trace.packets {
                Some(_) => self.waiting.push((number, traced)),
                None => trace.hand_on(traced),
            }
        }
        if self.recording && !is_probe(&record) {
            recorder::keep(record, packet);
        }
        !self.waiting.is_empty()
    }

    /// The packets that were sent for the latest decision.
    #[cold]
    pub(super) fn sent(&mut self, packets: &[Vec<u8>]) {
        for (number, mut traced) in self.waiting.drain(..) {
            let Some(trace) = self.traces.get(number) else { continue };
            let snaplen = trace.packets.unwrap_or(Snaplen::Headers);
            let kept = |packet: &Vec<u8>| (packet.len(), snaplen.sent(packet).to_vec());
            traced.sent = packets.iter().map(kept).collect();
            trace.hand_on(traced);
        }
    }
}

/// Whether it is a health check's packet on its way: there are so many that they would leave no
/// room for clients' packets.
fn is_probe(record: &Record) -> bool {
    record.why == Some(DecisionBasis::Probe) && record.verdict == RecordedVerdict::Tunnel
}

impl LiveTrace {
    fn hand_on(&self, traced: TracedPacket) {
        if let Err(TrySendError::Full(_)) = self.outbox.try_send(traced) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::balancer::{Balancer, Reason};
    use crate::model::Millis;

    fn trace(room: usize, packets: Option<Snaplen>) -> (LiveTrace, Receiver<TracedPacket>) {
        let (outbox, inbox) = channel(room);
        let (filter, lost) = (Filter::default(), Arc::default());
        (LiveTrace { filter, packets, outbox, lost }, inbox)
    }

    fn record() -> Record {
        Balancer::record_of_frame(Millis(1), 3, Reason::NotIp)
    }

    #[test]
    fn a_slow_reader_loses_decisions_that_are_counted_and_nothing_waits() {
        let mut tracing = Tracing::default();
        let (slow, mut inbox) = trace(2, None);
        let lost = Arc::clone(&slow.lost);
        assert!(tracing.begin(slow));
        for _ in 0..2 {
            assert!(!tracing.note(record(), &[1, 2, 3]));
        }
        assert_eq!(lost.load(Ordering::Relaxed), 0);
        tracing.note(record(), &[1, 2, 3]);
        assert_eq!(lost.load(Ordering::Relaxed), 1);
        assert!(inbox.try_recv().is_ok_and(|traced| traced.came.is_none()));
    }

    #[test]
    fn packets_come_with_the_decision_once_they_are_sent() {
        let mut tracing = Tracing::default();
        let (with, mut inbox) = trace(2, Some(Snaplen::Bytes(2)));
        assert!(tracing.begin(with));
        assert!(tracing.note(record(), &[1, 2, 3]));
        assert!(inbox.try_recv().is_err());
        tracing.sent(&[vec![4, 5, 6, 7], vec![8]]);
        let traced = inbox.try_recv().ok();
        let traced = traced.map(|traced| (traced.came, traced.sent));
        assert_eq!(traced, Some((Some(vec![1, 2]), vec![(4, vec![4, 5]), (1, vec![8])])));
    }

    #[test]
    fn packets_of_health_checks_leave_the_recorder_to_clients() {
        let why = Some(DecisionBasis::Probe);
        let probe = Record { why, verdict: RecordedVerdict::Tunnel, ..record() };
        let dropped = Record { why, ..record() };
        let client = Record { why: Some(DecisionBasis::Entry), ..probe.clone() };
        let kept = [&probe, &dropped, &client].map(|record| !is_probe(record));
        assert_eq!(kept, [false, true, true]);
    }

    #[test]
    fn as_many_traces_as_fit_begin_and_one_more_when_one_has_ended() {
        let mut tracing = Tracing::default();
        assert!(!tracing.is_on());
        let mut inboxes = Vec::new();
        for _ in 0..TRACES {
            let (trace, inbox) = trace(1, None);
            inboxes.push(inbox);
            assert!(tracing.begin(trace));
        }
        assert!(!tracing.begin(trace(1, None).0));
        inboxes.pop();
        assert!(tracing.begin(trace(1, None).0));
        drop(inboxes);
        tracing.end_closed();
        assert!(!tracing.is_on());
    }
}
