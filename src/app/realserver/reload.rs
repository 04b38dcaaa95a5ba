//! The running configuration of a real server, and the change to another one.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::desired;
use super::fast_path::RealFastPath;
use super::messages::{RealServerLoopSettings, RealServerMessage};
use super::request_handler::RealServerHandler;
use super::stranger_filter::Programs;
use crate::app::commands::{self, AdminCommand, Answer, CommandResult, event};
use crate::app::config_file;
use crate::app::events::EventPublisher;
use crate::app::host::{Prepared, Session};
use crate::app::http;
use crate::app::latest::Published;
use crate::app::packet_thread::PacketThread;
use crate::config;
use crate::control::{Alteration, Altered, ReloadPlan, Request, counted};
use crate::decap::{Gate, Mss};
use crate::host;
use crate::sys::raw::Receiver;

/// The running configuration.
#[derive(Debug)]
pub(super) struct RunningRealServer {
    pub(super) config: Published<config::RealServer>,
    /// The file to read again; `None`: the daemon was started with flags.
    pub(super) path: Option<PathBuf>,
    pub(super) packet_thread: PacketThread<RealServerMessage>,
    pub(super) events: EventPublisher,
    /// The gate's inputs from the host as it is set up now.
    pub(super) bounds: GateInputs,
    /// The server of metrics and JSON, as soon as requests are answered.
    pub(super) http: Option<http::Server<RealServerHandler>>,
    pub(super) fast_path: RealFastPath,
}

/// The host's inputs of the gate.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateInputs {
    mss: Mss,
    link_mtu: u32,
    /// The UDP port on which GUE is received, if it is.
    pub(super) gue_port: Option<u16>,
}

impl GateInputs {
    pub(super) fn of(plan: &Prepared) -> Self {
        let host::AdvertisedMss { v4, v6 } = plan.advertised_mss();
        Self { mss: Mss { v4, v6 }, link_mtu: plan.link_mtu(), gue_port: None }
    }

    /// The gate for a configuration.
    pub(super) fn gate(self, config: &config::RealServer) -> Gate {
        Gate::new(config.directors.clone(), config.vips.clone(), self.mss)
            .with_link_mtu(self.link_mtu)
            .with_gue_port(self.gue_port)
    }
}

impl RunningRealServer {
    /// Starts the fast path, if there is one.
    ///
    /// # Errors
    /// `fast_path` is "on", and the program cannot be attached anywhere.
    pub(super) fn admit(&mut self) -> anyhow::Result<()> {
        let config = self.config.get();
        self.fast_path.admit(&config);
        self.fast_path.check_attached()
    }

    /// Makes the fast path fit for addresses and interfaces that have changed.
    pub(super) fn follow_ends(&mut self) {
        let config = self.config.get();
        self.fast_path.follow(&config);
    }

    /// Receives GUE by these sockets, since the UDP port is free by now.
    ///
    /// # Errors
    /// The packet thread has ended.
    pub(super) async fn receive_gue(
        &mut self,
        receivers: Vec<Receiver>,
        session: &mut Session,
    ) -> anyhow::Result<()> {
        self.packet_thread.ask(|answer| RealServerMessage::Receive(receivers, answer)).await??;
        let config = self.config.get();
        let bounds = GateInputs { gue_port: Some(config.gue_port), ..self.bounds };
        self.configure(&config, bounds).await?;
        self.bounds = bounds;
        session.report_own(Vec::new());
        Ok(())
    }

    /// Carries out a command, or changes nothing; logs the result and publishes events.
    pub(super) async fn execute(
        &mut self,
        session: &mut Session,
        command: AdminCommand,
    ) -> CommandResult {
        let AdminCommand { request, body, origin } = command;
        let verb = request.verb();
        let outcome = match request {
            Request::Reload => self.reload(session).await,
            Request::Plan { file, .. } => {
                return self.plan(session, file.into(), body).await.map(Answer::Planned);
            }
            other => bail!("{} is not a command of a real server", other.verb()),
        };
        let changes = commands::log_outcome(origin, verb, &outcome);
        let events = changes.iter().map(|change| event(origin, verb, change.clone()));
        self.events.publish_and_log(events.collect()).await;
        outcome
    }

    /// Reads the configuration again and applies the differences.
    async fn reload(&mut self, session: &mut Session) -> CommandResult {
        let path = self.path.clone().context(
            "this real server was started with flags, which cannot be read again; start it with \
             --config FILE, or restart it",
        )?;
        let running = self.config.get();
        let wanted = config_file::reload_realserver(&path, &running).await?;
        let altered = altered(&running, &wanted);
        let plan = session.plan_realserver(&desired(&wanted)).await?;
        let warnings = plan.warnings();
        // First, since another program may listen there.
        http::listen(&mut self.http, wanted.http.as_ref())?;
        if let Err(error) = self.switch(session, &running, wanted, plan).await {
            http::listen(&mut self.http, running.http.as_ref())?;
            return Err(error);
        }
        let changes = counted(altered.len() as u64, "change");
        let text = format!("reloaded {}: {changes}", path.display());
        Ok(Answer::done(text, altered).with(warnings))
    }

    /// Returns what a reload of that text would do, and changes nothing.
    async fn plan(
        &self,
        session: &Session,
        file: PathBuf,
        text: Vec<u8>,
    ) -> anyhow::Result<ReloadPlan> {
        let running = self.config.get();
        let wanted = config_file::compare_realserver(file, text, &running).await?;
        let then = session.preview_realserver(&desired(&wanted)).await?;
        let now = session.preview_realserver(&desired(&running)).await.ok();
        let known = now.map(|now| now.warnings()).unwrap_or_default();
        let mut warnings = then.warnings();
        warnings.retain(|warning| !known.contains(warning));
        let plan = ReloadPlan::default().with(altered(&running, &wanted));
        Ok(ReloadPlan { warnings, ..plan })
    }

    /// If the gate accepted a packet for an address that this host does not have, the kernel would
    /// forward it. So a virtual IP is accepted only after the host has it, and refused before the
    /// host removes it.
    async fn switch(
        &mut self,
        session: &mut Session,
        running: &config::RealServer,
        wanted: config::RealServer,
        plan: Prepared,
    ) -> anyhow::Result<()> {
        let mut between = running.clone();
        between.vips.retain(|vip| wanted.vips.contains(vip));
        self.configure(&between, self.bounds).await?;
        let bounds = GateInputs { gue_port: self.bounds.gue_port, ..GateInputs::of(&plan) };
        if let Err(error) = session.install(plan).await {
            self.configure(running, self.bounds).await?;
            return Err(error);
        }
        self.configure(&wanted, bounds).await?;
        self.bounds = bounds;
        self.config.replace(wanted);
        Ok(())
    }

    async fn configure(
        &mut self,
        config: &config::RealServer,
        bounds: GateInputs,
    ) -> anyhow::Result<()> {
        self.fast_path.admit(config);
        let gate = bounds.gate(config);
        let (busy_poll, coalesce) = (config.busy_poll, config.coalesce);
        let programs = Programs::of(&gate);
        let settings = Box::new(RealServerLoopSettings { gate, programs, busy_poll, coalesce });
        self.packet_thread.ask(|answer| RealServerMessage::Configure(settings, answer)).await
    }
}

/// The differences between two configurations.
fn altered(old: &config::RealServer, new: &config::RealServer) -> Vec<Alteration> {
    let mut altered = Alteration::of_virtual_ips(&old.vips, &new.vips);
    let settings = config::realserver_differences(old, new).into_iter();
    altered.extend(settings.map(|one| Alteration::of(Altered::Setting(one))));
    altered
}
