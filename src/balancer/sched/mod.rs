//! Schedulers: each a file, all behind one tiny trait, chosen by name in [`new`] alone.
//!
//! The algorithms are IPVS's unless their file says otherwise; real servers are walked in
//! configuration order (IPVS walks from the newest to the oldest), so ties go to the one configured
//! first.

mod dh;
mod fo;
mod lc;
mod load;
mod mh;
mod nq;
mod ovf;
mod rr;
mod sed;
mod sh;
mod turns;
mod twos;
mod wlc;
mod wrr;

use std::fmt::Debug;

use super::maglev;
use super::placement::{self, PlacementKey};
use super::real::Real;
use super::registry::Reals;
use crate::model::{Policy, RealId, SchedulerKind};

/// Chooses the real server of a new flow.
pub(super) trait Scheduler: Debug + Send + Copied {
    /// The place in `pool` of the chosen one; `None` when there is none.
    fn pick(&mut self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize>;

    /// Where the flow belongs whatever flows there are, the same however often it is asked: for
    /// flows without an entry. By hash, unless a scheduler has no need of one.
    fn place(&self, flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        placement::usable(flow.hash(), pool, Real::hash_weight)
    }

    /// The pool has changed: members, weights, or the table. (That a slow start goes on is no
    /// change.)
    fn changed(&mut self, _pool: Pool<'_>) {}
}

/// A scheduler that is cloned can be asked what it would say without a change of the one that
/// decides.
pub(super) trait Copied {
    /// The same, in the same state.
    fn copied(&self) -> Box<dyn Scheduler>;
}

impl<S: Scheduler + Clone + 'static> Copied for S {
    fn copied(&self) -> Box<dyn Scheduler> {
        Box::new(self.clone())
    }
}

/// The scheduler of that kind; `seed` is random.
pub(super) fn new(kind: SchedulerKind, seed: u64) -> Box<dyn Scheduler> {
    match kind {
        SchedulerKind::RoundRobin => Box::new(rr::RoundRobin::default()),
        SchedulerKind::WeightedRoundRobin => Box::new(wrr::WeightedRoundRobin::default()),
        SchedulerKind::LeastConnections => Box::new(lc::LeastConnections),
        SchedulerKind::WeightedLeastConnections => Box::new(wlc::WeightedLeastConnections),
        SchedulerKind::ShortestExpectedDelay => Box::new(sed::ShortestExpectedDelay),
        SchedulerKind::NeverQueue => Box::new(nq::NeverQueue),
        SchedulerKind::SourceHashing => Box::new(sh::SourceHashing),
        SchedulerKind::DestinationHashing => Box::new(dh::DestinationHashing),
        SchedulerKind::Maglev => Box::new(mh::Maglev::default()),
        SchedulerKind::Failover => Box::new(fo::Failover),
        SchedulerKind::Overflow => Box::new(ovf::Overflow),
        SchedulerKind::TwoChoices => Box::new(twos::TwoChoices::new(seed)),
    }
}

/// A service's real servers in configuration order, and what its configuration says of choosing
/// among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool<'a> {
    pub(super) ids: &'a [RealId],
    pub(super) reals: &'a Reals,
    pub(super) policy: &'a Policy,
    pub(super) maglev: Option<&'a maglev::Table>,
    pub(super) eligible: Eligible,
}

/// Who may be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Eligible {
    /// Those who may take a new connection.
    ForNewFlows,
    /// Full ones too: where a flow without an entry belongs must not depend on how many others
    /// there are.
    InRotation,
    /// For a flow that has begun before, without a fallback: those too who take nothing new and
    /// serve what they have, since nobody else can have been chosen for it. With a fallback it may
    /// have begun before or after its real server stopped to take new flows, which nobody can tell,
    /// and goes where such a new one would go.
    ForExistingFlows,
}

impl<'a> Pool<'a> {
    /// The real servers that may take a new connection, with their places.
    pub(super) fn usable(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.usable_from(0)
    }

    /// The same from one place on.
    pub(super) fn usable_from(self, first: usize) -> impl Iterator<Item = (usize, &'a Real)> {
        self.iter_from(first).filter(move |(_, real)| self.takes(real))
    }

    /// Those to which flows belong, whether they may take a new one or not.
    pub(super) fn configured(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.iter_from(0).filter(|(_, real)| real.configured() && real.hash_weight() > 0)
    }

    /// Whether the one at that place may take a new connection.
    pub(super) fn is_usable(self, place: usize) -> bool {
        self.ids.get(place).is_some_and(|&id| self.takes(&self.reals[id]))
    }

    /// The place of the last resort, where the scheduler has found nobody. A policy without
    /// fallback refuses a flow though others are there.
    pub(super) fn last_resort(self) -> Option<usize> {
        if !self.policy.fallback && self.usable().next().is_some() {
            return None;
        }
        let stands_in = |real: &Real| real.is_last_resort() && self.takes(real);
        self.ids.iter().position(|&id| stands_in(&self.reals[id]))
    }

    fn takes(self, real: &Real) -> bool {
        match self.eligible {
            Eligible::ForNewFlows => real.usable(),
            Eligible::ForExistingFlows if !self.policy.fallback => real.serves(),
            Eligible::InRotation | Eligible::ForExistingFlows => real.in_service(),
        }
    }

    fn iter_from(self, first: usize) -> impl Iterator<Item = (usize, &'a Real)> {
        let places = self.ids.iter().enumerate().skip(first);
        let reals = places.map(move |(place, &id)| (place, &self.reals[id]));
        reals.filter(|(_, real)| !real.is_last_resort())
    }
}

#[cfg(test)]
mod tests;
