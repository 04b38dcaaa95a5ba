//! What is made of one real server's load reports in a service.

use super::load::{Heard, Rotation, Weighting};
use super::spec::Timing;
use crate::model::{Listen, Load, Millis, Protocol};

/// What is made of one real server's reports in a service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Weighed {
    weighting: Weighting,
    pub(super) rotation: Rotation,
    /// Connections that it reports.
    pub(super) connections: Option<u64>,
    /// What the balancer was told.
    pub(super) load: Load,
}

impl Weighed {
    /// Whether its owner has it in rotation.
    pub(super) fn serves(&self) -> bool {
        self.rotation == Rotation::Up
    }

    /// What is made of it after a report of the agent `heard`, which is asked by `timing`. `load`:
    /// whether the service goes by load; `listens`: where it listens.
    pub(super) fn after(
        &self,
        now: Millis,
        heard: &Heard,
        timing: &Timing,
        load: bool,
        listens: &[Listen],
    ) -> Self {
        let rotation = heard.rotation();
        let fresh = heard.is_fresh(now, timing);
        let (weighting, connections) = match (load, fresh) {
            (false, _) => (Weighting::default(), None),
            (true, true) => {
                let weighting = self.weighting.after(now, heard.thousandths());
                (weighting, connections(heard, listens))
            }
            (true, false) => (self.weighting.after(now, Load::default().thousandths), None),
        };
        let thousandths = if rotation == Rotation::Up { weighting.thousandths() } else { 0 };
        let load = Load { thousandths, ..self.load };
        Self { weighting, rotation, connections, load }
    }
}

/// Established connections to the service. An agent knows nothing of UDP.
fn connections(heard: &Heard, listens: &[Listen]) -> Option<u64> {
    if listens.iter().any(|listen| listen.protocol != Protocol::Tcp) {
        return None;
    }
    heard.report()?.established_to(|address, port| {
        let here = |listen: &Listen| {
            listen.address == address && (listen.ports.first..=listen.ports.last).contains(&port)
        };
        listens.iter().any(here)
    })
}
