//! Maglev tables, made beside the control thread: thousands of them take seconds, in which the
//! control socket has to answer and signals to be obeyed.

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::balancer::Change;
use crate::balancer::maglev::MaglevTables;
use crate::control::ReloadPlan;

/// Has tables made by a thread of their own, one after the other, until it is told to stop.
#[derive(Clone, Debug)]
pub(super) struct Builder(watch::Sender<bool>);

impl Builder {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// No table is begun any more, and whoever waits for some is told so.
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// The changes with the tables that they need behind them, and the keeper that has made them.
    ///
    /// # Errors
    /// The director is stopping; the keeper is lost.
    pub(super) async fn follow(
        &self,
        mut maglev_tables: MaglevTables,
        mut changes: Vec<Change>,
    ) -> anyhow::Result<(MaglevTables, Vec<Change>)> {
        maglev_tables.note_all(&changes);
        if maglev_tables.is_current() {
            return Ok((maglev_tables, changes));
        }
        let stopping = self.0.subscribe();
        let make = move || {
            let tables = maglev_tables.make_while(|| !*stopping.borrow())?;
            changes.extend(tables);
            Some((maglev_tables, changes))
        };
        self.work(make).await?.context(STOPPING)
    }

    /// The plan with what moves from one keeper's tables to the other's.
    ///
    /// # Errors
    /// The director is stopping.
    pub(super) async fn compare(
        &self,
        plan: ReloadPlan,
        now: MaglevTables,
        then: MaglevTables,
    ) -> anyhow::Result<ReloadPlan> {
        self.work(move || plan.with_tables(&now, &then)).await
    }

    /// Waits for something that need not come to its end when the director stops, such as a file to
    /// be read.
    ///
    /// # Errors
    /// Its own; the director is stopping.
    pub(super) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut stopping = self.0.subscribe();
        tokio::select! {
            done = work => done,
            _ = stopping.wait_for(|stopping| *stopping) => bail!(STOPPING),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut stopping = self.0.subscribe();
        tokio::select! {
            done = spawn_blocking(work) => done.context("the Maglev tables could not be made"),
            _ = stopping.wait_for(|stopping| *stopping) => bail!(STOPPING),
        }
    }
}

const STOPPING: &str = "the director is stopping";
