//! Real-server mode: host set-up, the packet thread, and the control thread, which keeps the routes
//! up to date.

mod agent;
mod delivery;
mod messages;
mod overflow;
mod packets;
mod request_handler;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mio::Poll;

use super::daemon::{self, SignalAction, Signals, SocketAccess, Thread};
use super::events::Events;
use super::host::{DesiredRealServer, Session};
use super::http;
use super::packet_thread::PacketThread;
use super::serve;
use crate::config;
use crate::decap::{Gate, Mss};
use crate::host;
use crate::sys::raw::Receiver;
use agent::{Agent, Desk};
use delivery::Delivery;
use messages::RealServerMessage;
use packets::Packets;
use request_handler::Handler;

/// Runs a real server until a signal stops it. It undoes every change to the host before it
/// returns.
///
/// # Errors
/// The set-up failed, or the packet thread ended by itself.
pub(super) fn run(config: config::RealServer) -> anyhow::Result<()> {
    daemon::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        // Before any change to the host.
        let access = daemon::access(&config.access).await?;
        let mut session = Session::open(&config.control)?;
        let outcome = serve_reals(config, access, &mut session, &mut signals).await;
        // Again, for failures before the loop ran.
        outcome.and(session.undo().await)
    })
}

async fn serve_reals(
    config: config::RealServer,
    access: SocketAccess,
    session: &mut Session,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let plan = session.plan_realserver(&desired(&config)).await?;
    let tun = daemon::tun(&config.tun, plan.tun_mtu(), config.offload)?;
    let host::Mss { v4, v6 } = plan.advertised_mss();
    let link_mtu = plan.link_mtu();
    session.install(plan).await?;
    // The raw sockets come last: from now on the kernel sends no protocol-unreachable, so the
    // director takes this host for ready.
    let receivers = Receiver::open_each()
        .context("could not open a raw socket; run as root or with CAP_NET_RAW")?;
    for receiver in &receivers {
        log::debug!("receive buffer: {} bytes", receiver.buffer().unwrap_or_default());
    }
    let mss = Mss { v4, v6 };
    let gate = Gate::new(config.directors.clone(), config.vips.clone(), mss).link_mtu(link_mtu);
    let refused = config.offload && !tun.offload();
    let delivery = Delivery::new(tun, config.coalesce);
    let (packet_thread, mut thread) = start(receivers, delivery, gate, config.busy_poll)?;
    let desk = config.agent.as_ref().map(|_| Arc::new(Desk::default()));
    let agent = desk.clone().map_or(Ok(None), |desk| Agent::open(&config, desk));
    let opened = agent.and_then(|agent| Ok((agent, daemon::listen(&config.control, access)?)));
    let outcome = match opened {
        Ok((agent, control)) => {
            let (events, host, mut news) = (Events::new(), session.status(), session.news());
            let handler = Handler::new(
                packet_thread.clone(),
                events.clone(),
                host,
                config.tun.clone(),
                refused,
                desk,
            );
            let handler = Arc::new(handler);
            let _http = http::start(config.http.as_ref(), &handler)?;
            daemon::ready();
            let telling = async {
                while let Some(changes) = news.recv().await {
                    events.tell_of_host(changes);
                }
                std::future::pending().await
            };
            let reporting = async {
                match agent {
                    Some(agent) => agent.run().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = reporting => Ok(()),
                ended = thread.ended() => ended,
                served = serve::serve(control, handler) => served,
                gone = session.follow() => gone.map(drop),
                never = telling => never,
                () = obey(signals) => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    // The host first: while packets are routed here, the thread has to read them.
    let undone = session.undo().await;
    // A thread that has ended by itself needs no message.
    let _ = packet_thread.send(RealServerMessage::Stop);
    thread.join();
    outcome.and(undone)
}

fn desired(config: &config::RealServer) -> DesiredRealServer {
    DesiredRealServer {
        tun: config.tun.clone(),
        vips: config.vips.clone(),
        directors: config.directors.clone(),
        mss_route: config.mss == config::Mss::Route,
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
) -> anyhow::Result<(PacketThread<RealServerMessage>, Thread)> {
    let poll = Poll::new().context("could not make an epoll instance")?;
    let (packet_thread, inbox) = PacketThread::new(&poll, packets::WAKER)?;
    let packets = Packets::new(poll, receivers, delivery, gate, inbox)
        .context("could not watch the raw sockets")?
        .busy_polling(busy_poll);
    Ok((packet_thread, Thread::start(move || packets.run())?))
}

/// Handles signals until a stop signal.
async fn obey(signals: &mut Signals) {
    while signals.next().await == SignalAction::Reload {
        log::warn!("a real server does not reload; restart it to change its configuration");
    }
}
