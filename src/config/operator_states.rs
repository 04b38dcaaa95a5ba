//! The states of real servers that operators have set and the file does not have, as text: they
//! outlast a restart. A value in the file that has changed since takes precedence, as at a reload.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Director;
use crate::balancer::Snapshot;
use crate::model::{AdminState, RealSpec, RealState, ServiceSpec};

/// The first line of the text.
const TITLE: &str = "vstun states 1";
/// No number.
const NONE: &str = "-";
/// The states by their names. The file alone sets [`RealState::Down`].
const STATES: [RealState; 4] =
    [RealState::Up, RealState::Draining, RealState::Disabled, RealState::Down];

/// A state that an operator has set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorState {
    /// The service.
    pub service: String,
    /// The real server.
    pub address: IpAddr,
    /// The state.
    pub state: RealState,
    /// The file's state at that time.
    file: RealState,
    /// When a drain ends the connections, in seconds since 1970; `None`: no deadline.
    until: Option<u64>,
}

impl OperatorState {
    /// `web 10.0.0.11 up draining 1764410400`.
    fn line(&self) -> String {
        let Self { service, address, state, file, until } = self;
        let until = until.map_or_else(|| NONE.to_owned(), |until| until.to_string());
        format!("{service} {address} {} {} {until}\n", file.name(), state.name())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let (service, address) = (word()?.to_owned(), word()?.parse().ok()?);
        let (file, state) = (state_of_name(word()?)?, state_of_name(word()?)?);
        let until = match word()? {
            NONE => None,
            number => Some(number.parse().ok()?),
        };
        words.next().is_none().then_some(Self { service, address, state, file, until })
    }

    /// The state from `now` on, in seconds since 1970.
    fn at(&self, now: u64) -> AdminState {
        let left = self.until.map(|until| Duration::from_secs(until.saturating_sub(now).max(1)));
        match self.state {
            RealState::Up => AdminState::Up,
            RealState::Draining => AdminState::Draining { deadline: left },
            RealState::Down => AdminState::Down,
            RealState::Disabled => AdminState::Disabled,
        }
    }
}

fn state_of_name(name: &str) -> Option<RealState> {
    STATES.into_iter().find(|state| state.name() == name)
}

/// The states as text.
#[must_use]
pub fn operator_states_text(states: &[OperatorState]) -> String {
    let lines: String = states.iter().map(OperatorState::line).collect();
    format!("{TITLE}\n{lines}")
}

/// The states of a text; `None`: it is no such text.
#[must_use]
pub fn parse_operator_states(text: &str) -> Option<Vec<OperatorState>> {
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return None;
    }
    lines.map(OperatorState::parse).collect()
}

impl Director {
    /// The states that operators have set at `now`, in seconds since 1970, where `running` has
    /// another state than this configuration.
    #[must_use]
    pub fn operator_states(&self, running: &Snapshot, now: u64) -> Vec<OperatorState> {
        let files = self.specs().flat_map(reals).map(|(key, real)| (key, real.state.plain()));
        let files: HashMap<_, _> = files.collect();
        let mut states = Vec::new();
        for service in &running.services {
            for real in service.reals.iter().filter(|real| !real.removed) {
                let file = files.get(&(&*service.name, real.address)).copied();
                let state = real.wanted.plain();
                let Some(file) = file.filter(|file| *file != state) else { continue };
                states.push(OperatorState {
                    service: service.name.to_string(),
                    address: real.address,
                    state,
                    file,
                    until: real.deadline.map(|left| now.saturating_add(left.as_secs())),
                });
            }
        }
        states
    }

    /// This configuration with the states that operators have set; `now` in seconds since 1970.
    /// The second value: those that do not apply any more, because the file has no such real
    /// server, or another state for it than before.
    #[must_use]
    pub fn with_operator_states(
        mut self,
        states: &[OperatorState],
        now: u64,
    ) -> (Self, Vec<OperatorState>) {
        let key = |set: &OperatorState| (set.service.clone(), set.address);
        let mut left: HashMap<_, _> = states.iter().map(|set| (key(set), set)).collect();
        for service in self.services.iter_mut().map(|service| &mut service.spec) {
            for real in &mut service.reals {
                let key = (service.name.clone(), real.address);
                let applies = |set: &&OperatorState| set.file == real.state.plain();
                if let Some(set) = left.get(&key).copied().filter(applies) {
                    left.remove(&key);
                    real.state = set.at(now);
                }
            }
        }
        let over = states.iter().filter(|set| left.contains_key(&key(set)));
        (self, over.cloned().collect())
    }
}

fn reals(service: &ServiceSpec) -> impl Iterator<Item = ((&str, IpAddr), &RealSpec)> {
    service.reals.iter().map(|real| ((service.name.as_str(), real.address), real))
}
