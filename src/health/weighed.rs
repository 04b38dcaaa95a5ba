//! The result of the reports of one real server's checks in a service.

use super::load::{LastReport, Rotation, Weighting};
use super::spec::{ExecProbe, Probe, Timing};
use crate::model::{Established, Listen, Load, Millis, Protocol, WeightStep};

/// A kind of check that reports more than pass or fail. A real server has at most one of each in a
/// service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reporter {
    /// A load agent.
    Agent,
    /// A program whose exit code gives a weight.
    Program,
}

impl Reporter {
    /// The kind of reports that checks with this probe bring, if any.
    pub(super) fn of(probe: &Probe) -> Option<Self> {
        match probe {
            Probe::Agent => Some(Self::Agent),
            Probe::Exec(ExecProbe { dynamic: true, .. }) => Some(Self::Program),
            _ => None,
        }
    }
}

/// The result of one real server's reports in a service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Weighed {
    weighting: Weighting,
    /// The share of the weight in steps.
    pub(super) step: WeightStep,
    /// The rotation that the agent reports.
    owner: Rotation,
    /// Whether its owner has taken it out of rotation, also while the agent reports it down.
    taken_out: bool,
    /// Connections that it reports.
    pub(super) connections: Option<Established>,
    /// The weight that a program gives.
    weight: Option<u32>,
    /// The load that the balancer has.
    pub(super) sent: Load,
    /// The step that was last reported.
    pub(super) sent_step: WeightStep,
}

impl Weighed {
    /// Whether it takes new connections, by its owner and by the program.
    pub(super) fn rotation(&self) -> Rotation {
        match self.weight {
            Some(0) => self.owner.stricter(Rotation::Drain),
            _ => self.owner,
        }
    }

    /// Whether it is in rotation with a weight above 0, according to its reports. An agent's `down`
    /// fails its check, and so counts as far as checks are believed.
    pub(super) fn serves(&self) -> bool {
        !self.taken_out && self.weight != Some(0) && self.weighting.thousandths() > 0
    }

    /// Why it is out of rotation, if it is.
    pub(super) fn out(&self) -> Option<&'static str> {
        match (self.taken_out, self.weight) {
            (true, _) => Some("its agent has it out of rotation"),
            (false, Some(0)) => Some("the program of its check gives it weight 0"),
            (false, _) => None,
        }
    }

    /// The weight that applies instead of the configured one.
    pub(super) fn weight(&self, configured: u32) -> u32 {
        self.weight.filter(|_| configured > 0).unwrap_or(configured)
    }

    /// The load that the balancer should have. `all`: whether all real servers of the service
    /// report their connections.
    pub(super) fn wanted(&self, all: bool) -> Load {
        Load {
            thousandths: if self.taken_out { 0 } else { self.weighting.thousandths() },
            connections: self.connections.filter(|_| all),
            weight: self.weight,
        }
    }

    /// Without the reports of checks that no longer exist.
    pub(super) fn kept(&self, asked: impl Fn(Reporter) -> bool) -> Self {
        let Self { weighting, step, owner, taken_out, connections, weight, sent, sent_step } =
            self.clone();
        let kept = match asked(Reporter::Agent) {
            true => Self { weighting, step, owner, taken_out, connections, ..Self::default() },
            false => Self::default(),
        };
        Self { weight: weight.filter(|_| asked(Reporter::Program)), sent, sent_step, ..kept }
    }

    /// After a run of its program.
    pub(super) fn after_program(&self, report: &LastReport) -> Self {
        Self { weight: report.weight(), ..self.clone() }
    }

    /// After a report of its agent, which is asked by `timing`. `load`: whether the service goes by
    /// load; `listens`: where it listens.
    pub(super) fn after_agent(
        &self,
        now: Millis,
        report: &LastReport,
        timing: &Timing,
        load: bool,
        listens: &[Listen],
    ) -> Self {
        let (owner, taken_out) = (report.rotation(), report.is_taken_out());
        let fresh = report.is_fresh(now, timing);
        let (weighting, connections) = match (load, fresh) {
            (false, _) => (Weighting::default(), None),
            (true, true) => {
                let weighting = self.weighting.after(now, report.thousandths());
                (weighting, connections(report, listens))
            }
            (true, false) => (self.weighting.after(now, Load::default().thousandths), None),
        };
        let step = match load {
            true => self.step.after(weighting.thousandths()),
            false => WeightStep::FULL,
        };
        Self { weighting, step, owner, taken_out, connections, ..self.clone() }
    }
}

/// Established connections to the service. Agents do not report UDP.
fn connections(report: &LastReport, listens: &[Listen]) -> Option<Established> {
    if listens.iter().any(|listen| listen.protocol != Protocol::Tcp) {
        return None;
    }
    let count = report.report()?.established_to(|address, port| {
        let here = |listen: &Listen| {
            listen.address == address && (listen.ports.first..=listen.ports.last).contains(&port)
        };
        listens.iter().any(here)
    })?;
    Some(Established { count, at: report.at()? })
}
