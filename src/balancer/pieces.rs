//! Divides a long batch of changes, so that packets do not wait for all of it.

use std::collections::{HashMap, HashSet};

use super::change::Change;

/// The changes in pieces that can be applied one after the other. They must be differences between
/// two configurations: a real server that gets a value is there before and after them.
///
/// Everything that can be refused is in the first piece. The others set values of real servers, and
/// Maglev tables, of services that change in no other way. What a service gets is in one piece, so
/// no packet finds some of its weights changed and others not. From `most` changes on, a piece ends
/// with the service.
#[must_use]
pub fn pieces(changes: Vec<Change>, most: usize) -> Vec<Vec<Change>> {
    let (first, values) = divided(changes);
    let mut pieces = vec![first];
    for service in grouped(values) {
        match pieces.last_mut().filter(|last| last.len() < most) {
            Some(last) => last.extend(service),
            None => pieces.push(service),
        }
    }
    pieces
}

/// The changes that belong together, and those that may follow one service after the other.
fn divided(changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
    if changes.iter().any(concerns_all) {
        return (changes, Vec::new());
    }
    let others = changes.iter().filter(|change| value_of(change).is_none());
    let touched: HashSet<String> = others.filter_map(service_of).map(str::to_owned).collect();
    let belongs = |change: &Change| value_of(change).is_none_or(|name| touched.contains(name));
    changes.into_iter().partition(belongs)
}

/// The changes of each service, services in the order of their first one.
fn grouped(values: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut groups, mut indexes) = (Vec::<Vec<Change>>::new(), HashMap::new());
    for change in values {
        let name = value_of(&change).unwrap_or_default();
        match indexes.get(name).and_then(|&index: &usize| groups.get_mut(index)) {
            Some(group) => group.push(change),
            None => {
                indexes.insert(name.to_owned(), groups.len());
                groups.push(vec![change]);
            }
        }
    }
    groups
}

/// Whether the change and the others of its batch must be one piece. A new seed needs all tables
/// that are computed with it; a rollback restores states after it has set values.
fn concerns_all(change: &Change) -> bool {
    matches!(change, Change::SetHashSeed(_) | Change::RestoreState { .. })
}

/// The service that gets a value; `None`: another kind of change.
fn value_of(change: &Change) -> Option<&str> {
    match change {
        Change::SetReal { service, .. }
        | Change::SetStep { service, .. }
        | Change::SetMaglev { service, .. } => Some(service),
        _ => None,
    }
}

/// The service that another kind of change concerns. A new name is not a difference between two
/// packets.
fn service_of(change: &Change) -> Option<&str> {
    match change {
        Change::AddService(spec) => Some(&spec.name),
        Change::RemoveService { service }
        | Change::SetListens { service, .. }
        | Change::SetScheduler { service, .. }
        | Change::SetPolicy { service, .. }
        | Change::AddReal { service, .. }
        | Change::RemoveReal { service, .. }
        | Change::SetState { service, .. }
        | Change::SetHealth { service, .. }
        | Change::SetLoad { service, .. }
        | Change::RestoreState { service, .. } => Some(service),
        Change::SetReal { .. }
        | Change::SetStep { .. }
        | Change::SetMaglev { .. }
        | Change::RenameServices { .. }
        | Change::SetHashSeed(_)
        | Change::PinProbe { .. }
        | Change::UnpinProbe(_)
        | Change::SetSources(_)
        | Change::SetLinkMtus(_)
        | Change::SetInterfaces(_)
        | Change::SetCapacity(_)
        | Change::SetTimeouts(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::balancer::maglev::MaglevTable;
    use crate::model::{AdminState, RealValue, SavedState, Seed};

    fn weight(service: usize, real: u8) -> Change {
        Change::SetReal {
            service: format!("service-{service}"),
            address: IpAddr::from([10, 0, 0, real]),
            value: RealValue::Weight(7),
        }
    }

    fn weights(services: usize, reals: u8) -> Vec<Change> {
        (0..services)
            .flat_map(|service| (0..reals).map(move |real| weight(service, real)))
            .collect()
    }

    fn other() -> Change {
        Change::RemoveService { service: "service-0".to_owned() }
    }

    #[test]
    fn a_piece_ends_with_a_service_and_the_order_stays() {
        let all = weights(1_000, 20);
        let cut = pieces(all.clone(), 256);
        assert_eq!(cut.concat(), all);
        assert_eq!(cut[0].len(), 260);
        assert!(cut.iter().all(|piece| piece.len() <= 260), "at most 255 and a service");
        for two in cut.windows(2) {
            assert_ne!(value_of(&two[0][two[0].len() - 1]), value_of(&two[1][0]));
        }
    }

    #[test]
    fn all_that_can_be_refused_is_in_the_first_piece() {
        let mut all = weights(100, 20);
        all.insert(1_000, other());
        let cut = pieces(all, 256);
        assert!(cut[0].contains(&other()));
        assert_eq!(cut[0].len(), 1 + 20 + 240, "with the values of the service that it changes");
        assert!(cut.len() > 2);
        assert!(cut[1..].iter().flatten().all(|change| value_of(change).is_some()));
        assert!(cut[1..].iter().flatten().all(|change| value_of(change) != Some("service-0")));
        assert_eq!(cut.concat().len(), 2_001);
    }

    #[test]
    fn a_table_is_in_the_piece_of_its_services_weights() {
        let table = |service: usize| Change::SetMaglev {
            service: format!("service-{service}"),
            table: Arc::new(MaglevTable::new(Seed(1, 2), 251, [])),
        };
        let mut all = weights(3, 20);
        all.extend([table(2), table(0), other(), table(1)]);
        let cut = pieces(all, 8);
        let names: Vec<Vec<_>> =
            cut.iter().map(|piece| piece.iter().filter_map(value_of).collect()).collect();
        assert_eq!(names, [["service-0"; 21], ["service-1"; 21], ["service-2"; 21]]);
    }

    #[test]
    fn a_new_seed_and_a_rollback_are_one_piece() {
        let saved = SavedState { wanted: AdminState::Up, left: None, grown: false, changed: None };
        let (service, address) = ("service-1".to_owned(), IpAddr::from([10, 0, 0, 1]));
        let restored = Change::RestoreState { service, address, saved };
        for one in [restored, Change::SetHashSeed(Seed(1, 2))] {
            let mut all = weights(100, 20);
            all.push(one);
            assert_eq!(pieces(all.clone(), 16), [all]);
        }
    }

    #[test]
    fn a_service_is_in_one_piece_however_large_it_is() {
        let all = weights(1, 200);
        assert_eq!(pieces(all.clone(), 16), [all]);
        assert_eq!(pieces(Vec::new(), 16), [Vec::new()]);
    }

    #[test]
    fn as_many_as_the_bound_are_one_piece_and_a_service_more_is_another() {
        assert_eq!(pieces(weights(1, 16), 16).len(), 1);
        assert_eq!(pieces(weights(2, 16), 16).len(), 2);
        assert_eq!(pieces(weights(2, 15), 16).len(), 1);
    }
}
