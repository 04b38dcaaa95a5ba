//! The control thread's end of a trace: lines from decisions, and how many were lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, channel};

use super::messages::{DirectorMessage, TraceStart};
use super::recorder::{self, RecordedPiece};
use super::tracing::{LiveTrace, QUEUE, TRACES, TracedPacket};
use crate::app::packet_thread::PacketThread;
use crate::control::{self, Missed, SentPacket, TraceBegins, TraceEnds, TracedDecision, to_hex};
use crate::model::{Millis, Seed};
use crate::trace::Filter;
use crate::trace::capture::Snaplen;
use crate::trace::ring::RecordedDecision;

/// A trace, line by line.
#[derive(Debug)]
pub(in crate::app) struct TraceFeed {
    packet_thread: PacketThread<DirectorMessage>,
    /// The line that comes before the others.
    first: Option<String>,
    /// The time at which the director's clock was zero.
    epoch: Timestamp,
    source: DecisionSource,
}

/// The source of the decisions.
#[derive(Debug)]
enum DecisionSource {
    Live(Live),
    Recorded(Recorded),
}

/// Decisions as they are made.
#[derive(Debug)]
struct Live {
    inbox: Receiver<TracedPacket>,
    lost: Arc<AtomicU64>,
    /// The decision to send after the line about lost ones.
    next: Option<TracedPacket>,
}

/// The decisions that were recorded when the trace began.
#[derive(Debug)]
struct Recorded {
    filter: Filter,
    packets: bool,
    queue: VecDeque<RecordedDecision>,
    from: u64,
    end: u64,
    /// The line after all of them.
    last: Option<String>,
}

impl TraceFeed {
    /// Begins a trace of decisions from now on.
    ///
    /// # Errors
    /// There are [`TRACES`] already.
    pub(super) async fn live(
        packet_thread: &PacketThread<DirectorMessage>,
        filter: Filter,
        begins: TraceBegins,
        packets: Option<Snaplen>,
    ) -> anyhow::Result<Self> {
        let (outbox, inbox) = channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let trace = LiveTrace { filter, packets, outbox, lost: Arc::clone(&lost) };
        let begun = packet_thread.ask(|answer| DirectorMessage::Trace { trace, answer }).await?;
        let Some(TraceStart { now, seeds }) = begun else {
            bail!("busy: {TRACES} traces run; end one of them first");
        };
        let first = first_line(begins, packets.is_some().then_some(seeds));
        let source = DecisionSource::Live(Live { inbox, lost, next: None });
        Self::new(packet_thread, first, now, source)
    }

    /// Begins a trace of the recorded decisions.
    ///
    /// # Errors
    /// There is no recorder.
    pub(super) async fn recorded(
        packet_thread: &PacketThread<DirectorMessage>,
        filter: Filter,
        begins: TraceBegins,
        packets: bool,
    ) -> anyhow::Result<Self> {
        let Some(piece) = piece(packet_thread, 0).await? else {
            bail!("nothing is recorded: write `recorder = 10_000` into [director] and restart it");
        };
        let RecordedPiece { kept, next, count, capacity, now, seeds, .. } = piece;
        let last = begins.ends.then(|| control::encode(&TraceEnds { ended: true }));
        let begins = TraceBegins { recorder: Some(capacity), ..begins };
        let first = first_line(begins, packets.then_some(seeds));
        let (queue, from, end) = (kept.into(), next, count);
        let source = DecisionSource::Recorded(Recorded { filter, packets, queue, from, end, last });
        Self::new(packet_thread, first, now, source)
    }

    fn new(
        packet_thread: &PacketThread<DirectorMessage>,
        first: String,
        now: Millis,
        source: DecisionSource,
    ) -> anyhow::Result<Self> {
        let epoch = Timestamp::now().checked_sub(Duration::from_millis(now.0));
        let epoch = epoch.context("this host's clock is wrong")?;
        Ok(Self { packet_thread: packet_thread.clone(), first: Some(first), epoch, source })
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The packet thread has ended.
    pub(in crate::app) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        if let Some(line) = self.first.take() {
            return Ok(Some(line));
        }
        match &mut self.source {
            DecisionSource::Live(live) => Ok(live.next(self.epoch).await),
            DecisionSource::Recorded(recorded) => {
                recorded.next(&self.packet_thread, self.epoch).await
            }
        }
    }
}

/// The packet thread learns that the reader has gone, even if no packet matches.
impl Drop for TraceFeed {
    fn drop(&mut self) {
        if let DecisionSource::Live(live) = &mut self.source {
            live.inbox.close();
            // A thread that has ended has no traces.
            let _ = self.packet_thread.send(DirectorMessage::TraceEnds);
        }
    }
}

impl Live {
    async fn next(&mut self, epoch: Timestamp) -> Option<String> {
        let traced = match self.next.take() {
            Some(traced) => traced,
            None => {
                let traced = self.inbox.recv().await?;
                let missed = self.lost.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    self.next = Some(traced);
                    return Some(control::encode(&Missed { missed }));
                }
                traced
            }
        };
        Some(control::encode(&decision(&traced, epoch)))
    }
}

impl Recorded {
    async fn next(
        &mut self,
        packet_thread: &PacketThread<DirectorMessage>,
        epoch: Timestamp,
    ) -> anyhow::Result<Option<String>> {
        loop {
            while let Some(kept) = self.queue.pop_front() {
                if self.filter.matches(&kept.record) {
                    let decision = recorder::decision(&kept, epoch, self.packets);
                    return Ok(Some(control::encode(&decision)));
                }
            }
            if self.from >= self.end {
                return Ok(self.last.take());
            }
            let Some(piece) = piece(packet_thread, self.from).await? else { return Ok(None) };
            let missed = piece.first.min(self.end).saturating_sub(self.from);
            let room = usize::try_from(self.end.saturating_sub(piece.first)).unwrap_or(usize::MAX);
            self.queue = piece.kept.into_iter().take(room).collect();
            self.from = piece.next;
            if missed > 0 {
                return Ok(Some(control::encode(&Missed { missed })));
            }
        }
    }
}

async fn piece(
    packet_thread: &PacketThread<DirectorMessage>,
    from: u64,
) -> anyhow::Result<Option<RecordedPiece>> {
    packet_thread.ask(|answer| DirectorMessage::Recorded { from, answer }).await
}

fn first_line(begins: TraceBegins, seeds: Option<(Seed, Seed)>) -> String {
    control::encode(&match seeds {
        Some(seeds) => begins.with_seeds(seeds),
        None => begins,
    })
}

fn decision(traced: &TracedPacket, epoch: Timestamp) -> TracedDecision {
    let TracedPacket { record, came, sent } = traced;
    let time = epoch.checked_add(Duration::from_millis(record.at.0)).unwrap_or(epoch);
    let sent = sent.iter();
    let sent = sent.map(|(len, kept)| SentPacket { bytes: *len as u64, packet: to_hex(kept) });
    TracedDecision {
        packet: came.as_deref().map(to_hex),
        sent: sent.collect(),
        ..TracedDecision::new(record, format!("{time:.3}"))
    }
}
