//! The state of one check that reports load: an agent's last report and the settings that still
//! apply, or the weight from a program.

use std::time::Duration;

use super::reply::{AgentReply, Rotation};
use super::report::LoadReport;
use super::weight::STALE;
use crate::health::spec::Timing;
use crate::model::Millis;

/// The report that a probe has brought besides its result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reported {
    /// The line of a foreign agent.
    Line(String),
    /// A report.
    Report(Box<LoadReport>),
    /// The weight that a program gives; `None`: the configured one.
    Weight(Option<u32>),
}

/// The state of an agent or program. As with HAProxy, the rotation that an agent has reported
/// applies until it reports another one; its load expires. A program's weight does not expire.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LastReport {
    agent: AgentReply,
    report: Option<LoadReport>,
    weight: Option<u32>,
    at: Option<Millis>,
    reports: u64,
    misses: u64,
}

impl LastReport {
    /// Records a probe and its report, if it has brought one.
    pub fn take(&mut self, now: Millis, reported: Option<&Reported>) {
        match reported {
            Some(reported) => self.record(now, reported),
            None => self.misses += 1,
        }
    }

    /// Probes that have brought a report so far, and those that have not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.reports, self.misses)
    }

    /// The start of another check of the same agent or program, whose probes are counted anew.
    #[must_use]
    pub fn before_first_probe(&self) -> Self {
        Self { reports: 0, misses: 0, ..self.clone() }
    }

    fn record(&mut self, now: Millis, reported: &Reported) {
        self.at = Some(now);
        self.reports += 1;
        match reported {
            Reported::Line(line) => {
                self.agent = self.agent.after(line);
                self.report = None;
            }
            Reported::Report(report) => self.report = Some((**report).clone()),
            Reported::Weight(weight) => self.weight = *weight,
        }
    }

    /// The rotation that its owner wants.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        self.report.as_ref().map_or_else(|| self.agent.rotation(), |report| report.state)
    }

    /// Whether its owner has taken it out of rotation, also while it is down.
    #[must_use]
    pub fn is_taken_out(&self) -> bool {
        match &self.report {
            Some(report) => matches!(report.state, Rotation::Drain | Rotation::Maint),
            None => self.agent.is_taken_out(),
        }
    }

    /// When it reported last.
    #[must_use]
    pub fn at(&self) -> Option<Millis> {
        self.at
    }

    /// Whether its reported load is still valid.
    #[must_use]
    pub fn is_fresh(&self, now: Millis, timing: &Timing) -> bool {
        self.at.is_some_and(|at| at.until(now) <= stale(timing))
    }

    /// The reported share of the weight, in thousandths.
    #[must_use]
    pub fn thousandths(&self) -> u32 {
        let percent =
            self.report.as_ref().map_or_else(|| self.agent.percent(), LoadReport::percent);
        percent.saturating_mul(10)
    }

    /// The weight that it gave last; `None`: the configured one.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        self.weight
    }

    /// Its last report, unless it is a foreign agent.
    #[must_use]
    pub fn report(&self) -> Option<&LoadReport> {
        self.report.as_ref()
    }
}

/// How long a report is valid: [`STALE`], or three intervals if that is longer.
fn stale(timing: &Timing) -> Duration {
    STALE.max(timing.interval.saturating_mul(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_rotation_stays_and_reported_load_expires() {
        let mut last = LastReport::default();
        assert!(!last.is_fresh(Millis(0), &Timing::DEFAULT));
        last.take(Millis(0), Some(&Reported::Line("drain 40%".to_owned())));
        assert_eq!((last.rotation(), last.thousandths()), (Rotation::Drain, 400));
        assert!(last.is_fresh(Millis(10_000), &Timing::DEFAULT));
        assert!(!last.is_fresh(Millis(10_001), &Timing::DEFAULT));
        assert_eq!(last.rotation(), Rotation::Drain);
        last.take(Millis(11_000), None);
        assert_eq!((last.counts(), last.at()), ((1, 1), Some(Millis(0))));
        let slow = Timing { interval: Duration::from_secs(20), ..Timing::DEFAULT };
        assert!(last.is_fresh(Millis(60_000), &slow) && !last.is_fresh(Millis(60_001), &slow));
    }
}
