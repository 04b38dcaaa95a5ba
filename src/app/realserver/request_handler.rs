//! Answers the real server's control socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;

use super::agent::AgentState;
use super::fast_path;
use super::messages::{RealServerMessage, RealServerReport};
use crate::app::commands::{AdminCommand, AdminCommands, Answer, Done, event};
use crate::app::events::{EventPublisher, Listener, Span};
use crate::app::http;
use crate::app::latest::Latest;
use crate::app::packet_thread::PacketThread;
use crate::app::serve::{self, Peer};
use crate::balancer::{Selection, snapshot};
use crate::config;
use crate::control::{
    self, Alteration, Altered, Drops, FastPathState, HostStatus, Origin, Readiness, RealServerDrop,
    RealServerStats, Request, Setup, Stats, Which,
};
use crate::decap::Refusal;
use crate::health::load::Rotation;
use crate::metrics::{self, Format, RealServerPage};
use crate::model::Target;
use crate::sys::real_path::ProgramCounters;
use crate::sys::tun;
use crate::wire::encap::Encap;

/// Answers requests to the real server.
#[derive(Debug)]
pub(super) struct RealServerHandler {
    packet_thread: PacketThread<RealServerMessage>,
    commands: AdminCommands,
    tun: String,
    config: Latest<config::RealServer>,
    path: Option<PathBuf>,
    events: EventPublisher,
    host: Latest<HostStatus>,
    since: Instant,
    started: jiff::Timestamp,
    /// Whether the kernel refused offload when the TUN was created.
    offload_refused: bool,
    /// The load agent's counters and setting, if there is an agent.
    agent: Option<Arc<AgentState>>,
    /// The fast path's counters, if there is one.
    carried: Option<Arc<ProgramCounters>>,
    /// Where it is attached; `None` before it is known.
    fast_path: Option<Latest<FastPathState>>,
}

impl RealServerHandler {
    pub(super) fn new(
        packet_thread: PacketThread<RealServerMessage>,
        commands: AdminCommands,
        (events, host): (EventPublisher, Latest<HostStatus>),
        (tun, offload_refused): (String, bool),
        (config, path): (Latest<config::RealServer>, Option<PathBuf>),
        agent: Option<Arc<AgentState>>,
    ) -> Self {
        let (since, started) = (Instant::now(), jiff::Timestamp::now());
        Self {
            packet_thread,
            commands,
            tun,
            config,
            path,
            events,
            host,
            since,
            started,
            offload_refused,
            agent,
            carried: None,
            fast_path: None,
        }
    }

    /// Adds the fast path, and what it has carried, to the figures.
    pub(super) fn counting(
        self,
        carried: Option<Arc<ProgramCounters>>,
        fast_path: Latest<FastPathState>,
    ) -> Self {
        Self { carried, fast_path: Some(fast_path), ..self }
    }

    fn setup(&self) -> Setup {
        let config = self.config.get();
        let path = self.path.as_ref().map(|path| std::path::absolute(path).unwrap_or_default());
        Setup {
            role: "realserver".to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            config: path.map(|path| path.display().to_string()),
            tun: self.tun(),
            vips: config.vips,
            directors: config.directors,
            encap: Some(config.encap.name().to_owned()),
            gue_port: Some(config.gue_port),
        }
    }

    /// The name of the TUN.
    fn tun(&self) -> String {
        self.host.get().tun_or(&self.tun)
    }

    fn host(&self) -> HostStatus {
        self.host.get()
    }

    async fn stats(&self) -> anyhow::Result<RealServerStats> {
        let report = self.packet_thread.ask(RealServerMessage::Report).await?;
        let RealServerReport { gate, written, batches, turns, offload, coalesce, last, .. } =
            report;
        let now = Instant::now();
        let dropped = |refusal: &Refusal| RealServerDrop {
            name: refusal.name().to_owned(),
            meaning: refusal.meaning().to_owned(),
            remedy: refusal.remedy().to_owned(),
            count: gate.dropped(*refusal),
        };
        let carried = fast_path::carried(self.carried.as_ref());
        let fast_path_state = self.fast_path.as_ref().map(Latest::get);
        let [ipip, gre, gue] = Encap::ALL.map(|encap| gate.accepted(encap));
        Ok(RealServerStats {
            uptime_seconds: self.since.elapsed().as_secs(),
            read: gate.read + carried.packets,
            delivered: gate.delivered + carried.packets,
            ipip: ipip.packets + carried.packets,
            ipip_bytes: ipip.bytes + carried.bytes,
            gue: gue.packets,
            gue_bytes: gue.bytes,
            gue_merged: gate.gue_merged,
            gre: gre.packets,
            gre_bytes: gre.bytes,
            super_packets: gate.super_packets + carried.merged,
            partial_checksums: gate.partial_checksums,
            bytes_delivered: written.bytes + carried.bytes,
            coalesced_packets: written.coalesced_packets,
            coalesced_frames: written.coalesced_frames,
            batches,
            fast_path: self.carried.is_some(),
            fast_path_state,
            carried: carried.packets,
            write_errors: [
                ("write_failed", written.failed),
                ("super_frame_refused", written.refused_super_frames),
            ]
            .into_iter()
            .collect(),
            dropped: Refusal::ALL.iter().map(dropped).collect(),
            filtered: gate.filtered,
            filtering: report.filtering,
            last: last.report(now),
            socket_dropped: report.socket_dropped,
            tun_dropped: tun::dropped(&self.tun()).unwrap_or_default().from_program,
            turns: turns.report(),
            offload,
            offload_refused: u64::from(self.offload_refused),
            coalesce,
            host: self.host(),
            agent: self.agent.as_ref().map(|agent_state| agent_state.counts()),
        })
    }

    fn status(&self, done: Done) -> Arc<String> {
        control::encode(&done.status("realserver", self.since, self.host())).into()
    }

    /// Takes this real server out of rotation at every director that checks its agent, or puts it
    /// back.
    async fn rotate(
        &self,
        verb: &'static str,
        real: &Target,
        deadline: bool,
        rotation: Rotation,
        peer: &Peer,
    ) -> anyhow::Result<Arc<String>> {
        if *real != Target::default() {
            bail!("a real server speaks for itself alone: leave out the address and the service");
        }
        if deadline {
            bail!("a deadline is the director's: give it to `vstun drain` there");
        }
        let Some(agent_state) = &self.agent else {
            bail!("no director can ask: there is no load agent; add `agent` to [realserver]");
        };
        let before = agent_state.set(rotation);
        let mut changes = Vec::new();
        if before != rotation {
            changes.push(Alteration::of(Altered::Rotation { before, after: rotation }));
        }
        let origin = Origin::Operator(peer.credentials);
        let event = |change: &Alteration| event(origin, verb, change.clone());
        self.events.publish_and_log(changes.iter().map(event).collect()).await;
        let text = format!("this real server's agent says {} from now on", rotation.name());
        Ok(self.status(Done { text, changes, warnings: Vec::new() }))
    }
}

impl serve::RequestHandler for RealServerHandler {
    const KEEPS_SERVICES: bool = false;

    async fn answer(
        &self,
        request: Request,
        body: Vec<u8>,
        peer: &Peer,
    ) -> anyhow::Result<Arc<String>> {
        Ok(match request {
            Request::Stats => control::encode(&Stats::RealServer(self.stats().await?)).into(),
            Request::Drops => control::encode(&Drops::from(&self.stats().await?)).into(),
            Request::Status => self.status(Done::default()),
            Request::Setup => control::encode(&self.setup()).into(),
            Request::Drain { real, deadline } => {
                self.rotate("drain", &real, deadline.is_some(), Rotation::Drain, peer).await?
            }
            Request::Disable { real } => {
                self.rotate("disable", &real, false, Rotation::Maint, peer).await?
            }
            Request::Enable { real } => {
                self.rotate("enable", &real, false, Rotation::Up, peer).await?
            }
            request @ (Request::Reload | Request::Plan { .. }) => {
                let command =
                    AdminCommand { request, body, origin: Origin::Operator(peer.credentials) };
                match self.commands.give(command).await? {
                    Answer::Done(done) => self.status(done),
                    Answer::Planned(plan) => control::encode(&plan).into(),
                }
            }
            _ => bail!("a real server keeps no services and no connections; ask the director"),
        })
    }

    async fn metrics(&self, format: Format) -> anyhow::Result<Arc<String>> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let page = RealServerPage { version, stats: self.stats().await? };
        Ok(metrics::write(format, page, http::process(self.started))?.into())
    }

    async fn readiness(&self) -> anyhow::Result<Readiness> {
        Ok(Readiness::of_realserver(&self.host()))
    }

    fn listen(&self, span: Span) -> anyhow::Result<Listener> {
        self.events.listen(span)
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
