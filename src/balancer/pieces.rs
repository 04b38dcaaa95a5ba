//! Divides a long batch of changes, so that packets do not wait for all of it.

use super::change::Change;

/// The changes in order, in pieces that can be applied one after the other. Everything that can be
/// refused is in the first piece; the others set values of real servers that are in the balancer
/// then. A service's values are in one piece, so no packet finds some of its weights changed and
/// others not. From `most` changes on, a piece ends with the service.
#[must_use]
pub fn pieces(mut changes: Vec<Change>, most: usize) -> Vec<Vec<Change>> {
    let tail =
        changes.iter().rposition(|change| service_of(change).is_none()).map_or(0, |at| at + 1);
    let mut starts = Vec::new();
    let mut start = tail;
    for at in tail + 1..changes.len() {
        let is_new = service_of(&changes[at]) != service_of(&changes[at - 1]);
        if is_new && at - start >= most {
            starts.push(at);
            start = at;
        }
    }
    let mut pieces: Vec<_> = starts.into_iter().rev().map(|at| changes.split_off(at)).collect();
    pieces.push(changes);
    pieces.reverse();
    pieces
}

/// The service whose real server gets a value; `None`: another kind of change.
fn service_of(change: &Change) -> Option<&str> {
    match change {
        Change::SetReal { service, .. } => Some(service),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::RealValue;

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
            assert_ne!(service_of(&two[0][two[0].len() - 1]), service_of(&two[1][0]));
        }
    }

    #[test]
    fn all_that_can_be_refused_is_in_the_first_piece() {
        let mut all = weights(100, 20);
        all.push(other());
        all.extend(weights(100, 20));
        let cut = pieces(all.clone(), 256);
        assert_eq!(cut.concat(), all);
        assert!(cut[0].len() > 2_000);
        assert!(cut.len() > 2);
        assert!(cut[1..].iter().flatten().all(|change| service_of(change).is_some()));
        all.push(other());
        assert_eq!(pieces(all.clone(), 256), [all]);
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
