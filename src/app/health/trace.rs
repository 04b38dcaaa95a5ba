//! The steps of a probe so far, with their times.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The flow is pinned in the balancer.
pub(super) const PINNED: &str = "pinned";

/// The TCP handshake is done.
pub(super) const CONNECTED: &str = "connected";

/// The answer, or its first part, is there.
pub(super) const ANSWERED: &str = "answered";

/// The most steps of a probe that are kept. A peer that sends many answers which count for nothing
/// makes more of them.
const MAX_STEPS: usize = 32;

/// The steps of one probe. They outlive it, to show how far it came when it timed out.
#[derive(Debug)]
pub(super) struct Trace {
    began: Instant,
    steps: Mutex<Vec<(Duration, &'static str)>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), steps: Mutex::new(Vec::with_capacity(4)) }
    }

    /// Records that the step is done.
    pub(super) fn step(&self, what: &'static str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.truncate(MAX_STEPS - 1);
        steps.push((self.began.elapsed(), what));
    }

    /// The time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The last step done.
    pub(super) fn last(&self) -> Option<&'static str> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.last().map(|(_, what)| *what)
    }

    /// All steps.
    pub(super) fn into_steps(self) -> Vec<(Duration, &'static str)> {
        self.steps.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_kept_of_however_many() {
        let trace = Trace::new();
        for _ in 0..1_000 {
            trace.step("an answer to another question");
        }
        trace.step("answered");
        assert_eq!(trace.last(), Some("answered"));
        assert_eq!(trace.into_steps().len(), MAX_STEPS);
    }
}
