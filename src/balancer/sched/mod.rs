//! Schedulers: each a file, all behind one tiny trait, chosen by name in [`new`] alone.
//!
//! The algorithms are IPVS's; real servers are walked in configuration order (IPVS walks from the newest to
//! the oldest), so ties go to the one configured first.

mod least;
mod rr;
mod wrr;

use std::fmt::Debug;

use super::service::Real;
use super::spec::SchedulerKind;
use super::verdict::RealId;

/// Chooses the real server of a new connection.
pub(super) trait Scheduler: Debug + Send {
    /// The place in `pool` of the chosen one; `None` when none is usable.
    fn pick(&mut self, pool: Pool<'_>) -> Option<usize>;

    /// The pool has changed: members or weights.
    fn changed(&mut self, _pool: Pool<'_>) {}
}

/// The scheduler of that kind.
pub(super) fn new(kind: SchedulerKind) -> Box<dyn Scheduler> {
    match kind {
        SchedulerKind::RoundRobin => Box::new(rr::RoundRobin::default()),
        SchedulerKind::WeightedRoundRobin => Box::new(wrr::WeightedRoundRobin::default()),
        SchedulerKind::LeastConnections => Box::new(least::Connections),
        SchedulerKind::WeightedLeastConnections => Box::new(least::WeightedConnections),
    }
}

/// A service's real servers in configuration order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool<'a> {
    pub(super) ids: &'a [RealId],
    pub(super) reals: &'a [Real],
}

impl<'a> Pool<'a> {
    /// The real servers that may take a new connection, with their places.
    pub(super) fn usable(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.iter().filter(|(_, real)| real.usable())
    }

    fn iter(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.ids
            .iter()
            .enumerate()
            .filter_map(move |(place, id)| Some((place, self.reals.get(id.0 as usize)?)))
    }
}

#[cfg(test)]
mod tests;
