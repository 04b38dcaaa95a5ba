//! Reports services without an available real server: in the log and to listeners when that begins
//! and ends, and to an operator whose command concerns such a service.

use std::collections::HashMap;
use std::net::IpAddr;

use super::reload::RunningDirector;
use crate::app::commands::{Answer, Done};
use crate::balancer::snapshot::RealSnapshot;
use crate::balancer::{Outage, OutageNotice, Snapshot};
use crate::config;
use crate::control::{Alteration, Altered, Origin};
use crate::model::{AdminState, RealState, ServiceSpec};

impl RunningDirector {
    /// Publishes that services have lost their last available real server, or have one again.
    pub(super) async fn report_outages(&self, notices: Vec<OutageNotice>) {
        let mut changes = Vec::new();
        for OutageNotice { service, outage } in notices {
            match outage {
                Some(outage) => {
                    log::warn!(service:% = service; "{}", sentence(&service, outage));
                }
                None => log::info!(
                    service:% = service;
                    "service {service}: a real server serves again"
                ),
            }
            changes.push(Alteration::of_service(&service, Altered::Served { outage }));
        }
        self.publish_changes(Origin::Director, "outage", &changes).await;
    }

    /// The answer with a warning for each service that it concerns and that has no available real
    /// server.
    pub(super) async fn warned_of_outages(&self, verb: &str, answer: Answer) -> Answer {
        let Answer::Done(mut done) = answer else { return answer };
        // A reload concerns all services of the file.
        let whole = verb == "reload";
        if whole || !done.changes.is_empty() {
            // The end of the packet thread is handled by the code that waits for it.
            let Ok(running) = self.snapshot().await else { return Answer::Done(done) };
            for service in running.services {
                if let Some(outage) = service.outage
                    && (whole || concerns(&done, &service.name))
                {
                    done.warnings.push(sentence(&service.name, outage));
                }
            }
        }
        Answer::Done(done)
    }
}

/// A warning for each service that no real server would serve after a reload from one configuration
/// to another, as far as the real servers' health is known now. A state that an operator has set
/// stays if the file does not change the state.
pub(super) fn expected(
    current: &config::Director,
    wanted: &config::Director,
    running: &Snapshot,
) -> Vec<String> {
    let before: HashMap<_, _> =
        current.specs().flat_map(states).map(|(key, state)| (key, state.plain())).collect();
    let services = running.services.iter();
    let now: HashMap<_, _> = services
        .flat_map(|service| service.reals.iter().map(|real| ((&*service.name, real.address), real)))
        .collect();
    let after = |(key, wanted): ((&str, IpAddr), AdminState)| match now.get(&key) {
        Some(real) if before.get(&key) == Some(&wanted.plain()) => real.state,
        Some(real) if fails(real) && wanted.plain() == RealState::Up => RealState::Down,
        _ => wanted.plain(),
    };
    let warning = |spec: &ServiceSpec| {
        let weights = spec.reals.iter().map(|real| real.values.weight);
        let outage = outage_of(states(spec).map(after).zip(weights))?;
        Some(sentence(&spec.name, outage))
    };
    wanted.specs().filter_map(warning).collect()
}

fn states(spec: &ServiceSpec) -> impl Iterator<Item = ((&str, IpAddr), AdminState)> {
    spec.reals.iter().map(|real| ((spec.name.as_str(), real.address), real.state))
}

/// Whether its checks fail, regardless of its wanted state.
fn fails(real: &RealSnapshot) -> bool {
    real.state == RealState::Down && real.wanted.plain() != RealState::Down
}

/// The outage of a service with real servers of these states and weights; `None` if one is in
/// service.
fn outage_of(reals: impl Iterator<Item = (RealState, u32)>) -> Option<Outage> {
    let mut outage = Outage::default();
    for (state, weight) in reals {
        let count = match state {
            RealState::Disabled => &mut outage.disabled,
            RealState::Draining => &mut outage.draining,
            RealState::Down => &mut outage.down,
            RealState::Up if weight == 0 => &mut outage.weightless,
            RealState::Up => return None,
        };
        *count += 1;
    }
    Some(outage)
}

fn concerns(done: &Done, service: &str) -> bool {
    done.changes.iter().any(|change| change.service.as_deref() == Some(service))
}

fn sentence(service: &str, outage: Outage) -> String {
    format!("service {service}: no real server serves: {outage}; new connections are refused")
}
