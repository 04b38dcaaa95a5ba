//! Commands to the main task, which alone owns the host's session and the running configuration and
//! runs one command at a time.

use std::fmt;
use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;
use log::Level;
use tokio::sync::{mpsc, oneshot};

use crate::control::{
    Alteration, AlterationText, Event, HostStatus, Origin, ReloadPlan, Request, Status,
};

/// Commands queued for the main task; further senders wait.
const WAITING: usize = 4;

/// A command.
#[derive(Debug)]
pub(super) struct AdminCommand {
    pub(super) request: Request,
    /// The text after the request's line.
    pub(super) body: Vec<u8>,
    pub(super) origin: Origin,
}

/// The result of a command.
#[derive(Debug)]
pub(super) enum Answer {
    /// The command was carried out.
    Done(Done),
    /// What a reload would do.
    Planned(ReloadPlan),
}

/// What a command did.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// As text.
    pub(super) text: String,
    /// The changes it made.
    pub(super) changes: Vec<Alteration>,
    /// New warnings about the host, caused by this command.
    pub(super) warnings: Vec<String>,
}

/// The result, or why nothing was changed.
pub(super) type CommandResult = anyhow::Result<Answer>;

/// A command, and the channel for its result.
pub(super) type PendingCommand = (AdminCommand, oneshot::Sender<CommandResult>);

/// Sends commands to the main task.
#[derive(Clone, Debug)]
pub(super) struct AdminCommands(mpsc::Sender<PendingCommand>);

/// The main task's end of the queue.
pub(super) type CommandQueue = mpsc::Receiver<PendingCommand>;

impl AdminCommands {
    pub(super) fn new() -> (Self, CommandQueue) {
        let (commands, inbox) = mpsc::channel(WAITING);
        (Self(commands), inbox)
    }

    /// Sends a command and waits for its result.
    pub(super) async fn give(&self, command: AdminCommand) -> CommandResult {
        let (answer, answered) = oneshot::channel();
        self.0.send((command, answer)).await.ok().context("the daemon is stopping")?;
        answered.await.context("the daemon is stopping")?
    }
}

impl Answer {
    /// A result with this text: each change on its line, or that there was none.
    pub(super) fn of(changes: Vec<Alteration>) -> Self {
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let text =
            if lines.is_empty() { "nothing has changed".to_owned() } else { lines.join("\n") };
        Self::done(text, changes)
    }

    pub(super) fn done(text: String, changes: Vec<Alteration>) -> Self {
        Self::Done(Done { text, changes, warnings: Vec::new() })
    }

    /// This result with new warnings about the host.
    pub(super) fn with(self, warnings: Vec<String>) -> Self {
        match self {
            Self::Done(done) => Self::Done(Done { warnings, ..done }),
            planned @ Self::Planned(_) => planned,
        }
    }
}

impl Done {
    /// The reply of the daemon of that role, which has been ready since that moment.
    pub(super) fn status(self, role: &str, since: Instant, host: HostStatus) -> Status {
        Status {
            role: role.to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: since.elapsed().as_secs(),
            done: self.text,
            changes: self.changes.iter().map(AlterationText::from).collect(),
            warnings: self.warnings,
            host,
        }
    }
}

/// The event of a change that was made just now.
pub(super) fn event(origin: Origin, verb: &'static str, change: Alteration) -> Event {
    let now = Timestamp::now();
    // To the displayed precision, so that a client finds the event by the time that it has read.
    let time = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    Event { time, origin, verb, change }
}

/// Logs the outcome of a command of any origin; returns the changes that become events. A verb's
/// changes are logged as events, so the verb itself is logged only if there are none; a reload
/// always is.
pub(super) fn log_outcome<'a>(
    origin: Origin,
    verb: &str,
    outcome: &'a CommandResult,
) -> &'a [Alteration] {
    match outcome {
        Ok(Answer::Done(Done { text, changes, .. })) => {
            if changes.is_empty() || verb == "reload" {
                log(origin, Level::Info, verb, text);
            }
            changes
        }
        Ok(Answer::Planned(_)) => &[],
        Err(error) => {
            log_refused(origin, verb, error);
            &[]
        }
    }
}

/// Logs the result of this origin's command.
fn log(origin: Origin, level: Level, verb: &str, text: impl fmt::Display) {
    let credentials = origin.credentials();
    let (uid, gid) = credentials.map(|one| (one.uid, one.gid)).unzip();
    let pid = credentials.and_then(|one| one.pid);
    log::log!(level, who = origin.name(), uid, gid, pid, verb; "{text} ({verb} by {origin})");
}

/// Logs that a command of this origin was refused. A client of the control socket gets the error
/// itself, often a typing mistake, so that is not a warning.
fn log_refused(origin: Origin, verb: &str, error: &anyhow::Error) {
    let level = if origin.credentials().is_some() { Level::Info } else { Level::Error };
    log(origin, level, verb, format_args!("{verb}: {error:#}; what was running runs on"));
}
