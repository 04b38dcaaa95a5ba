//! Undoes steps, last one first; a failure is logged and the rest goes on.

use anyhow::{Result, bail};
use log::{error, info, warn};

use crate::host::Step;

use super::apply::{Undone, undo};
use super::{Session, state};

/// Why steps are undone; decides the log level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// The program ends.
    End,
    /// The plan does not have them any more.
    Prune,
    /// A later step failed.
    RollBack,
}

/// One undone step, for messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UndoReport {
    /// The step.
    pub(crate) step: String,
    /// The result.
    pub(crate) result: String,
}

impl Session {
    /// Undoes everything, then removes the state file, the control socket, the lock and the
    /// directory if it was created here. Steps that could not be undone stay in the state file.
    ///
    /// # Errors
    ///
    /// The number of steps that could not be undone; each is in the log.
    pub async fn undo(&mut self) -> Result<()> {
        self.finish().await.map(|_| ())
    }

    /// As [`Self::undo`], and returns the result of each step.
    pub(crate) async fn finish(&mut self) -> Result<Vec<UndoReport>> {
        for (_, saying) in self.announcing.drain(..) {
            saying.abort();
        }
        self.announced.clear();
        self.listening.listen_for([].iter(), &self.last);
        self.events = None;
        let outcomes = self.undo_steps(self.state.steps.clone(), Mode::End).await;
        self.role = None;
        let left = self.state.steps.len();
        if left > 0 {
            bail!(
                "{left} changes of this host could not be undone; `vstun cleanup` tries again, {} names them",
                self.files.state().display()
            );
        }
        self.save().await?;
        Ok(outcomes)
    }

    pub(super) async fn undo_steps(&mut self, steps: Vec<Step>, mode: Mode) -> Vec<UndoReport> {
        let others = state::living(&self.files, &self.state.namespace);
        let mut outcomes = Vec::new();
        for step in steps.into_iter().rev() {
            let result = match undo(&step, &self.netlink, &others).await {
                Ok(undone) => {
                    self.state.forget(&step);
                    describe(&step, undone, mode)
                }
                Err(error) => {
                    error!("cannot undo {step}: {error:#}");
                    format!("failed: {error:#}")
                }
            };
            outcomes.push(UndoReport { step: step.to_string(), result });
        }
        if !outcomes.is_empty()
            && let Err(error) = self.save().await
        {
            warn!("{error:#}");
        }
        outcomes
    }
}

fn describe(step: &Step, undone: Undone, mode: Mode) -> String {
    let result = match undone {
        Undone::Yes => "undone",
        Undone::Gone => "was gone already",
        Undone::AsBefore => "was as before already",
        Undone::Changed => "left alone: another program has changed it since",
        Undone::Claimed => "left to another daemon that relies on it",
    };
    match (mode, undone) {
        (Mode::Prune, _) | (_, Undone::Changed | Undone::Claimed) => info!("{step}: {result}"),
        _ => log::debug!("{step}: {result}"),
    }
    result.to_owned()
}
