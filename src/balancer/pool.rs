//! The real servers that a flow's real server is chosen among.

use super::maglev;
use super::real::{Real, Reals};
use crate::model::{Millis, Policy, RealId};

/// A service's real servers in configuration order, and the configuration that the choice among
/// them depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool<'a> {
    pub(super) ids: &'a [RealId],
    pub(super) reals: &'a Reals,
    pub(super) policy: &'a Policy,
    pub(super) maglev: Option<&'a maglev::MaglevTable>,
    pub(super) eligible: Eligible,
    /// Slow starts are as far as they are now.
    pub(super) now: Millis,
}

/// Which real servers may be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Eligible {
    /// Those that may take a new connection.
    ForNewFlows,
    /// Full ones too: the real server of a flow without an entry must not depend on the number of
    /// other flows.
    InRotation,
    /// For an existing flow. Without a fallback, also those that take nothing new and only serve
    /// what they have: only such a server can have been chosen for it. With a fallback the flow may
    /// have begun before or after its real server stopped taking new flows. Its packet does not
    /// show which, so it goes where a new flow would go.
    ForExistingFlows,
}

impl<'a> Pool<'a> {
    /// The real servers that may take a new connection, with their indexes.
    pub(super) fn usable(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.usable_from(0)
    }

    /// The same, starting at an index.
    pub(super) fn usable_from(self, first: usize) -> impl Iterator<Item = (usize, &'a Real)> {
        self.iter_from(first).filter(move |(_, real)| self.takes(real))
    }

    /// The real servers to which flows belong, whether or not they may take a new one.
    pub(super) fn configured(self) -> impl Iterator<Item = (usize, &'a Real)> {
        self.iter_from(0).filter(|(_, real)| real.configured() && real.hash_weight() > 0)
    }

    /// Whether the real server at that index may take a new connection.
    pub(super) fn is_usable(self, index: usize) -> bool {
        self.ids.get(index).is_some_and(|&id| self.takes(&self.reals[id]))
    }

    /// The index of the last resort, for a scheduler that has found none. Without fallback the
    /// policy refuses a flow while other servers are usable.
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
        let indexes = self.ids.iter().enumerate().skip(first);
        let reals = indexes.map(move |(index, &id)| (index, &self.reals[id]));
        reals.filter(|(_, real)| !real.is_last_resort())
    }
}
