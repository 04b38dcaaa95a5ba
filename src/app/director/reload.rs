//! Reading the configuration again. The main task does it, which has the host's session.

use std::path::PathBuf;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use super::messages::Message;
use super::wishes;
use crate::app::config_file;
use crate::app::host::Session;
use crate::app::line::Line;
use crate::balancer::maglev::Keeper;
use crate::balancer::{Change, Seed};
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
    config: config::Director,
    path: PathBuf,
    force: bool,
    line: Line<Message>,
    /// Makes the Maglev tables, here and not where packets would wait for it.
    keeper: Keeper,
    /// What flows are placed by where the configuration has no `hash_seed`.
    random: Seed,
}

impl Running {
    /// For a packet thread at the other end of `line` that has not heard of the configuration yet. `random` is for want
    /// of a `hash_seed`.
    pub(super) fn new(
        config: config::Director,
        path: PathBuf,
        force: bool,
        line: Line<Message>,
        random: Seed,
    ) -> Self {
        let keeper = Keeper::new(hash_seed(&config, random), config.maglev_slots);
        Self { config, path, force, line, keeper, random }
    }

    /// What tells the packet thread of the configuration, but for its services.
    pub(super) fn settings(&self) -> [Change; 2] {
        let seed = hash_seed(&self.config, self.random);
        [Change::SetTimeouts(self.config.timeouts), Change::SetHashSeed(seed)]
    }

    pub(super) fn config(&self) -> &config::Director {
        &self.config
    }

    pub(super) fn line(&self) -> &Line<Message> {
        &self.line
    }

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
        let count = changes.len()
            + usize::from(wanted.hash_seed != self.config.hash_seed)
            + usize::from(wanted.maglev_slots != self.config.maglev_slots);
        let plan = session.plan_director(&wishes(&wanted, self.force)).await?;
        // A new real server must not be without its tunnel's source.
        let sources = Change::SetSources(plan.outer_sources());
        self.lead_to(&wanted, std::iter::once(sources).chain(changes).collect()).await?;
        if let Err(error) = session.install(plan).await {
            self.take_back(&wanted).await;
            return Err(error);
        }
        self.config = wanted;
        Ok(format!("reloaded {}: {count} changes", self.path.display()))
    }

    /// Applies changes to what runs, and with them the Maglev tables that they need.
    pub(super) async fn apply(&mut self, changes: Vec<Change>) -> anyhow::Result<()> {
        let (seed, slots) = (hash_seed(&self.config, self.random), self.config.maglev_slots);
        self.apply_with(seed, slots, changes).await
    }

    /// Applies the changes that lead to `wanted`, those of `hash_seed` and `maglev_slots` among them.
    async fn lead_to(
        &mut self,
        wanted: &config::Director,
        changes: Vec<Change>,
    ) -> anyhow::Result<()> {
        self.apply_with(hash_seed(wanted, self.random), wanted.maglev_slots, changes).await
    }

    async fn apply_with(
        &mut self,
        seed: Seed,
        slots: u32,
        changes: Vec<Change>,
    ) -> anyhow::Result<()> {
        // What is refused has not happened.
        let mut keeper = self.keeper.clone();
        let mut all = keeper.remake(seed, slots);
        all.extend(changes);
        let changes = keeper.follow(all);
        self.line.ask(|answer| Message::Apply { changes, answer }).await??;
        self.keeper = keeper;
        Ok(())
    }

    /// The way back from `wanted`. What the configuration cannot name, connections of a service that was away, is
    /// lost.
    async fn take_back(&mut self, wanted: &config::Director) {
        let Ok(changes) = config::diff(wanted, &self.config) else { return };
        if let Err(error) = self.apply(changes).await {
            log::error!("reload: the balancer cannot go back to what was running: {error:#}");
        }
    }
}

/// What flows are placed by: what the configuration says, or something that no client knows.
fn hash_seed(config: &config::Director, random: Seed) -> Seed {
    config.hash_seed.as_deref().map_or(random, Seed::from_text)
}
