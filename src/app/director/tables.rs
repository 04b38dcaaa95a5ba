//! Maglev tables, computed on another thread: thousands of them take seconds, during which the
//! control socket and signals have to be served.

use anyhow::{Context, bail};
use tokio::task::spawn_blocking;

use crate::app::latest::{Latest, Published};
use crate::balancer::Change;
use crate::balancer::maglev::MaglevTables;
use crate::control::ReloadPlan;

/// Computes tables on a blocking thread until it is stopped.
#[derive(Clone, Debug)]
pub(super) struct Builder(Published<bool>);

impl Builder {
    pub(super) fn new() -> Self {
        Self(Published::new(false))
    }

    /// Stops: no further table is begun, and waiting callers get an error.
    pub(super) fn stop(&self) {
        self.0.replace(true);
    }

    /// Whether it was stopped, for others that stop with it.
    pub(super) fn stopping(&self) -> Latest<bool> {
        self.0.latest()
    }

    /// Whether it was stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.0.get()
    }

    /// Appends the tables that the changes need, and returns them with their [`MaglevTables`].
    ///
    /// # Errors
    /// The director is stopping; the tables are lost.
    pub(super) async fn with_tables(
        &self,
        mut maglev_tables: MaglevTables,
        mut changes: Vec<Change>,
    ) -> anyhow::Result<(MaglevTables, Vec<Change>)> {
        maglev_tables.note_all(&changes);
        if maglev_tables.is_current() {
            return Ok((maglev_tables, changes));
        }
        let stopping = self.0.latest();
        let make = move || {
            let tables = maglev_tables.make_while(|| !stopping.get())?;
            changes.extend(tables);
            Some((maglev_tables, changes))
        };
        self.work(make).await?.context(STOPPING)
    }

    /// Adds to the plan which share of slots moves between the two sets of tables.
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

    /// Waits for work that may be abandoned when the director stops, such as reading a file.
    ///
    /// # Errors
    /// Those of the work; the director is stopping.
    pub(super) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut stopping = self.0.latest();
        tokio::select! {
            done = work => done,
            () = stopping.until(|stopping| *stopping) => bail!(STOPPING),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut stopping = self.0.latest();
        tokio::select! {
            done = spawn_blocking(work) => done.context("the Maglev tables could not be made"),
            () = stopping.until(|stopping| *stopping) => bail!(STOPPING),
        }
    }
}

const STOPPING: &str = "the director is stopping";
