//! The running configuration, and the one path from it to another: plan the host, apply to the
//! balancer, install on the host, or roll back.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use tokio::time::Instant;

use super::fast_path::FastPathProgram;
use super::health::{checks_of, renamed};
use super::hooks::Hooks;
use super::messages::{DirectorMessage, LoopSettings, Notice};
use super::next_hops::NextHops;
use super::operate::virtual_ips;
use super::operator_states::StatesFile;
use super::quorum::Withdrawn;
use super::request_handler::Handler;
use super::saved_states::SavedStates;
use super::sent_routes::SentRoutes;
use super::steps::Following;
use super::tables::Builder;
use super::{Options, desired, outages, reports, settings};
use crate::app::budgets::director::CHANGES_A_PIECE;
use crate::app::commands::{self, AdminCommand, Answer, CommandResult, event};
use crate::app::config_file;
use crate::app::daemon;
use crate::app::events::EventPublisher;
use crate::app::health::HealthThread;
use crate::app::host::{DesiredDirector, Session};
use crate::app::http;
use crate::app::latest::Published;
use crate::app::packet_thread::PacketThread;
use crate::balancer::listing::ListFilter;
use crate::balancer::maglev::MaglevTables;
use crate::balancer::pieces::pieces;
use crate::balancer::{Change, DeadlineNotice, FloodNotice, Snapshot, Suspicion};
use crate::config;
use crate::control::{
    Alteration, Altered, Before, Origin, ReloadPlan, Request, VirtualIp, counted,
};
use crate::host::TunnelRoutes;
use crate::model::{Seed, WeightStep};

/// From so many real servers on, the control thread gives way to packets. A reload takes it 30 µs
/// of CPU for each real server.
const MANY_REALS: usize = 1_000;

/// The running configuration, and the file that a reload reads.
#[derive(Debug)]
pub(super) struct RunningDirector {
    pub(super) config: config::Director,
    pub(super) path: PathBuf,
    pub(super) force: bool,
    pub(super) packet_thread: PacketThread<DirectorMessage>,
    pub(super) events: EventPublisher,
    pub(super) hooks: Hooks,
    pub(super) checks: HealthThread,
    /// The virtual IPs that are not announced now.
    pub(super) withdrawn: Withdrawn,
    /// When following the services' quorum is tried again after a failure.
    pub(super) quorum_due: Option<Instant>,
    /// When the real servers' load is followed where flows are placed by hash.
    pub(super) following: Following,
    /// The virtual IPs for listings.
    pub(super) vips: Published<Vec<VirtualIp>>,
    /// The server of metrics and JSON, as soon as requests are answered.
    pub(super) http: Option<http::Server<Handler>>,
    /// The paths to the real servers last sent to the balancer. Real servers without a path now
    /// keep their last one.
    tunnel_routes: TunnelRoutes,
    /// Those that the balancer has.
    sent: SentRoutes,
    /// The fast path at the uplinks.
    pub(super) fast_path: FastPathProgram,
    /// The current Maglev tables.
    maglev_tables: MaglevTables,
    /// Computes them on a thread for which neither packets nor the control socket wait.
    builder: Builder,
    /// The current warnings about the host.
    warnings: Vec<String>,
    /// The seed for placing flows if the configuration has no `hash_seed`.
    random: Seed,
    /// Keeps the states that operators set.
    pub(super) states: StatesFile,
    /// Lets the kernel ask for real servers that do not answer.
    pub(super) next_hops: NextHops,
}

impl RunningDirector {
    /// For a packet thread that does not have the configuration yet. `random` is used without a
    /// `hash_seed`; it and `states` are kept over a restart.
    pub(super) fn new(
        config: config::Director,
        options: Options,
        packet_thread: PacketThread<DirectorMessage>,
        checks: HealthThread,
        (random, states): (Seed, StatesFile),
        (withdrawn, tunnel_routes, hooks, fast_path): (
            Withdrawn,
            TunnelRoutes,
            Hooks,
            FastPathProgram,
        ),
    ) -> Self {
        let Options { config_path: path, force, wait: _ } = options;
        let maglev_tables = MaglevTables::new(hash_seed(&config, random), config.maglev_slots);
        let vips = Published::new(virtual_ips(&config, &withdrawn));
        let events = EventPublisher::new();
        let (builder, warnings) = (Builder::new(), Vec::new());
        Self {
            config,
            path,
            force,
            packet_thread,
            checks,
            events,
            hooks,
            withdrawn,
            quorum_due: None,
            following: Following::default(),
            vips,
            http: None,
            tunnel_routes,
            sent: SentRoutes::default(),
            fast_path,
            maglev_tables,
            builder,
            warnings,
            random,
            states,
            next_hops: NextHops::start(),
        }
    }

    /// The computation of tables, to be stopped with the director.
    pub(super) fn builder(&self) -> Builder {
        self.builder.clone()
    }

    /// Replaces the warnings about the host; returns those that are new.
    pub(super) fn warned(&mut self, warnings: Vec<String>) -> Vec<String> {
        let before = std::mem::replace(&mut self.warnings, warnings);
        self.warnings.iter().filter(|warning| !before.contains(warning)).cloned().collect()
    }

    /// The changes that configure the packet thread, without the services.
    pub(super) fn settings(&self) -> [Change; 2] {
        let seed = hash_seed(&self.config, self.random);
        [Change::SetTimeouts(self.config.timeouts), Change::SetHashSeed(seed)]
    }

    /// Carries out a command, or changes nothing. Logs the result for every origin.
    pub(super) async fn execute(
        &mut self,
        session: &mut Session,
        command: AdminCommand,
    ) -> CommandResult {
        let AdminCommand { request, body, origin } = command;
        let verb = request.verb();
        let mut outcome = match request {
            Request::Reload => self.reload(session).await,
            Request::Plan { file, .. } => {
                return self.plan(session, file.into(), body).await.map(Answer::Planned);
            }
            request => self.operate(session, request).await,
        };
        if let Ok(answer) = outcome {
            let answer = self.warned_of_outages(verb, answer).await;
            outcome = Ok(self.keeping_states(verb, answer).await);
        }
        let changes = commands::log_outcome(origin, verb, &outcome);
        self.publish_changes(origin, verb, changes).await;
        outcome
    }

    /// After a change on the host: sends the new paths to the real servers to the balancer.
    pub(super) async fn host_changed(&mut self, tunnel_routes: TunnelRoutes) -> anyhow::Result<()> {
        self.apply(tunnel_route_changes(&tunnel_routes).into()).await?;
        let source = |before, after| Altered::Source { before, after };
        let mtu = |before, after| Altered::LinkMtu { before, after };
        let mut changes = moved(&self.tunnel_routes.sources, &tunnel_routes.sources, source);
        changes.extend(moved(&self.tunnel_routes.mtus, &tunnel_routes.mtus, mtu));
        self.set_tunnel_routes(tunnel_routes);
        self.publish_changes(Origin::Host, "follow", &changes).await;
        Ok(())
    }

    /// Remembers the paths that were sent to the balancer, and attaches the fast path to the
    /// current uplinks.
    pub(super) fn set_tunnel_routes(&mut self, tunnel_routes: TunnelRoutes) {
        self.tunnel_routes.sources.extend(tunnel_routes.sources);
        self.tunnel_routes.mtus.extend(tunnel_routes.mtus);
        self.tunnel_routes.interfaces = tunnel_routes.interfaces;
        self.tunnel_routes.uplinks = tunnel_routes.uplinks;
        self.fast_path.set_uplinks(&self.tunnel_routes.uplinks);
    }

    /// Publishes a change that the packet thread made by itself.
    pub(super) async fn notice(&self, notice: Notice) {
        let (verb, change) = match notice {
            Notice::Outages(notices) => return self.report_outages(notices).await,
            Notice::Emptied(memory) => {
                tokio::task::spawn_blocking(move || drop(memory));
                return;
            }
            Notice::Deadline(DeadlineNotice { service, address, connections }) => {
                let what = Altered::Ended { connections };
                ("deadline", Alteration::of_real(&service, address, what))
            }
            Notice::Flood(FloodNotice { service, entered, .. }) => {
                let what = Altered::FloodMode { active: entered };
                ("flood", Alteration::of_service(&service, what))
            }
            Notice::Suspicion(Suspicion { service, address, syns, lasting }) => {
                self.next_hops.doubt(address);
                let what = Altered::Unanswered { syns, lasting };
                ("handshakes", Alteration::of_real(&service, address, what))
            }
        };
        self.publish_changes(Origin::Director, verb, &[change]).await;
    }

    /// Publishes changes as events, and runs the hook program for them.
    pub(super) async fn publish_changes(
        &self,
        origin: Origin,
        verb: &'static str,
        changes: &[Alteration],
    ) {
        let event = |change: &Alteration| event(origin, verb, change.clone());
        let events: Vec<_> = changes.iter().map(event).collect();
        self.hooks.give(&events);
        self.events.publish_and_log(events).await;
    }

    /// Reads the configuration again and applies the differences to the balancer and the host. A
    /// faulty configuration, or one that does not fit the host, changes nothing.
    async fn reload(&mut self, session: &mut Session) -> CommandResult {
        let (wanted, changes) =
            self.builder.unless_stopped(config_file::reload(&self.path, &self.config)).await?;
        let (altered, warnings) = self.switch(session, wanted, changes).await?;
        let done = format!(
            "reloaded {}: {}",
            self.path.display(),
            counted(altered.len() as u64, "change")
        );
        Ok(Answer::done(done, altered).with(warnings))
    }

    /// The changes that a reload of that text would make. Changes nothing.
    async fn plan(
        &self,
        session: &Session,
        file: PathBuf,
        text: Vec<u8>,
    ) -> anyhow::Result<ReloadPlan> {
        let (wanted, changes) = config_file::compare(file, text, &self.config).await?;
        let then = session.preview_director(&self.desired(&wanted)).await?;
        // The running configuration fitted the host when it was installed; the host may have
        // changed since.
        let now = session.preview_director(&self.desired(&self.config)).await.ok();
        let (mtu_now, known) = match &now {
            Some(now) => (now.tun_mtu(), now.warnings()),
            None => (then.tun_mtu(), Vec::new()),
        };
        let running = self.snapshot().await?;
        let changes = self.before(&running).unmet(changes);
        let settings = settings::altered(&self.config, &wanted);
        let plan = ReloadPlan::new(&changes, &self.before(&running)).with(settings);
        let (maglev_tables, _) = self.prepare(&wanted, changes).await?;
        let plan = self.builder.compare(plan, self.maglev_tables.clone(), maglev_tables).await?;
        let mut warnings = then.warnings();
        warnings.retain(|warning| !known.contains(warning));
        warnings.extend(outages::expected(&self.config, &wanted, &running));
        Ok(ReloadPlan {
            tun_mtu: Some(then.tun_mtu()).filter(|mtu| *mtu != mtu_now),
            warnings,
            ..plan
        })
    }

    /// Makes `wanted` the running configuration. Returns the changes, and new warnings about the
    /// host caused by this command. A failed change is rolled back.
    pub(super) async fn switch(
        &mut self,
        session: &mut Session,
        wanted: config::Director,
        changes: Vec<Change>,
    ) -> anyhow::Result<(Vec<Alteration>, Vec<String>)> {
        // First, since it may fail: another program may listen there.
        http::listen(&mut self.http, wanted.http.as_ref())?;
        let switched = self.switch_services(session, wanted, changes).await;
        if switched.is_err() {
            http::listen(&mut self.http, self.config.http.as_ref())?;
        }
        switched
    }

    async fn switch_services(
        &mut self,
        session: &mut Session,
        wanted: config::Director,
        changes: Vec<Change>,
    ) -> anyhow::Result<(Vec<Alteration>, Vec<String>)> {
        let running = self.snapshot().await?;
        let changes = self.before(&running).unmet(changes);
        let saved = SavedStates::before(&changes, &running);
        let mut altered = self.altered(&changes, &running);
        altered.extend(settings::altered(&self.config, &wanted));
        let plan = session.plan_director(&self.desired(&wanted)).await?;
        let (tunnel_routes, warnings) = (plan.tunnel_routes(), plan.warnings());
        // A new real server needs its tunnel's source from the start.
        let names = renamed(&changes);
        let down = self.down_at_once(&checks_of(&wanted, &running).renamed(&names)).await;
        let changes =
            tunnel_route_changes(&tunnel_routes).into_iter().chain(changes).chain(down).collect();
        let prepared = self.prepare(&wanted, changes).await?;
        if let Err(error) = self.apply_prepared(prepared).await {
            self.checks.repeat();
            return Err(error);
        }
        self.set_loop(&wanted)?;
        if let Err(error) = session.install(plan).await {
            self.roll_back(&wanted, saved).await;
            self.checks.repeat();
            return Err(error);
        }
        self.set_tunnel_routes(tunnel_routes);
        self.withdrawn = self.withdrawn_in(&wanted);
        self.vips.replace(virtual_ips(&wanted, &self.withdrawn));
        self.config = wanted;
        self.give_way();
        self.hooks.set(self.config.hooks.as_deref());
        // With the states after the changes.
        let checks = checks_of(&self.config, &self.snapshot().await?);
        self.adopt_checks(checks.renamed(&names));
        Ok((altered, self.warned(warnings)))
    }

    /// The changes as shown to the operator, computed before they are applied.
    pub(super) fn altered(&self, changes: &[Change], running: &Snapshot) -> Vec<Alteration> {
        Alteration::list(changes, &self.before(running))
    }

    /// Applies changes together with the Maglev tables that they need.
    pub(super) async fn apply(&mut self, changes: Vec<Change>) -> anyhow::Result<()> {
        let prepared = self.prepare(&self.config, changes).await?;
        self.apply_prepared(prepared).await
    }

    /// All changes that lead to `wanted`, including those of `hash_seed` and `maglev_slots` and the
    /// Maglev tables, and the new [`MaglevTables`].
    async fn prepare(
        &self,
        wanted: &config::Director,
        changes: Vec<Change>,
    ) -> anyhow::Result<(MaglevTables, Vec<Change>)> {
        let mut maglev_tables = self.maglev_tables.clone();
        let mut all = maglev_tables.remake(hash_seed(wanted, self.random), wanted.maglev_slots);
        all.extend(changes);
        self.builder.with_tables(maglev_tables, all).await
    }

    async fn apply_prepared(
        &mut self,
        (maglev_tables, mut changes): (MaglevTables, Vec<Change>),
    ) -> anyhow::Result<()> {
        changes.retain(|change| !self.sent.has(change));
        // The changes are differences from what runs, so only the first piece can be refused.
        for changes in pieces(changes, CHANGES_A_PIECE) {
            let (changes, applied) =
                self.packet_thread.ask(|answer| DirectorMessage::Apply { changes, answer }).await?;
            applied?;
            self.sent.note(changes);
        }
        // Kept only if the balancer has accepted the changes.
        self.maglev_tables = maglev_tables;
        Ok(())
    }

    /// The changes that give real servers these shares of their weights where flows are placed by
    /// hash.
    pub(super) fn stepped(&self, steps: &HashMap<(String, IpAddr), WeightStep>) -> Vec<Change> {
        self.maglev_tables.stepped(steps)
    }

    pub(super) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(reports::collect(&self.packet_thread, Some(ListFilter::All)).await?.snapshot)
    }

    /// The host set-up for the configuration, with the operator's changes since.
    pub(super) fn desired(&self, config: &config::Director) -> DesiredDirector {
        desired(config, self.withdrawn_in(config).all(), self.force)
    }

    /// The virtual IPs of `config` that are not announced.
    fn withdrawn_in(&self, config: &config::Director) -> Withdrawn {
        self.withdrawn.after(&self.config, config)
    }

    /// With so many real servers that packets would wait for the control thread: lets them have the
    /// CPU first. The packet thread and the health thread run already and keep their share.
    pub(super) fn give_way(&self) {
        if self.config.specs().map(|service| service.reals.len()).sum::<usize>() >= MANY_REALS {
            daemon::give_way();
        }
    }

    /// Sends the packet loop its settings from `config`.
    fn set_loop(&self, config: &config::Director) -> anyhow::Result<()> {
        let settings = LoopSettings::of(config);
        if settings == LoopSettings::of(&self.config) {
            return Ok(());
        }
        self.packet_thread.send(DirectorMessage::Configure(settings))
    }

    fn before<'a>(&'a self, running: &'a Snapshot) -> Before<'a> {
        Before::new(self.config.specs(), &self.config.timeouts, &running.services)
    }

    /// Rolls back from `wanted`, which the host has refused. Connections of a service that was
    /// removed meanwhile are lost.
    async fn roll_back(&mut self, wanted: &config::Director, saved: SavedStates) {
        let settings = LoopSettings::of(&self.config);
        if settings != LoopSettings::of(wanted) {
            // The end of the packet thread is handled by the code that waits for it.
            let _ = self.packet_thread.send(DirectorMessage::Configure(settings));
        }
        let Ok(back) = config::diff(wanted, &self.config) else { return };
        let mut changes: Vec<_> =
            tunnel_route_changes(&self.tunnel_routes).into_iter().chain(back).collect();
        // In the same batch, so that a disabled real server gets no packet in between.
        changes.extend(saved.restored());
        if let Err(error) = self.apply(changes).await {
            log::error!("the balancer cannot go back to what was running: {error:#}");
        }
    }
}

/// The changes that set the paths to the real servers in the balancer.
pub(super) fn tunnel_route_changes(tunnel_routes: &TunnelRoutes) -> [Change; 3] {
    [
        Change::SetSources(tunnel_routes.sources.clone()),
        Change::SetLinkMtus(tunnel_routes.mtus.clone()),
        Change::SetInterfaces(tunnel_routes.interfaces.clone()),
    ]
}

/// The differences of one value of the paths to the real servers.
fn moved<T: Copy + Eq>(
    before: &BTreeMap<IpAddr, T>,
    after: &BTreeMap<IpAddr, T>,
    what: impl Fn(Option<T>, T) -> Altered,
) -> Vec<Alteration> {
    let moved = after.iter().filter(|(real, new)| before.get(real) != Some(*new));
    let change = |(&real, &new): (&IpAddr, &T)| {
        Alteration::of_address(real, what(before.get(&real).copied(), new))
    };
    moved.map(change).collect()
}

/// The seed for placing flows: configured, or random and secret.
fn hash_seed(config: &config::Director, random: Seed) -> Seed {
    config.hash_seed.as_deref().map_or(random, Seed::from_text)
}

#[cfg(test)]
mod tests;
