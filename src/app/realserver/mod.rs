//! Real-server mode: host set-up, the packet thread, and the control thread, which keeps the routes
//! up to date.

mod admission;
mod agent;
mod answers;
mod delivery;
mod fast_path;
pub(super) mod gue_port;
mod last_sources;
mod messages;
mod overflow;
mod packets;
mod reload;
mod request_handler;
mod stranger_filter;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mio::Poll;
use tokio::sync::mpsc;

use super::commands::{AdminCommand, AdminCommands, CommandQueue};
use super::daemon::{self, SignalAction, Signals, SocketAccess, Thread};
use super::events::EventPublisher;
use super::host::{DesiredRealServer, Session};
use super::http;
use super::packet_thread::PacketThread;
use super::serve::{self, ControlSocket};
use crate::app::latest::Published;
use crate::config;
use crate::control::{Origin, Request};
use crate::decap::Gate;
use crate::sys::raw::Receiver;
use crate::wire::encap::Encap;
use agent::{Agent, AgentState};
use answers::{Asked, InquiryAnswers};
use delivery::Delivery;
use fast_path::RealFastPath;
use messages::RealServerMessage;
use packets::RealServerLoop;
use reload::{GateInputs, RunningRealServer};
use request_handler::RealServerHandler;

/// Why a real server cannot start without raw sockets.
pub(super) const RAW_SOCKETS: &str = "could not open a raw socket; run as root or with CAP_NET_RAW";

/// Runs a real server until a signal stops it. `path` is the file of `config`, for reloads. It
/// undoes every change to the host before it returns.
///
/// # Errors
/// The set-up failed, or the packet thread ended by itself.
pub(super) fn run(config: config::RealServer, path: Option<PathBuf>) -> anyhow::Result<()> {
    daemon::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        // Before any change to the host.
        let access = daemon::access(&config.access).await?;
        let mut session = Session::open(&config.control)?;
        let outcome = serve_reals(config, path, access, &mut session, &mut signals).await;
        // Again, for failures before the loop ran.
        outcome.and(session.undo().await)
    })
}

async fn serve_reals(
    config: config::RealServer,
    path: Option<PathBuf>,
    access: SocketAccess,
    session: &mut Session,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let plan = session.plan_realserver(&desired(&config)).await?;
    let tun = daemon::tun(&config.tun, plan.tun_mtu(), config.offload)?;
    let fast_path = RealFastPath::load(&config, tun.index()?)?;
    let mut bounds = GateInputs::of(&plan);
    session.install(plan).await?;
    // The raw sockets come last: from now on the kernel sends no protocol-unreachable, which the
    // director takes as a sign that this host is ready.
    let gue = gue_port::open_or_report(config.gue_port, session);
    bounds.gue_port = (!gue.is_empty()).then_some(config.gue_port);
    let receivers = receivers(gue)?;
    let refused = config.offload && !tun.offload();
    let (questions, asked) = mpsc::channel(answers::WAITING);
    let delivery = Delivery::new(tun, config.coalesce);
    let (packet_thread, mut thread) =
        start(receivers, delivery, bounds.gate(&config), config.busy_poll, questions)?;
    let state = config.agent.as_ref().map(|_| Arc::new(AgentState::default()));
    let control = config.control.clone();
    let running = RunningRealServer {
        config: Published::new(config),
        path,
        packet_thread: packet_thread.clone(),
        events: EventPublisher::new(),
        bounds,
        http: None,
        fast_path,
    };
    let open_agent = |state| Agent::open(running.config.latest(), state);
    let agent = state.clone().map_or(Ok(None), open_agent);
    let answers = InquiryAnswers::new(asked, running.config.latest(), session.status());
    let opened = agent.and_then(|agent| Ok((agent, answers?, daemon::listen(&control, access)?)));
    let outcome = match opened {
        Ok((agent, answers, control)) => {
            let (commands, inbox) = AdminCommands::new();
            let handler = {
                let device = (running.config.part(|config| config.tun.clone()), refused);
                let sources = (running.events.clone(), session.status());
                let started = (running.config.latest(), running.path.clone());
                let packet_thread = packet_thread.clone();
                RealServerHandler::new(packet_thread, commands, sources, device, started, state)
                    .counting(running.fast_path.counts(), running.fast_path.state())
            };
            let ends = MainInputs { control, agent, answers, inbox };
            steer(running, Arc::new(handler), ends, session, signals, &mut thread).await
        }
        Err(error) => Err(error),
    };
    // The host is undone first: while packets are routed here, the thread has to read them.
    let undone = session.undo().await;
    // A thread that has ended by itself needs no message.
    let _ = packet_thread.send(RealServerMessage::Stop);
    thread.join();
    outcome.and(undone)
}

/// The sockets for each encapsulation. `gue`: those for GUE.
fn receivers(gue: Vec<Receiver>) -> anyhow::Result<Vec<Receiver>> {
    let mut receivers = Receiver::open_each().context(RAW_SOCKETS)?;
    receivers.extend(gue);
    for receiver in &receivers {
        log::debug!("receive buffer: {} bytes", receiver.buffer().unwrap_or_default());
    }
    Ok(receivers)
}

/// The other inputs of the main task, besides the host, signals and the packet thread.
struct MainInputs {
    control: ControlSocket,
    agent: Option<Agent>,
    answers: InquiryAnswers,
    inbox: CommandQueue,
}

async fn start_http(
    running: &RunningRealServer,
    handler: &Arc<RealServerHandler>,
) -> anyhow::Result<http::Server<RealServerHandler>> {
    let part = |config: &config::RealServer| (config.http.clone(), config.access.clone());
    let (http, access) = running.config.part(part);
    http::Server::start(http.as_ref(), daemon::access(&access).await?, handler)
}

/// Answers requests, follows the host and reloads, until a stop signal or a failure.
async fn steer(
    mut running: RunningRealServer,
    handler: Arc<RealServerHandler>,
    MainInputs { control, agent, answers, mut inbox }: MainInputs,
    session: &mut Session,
    signals: &mut Signals,
    thread: &mut Thread,
) -> anyhow::Result<()> {
    running.http = Some(start_http(&running, &handler).await?);
    session.listens_on(control.file);
    let mut news = session.news();
    let mut served = pin!(serve::serve(control, handler));
    let mut reporting = pin!(report(agent));
    let mut answering = pin!(answers.run());
    let mut changes = running.fast_path.changes();
    let mut freed = pin!(gue_port::freed(running.config.part(|config| config.gue_port)));
    running.admit()?;
    daemon::ready();
    loop {
        session.catch_up().await?;
        // A command needs the session, so following the host stops and starts again after it.
        let (command, asker) = tokio::select! {
            () = &mut reporting => return Ok(()),
            () = &mut answering => return Ok(()),
            ended = thread.ended() => return ended,
            served = &mut served => return served,
            gone = session.follow() => {
                gone?;
                continue;
            }
            () = changes.next() => {
                running.follow_ends();
                continue;
            }
            gue = &mut freed, if running.bounds.gue_port.is_none() => {
                running.receive_gue(gue, session).await?;
                continue;
            }
            Some(events) = news.recv() => {
                running.events.publish(&events);
                continue;
            }
            Some((command, asker)) = inbox.recv() => (command, Some(asker)),
            action = signals.next() => match action {
                SignalAction::Stop => return Ok(()),
                SignalAction::Reload => {
                    let (request, body) = (Request::Reload, Vec::new());
                    (AdminCommand { request, body, origin: Origin::Signal }, None)
                }
            },
        };
        let outcome = tokio::select! {
            outcome = running.execute(session, command) => outcome,
            served = &mut served => return served,
        };
        // Without a client, or if it has closed, the log has the outcome.
        let _ = asker.map(|asker| asker.send(outcome));
    }
}

/// Runs the load agent, if there is one.
async fn report(agent: Option<Agent>) {
    match agent {
        Some(agent) => agent.run().await,
        None => std::future::pending().await,
    }
}

pub(super) fn desired(config: &config::RealServer) -> DesiredRealServer {
    DesiredRealServer {
        tun: config.tun.clone(),
        vips: config.vips.clone(),
        directors: config.directors.clone(),
        shim: u32::try_from(config.encap.shim_len()).unwrap_or_default(),
        gre: config.encap == Encap::Gre,
        mss_route: config.mss == config::MssSetting::Route,
        rule_priority: config.rule_priority,
        table: config.table,
    }
}

/// Starts the packet thread.
fn start(
    receivers: Vec<Receiver>,
    delivery: Delivery,
    gate: Gate,
    busy_poll: Duration,
    questions: mpsc::Sender<Asked>,
) -> anyhow::Result<(PacketThread<RealServerMessage>, Thread)> {
    let poll = Poll::new().context("could not make an epoll instance")?;
    let (packet_thread, inbox) = PacketThread::new(&poll, packets::WAKER)?;
    let packets = RealServerLoop::new(poll, receivers, delivery, gate, (inbox, questions))
        .context("could not watch the raw sockets")?
        .busy_polling(busy_poll);
    Ok((packet_thread, Thread::start(move || packets.run())?))
}
