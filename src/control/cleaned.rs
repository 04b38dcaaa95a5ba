//! The answer of `cleanup` for one control socket.

use serde::{Deserialize, Serialize};

use super::Layout;

/// The undone steps of one daemon.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cleaned {
    /// The control socket of the killed daemon.
    pub socket: String,
    /// The undone steps; empty if there were none.
    pub steps: Vec<CleanedStep>,
    /// The result as text.
    pub done: String,
}

/// One step.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CleanedStep {
    /// The step of the daemon.
    pub step: String,
    /// The result of undoing it.
    pub result: String,
}

impl Cleaned {
    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let step = |CleanedStep { step, result }: &CleanedStep| {
            layout.record(&format!("{step}: {result}"))
        };
        self.steps.iter().map(step).chain([layout.record(&self.done)]).collect()
    }
}
