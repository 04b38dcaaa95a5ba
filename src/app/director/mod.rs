//! Director mode: host set-up, the packet thread, and the control thread that controls them.

mod boot;
mod doubts;
mod fast_path;
mod gue_output;
mod health;
mod hooks;
mod input;
mod logs;
mod messages;
mod next_hops;
mod operate;
mod operator_states;
mod outages;
mod output;
mod packets;
mod port_probes;
mod quorum;
mod recorder;
mod reload;
mod reports;
mod request_handler;
mod saved_states;
mod seed;
mod selection;
mod sending;
mod sent;
mod sent_routes;
mod settings;
mod steps;
mod tables;
mod trace_feed;
mod tracing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::Poll;
use tokio::sync::mpsc;

use super::daemon::{self, Signals, SocketAccess, Thread};
use super::health::HealthThread;
use super::host::{DesiredDirector, Prepared, Session};
use super::http;
use super::packet_thread::PacketThread;
use super::serve::{self, ControlSocket};
use crate::app::commands::{AdminCommand, AdminCommands, CommandQueue, CommandResult};
use crate::balancer::{Balancer, Change, Limits};
use crate::config;
use crate::control::{Origin, Request};
use crate::health::HealthEvent;
use crate::host::ServedPorts;
use crate::model::{Millis, SchedulerKind, Seed};
use crate::sys::raw::{ErrorQueue, Sender};
use crate::sys::tun::Tun;
use crate::sys::{memory, random};
use fast_path::KernelCarrier;
use health::Follows;
use hooks::Hooks;
use messages::{DirectorMessage, NOTICES, Notice, PacketThreadEnds};
use operator_states::StatesFile;
use output::Output;
use packets::DirectorLoop;
use quorum::Withdrawn;
use reload::{RunningDirector, tunnel_route_changes};
use request_handler::{Handler, Watched};
use tables::Builder;
pub(super) use trace_feed::TraceFeed;

/// The number of Maglev tables above which the start logs that it computes them: about a second of
/// work at worst.
const MANY_TABLES: usize = 64;
/// Connections that the table can hold from the start without moving: the memory is reserved, and
/// touched as they are added.
const RESERVED: u32 = config::Director::CONNECTIONS;

/// Options of the command line that are not in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// The configuration file, for reloads.
    pub(super) config_path: PathBuf,
    /// Announce the VIPs even if another host answers ARP or neighbour discovery for one of them.
    pub(super) force: bool,
    /// How long to wait at the start for uplinks, routes and addresses that are not there yet.
    pub(super) wait: Duration,
}

/// Runs a director until a signal stops it. It undoes every change to the host before it returns.
///
/// # Errors
/// The set-up failed, or the packet thread ended by itself.
pub(super) fn run(config: config::Director, options: Options) -> anyhow::Result<()> {
    daemon::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        // Before any change to the host.
        let access = daemon::access(&config.access).await?;
        let mut session = Session::open(&config.control)?;
        let outcome = direct(config, options, access, &mut session, &mut signals).await;
        // Again, for failures before the loop ran.
        outcome.and(session.undo().await)
    })
}

async fn direct(
    config: config::Director,
    options: Options,
    access: SocketAccess,
    session: &mut Session,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let (states, starting) = StatesFile::open(&config).await;
    let withdrawn = Withdrawn::at_start(&starting);
    let wanted = desired(&config, withdrawn.all(), options.force);
    let Some(plan) = boot::plan(session, &wanted, signals, options.wait).await? else {
        return Ok(());
    };
    let tunnel_routes = plan.tunnel_routes();
    let (sender, errors) = sockets()?;
    let tun = daemon::tun(&config.tun, plan.tun_mtu(), config.offload)?;
    let offload = tun.offload();
    let started = Instant::now();
    let (fast_path, carrier) = fast_path::load(&config, started)?;
    let random = seed::load(config.state.as_deref(), config.hash_seed.is_none()).await?;
    let (notices, noticed) = mpsc::channel(NOTICES);
    let (inbox, checks) = HealthThread::new();
    let (packet_thread, mut thread) =
        start(&config, tun, sender, errors, (notices, checks.clone()), (started, carrier))?;
    let (events, health) = mpsc::unbounded_channel();
    inbox.start(packet_thread.clone(), events, random_words::<1>()?[0])?;
    let (hooks, hook_runner) = Hooks::new(config.hooks.as_deref());
    let hook_task = hook_runner.start();
    let kept = (random, states);
    let host_side = (withdrawn, tunnel_routes, hooks, fast_path);
    let mut running =
        RunningDirector::new(config, options, packet_thread.clone(), checks, kept, host_side);
    let builder = running.builder();
    session.stop_with(builder.stopping());
    let installing = install(&mut running, &starting, access, session, plan);
    let outcome = match with_stop_signal(installing, signals, &builder).await {
        // The same as if the signal had arrived a moment later.
        (_, Stop::Requested) => {
            drop(running);
            Ok(())
        }
        (Ok(control), Stop::No) => {
            let events = (noticed, health);
            steer(running, control, session, signals, events, &mut thread, offload).await
        }
        (Err(error), Stop::No) => {
            drop(running);
            Err(error)
        }
    };
    // The host is undone first: while packets are routed here, the thread has to read them.
    let undone = session.undo().await;
    // A thread that has ended by itself needs no message.
    let _ = packet_thread.send(DirectorMessage::Stop);
    thread.join();
    hook_task.finish().await;
    outcome.and(undone)
}

/// Answers requests, follows the host and reloads, until a stop signal or until a part ends by
/// itself.
async fn steer(
    mut running: RunningDirector,
    control: ControlSocket,
    session: &mut Session,
    signals: &mut Signals,
    (mut noticed, mut health): (mpsc::Receiver<Notice>, mpsc::UnboundedReceiver<HealthEvent>),
    thread: &mut Thread,
    offload: bool,
) -> anyhow::Result<()> {
    let (handler, mut inbox) = start_handler(&mut running, session, offload).await?;
    let mut news = session.news();
    let mut served = pin!(serve::serve(control, handler));
    daemon::ready();
    let mut stop = Stop::No;
    while stop == Stop::No {
        match unless(&mut served, session.catch_up()).await {
            Ok(caught_up) => caught_up?,
            Err(served) => return served,
        }
        // Following the host stops for each command, which needs the session, and resumes after it.
        let (task, asker) = tokio::select! {
            ended = thread.ended() => return ended,
            served = &mut served => return served,
            tunnel_routes = session.follow() => {
                running.host_changed(tunnel_routes?).await?;
                continue;
            }
            Some(events) = news.recv() => {
                running.events.publish(&events);
                continue;
            }
            Some(notice) = noticed.recv() => {
                running.notice(notice).await;
                continue;
            }
            Some(event) = health.recv() => match publish_check_event(&mut running, event).await {
                Some(task) => (task, None),
                None => continue,
            },
            () = running.quorum_due() => (Task::Quorum, None),
            () = running.steps_due() => (Task::Steps, None),
            Some((command, asker)) = inbox.recv() => (Task::Command(command), Some(asker)),
            command = signals.next() => match command {
                daemon::SignalAction::Stop => return Ok(()),
                daemon::SignalAction::Reload => (Task::Command(reload_by_signal()), None),
            },
        };
        let builder = running.builder();
        let performing = unless(&mut served, running.perform(session, task));
        let performed;
        (performed, stop) = with_stop_signal(performing, signals, &builder).await;
        let outcome = match performed {
            Ok(outcome) => outcome,
            Err(served) => return served,
        };
        // The result is also in the log: a signal has no client, and a client may have closed.
        let _ = asker.zip(outcome).map(|(asker, outcome)| asker.send(outcome));
    }
    Ok(())
}

/// Publishes a check event; returns the resulting task.
async fn publish_check_event(running: &mut RunningDirector, event: HealthEvent) -> Option<Task> {
    match running.publish_check_event(event).await {
        Follows::Quorum => Some(Task::Quorum),
        Follows::Steps => {
            running.want_steps();
            None
        }
        Follows::Nothing => None,
    }
}

/// The command that SIGHUP causes.
fn reload_by_signal() -> AdminCommand {
    AdminCommand { request: Request::Reload, body: Vec::new(), origin: Origin::Signal }
}

/// Creates the handler of the control socket's requests and the queue of its commands. The HTTP
/// server, started here, uses the same handler.
async fn start_handler(
    running: &mut RunningDirector,
    session: &Session,
    offload: bool,
) -> anyhow::Result<(Arc<Handler>, CommandQueue)> {
    let (commands, inbox) = AdminCommands::new();
    let (packet_thread, events) = (running.packet_thread.clone(), running.events.clone());
    let (vips, host, checks) = (running.vips.latest(), session.status(), running.checks.clone());
    let (hooks, path) = (running.hooks.counts(), running.path.clone());
    let fast_path = running.fast_path.state();
    let watched = Watched { vips, host, checks, hooks, fast_path, path };
    let refused = running.config.offload && !offload;
    let tun = running.config.tun.clone();
    let handler = Handler::new(packet_thread, commands, events, watched, tun, offload, refused);
    let handler = Arc::new(handler);
    let access = daemon::access(&running.config.access).await?;
    let http = http::Server::start(running.config.http.as_ref(), access, &handler)?;
    running.http = Some(http);
    Ok((handler, inbox))
}

/// Work that needs the host's session.
#[derive(Debug)]
enum Task {
    /// A command from a client or a signal.
    Command(AdminCommand),
    /// A quorum was lost or regained.
    Quorum,
    /// Real servers have reported another load.
    Steps,
}

impl RunningDirector {
    async fn perform(&mut self, session: &mut Session, task: Task) -> Option<CommandResult> {
        let command = match task {
            Task::Command(command) => command,
            Task::Quorum => {
                self.follow_quorum(session).await;
                return None;
            }
            Task::Steps => {
                self.follow_steps().await;
                return None;
            }
        };
        let reloads = command.request == Request::Reload;
        let outcome = self.execute(session, command).await;
        if reloads && outcome.is_ok() {
            // The services and their quorum may have changed.
            self.follow_quorum(session).await;
            self.want_steps();
        }
        Some(outcome)
    }
}

/// Whether a stop signal came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    No,
    Requested,
}

/// Waits for work that takes long only if Maglev tables are computed. A stop signal meanwhile ends
/// only the computation of tables; changes to the host are completed.
async fn with_stop_signal<T>(
    work: impl Future<Output = T>,
    signals: &mut Signals,
    builder: &Builder,
) -> (T, Stop) {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return (done, Stop::No),
        () = signals.stop() => builder.stop(),
    }
    (work.await, Stop::Requested)
}

/// Waits for work, or for the early end of something else, which is the error.
async fn unless<T, E>(end: impl Future<Output = E>, work: impl Future<Output = T>) -> Result<T, E> {
    tokio::select! {
        done = work => Ok(done),
        ended = end => Err(ended),
    }
}

/// Sets up the balancer, the host and the checks. `starting`: the configuration with the states
/// that operators have set before.
async fn install(
    running: &mut RunningDirector,
    starting: &config::Director,
    access: SocketAccess,
    session: &mut Session,
    plan: Prepared,
) -> anyhow::Result<ControlSocket> {
    let changes = running
        .settings()
        .into_iter()
        .chain(tunnel_route_changes(&plan.tunnel_routes()))
        .chain(starting.specs().cloned().map(Change::AddService))
        .collect::<Vec<_>>();
    let services = running.config.specs();
    let tables = services.filter(|service| service.scheduler == SchedulerKind::Maglev).count();
    if tables >= MANY_TABLES {
        log::info!("making the Maglev tables of {tables} services, which can take seconds");
    }
    let down = running.down_at_once(&starting.checks()).await;
    running.apply(changes.into_iter().chain(down).collect()).await?;
    if running.states.is_there()
        && let Some(warning) = running.keep_states().await
    {
        log::warn!("{warning}");
    }
    let _ = running.warned(plan.warnings());
    let uplinks = plan.tunnel_routes().uplinks;
    session.install(plan).await?;
    running.attach_fast_path(&uplinks)?;
    running.give_way();
    running.warn_of_unchecked();
    running.warn_of_quorums();
    running.adopt_checks(starting.checks());
    let control = daemon::listen(&running.config.control, access)?;
    session.listens_on(control.file);
    Ok(control)
}

pub(super) fn desired(
    config: &config::Director,
    withdrawn: BTreeSet<IpAddr>,
    force: bool,
) -> DesiredDirector {
    DesiredDirector {
        tun: config.tun.clone(),
        vips: config.vips(),
        served: served(config),
        reals: config.reals(),
        shims: config.shims(),
        uplinks: config.uplinks.clone(),
        arp: config.arp,
        sources: config.sources.clone(),
        // The session fills them in.
        known_sources: [].into(),
        announce_table: config.announce_table,
        neighbour_routes: config.neighbour_routes,
        withdrawn,
        force,
    }
}

fn served(config: &config::Director) -> Vec<ServedPorts> {
    let listens = config.specs().flat_map(|service| &service.listens);
    listens
        .map(|listen| ServedPorts {
            vip: listen.address,
            protocol: listen.protocol.number(),
            ports: listen.ports.first..=listen.ports.last,
        })
        .collect()
}

fn sockets() -> anyhow::Result<(Sender, ErrorQueue)> {
    let hint = "could not open a raw socket; run as root or with CAP_NET_RAW";
    let sender = Sender::open().context(hint)?;
    log::debug!("send buffer: {} bytes", sender.buffer().unwrap_or_default());
    Ok((sender, ErrorQueue::open().context(hint)?))
}

fn random_words<const N: usize>() -> anyhow::Result<[u64; N]> {
    random::words().context("no random numbers from the kernel")
}

/// Asks for huge pages for the connection table.
fn prefer_huge_pages(balancer: &Balancer) {
    for part in balancer.memory() {
        if let Err(error) = memory::prefer_huge_pages(part) {
            log::debug!("no huge pages for the connection table: {error}");
        }
    }
}

/// A balancer whose table may become larger up to [`RESERVED`] in the memory that it has.
fn balancer(max_connections: u32, seed: Seed) -> Balancer {
    let limits = Limits {
        connections: max_connections.max(RESERVED),
        refusals_per_second: Limits::REFUSALS_PER_SECOND,
    };
    let mut balancer = Balancer::new(limits, seed);
    if let Err(error) = balancer.apply_all(Millis(0), &[Change::SetCapacity(max_connections)]) {
        log::error!("the table has room for {RESERVED} connections instead: {error}");
    }
    balancer
}

/// Starts the packet thread.
fn start(
    config: &config::Director,
    tun: Tun,
    sender: Sender,
    errors: ErrorQueue,
    (notices, checks): (mpsc::Sender<Notice>, HealthThread),
    (started, carrier): (Instant, Option<KernelCarrier>),
) -> anyhow::Result<(PacketThread<DirectorMessage>, Thread)> {
    let [first, second, third, label_key] = random_words()?;
    let balancer = balancer(config.max_connections, Seed(first, second));
    prefer_huge_pages(&balancer);
    let output = Output::new(sender, config.source_v4(), config.gue, third);
    let poll = Poll::new().context("could not make an epoll instance")?;
    let (packet_thread, inbox) = PacketThread::new(&poll, packets::WAKER)?;
    let ends = PacketThreadEnds { inbox, notices, checks };
    if let Some(folder) = config.state.clone().filter(|_| config.recorder > 0) {
        recorder::save_at_panic(folder);
    }
    let packets =
        DirectorLoop::new(poll, tun, errors, output, balancer, ends, (started, label_key))
            .context("could not watch the TUN and the raw sockets")?
            .carried_by(carrier)
            .busy_polling(config.busy_poll)
            .recording(config.recorder);
    Ok((packet_thread, Thread::start(move || packets.run())?))
}
