//! Health checks: a thread that sends the probes that are due and reports the results to the
//! balancer. The packet thread never waits for it.
//!
//! 1. `runner`: the thread's loop: it starts due probes, passes their results to the board, and the
//!    board's changes to the balancer.
//! 2. `prober`: one probe, and what its check keeps of it.
//! 3. `pins`: the flows of probes through the tunnel, pinned in the balancer before their first
//!    packet.
//! 4. `socket`: the probes' sockets.
//! 5. `probe`: the probes, a file for each type of check.

mod late;
mod pins;
mod probe;
mod prober;
mod runner;
mod socket;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::balancer::{Change, ChangeError, ProbeFlow};
use crate::health::{BoardReport, Doubt, HealthEvent, Plan, PlannedCheck};
use crate::model::{AdminState, WeightStep};
use runner::Runner;

pub(super) use pins::FlowRefusal;

/// The checks' interface to the balancer: it applies changes.
pub(super) trait TakesChanges: Send + Sync + 'static {
    /// Applies the changes in order, up to the first that is refused.
    fn take(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = anyhow::Result<Result<(), ChangeError>>> + Send;
}

/// A check that was run on request.
#[derive(Clone, Debug)]
pub(super) struct CheckRun {
    /// The check.
    pub(super) check: PlannedCheck,
    /// Whether it has passed.
    pub(super) passed: bool,
    /// The result as text.
    pub(super) detail: String,
    /// The steps done, with their times since the start.
    pub(super) steps: Vec<(Duration, &'static str)>,
    /// How long it took.
    pub(super) took: Duration,
}

/// A message to the thread.
#[derive(Debug)]
enum HealthMessage {
    /// Another plan.
    Adopt(Plan),
    /// Asks which real servers would be down with that plan.
    Preview(Plan, oneshot::Sender<Vec<(String, IpAddr)>>),
    /// Sends the health of all real servers again: the balancer may have lost it.
    Repeat,
    /// The states that operators have set for real servers of services.
    Want(Vec<(String, IpAddr, AdminState)>),
    /// There is a doubt about the real server.
    Hurry(IpAddr, Doubt),
    /// An ICMP error quotes a probe of the real server.
    Refuse { flow: ProbeFlow, real: IpAddr, refusal: FlowRefusal },
    /// Asks which services have no quorum.
    WithoutQuorum(oneshot::Sender<Vec<String>>),
    /// Asks for the real servers' shares of their weights, in steps.
    Steps(oneshot::Sender<HashMap<(String, IpAddr), WeightStep>>),
    /// Asks for the state of all checks.
    Report(oneshot::Sender<BoardReport>),
    /// Runs these checks, which belong to no service, now.
    Probe(Vec<PlannedCheck>, oneshot::Sender<Vec<CheckRun>>),
    /// Runs the checks of this real server now.
    Check(IpAddr, oneshot::Sender<Vec<CheckRun>>),
}

/// The thread's receiver.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::UnboundedReceiver<HealthMessage>);

impl Inbox {
    /// Starts the thread, which sends changes to `balancer` and events to `events`. `seed` is for
    /// jitter. It ends when the last handle is dropped.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub(super) fn start(
        self,
        balancer: impl TakesChanges,
        events: mpsc::UnboundedSender<HealthEvent>,
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
            .spawn(move || {
                // A spawned task is woken without a system call, unlike the future of `block_on`,
                // and each finished probe wakes the runner.
                runtime.block_on(async { drop(tokio::spawn(runner.run()).await) });
            })
            .context("could not start the health checks' thread")?;
        Ok(())
    }
}

/// A handle of the thread.
#[derive(Clone, Debug)]
pub(super) struct HealthThread {
    outbox: mpsc::UnboundedSender<HealthMessage>,
}

impl HealthThread {
    /// A handle of a thread yet to be started, and that thread's receiver.
    pub(super) fn new() -> (Inbox, Self) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        (Inbox(inbox), Self { outbox })
    }

    /// Makes these the current checks.
    pub(super) fn adopt(&self, plan: Plan) {
        self.send(HealthMessage::Adopt(plan));
    }

    /// The real servers that would be down at once with that plan; the balancer gets their health
    /// together with the real servers.
    pub(super) async fn preview(&self, plan: Plan) -> Vec<(String, IpAddr)> {
        self.ask(|answer| HealthMessage::Preview(plan, answer)).await
    }

    /// Sends the health of all real servers to the balancer again, because it may have lost it.
    pub(super) fn repeat(&self) {
        self.send(HealthMessage::Repeat);
    }

    /// Passes the states on that the operator has set.
    pub(super) fn want(&self, states: Vec<(String, IpAddr, AdminState)>) {
        self.send(HealthMessage::Want(states));
    }

    /// Brings the real server's checks forward because of a doubt, as far as the shortest time
    /// between extra probes allows.
    pub(super) fn hurry(&self, real: IpAddr, doubt: Doubt) {
        self.send(HealthMessage::Hurry(real, doubt));
    }

    /// An ICMP error quotes the probe with this flow: it fails without waiting for its timeout.
    pub(super) fn refuse(&self, flow: ProbeFlow, real: IpAddr, refusal: FlowRefusal) {
        self.send(HealthMessage::Refuse { flow, real, refusal });
    }

    /// The services that have no quorum.
    pub(super) async fn without_quorum(&self) -> Vec<String> {
        self.ask(HealthMessage::WithoutQuorum).await
    }

    /// The shares of their weights that real servers have where flows are placed by hash, if not
    /// the whole weight.
    pub(super) async fn steps(&self) -> HashMap<(String, IpAddr), WeightStep> {
        self.ask(HealthMessage::Steps).await
    }

    /// The state of all checks.
    pub(super) async fn report(&self) -> BoardReport {
        self.ask(HealthMessage::Report).await
    }

    /// As [`Self::report`], for a thread that may block.
    pub(super) fn blocking_report(&self) -> BoardReport {
        let (answer, answered) = oneshot::channel();
        self.send(HealthMessage::Report(answer));
        answered.blocking_recv().unwrap_or_default()
    }

    /// Runs all checks of a real server once, apart from their schedule.
    pub(super) async fn check(&self, real: IpAddr) -> Vec<CheckRun> {
        self.ask(|answer| HealthMessage::Check(real, answer)).await
    }

    /// Runs checks that belong to no service, once; their results change nothing.
    pub(super) async fn probe(&self, checks: Vec<PlannedCheck>) -> Vec<CheckRun> {
        self.ask(|answer| HealthMessage::Probe(checks, answer)).await
    }

    fn send(&self, message: HealthMessage) {
        // If the thread has ended nothing changes; the log has the reason.
        let _ = self.outbox.send(message);
    }

    async fn ask<A: Default>(
        &self,
        message: impl FnOnce(oneshot::Sender<A>) -> HealthMessage,
    ) -> A {
        let (answer, answered) = oneshot::channel();
        self.send(message(answer));
        answered.await.unwrap_or_default()
    }
}
