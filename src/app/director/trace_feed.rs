//! The control thread's end of a trace: lines from decisions, and how many were lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, channel};

use super::messages::{Begun, DirectorMessage};
use super::tracing::{LiveTrace, QUEUE, TRACES, TracedPacket};
use crate::app::packet_thread::PacketThread;
use crate::control::{self, Decision, Missed, SentPacket, TraceBegins, to_hex};
use crate::model::Millis;
use crate::trace::Filter;
use crate::trace::capture::Snaplen;

/// A trace that goes on until it is dropped.
#[derive(Debug)]
pub(in crate::app) struct TraceFeed {
    packet_thread: PacketThread<DirectorMessage>,
    first: Option<String>,
    inbox: Receiver<TracedPacket>,
    lost: Arc<AtomicU64>,
    /// The time at which the director's clock was zero.
    epoch: Timestamp,
    /// A decision that comes after the line about the lost ones.
    next: Option<TracedPacket>,
}

impl TraceFeed {
    /// Begins a trace.
    ///
    /// # Errors
    /// There are [`TRACES`] already.
    pub(super) async fn begin(
        packet_thread: &PacketThread<DirectorMessage>,
        filter: Filter,
        packets: Option<Snaplen>,
    ) -> anyhow::Result<Self> {
        let (outbox, inbox) = channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let trace = LiveTrace { filter, packets, outbox, lost: Arc::clone(&lost) };
        let begun = packet_thread.ask(|answer| DirectorMessage::Trace { trace, answer }).await?;
        let Some(Begun { now, seeds }) = begun else {
            bail!("busy: {TRACES} traces run; end one of them first");
        };
        let begins =
            TraceBegins { program: env!("CARGO_PKG_VERSION").to_owned(), ..TraceBegins::default() };
        let begins = if packets.is_some() { begins.with_seeds(seeds) } else { begins };
        Ok(Self {
            packet_thread: packet_thread.clone(),
            first: Some(control::encode(&begins)),
            inbox,
            lost,
            epoch: epoch(now).context("the clock")?,
            next: None,
        })
    }

    /// The next line; `None` when there will be no more.
    pub(in crate::app) async fn next(&mut self) -> Option<String> {
        if let Some(line) = self.first.take() {
            return Some(line);
        }
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
        Some(control::encode(&decision(&traced, self.epoch)))
    }
}

/// The packet thread learns that the reader has gone, even if no packet matches.
impl Drop for TraceFeed {
    fn drop(&mut self) {
        self.inbox.close();
        // A thread that has ended has no traces.
        let _ = self.packet_thread.send(DirectorMessage::TraceEnds);
    }
}

/// The time at which the director's clock was zero, if it is `now` now.
fn epoch(now: Millis) -> Option<Timestamp> {
    Timestamp::now().checked_sub(Duration::from_millis(now.0)).ok()
}

fn decision(traced: &TracedPacket, epoch: Timestamp) -> Decision {
    let TracedPacket { record, came, sent } = traced;
    let time = epoch.checked_add(Duration::from_millis(record.at.0)).unwrap_or(epoch);
    let sent =
        sent.iter().map(|(len, kept)| SentPacket { bytes: *len as u64, packet: to_hex(kept) });
    Decision {
        packet: came.as_deref().map(to_hex),
        sent: sent.collect(),
        ..Decision::new(record, format!("{time:.3}"))
    }
}
