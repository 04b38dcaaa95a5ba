//! What is asked of the main task, which alone has the host's session and the running
//! configuration: one thing at a time.

use std::fmt;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::app::serve::Peer;
use crate::control::{Alteration, Event, ReloadPlan, Request};

/// Orders that wait for the main task; more of their askers wait.
const WAITING: usize = 4;

/// Who asks for something.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Somebody at the control socket.
    Operator(Peer),
    /// SIGHUP.
    Signal,
    /// The director itself, after a change of its host.
    Host,
    /// The director itself, because of time or traffic.
    Director,
    /// A health check.
    Health,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct AdminCommand {
    pub(super) request: Request,
    /// What followed the request.
    pub(super) body: Vec<u8>,
    pub(super) origin: Origin,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was done.
    Done(Done),
    /// What would be done.
    Planned(ReloadPlan),
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// In words.
    pub(super) text: String,
    /// What has changed by it.
    pub(super) changes: Vec<Alteration>,
    /// What is odd about the host since.
    pub(super) warnings: Vec<String>,
}

/// What was done, or why nothing was.
pub(super) type CommandResult = anyhow::Result<Answer>;

/// An order, and where its outcome goes.
pub(super) type PendingCommand = (AdminCommand, oneshot::Sender<CommandResult>);

/// Where others give orders.
#[derive(Clone, Debug)]
pub(super) struct AdminCommands(mpsc::Sender<PendingCommand>);

/// Where the main task hears of them.
pub(super) type CommandQueue = mpsc::Receiver<PendingCommand>;

impl AdminCommands {
    pub(super) fn new() -> (Self, CommandQueue) {
        let (commands, inbox) = mpsc::channel(WAITING);
        (Self(commands), inbox)
    }

    /// Gives an order and waits for what comes of it.
    pub(super) async fn give(&self, command: AdminCommand) -> CommandResult {
        let (answer, answered) = oneshot::channel();
        self.0.send((command, answer)).await.ok().context("the director is stopping")?;
        answered.await.context("the director is stopping")?
    }
}

impl Answer {
    /// As it is told: each change on its line, or that there was none.
    pub(super) fn of(changes: Vec<Alteration>) -> Self {
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let text =
            if lines.is_empty() { "nothing has changed".to_owned() } else { lines.join("\n") };
        Self::done(text, changes)
    }

    pub(super) fn done(text: String, changes: Vec<Alteration>) -> Self {
        Self::Done(Done { text, changes, warnings: Vec::new() })
    }

    /// The same with what is odd about the host since.
    pub(super) fn with(self, warnings: Vec<String>) -> Self {
        match self {
            Self::Done(done) => Self::Done(Done { warnings, ..done }),
            planned @ Self::Planned(_) => planned,
        }
    }
}

impl Origin {
    /// The event of a change that the verb has made.
    pub(super) fn event(&self, verb: &str, change: Alteration) -> Event {
        let peer = if let Self::Operator(peer) = self { Some(peer) } else { None };
        let now = jiff::Timestamp::now();
        Event {
            time: format!("{now:.3}"),
            who: self.name().to_owned(),
            uid: peer.map(|peer| peer.uid),
            gid: peer.map(|peer| peer.gid),
            pid: peer.and_then(|peer| peer.pid),
            verb: verb.to_owned(),
            change,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Signal => "signal",
            Self::Host => "host",
            Self::Director => "director",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Operator(peer) => write!(f, ", {peer}"),
            Self::Signal | Self::Host | Self::Director | Self::Health => Ok(()),
        }
    }
}
