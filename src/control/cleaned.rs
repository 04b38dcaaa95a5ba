//! What `cleanup` has done, at one control socket.

use serde::{Deserialize, Serialize};

/// What was undone there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cleaned {
    /// The control socket of the daemon that was killed.
    pub socket: String,
    /// The steps that were undone; none where nothing was left.
    pub steps: Vec<CleanedStep>,
    /// The whole in words.
    pub done: String,
}

/// One step.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CleanedStep {
    /// What the daemon had done.
    pub step: String,
    /// What has become of it.
    pub result: String,
}

impl Cleaned {
    /// Lines for people.
    #[must_use]
    pub fn human(&self) -> String {
        let step = |CleanedStep { step, result }: &CleanedStep| format!("{step}: {result}\n");
        self.steps.iter().map(step).chain([format!("{}\n", self.done)]).collect()
    }
}
