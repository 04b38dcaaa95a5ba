//! The control socket's desk at a director.

use std::time::Instant;

use anyhow::bail;

use super::messages::{Message, Page, Report};
use super::output::SendError;
use super::reload;
use crate::app::line::Line;
use crate::app::serve;
use crate::control::{self, DirectorStats, Drops, List, Request, Stats, Status, Timers};

/// Answers for the director.
#[derive(Debug)]
pub(super) struct Desk {
    line: Line<Message>,
    reloads: reload::Orders,
    since: Instant,
    offload: bool,
}

impl Desk {
    /// `offload`: whether the TUN gives out super-frames.
    pub(super) fn new(line: Line<Message>, reloads: reload::Orders, offload: bool) -> Self {
        Self { line, reloads, since: Instant::now(), offload }
    }

    fn status(&self, done: String) -> String {
        control::encode(&Status {
            role: "director".to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.since.elapsed().as_secs(),
            done,
        })
    }

    fn stats(&self, report: &Report) -> Stats {
        let failed = SendError::ALL.map(|kind| (kind.name(), report.sent.failed[kind as usize]));
        let refused: u64 = report.sent.failed.iter().sum();
        let next_timer = report.next_timer.map(|until| until.as_millis());
        let base = DirectorStats::from(&report.snapshot);
        Stats::Director(DirectorStats {
            uptime_seconds: self.since.elapsed().as_secs(),
            reads: report.reads.frames,
            super_frames: report.reads.super_frames,
            wakeups: report.reads.wakeups,
            segments_sent: report.sent.queued - refused,
            bytes_sent: report.sent.bytes,
            batches: report.sent.calls,
            send_errors: failed.into_iter().collect(),
            offload: self.offload,
            timers: Timers {
                next_milliseconds: next_timer.and_then(|millis| millis.try_into().ok()),
                ..base.timers
            },
            ..base
        })
    }
}

impl serve::Desk for Desk {
    async fn answer(&self, request: Request) -> anyhow::Result<String> {
        let report = || self.line.ask(Message::Report);
        match request {
            Request::List => Ok(control::encode(&List::from(&report().await?.snapshot))),
            Request::Stats => Ok(control::encode(&self.stats(&report().await?))),
            Request::Drops => {
                let report = report().await?;
                Ok(control::encode(&Drops::from(&report.snapshot.counters)))
            }
            Request::Reload => Ok(self.status(self.reloads.reload().await?)),
            Request::Status => Ok(self.status(String::new())),
            Request::Connections { .. } => bail!("connections are answered in pages"),
        }
    }

    async fn connections(&self, from: usize, most: usize) -> anyhow::Result<Page> {
        self.line.ask(|answer| Message::Connections { from, most, answer }).await
    }
}
