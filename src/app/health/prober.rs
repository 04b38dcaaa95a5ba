//! Runs single probes.

use std::sync::Arc;
use std::time::Instant;

use super::pins::Pins;
use super::socket::{KeptProbe, ProbeTarget};
use super::trace::Trace;
use super::{CheckRun, TakesChanges, probe};
use crate::control::printable_line;
use crate::health::{Patterns, PlannedCheck, ProbeResult};
use crate::model::Millis;

/// The longest text of a result, in characters. Texts contain what servers have sent.
const MAX_DETAIL: usize = 200;

/// What all probes of a plan use.
#[derive(Debug)]
pub(super) struct Prober<B> {
    pub(super) pins: Arc<Pins<B>>,
    /// The regular expressions of the plan's checks.
    pub(super) patterns: Patterns,
    /// The time from which the board counts.
    pub(super) started: Instant,
}

impl<B: TakesChanges> Prober<B> {
    /// The same with the regular expressions of another plan.
    pub(super) fn with(&self, patterns: Patterns) -> Self {
        Self { pins: Arc::clone(&self.pins), patterns, started: self.started }
    }

    /// The time for the board.
    pub(super) fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// One probe, and what its check keeps.
    pub(super) async fn once(
        &self,
        check: &PlannedCheck,
        kept: Option<KeptProbe>,
    ) -> (ProbeResult, Option<KeptProbe>) {
        self.traced(check, kept, &Trace::new()).await
    }

    /// Runs one check outside of any schedule, with its steps.
    pub(super) async fn apart(&self, check: PlannedCheck) -> CheckRun {
        let trace = Trace::new();
        let (result, kept) = self.traced(&check, None, &trace).await;
        self.pins.release(kept.iter().map(|kept| kept.flow).collect()).await;
        let ProbeResult { passed, detail, took, .. } = result;
        CheckRun { check, passed, detail, steps: trace.into_steps(), took }
    }

    async fn traced(
        &self,
        check: &PlannedCheck,
        mut kept: Option<KeptProbe>,
        trace: &Trace,
    ) -> (ProbeResult, Option<KeptProbe>) {
        let mut target = ProbeTarget {
            check,
            pins: &self.pins,
            patterns: &self.patterns,
            kept: &mut kept,
            holds_port: false,
            trace,
            refuses: None,
            refused: false,
        };
        let answer = probe::run(&mut target).await;
        let took = trace.elapsed();
        // State of a failed probe at the other end could disturb the next one from the same port.
        if !answer.passed
            && let Some(kept) = kept.take()
        {
            self.pins.release_later(vec![kept.flow]);
        }
        let at = self.now();
        let probe::ProbeAnswer { passed, refused, detail, reported } = answer;
        let detail = on_one_line(detail);
        (ProbeResult { at, passed, refused, detail, took, reported }, kept)
    }
}

/// The text without control characters, up to [`MAX_DETAIL`].
fn on_one_line(detail: String) -> String {
    if detail.len() <= MAX_DETAIL && !detail.contains(char::is_control) {
        return detail;
    }
    printable_line(&detail).chars().take(MAX_DETAIL).collect()
}
