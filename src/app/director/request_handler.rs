//! Answers the director's control socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};

use super::health;
use super::hooks::HookCounters;
use super::messages::{DirectorMessage, DirectorReport};
use super::port_probes;
use super::reports::{ReportKind, ReportRequests, collect};
use super::selection;
use super::sent::SendError;
use super::trace_feed::TraceFeed;
use crate::app::commands::{AdminCommand, AdminCommands, Answer, Done};
use crate::app::events::{EventPublisher, Listener, Span};
use crate::app::health::HealthThread;
use crate::app::http;
use crate::app::latest::Latest;
use crate::app::packet_thread::PacketThread;
use crate::app::serve::{self, ConnectionPage, Peer};
use crate::balancer::carrier::NotCarriedCounts;
use crate::balancer::listing::ListFilter;
use crate::balancer::not_carried::NotCarried;
use crate::balancer::{FlowQuery, Selection};
use crate::config;
use crate::control::{
    self, Counts, DirectorStats, Drops, Explained, FastPathState, HostStatus, Origin, Readiness,
    Request, ServiceList, Setup, Stats, Timers, TraceBegins, TraceRequest, VirtualIp, Which,
};
use crate::health::BoardReport;
use crate::metrics::{self, DirectorPage, Format};
use crate::sys::tun;
use crate::trace::Filter;
use crate::trace::capture::Snaplen;

/// Answers requests to the director.
#[derive(Debug)]
pub(super) struct Handler {
    packet_thread: PacketThread<DirectorMessage>,
    commands: AdminCommands,
    events: EventPublisher,
    reports: ReportRequests,
    host: Latest<HostStatus>,
    checks: HealthThread,
    hooks: Arc<HookCounters>,
    vips: Latest<Vec<VirtualIp>>,
    path: PathBuf,
    tun: String,
    since: Instant,
}

/// Values that other tasks update for listings.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) vips: Latest<Vec<VirtualIp>>,
    pub(super) host: Latest<HostStatus>,
    pub(super) checks: HealthThread,
    pub(super) hooks: Arc<HookCounters>,
    pub(super) fast_path: Latest<FastPathState>,
    /// The configuration file.
    pub(super) path: PathBuf,
}

/// Formats reports as text.
#[derive(Debug)]
struct ReportTexts {
    vips: Latest<Vec<VirtualIp>>,
    checks: HealthThread,
    hooks: Arc<HookCounters>,
    tun: String,
    host: Latest<HostStatus>,
    fast_path: Latest<FastPathState>,
    since: Instant,
    started: jiff::Timestamp,
    offload: bool,
    offload_refused: bool,
}

impl Handler {
    /// `offload`: whether the TUN delivers super-frames; `offload_refused`: whether the kernel
    /// refused to, although configured.
    pub(super) fn new(
        packet_thread: PacketThread<DirectorMessage>,
        commands: AdminCommands,
        events: EventPublisher,
        Watched { vips, host, checks, hooks, fast_path, path }: Watched,
        tun: String,
        offload: bool,
        offload_refused: bool,
    ) -> Self {
        let since = Instant::now();
        let (shown, own_tun) = (vips.clone(), tun.clone());
        let texts = ReportTexts {
            vips: shown,
            host: host.clone(),
            checks: checks.clone(),
            hooks: Arc::clone(&hooks),
            tun: own_tun,
            fast_path,
            since,
            started: jiff::Timestamp::now(),
            offload,
            offload_refused,
        };
        let reports = ReportRequests::new(packet_thread.clone(), move |kind, report| {
            texts.text(kind, report)
        });
        Self {
            packet_thread,
            commands,
            events,
            reports,
            host,
            checks,
            hooks,
            vips,
            path,
            tun,
            since,
        }
    }

    fn setup(&self) -> Setup {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        Setup {
            role: "director".to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            config: Some(path.display().to_string()),
            tun: self.host.get().tun_or(&self.tun),
            vips: self.vips.get().iter().map(|vip| vip.address).collect(),
            directors: Vec::new(),
            encap: None,
            gue_port: None,
        }
    }

    fn status(&self, done: Done) -> String {
        control::encode(&done.status("director", self.since, self.host.get()))
    }
}

impl Handler {
    /// Checks that the service and the real server of a selection exist.
    async fn exist(&self, selection: &Selection) -> anyhow::Result<()> {
        if selection.real.is_some() || selection.service.is_some() {
            let report = collect(&self.packet_thread, Some(ListFilter::All)).await?;
            selection::check(selection, &report.snapshot.services)?;
        }
        Ok(())
    }
}

impl ReportTexts {
    fn text(&self, kind: ReportKind, report: &DirectorReport) -> String {
        match kind {
            ReportKind::List => control::encode(&self.list(report, &self.checks.blocking_report())),
            ReportKind::Stats => control::encode(&Stats::Director(self.stats(report))),
            ReportKind::Drops => {
                control::encode(&Drops::from(&report.snapshot.counters).with_tun(&self.tun))
            }
            ReportKind::Metrics(format) => self.metrics(format, report),
            ReportKind::Readiness => {
                let list = self.list(report, &self.checks.blocking_report());
                control::encode(&Readiness::from(&list))
            }
        }
    }

    fn list(&self, report: &DirectorReport, board: &BoardReport) -> ServiceList {
        let (vips, host) = (self.vips.get(), self.host());
        let up = self.since.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let list = ServiceList {
            vips,
            host,
            uptime_milliseconds: up,
            ..ServiceList::from(&report.snapshot)
        };
        health::annotate(health::dated(list, &report.snapshot), board)
    }

    fn metrics(&self, format: Format, report: &DirectorReport) -> String {
        let board = self.checks.blocking_report();
        let page = DirectorPage {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            list: self.list(report, &board),
            stats: self.stats(report),
            checks: health::list(&board),
        };
        // Writing to memory does not fail.
        metrics::write(format, page, http::process(self.started)).unwrap_or_default()
    }

    /// The name of the TUN.
    fn tun(&self) -> String {
        self.host.get().tun_or(&self.tun)
    }

    fn host(&self) -> HostStatus {
        self.host.get()
    }

    fn stats(&self, report: &DirectorReport) -> DirectorStats {
        let failed = SendError::ALL.map(|kind| (kind.name(), report.sent.failed[kind as usize]));
        let next_timer = report.next_timer.map(|until| until.as_millis());
        let base = DirectorStats::from(&report.snapshot);
        DirectorStats {
            uptime_seconds: self.since.elapsed().as_secs(),
            tun_dropped: tun::dropped(&self.tun()).unwrap_or_default().to_program,
            reads: report.loop_counters.frames,
            super_frames: report.loop_counters.super_frames,
            wakeups: report.loop_counters.wakeups,
            segments_sent: report.sent.segments(),
            segments_fragmented: report.sent.fragmented,
            outer_fragments: report.sent.outer_fragments(),
            bytes_sent: report.sent.bytes,
            batches: report.sent.calls,
            gue_joined: report.sent.joined.packets,
            gue_sends: report.sent.joined.sends,
            gue_padding: report.sent.joined.padding,
            gue_ports_taken: report.gue_ports_taken,
            send_errors: failed.into_iter().collect(),
            turns: report.loop_counters.turns.report(),
            offload: self.offload,
            fast_path: report.fast_path,
            fast_path_state: Some(self.fast_path.get()),
            not_carried: report.not_carried.as_ref().map(not_carried).unwrap_or_default(),
            offload_refused: u64::from(self.offload_refused),
            host: self.host(),
            hooks: self.hooks.read(),
            timers: Timers {
                next_milliseconds: next_timer.and_then(|millis| millis.try_into().ok()),
                ..base.timers
            },
            ..base
        }
    }
}

fn not_carried(counts: &NotCarriedCounts) -> Counts {
    NotCarried::ALL.iter().map(|reason| reason.name()).zip(counts.iter().copied()).collect()
}

impl serve::RequestHandler for Handler {
    const KEEPS_SERVICES: bool = true;

    async fn answer(
        &self,
        request: Request,
        body: Vec<u8>,
        peer: &Peer,
    ) -> anyhow::Result<Arc<String>> {
        match request {
            Request::List => self.reports.text(ReportKind::List).await,
            Request::Stats => self.reports.text(ReportKind::Stats).await,
            Request::Drops => self.reports.text(ReportKind::Drops).await,
            Request::Status => Ok(self.status(Done::default()).into()),
            Request::Explain { flow } => {
                let flow: FlowQuery = flow.parse().context("flow")?;
                let explanation = self
                    .packet_thread
                    .ask(|answer| DirectorMessage::Explain { flow, answer })
                    .await?;
                let report = collect(&self.packet_thread, Some(ListFilter::All)).await?;
                let board = self.checks.report().await;
                let explained = Explained::new(&flow, explanation);
                let list = ServiceList::from(&report.snapshot);
                Ok(control::encode(&health::passed_over(explained, &list, &board)).into())
            }
            Request::Checks => {
                Ok(control::encode(&health::list(&self.checks.report().await)).into())
            }
            Request::Setup => Ok(control::encode(&self.setup()).into()),
            Request::Probe => {
                let report = collect(&self.packet_thread, Some(ListFilter::All)).await?;
                let (ports, left_out) = port_probes::planned(&report.snapshot.services);
                let found = self.checks.probe(ports).await;
                Ok(control::encode(&port_probes::probed(found, left_out)).into())
            }
            Request::Check { address } => {
                let real = config::real(&address)?;
                let found = self.checks.check(real).await;
                if found.is_empty() {
                    bail!("{real} has no health check; `vstun checks` names those there are");
                }
                Ok(control::encode(&health::checked(real, found)).into())
            }
            Request::Connections { .. } | Request::Events { .. } | Request::Trace(_) => {
                bail!("answered in several lines")
            }
            request => {
                let of_hook = match peer.credentials.pid {
                    Some(pid) => self.hooks.is_of_run(pid).await,
                    None => false,
                };
                let origin = if of_hook { Origin::Hook } else { Origin::Operator };
                let command = AdminCommand { request, body, origin: origin(peer.credentials) };
                match self.commands.give(command).await? {
                    Answer::Done(done) => Ok(self.status(done).into()),
                    Answer::Planned(plan) => Ok(control::encode(&plan).into()),
                }
            }
        }
    }

    async fn metrics(&self, format: Format) -> anyhow::Result<Arc<String>> {
        self.reports.text(ReportKind::Metrics(format)).await
    }

    async fn readiness(&self) -> anyhow::Result<Readiness> {
        Ok(control::decode(self.reports.text(ReportKind::Readiness).await?.as_bytes())?)
    }

    fn listen(&self, span: Span) -> anyhow::Result<Listener> {
        self.events.listen(span)
    }

    async fn trace(
        &self,
        asked: TraceRequest,
        packets: Option<Snaplen>,
    ) -> anyhow::Result<TraceFeed> {
        let filter = Filter::parse(&asked.which)?;
        let (service, real) = filter.named();
        let service = service.map(ToOwned::to_owned);
        self.exist(&Selection { service, real, ..Selection::default() }).await?;
        let begins = TraceBegins {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            ends: asked.recorded && asked.end,
            notes: filter.notes(|vip| self.vips.get().iter().any(|one| one.address == vip)),
            ..TraceBegins::default()
        };
        match asked.recorded {
            false => TraceFeed::live(&self.packet_thread, filter, begins, packets).await,
            true => {
                let packets = packets.is_some();
                TraceFeed::recorded(&self.packet_thread, filter, begins, packets).await
            }
        }
    }

    async fn select(&self, which: Which) -> anyhow::Result<Arc<Selection>> {
        let selection = selection::read(&which)?;
        self.exist(&selection).await?;
        Ok(Arc::new(selection))
    }

    async fn connections(
        &self,
        from: usize,
        most: usize,
        which: Arc<Selection>,
    ) -> anyhow::Result<ConnectionPage> {
        let ask = |answer| DirectorMessage::Connections { from, most, which, answer };
        self.packet_thread.ask(ask).await
    }
}
