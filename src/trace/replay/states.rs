//! The states of real servers when a recording began.

use crate::balancer::Change;
use crate::config;
use crate::control::{ListedReal, ServiceList};
use crate::model::{AdminState, Health, RealState, RealValue};

/// The changes that give the configured real servers the weights and states of a list. Those that
/// the list or the configuration lacks stay as they are.
pub(super) fn changes(config: &config::Director, list: &ServiceList) -> Vec<Change> {
    let mut changes = Vec::new();
    for service in config.specs() {
        let listed = list.services.iter().filter(|listed| listed.name == service.name);
        for listed in listed.flat_map(|listed| &listed.reals).filter(|listed| !listed.removed) {
            let same = |address: &std::net::IpAddr| address.to_string() == listed.address;
            let mut reals = service.reals.iter().map(|real| real.address);
            if let Some(address) = reals.find(same) {
                changes.extend(of_real(&service.name, address, listed));
            }
        }
    }
    changes
}

fn of_real(service: &str, address: std::net::IpAddr, listed: &ListedReal) -> Vec<Change> {
    let service = || service.to_owned();
    let value = RealValue::Weight(listed.weight);
    let mut changes = vec![Change::SetReal { service: service(), address, value }];
    let states = [
        AdminState::Up,
        AdminState::Draining { deadline: None },
        AdminState::Down,
        AdminState::Disabled,
    ];
    let wanted = states.into_iter().find(|state| state.name() == listed.wanted);
    changes.extend(wanted.map(|state| Change::SetState { service: service(), address, state }));
    if listed.state == RealState::Down.name() && wanted != Some(AdminState::Down) {
        let health = Health::Down;
        changes.push(Change::SetHealth { service: service(), address, health });
    }
    changes
}
