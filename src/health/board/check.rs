//! One check on the board: its results so far, and when it runs next.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::health::cause::CheckFailure;
use crate::health::load::LastReport;
use crate::health::plan::PlannedCheck;
use crate::health::report::{AgentReport, CheckReport, ProbeResult};
use crate::health::schedule::{Doubt, Jitter};
use crate::health::spec::Initial;
use crate::health::state::{CheckState, Phase};
use crate::model::Millis;

/// The ID of a check while it is planned.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CheckId(pub(super) u64);

/// A check with its results.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) planned: PlannedCheck,
    pub(super) state: CheckState,
    pub(super) jitter: Jitter,
    /// When its next probe is due, if one is queued.
    pub(super) due: Millis,
    pub(super) queued: bool,
    /// How many of its probes are running: more than one only in a row that a doubt has begun.
    pub(super) running: u32,
    /// How many more probes of that row may start before there is a result.
    pub(super) ahead: u32,
    /// When to run again at the latest, since a doubt arose after the probe had started.
    pub(super) again: Option<Millis>,
    /// When the last extra probe was due, for each [`Doubt`].
    pub(super) hurried: [Option<Millis>; Doubt::COUNT],
    pub(super) started: Option<Millis>,
    pub(super) runs: u64,
    pub(super) lag: Duration,
    /// When it last changed between up and down.
    pub(super) since: Millis,
    pub(super) findings: VecDeque<ProbeResult>,
    /// The last reports of its agent or its program.
    pub(super) last_report: LastReport,
    /// Whether this plan has given it the state of a real server.
    pub(super) inherited: bool,
    /// Whether it is down only because it has not passed yet: it has never failed either.
    pub(super) waits: bool,
    /// Its services and real servers, as indexes on the board.
    pub(super) users: Vec<(usize, usize)>,
}

impl Check {
    pub(super) fn new(now: Millis, planned: PlannedCheck, seed: u64) -> Self {
        let (jitter, initial) = (Jitter(seed), planned.spec.timing.initial);
        Self {
            state: CheckState::new(initial),
            due: jitter.first(now, &planned.spec.timing),
            planned,
            jitter,
            queued: true,
            running: 0,
            ahead: 0,
            again: None,
            hurried: [None; Doubt::COUNT],
            started: None,
            runs: 0,
            lag: Duration::ZERO,
            since: now,
            findings: VecDeque::new(),
            last_report: LastReport::default(),
            inherited: false,
            waits: initial == Initial::Down,
            users: Vec::new(),
        }
    }

    /// Until its first result a check has the state of its real server. `waits`: that waits for its
    /// first result too.
    pub(super) fn begin_as(&mut self, initial: Initial, waits: bool) {
        (self.state, self.inherited, self.waits) = (CheckState::new(initial), true, waits);
    }

    /// Takes a result into its state.
    pub(super) fn take(&mut self, passed: bool) {
        self.state = self.state.after(passed, self.needed());
        self.waits &= passed && !self.state.phase().is_up();
    }

    /// When an extra probe is due for this doubt; `None` if the next probe is due earlier anyway.
    /// Doubts about a check that is down are ignored.
    pub(super) fn hurry(&mut self, now: Millis, doubt: Doubt) -> Option<Millis> {
        if self.state.phase() == Phase::Down {
            return None;
        }
        let last = self.hurried.get_mut(doubt as usize)?;
        let due = Jitter::hurried(now, *last, doubt, &self.planned.spec.timing);
        let queued = self.queued.then_some(self.due);
        let planned = [queued, self.again].into_iter().flatten().min();
        if planned.is_some_and(|planned| planned <= due) {
            return None;
        }
        *last = Some(due);
        if doubt.begins_row() {
            self.ahead = self.planned.spec.timing.fall.saturating_sub(self.running + 1);
        }
        Some(due)
    }

    /// Queues its next probe for that time, and no other.
    pub(super) fn queue_at(
        &mut self,
        queue: &mut BTreeSet<(Millis, CheckId)>,
        id: CheckId,
        due: Millis,
    ) {
        if self.queued {
            queue.remove(&(self.due, id));
        }
        (self.due, self.queued) = (due, true);
        queue.insert((due, id));
    }

    /// Records the start of a probe. In a row the next probe is due before this one ends.
    pub(super) fn start(&mut self, now: Millis) {
        self.lag = self.due.until(now);
        (self.queued, self.started) = (false, Some(now));
        self.running += 1;
        self.runs += 1;
        if let Some(left) = self.ahead.checked_sub(1) {
            let usual = self.findings.iter().find(|finding| finding.passed);
            let usual = usual.map_or(Duration::ZERO, |finding| finding.took);
            self.ahead = left;
            self.due = now.after(Jitter::beside(usual, &self.planned.spec.timing));
            self.queued = true;
        }
    }

    /// Records the end of a probe whose result the state contains already. Returns when the next
    /// one is due. `None`: it is queued already, or a running probe's result decides.
    pub(super) fn end(&mut self, now: Millis, finding: &ProbeResult) -> Option<Millis> {
        self.running = self.running.saturating_sub(1);
        if finding.passed || self.running == 0 {
            // A result ends the row; its queued probe is not needed.
            self.ahead = 0;
            return Some(self.next(now, finding));
        }
        self.sooner(now, finding).filter(|due| !self.queued || *due < self.due)
    }

    /// When the next probe is due after this result, which the state contains already.
    fn next(&mut self, now: Millis, finding: &ProbeResult) -> Millis {
        let timing = &self.planned.spec.timing;
        let started = self.started.unwrap_or(now);
        let in_doubt = self.state.phase().in_doubt();
        let due = self.jitter.next(started, self.runs, in_doubt, timing);
        let sooner = self.sooner(now, finding);
        let again = self.again.take();
        [sooner, again].into_iter().flatten().fold(due, Millis::min).max(now)
    }

    /// When the next probe is due after a refusal, if that is earlier than usual.
    fn sooner(&self, now: Millis, finding: &ProbeResult) -> Option<Millis> {
        let refused = finding.refused && !finding.passed;
        let started = self.started.unwrap_or(now);
        refused
            .then(|| Jitter::refused(now, started, self.state, &self.planned.spec.timing))
            .flatten()
    }

    /// When it failed last.
    pub(super) fn failed_at(&self) -> Option<Millis> {
        self.findings.iter().find(|finding| !finding.passed).map(|finding| finding.at)
    }

    /// The reason why its real server is down: its latest failure.
    pub(super) fn failure(&self) -> CheckFailure {
        let failed = self.findings.iter().find(|finding| !finding.passed);
        let found = failed.map(|finding| finding.detail.clone());
        CheckFailure { check: self.planned.spec.probe.name(), found }
    }

    fn agent(&self, now: Millis) -> AgentReport {
        let (reports, errors) = self.last_report.counts();
        let stale = !self.last_report.is_fresh(now, &self.planned.spec.timing);
        AgentReport { reports, errors, stale }
    }

    /// `name`: the name of the service with an index on the board.
    pub(super) fn report(
        &self,
        now: Millis,
        name: impl Fn(usize) -> Option<String>,
    ) -> CheckReport {
        let aged = |finding: &ProbeResult| (finding.at.until(now), finding.clone());
        CheckReport {
            check: self.planned.clone(),
            services: self.users.iter().filter_map(|(service, _)| name(*service)).collect(),
            phase: self.state.phase(),
            streak: self.state.streak(),
            since: self.since.until(now),
            next: self.queued.then(|| now.until(self.due)),
            lag: self.lag,
            runs: self.runs,
            findings: self.findings.iter().map(aged).collect(),
            agent: self.is_of_agent().then(|| self.agent(now)),
        }
    }
}
