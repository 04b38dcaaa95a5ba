//! Answers the real server's control socket.

use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use tokio::sync::watch;

use super::messages::{RealServerMessage, Report};
use crate::app::events::{Events, Listener};
use crate::app::http;
use crate::app::packet_thread::PacketThread;
use crate::app::serve::{self, Peer};
use crate::balancer::{Selection, snapshot};
use crate::control::{
    self, Drops, HostStatus, Readiness, RealServerDrop, RealServerStats, Request, Stats, Status,
    Which,
};
use crate::decap::Refusal;
use crate::metrics::{self, Format, RealServerPage};
use crate::sys::tun;

/// Answers requests to the real server.
#[derive(Debug)]
pub(super) struct Handler {
    packet_thread: PacketThread<RealServerMessage>,
    tun: String,
    events: Events,
    host: watch::Receiver<HostStatus>,
    since: Instant,
    started: jiff::Timestamp,
    /// Whether the kernel refused offload when the TUN was created.
    offload_refused: bool,
}

impl Handler {
    pub(super) fn new(
        packet_thread: PacketThread<RealServerMessage>,
        events: Events,
        host: watch::Receiver<HostStatus>,
        tun: String,
        offload_refused: bool,
    ) -> Self {
        let (since, started) = (Instant::now(), jiff::Timestamp::now());
        Self { packet_thread, tun, events, host, since, started, offload_refused }
    }

    fn host(&self) -> HostStatus {
        self.host.borrow().clone()
    }

    async fn stats(&self) -> anyhow::Result<RealServerStats> {
        let Report { gate, written, batches, turns, offload, coalesce, socket_dropped } =
            self.packet_thread.ask(RealServerMessage::Report).await?;
        let dropped = |refusal: &Refusal| RealServerDrop {
            name: refusal.name().to_owned(),
            meaning: refusal.meaning().to_owned(),
            count: gate.dropped(*refusal),
        };
        Ok(RealServerStats {
            uptime_seconds: self.since.elapsed().as_secs(),
            read: gate.read,
            delivered: gate.delivered,
            super_packets: gate.super_packets,
            partial_checksums: gate.partial_checksums,
            bytes_delivered: written.bytes,
            coalesced_packets: written.coalesced_packets,
            coalesced_frames: written.coalesced_frames,
            batches,
            write_errors: [
                ("write_failed", written.failed),
                ("super_frame_refused", written.refused_super_frames),
            ]
            .into_iter()
            .collect(),
            dropped: Refusal::ALL.iter().map(dropped).collect(),
            socket_dropped,
            tun_dropped: tun::dropped(&self.tun).unwrap_or_default().from_program,
            turns: turns.report(),
            offload,
            offload_refused: u64::from(self.offload_refused),
            coalesce,
            host: self.host(),
        })
    }
}

impl serve::RequestHandler for Handler {
    const KEEPS_SERVICES: bool = false;

    async fn answer(
        &self,
        request: Request,
        _body: Vec<u8>,
        _peer: &Peer,
    ) -> anyhow::Result<Arc<str>> {
        Ok(match request {
            Request::Stats => control::encode(&Stats::RealServer(self.stats().await?)).into(),
            Request::Drops => control::encode(&Drops::from(&self.stats().await?)).into(),
            Request::Status => control::encode(&Status {
                role: "realserver".to_owned(),
                program: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_seconds: self.since.elapsed().as_secs(),
                done: String::new(),
                changes: Vec::new(),
                warnings: Vec::new(),
                host: self.host(),
            })
            .into(),
            Request::Reload => {
                bail!("a real server does not reload; restart it to change its configuration")
            }
            _ => bail!("a real server keeps no services and no connections; ask the director"),
        })
    }

    async fn metrics(&self, format: Format) -> anyhow::Result<Arc<str>> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let page = RealServerPage { version, stats: self.stats().await? };
        Ok(metrics::write(format, page, http::process(self.started))?.into())
    }

    async fn readiness(&self) -> anyhow::Result<Readiness> {
        Ok(Readiness::of_realserver(&self.host()))
    }

    fn listen(&self) -> anyhow::Result<Listener> {
        self.events.listen()
    }

    async fn select(&self, _which: Which) -> anyhow::Result<Arc<Selection>> {
        bail!("a real server keeps no connections; ask the director")
    }

    async fn connections(
        &self,
        _from: usize,
        _most: usize,
        _which: Arc<Selection>,
    ) -> anyhow::Result<(Vec<snapshot::ConnectionSnapshot>, Option<usize>)> {
        bail!("a real server keeps no connections; ask the director")
    }
}
