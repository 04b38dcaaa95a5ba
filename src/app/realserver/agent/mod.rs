//! The load agent: reports to directors, and to HAProxy, how loaded this real server is and whether
//! its owner has it in rotation.
//!
//! A client that starts with vstun's greeting gets a report as a line of JSON. Any other client
//! gets HAProxy's words, since HAProxy sends nothing and waits.

mod sample;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::app::latest::{Latest, Published};
use crate::app::log_throttle::LogThrottle;
use crate::app::tcp_listener;
use crate::config;
use crate::control::{self, AgentCounts, counted};
use crate::health::load::{GREETING, LoadReport, Rotation};
use sample::Sampler;

/// The most clients at a time; further ones are closed.
const CLIENTS: usize = 64;

/// The time limit of a client.
const LIMIT: Duration = Duration::from_secs(2);

/// How long the agent waits for the greeting; HAProxy never sends it, and waits this long.
const GREETING_WAIT: Duration = Duration::from_millis(250);

/// How long a sample is reused for further clients.
const FRESH: Duration = Duration::from_millis(200);

/// The pause after a failed accept, for example for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The counters and the owner's setting, shared with the control socket.
#[derive(Debug, Default)]
pub(super) struct AgentState {
    /// The owner's setting from the control socket.
    rotation: Published<Rotation>,
    asked: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
}

impl AgentState {
    /// Sets the owner's setting and returns the previous one.
    pub(super) fn set(&self, rotation: Rotation) -> Rotation {
        self.rotation.replace(rotation)
    }

    pub(super) fn counts(&self) -> AgentCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AgentCounts {
            state: self.rotation.get(),
            asked: read(&self.asked),
            refused: read(&self.refused),
            busy: read(&self.busy),
        }
    }
}

/// The listening agent.
#[derive(Debug)]
pub(super) struct Agent {
    listener: TcpListener,
    /// The running configuration.
    running: Latest<config::RealServer>,
    answers: Arc<AgentAnswers>,
}

#[derive(Debug)]
struct AgentAnswers {
    agent_state: Arc<AgentState>,
    sampled: Mutex<Sampled>,
}

#[derive(Debug)]
struct Sampled {
    sampler: Sampler,
    last: Option<(Instant, LoadReport)>,
    complaints: LogThrottle,
}

impl Agent {
    /// Opens the agent's socket, if one is configured.
    ///
    /// # Errors
    /// Listening on the address failed.
    pub(super) fn open(
        running: Latest<config::RealServer>,
        agent_state: Arc<AgentState>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(agent) = running.part(|config| config.agent.clone()) else { return Ok(None) };
        let listener = listen(agent.listen)?;
        let sampler = Sampler::new(running.clone(), agent);
        let sampled = Sampled { sampler, last: None, complaints: LogThrottle::default() };
        let answers = Arc::new(AgentAnswers { agent_state, sampled: Mutex::new(sampled) });
        Ok(Some(Self { listener, running, answers }))
    }

    /// Serves until dropped.
    pub(super) async fn run(self) {
        let slots = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let (client, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::debug!("agent: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let agent_state = &self.answers.agent_state;
            if !self.is_director(peer.ip()) {
                agent_state.refused.fetch_add(1, Ordering::Relaxed);
                log::debug!("agent: {peer} is not a director");
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                agent_state.busy.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let answers = Arc::clone(&self.answers);
            tokio::spawn(async move {
                match timeout(LIMIT, answers.serve(client)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::debug!("agent: {peer}: {error}"),
                    Err(_) => log::debug!("agent: {peer} took longer than {LIMIT:?}"),
                }
                drop(slot);
            });
        }
    }

    fn is_director(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.running.get().directors.iter().any(|range| range.contains(&peer))
    }
}

impl AgentAnswers {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        self.agent_state.asked.fetch_add(1, Ordering::Relaxed);
        let greeted = timeout(GREETING_WAIT, greeting(&mut client)).await.unwrap_or(Ok(false))?;
        let report = self.report().await;
        let answer = if greeted { control::encode(&report) } else { report.words() };
        client.write_all(answer.as_bytes()).await?;
        client.shutdown().await?;
        // If unread bytes remain at the close, the kernel sends a reset and the answer is lost.
        let mut rest = [0; 256];
        while client.read(&mut rest).await? > 0 {}
        Ok(())
    }

    /// The current report.
    async fn report(&self) -> LoadReport {
        let mut sampled = self.sampled.lock().await;
        let Sampled { sampler, last, complaints } = &mut *sampled;
        let now = Instant::now();
        let fresh = last.as_ref().filter(|(taken, _)| now.duration_since(*taken) < FRESH);
        let report = match fresh {
            Some((_, report)) => report.clone(),
            None => {
                let (report, odd) = sampler.sample().await;
                if let Some(odd) = odd
                    && let Some(count) = complaints.note(now)
                {
                    log::warn!(count; "agent: {odd} ({})", counted(count, "time"));
                }
                *last = Some((now, report.clone()));
                report
            }
        };
        let owner = self.agent_state.rotation.get();
        LoadReport { state: report.state.stricter(owner), ..report }
    }
}

/// Whether the client starts with the greeting; anything else is a line of HAProxy's `agent-send`.
async fn greeting(client: &mut TcpStream) -> io::Result<bool> {
    let mut said = [0; GREETING.len()];
    let mut len = 0;
    while len < said.len() {
        let Some(rest) = said.get_mut(len..) else { break };
        match client.read(rest).await? {
            0 => return Ok(false),
            more => len += more,
        }
        if !said.get(..len).is_some_and(|said| GREETING.as_bytes().starts_with(said)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = tcp_listener::listen("agent", address)?;
    TcpListener::from_std(listener).context("agent: could not set up the socket")
}

#[cfg(test)]
mod tests;
