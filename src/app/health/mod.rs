//! Health checks: a thread of its own that sends the probes which the board of checks asks for, and
//! tells the balancer what follows. The packet thread never waits for it.
//!
//! 1. `runner`: the thread's loop: what is due is started, what has come in goes to the board, what
//!    follows to the balancer.
//! 2. `pins`: the flows of probes through the tunnel, pinned in the balancer before their first
//!    packet.
//! 3. `socket`: the probes' sockets.
//! 4. `probe`: what is sent, a file for each type of check.

mod pins;
mod probe;
mod runner;
mod socket;
mod trace;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::balancer::{Change, ChangeError};
use crate::health::{BoardReport, Event, Plan, PlannedCheck};
use runner::Runner;

/// What checks need of the balancer: that it takes changes.
pub(super) trait TakesChanges: Send + Sync + 'static {
    /// Has the changes applied in their order, up to the first that is refused.
    fn take(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = anyhow::Result<Result<(), ChangeError>>> + Send;
}

/// A check that was run on request.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// The check.
    pub(super) check: PlannedCheck,
    /// Whether it has passed.
    pub(super) passed: bool,
    /// What was found.
    pub(super) detail: String,
    /// What was done, and when, since the start.
    pub(super) steps: Vec<(Duration, &'static str)>,
    /// How long it took.
    pub(super) took: Duration,
}

/// What is asked of the thread.
#[derive(Debug)]
enum Message {
    /// Another plan.
    Adopt(Plan),
    /// Who would be down with that plan.
    Preview(Plan, oneshot::Sender<Vec<(String, IpAddr)>>),
    /// The balancer may have forgotten who is down.
    Repeat,
    /// Something makes the real server doubtful.
    Hurry(IpAddr),
    /// Which services have no quorum.
    WithoutQuorum(oneshot::Sender<Vec<String>>),
    /// The state of everything.
    Report(oneshot::Sender<BoardReport>),
    /// The checks of this real server, now.
    Check(IpAddr, oneshot::Sender<Vec<Checked>>),
}

/// The thread's end of the line.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::UnboundedReceiver<Message>);

impl Inbox {
    /// Starts the thread, which tells `balancer` and `events` what follows. `seed` is for jitter.
    /// It ends when the last handle is dropped.
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    pub(super) fn start(
        self,
        balancer: impl TakesChanges,
        events: mpsc::UnboundedSender<Event>,
        seed: u64,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("could not start the health checks' runtime")?;
        let runner = Runner::new(balancer, self.0, events, seed);
        std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || runtime.block_on(runner.run()))
            .context("could not start the health checks' thread")?;
        Ok(())
    }
}

/// The thread, from outside.
#[derive(Clone, Debug)]
pub(super) struct Checks {
    outbox: mpsc::UnboundedSender<Message>,
}

impl Checks {
    /// The line to a thread that is to be started, and that thread's end of it.
    pub(super) fn new() -> (Inbox, Self) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        (Inbox(inbox), Self { outbox })
    }

    /// From now on these are the checks.
    pub(super) fn adopt(&self, plan: Plan) {
        self.send(Message::Adopt(plan));
    }

    /// Who would be down at once with that plan: to be told to the balancer together with the real
    /// servers.
    pub(super) async fn preview(&self, plan: Plan) -> Vec<(String, IpAddr)> {
        self.ask(|answer| Message::Preview(plan, answer)).await
    }

    /// The balancer may have forgotten who is down: it is told again.
    pub(super) fn repeat(&self) {
        self.send(Message::Repeat);
    }

    /// Something makes the real server doubtful: its checks run as soon as they may.
    pub(super) fn hurry(&self, real: IpAddr) {
        self.send(Message::Hurry(real));
    }

    /// The services that have no quorum.
    pub(super) async fn without_quorum(&self) -> Vec<String> {
        self.ask(Message::WithoutQuorum).await
    }

    /// The state of everything.
    pub(super) async fn report(&self) -> BoardReport {
        self.ask(Message::Report).await
    }

    /// The same for a thread that may wait.
    pub(super) fn blocking_report(&self) -> BoardReport {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Report(answer));
        answered.blocking_recv().unwrap_or_default()
    }

    /// Runs all checks of a real server once, beside their schedule.
    pub(super) async fn check(&self, real: IpAddr) -> Vec<Checked> {
        self.ask(|answer| Message::Check(real, answer)).await
    }

    fn send(&self, message: Message) {
        // A thread that has ended leaves everything as it is; the log says why.
        let _ = self.outbox.send(message);
    }

    async fn ask<A: Default>(&self, message: impl FnOnce(oneshot::Sender<A>) -> Message) -> A {
        let (answer, answered) = oneshot::channel();
        self.send(message(answer));
        answered.await.unwrap_or_default()
    }
}
