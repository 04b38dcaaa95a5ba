//! Reading the configuration again. The main task does it, which has the host's session.

use std::path::PathBuf;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use super::messages::Message;
use super::wishes;
use crate::app::config_file;
use crate::app::host::Session;
use crate::app::line::Line;
use crate::balancer::Change;
use crate::config;

/// Reloads that wait for the main task; more of their askers wait.
const WAITING: usize = 4;

/// What was done, or why nothing was.
type Outcome = anyhow::Result<String>;

/// Where others ask for a reload.
#[derive(Clone, Debug)]
pub(super) struct Orders(mpsc::Sender<oneshot::Sender<Outcome>>);

/// Where the main task hears of it.
pub(super) type Inbox = mpsc::Receiver<oneshot::Sender<Outcome>>;

impl Orders {
    pub(super) fn new() -> (Self, Inbox) {
        let (orders, inbox) = mpsc::channel(WAITING);
        (Self(orders), inbox)
    }

    /// Asks for a reload and waits for what comes of it.
    pub(super) async fn reload(&self) -> Outcome {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.ok().context("the director is stopping")?;
        answered.await.context("the director is stopping")?
    }
}

/// The configuration that runs, and where the next one is read.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) config: config::Director,
    pub(super) path: PathBuf,
    pub(super) force: bool,
    pub(super) line: Line<Message>,
}

impl Running {
    /// Reads the configuration again and applies what differs, to the balancer and to the host; a faulty one, or one
    /// that the host is not fit for, changes nothing. What comes of it is in the log, whoever asked.
    pub(super) async fn reload(&mut self, session: &mut Session) -> Outcome {
        let outcome = self.apply_file(session).await;
        match &outcome {
            Ok(done) => log::info!("{done}"),
            Err(error) => log::error!("reload: {error:#}; what was running runs on"),
        }
        outcome
    }

    async fn apply_file(&mut self, session: &mut Session) -> Outcome {
        let (wanted, changes) = config_file::reload(&self.path, &self.config)?;
        let count = changes.len();
        let plan = session.plan_director(&wishes(&wanted, self.force)).await?;
        // A new real server must not be without its tunnel's source.
        let sources = Change::SetSources(plan.outer_sources());
        self.apply(std::iter::once(sources).chain(changes).collect()).await?;
        if let Err(error) = session.install(plan).await {
            self.take_back(&wanted).await;
            return Err(error);
        }
        self.config = wanted;
        Ok(format!("reloaded {}: {count} changes", self.path.display()))
    }

    pub(super) async fn apply(&self, changes: Vec<Change>) -> anyhow::Result<()> {
        Ok(self.line.ask(|answer| Message::Apply { changes, answer }).await??)
    }

    /// The way back from `wanted`. What the configuration cannot name, connections of a service that was away, is
    /// lost.
    async fn take_back(&self, wanted: &config::Director) {
        let Ok(changes) = config::diff(wanted, &self.config) else { return };
        if let Err(error) = self.apply(changes).await {
            log::error!("reload: the balancer cannot go back to what was running: {error:#}");
        }
    }
}
