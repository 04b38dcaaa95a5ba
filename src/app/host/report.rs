//! Reports problems of the host: in the log, as events, and in `list`, `stats` and `status`.

use std::net::IpAddr;
use std::time::SystemTime;

use log::{Level, warn};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::app::commands::event;
use crate::app::latest::{Latest, Published};
use crate::app::log_lines;
use crate::control::{Alteration, Altered, Event, HostStatus, Origin, Wrong, counted};
use crate::host::{
    CurrentProblems, OngoingProblem, OuterSources, Problem, ProblemChange, ProblemKind,
};

/// How many messages of one sort at the same time are logged one by one.
pub(super) const LOGGED: usize = 50;

/// The reported state, and its receivers.
#[derive(Debug)]
pub(super) struct HostReport {
    ledger: CurrentProblems,
    /// Problems that the daemon finds itself, without a look at the host.
    own: Vec<Problem>,
    put_back: u64,
    /// The TUN's current name.
    tun: String,
    status: Published<HostStatus>,
    events: UnboundedSender<Vec<Event>>,
    /// The receiver, until a caller takes it.
    listener: Option<UnboundedReceiver<Vec<Event>>>,
}

impl HostReport {
    pub(super) fn new() -> Self {
        let (events, listener) = mpsc::unbounded_channel();
        let status = Published::new(HostStatus::default());
        Self {
            ledger: CurrentProblems::default(),
            own: Vec::new(),
            put_back: 0,
            tun: String::new(),
            status,
            events,
            listener: Some(listener),
        }
    }

    /// Whether a check of the host has found no problem.
    pub(super) fn is_well(&self) -> bool {
        self.of_checks().next().is_none()
    }

    /// The problems that checks of the host have found.
    fn of_checks(&self) -> impl Iterator<Item = &Problem> {
        let own = |problem: &Problem| self.own.iter().any(|own| own.key() == problem.key());
        let all = self.ledger.ongoing().iter().map(|ongoing| &ongoing.problem);
        all.filter(move |problem| !own(problem))
    }

    /// Replaces the problems that the daemon finds itself.
    pub(super) fn set_own(&mut self, own: Vec<Problem>, sources: &OuterSources) {
        let others = self.of_checks().cloned().collect();
        self.own = own;
        self.update(others, &[], sources);
    }

    /// See [`CurrentProblems::why_silent`].
    pub(super) fn why_silent(&self, vip: IpAddr) -> Option<&Problem> {
        self.ledger.why_silent(vip)
    }

    /// The TUN's current name; empty before the first check.
    pub(super) fn tun(&self) -> &str {
        &self.tun
    }

    /// The TUN is called so.
    pub(super) fn name_tun(&mut self, name: &str) {
        name.clone_into(&mut self.tun);
    }

    pub(super) fn status(&self) -> Latest<HostStatus> {
        self.status.latest()
    }

    pub(super) fn events(&mut self) -> UnboundedReceiver<Vec<Event>> {
        self.listener.take().unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// Records the result of a check: the current `problems`, and the restored steps.
    pub(super) fn update(
        &mut self,
        mut problems: Vec<Problem>,
        put_back: &[String],
        sources: &OuterSources,
    ) {
        problems.extend(self.own.iter().cloned());
        let changes = self.ledger.update(SystemTime::now(), problems);
        self.put_back += put_back.len() as u64;
        let of_host = |change| event(Origin::Host, "follow", change);
        let steps: Vec<Event> = put_back.iter().map(|step| of_host(of_step(step))).collect();
        for (step, event) in put_back.iter().zip(&steps).take(LOGGED) {
            log_lines::event(
                Level::Warn,
                event,
                format_args!("{step}: it was gone, and is put back"),
            );
        }
        let problems: Vec<Event> =
            changes.iter().map(|change| of_host(of_change(change))).collect();
        for (change, event) in changes.iter().zip(&problems).take(LOGGED) {
            log(change, event);
        }
        let more = (changes.len() + put_back.len()).saturating_sub(LOGGED);
        if more > 0 {
            let more = counted(more as u64, "more change");
            warn!("and up to {more} of the host, which `vstun list --json` shows");
        }
        let events: Vec<Event> = steps.into_iter().chain(problems).collect();
        let mut sources: Vec<_> = sources.values().copied().collect();
        sources.sort_unstable();
        sources.dedup();
        let wrong = self.ledger.ongoing().iter().map(wrong).collect();
        let tun = self.tun.clone();
        let status = HostStatus { wrong, put_back: self.put_back, sources, tun };
        self.status.replace(status);
        if !events.is_empty() {
            // Sending fails if there is no receiver, which is fine.
            let _ = self.events.send(events);
        }
    }

    /// Records that the host could not be checked; its problems are kept.
    pub(super) fn unknown(&mut self, why: String, sources: &OuterSources) {
        let problem = Problem::new(ProblemKind::Unknown, "host", why);
        let known = self.of_checks().filter(|known| known.key() != problem.key()).cloned();
        let problems = known.chain([problem.clone()]).collect();
        self.update(problems, &[], sources);
    }
}

fn log(change: &ProblemChange, event: &Event) {
    match change {
        ProblemChange::Began(problem) if problem.kind == ProblemKind::Contested => {
            log_lines::event(Level::Error, event, &problem.text);
        }
        ProblemChange::Began(problem) => log_lines::event(Level::Warn, event, &problem.text),
        ProblemChange::Ended(OngoingProblem { problem, since }) => {
            let seconds = since.elapsed().unwrap_or_default().as_secs();
            let text = format_args!("over after {seconds} s: {}", problem.text);
            log_lines::event(Level::Info, event, text);
        }
    }
}

fn of_step(step: &str) -> Alteration {
    Alteration::of(Altered::PutBack { step: step.to_owned() })
}

fn of_change(change: &ProblemChange) -> Alteration {
    let (address, what) = match change {
        ProblemChange::Began(problem) => {
            (problem.address, Altered::HostWrong { problem: problem.text.clone() })
        }
        ProblemChange::Ended(OngoingProblem { problem, .. }) => {
            (problem.address, Altered::HostRight { problem: problem.text.clone() })
        }
    };
    Alteration { address, ..Alteration::of(what) }
}

fn wrong(OngoingProblem { problem, since }: &OngoingProblem) -> Wrong {
    let since = jiff::Timestamp::try_from(*since).unwrap_or_default();
    Wrong {
        what: problem.kind.name().to_owned(),
        subject: problem.subject.clone(),
        address: problem.address,
        since: format!("{since:.3}"),
        text: problem.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_own_problems_stay_while_checks_of_the_host_come_and_go() {
        let problem = |kind, subject: &str| Problem::new(kind, subject, format!("{subject} text"));
        let mut report = HostReport::new();
        let status = report.status();
        let seen = || {
            let wrong = status.get().wrong;
            wrong.into_iter().map(|wrong| wrong.what).collect::<Vec<_>>()
        };
        let none = OuterSources::default();
        report.set_own(vec![problem(ProblemKind::Gue, "udp 6080")], &none);
        assert!(report.is_well());
        assert_eq!(seen(), ["gue"]);
        report.update(vec![problem(ProblemKind::Step, "a step")], &[], &none);
        assert!(!report.is_well());
        assert_eq!(seen(), ["step", "gue"]);
        report.unknown("why".to_owned(), &none);
        assert_eq!(seen(), ["step", "unknown", "gue"]);
        report.set_own(Vec::new(), &none);
        assert_eq!(seen(), ["step", "unknown"]);
        report.update(Vec::new(), &[], &none);
        assert!(report.is_well() && seen().is_empty());
    }
}
