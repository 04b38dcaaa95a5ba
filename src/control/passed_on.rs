//! The connections that stay when their service is removed: another service listens there
//! afterwards and has their real server.

use std::net::IpAddr;

use super::before::Before;
use crate::balancer::{Change, snapshot};
use crate::model::{Listen, PortRange};

/// Counts the connections of a service that these changes remove: all of them, and those that no
/// service takes over, because one that takes its ports lacks their real server.
pub(super) fn of_removed(name: &str, changes: &[Change], before: &Before<'_>) -> (u64, u64) {
    let listens = before.service(name).map(|spec| spec.listens.as_slice()).unwrap_or_default();
    let takers = takers(changes, before);
    let stays = |real: &&snapshot::RealSnapshot| {
        let has = |taker: &&Taker<'_>| (taker.has)(real.address);
        let new: Vec<Listen> =
            takers.iter().filter(has).flat_map(|taker| taker.listens.iter().copied()).collect();
        listens.iter().all(|listen| is_covered(*listen, &new))
    };
    let count = |real: &snapshot::RealSnapshot| real.active + real.inactive;
    let reals = before.reals_now(name);
    let all = reals.iter().map(count).sum();
    (all, reals.iter().filter(|real| !stays(real)).map(count).sum())
}

/// A service that gets listens.
struct Taker<'a> {
    listens: &'a [Listen],
    /// Whether it has this real server after the changes.
    has: Box<dyn Fn(IpAddr) -> bool + 'a>,
}

fn takers<'a>(changes: &'a [Change], before: &'a Before<'_>) -> Vec<Taker<'a>> {
    let of_change = |change: &'a Change| -> Option<Taker<'a>> {
        match change {
            Change::AddService(spec) => Some(Taker {
                listens: &spec.listens,
                has: Box::new(|address| spec.reals.iter().any(|real| real.address == address)),
            }),
            Change::SetListens { service, listens } => Some(Taker {
                listens,
                has: Box::new(move |address| has_after(service, address, changes, before)),
            }),
            _ => None,
        }
    };
    changes.iter().filter_map(of_change).collect()
}

/// Whether a service that stays has the real server after the changes.
fn has_after(service: &str, address: IpAddr, changes: &[Change], before: &Before<'_>) -> bool {
    let old_name = changes.iter().find_map(|change| match change {
        Change::RenameServices { names } => {
            names.iter().find(|(_, new)| new == service).map(|(old, _)| old.as_str())
        }
        _ => None,
    });
    let spec = before.service(old_name.unwrap_or(service));
    let before = spec.is_some_and(|spec| spec.reals.iter().any(|real| real.address == address));
    changes.iter().fold(before, |has, change| match change {
        Change::AddReal { service: name, real } if name == service => {
            has || real.address == address
        }
        Change::RemoveReal { service: name, address: gone } if name == service => {
            has && *gone != address
        }
        _ => has,
    })
}

/// Whether these listens contain all ports of that one.
fn is_covered(listen: Listen, by: &[Listen]) -> bool {
    let same = |other: &&Listen| other.overlaps(listen);
    let mut ranges: Vec<PortRange> = by.iter().filter(same).map(|other| other.ports).collect();
    ranges.sort_unstable();
    let mut next = u32::from(listen.ports.first);
    for range in ranges {
        if u32::from(range.first) > next {
            return false;
        }
        next = next.max(u32::from(range.last) + 1);
    }
    next > u32::from(listen.ports.last)
}
