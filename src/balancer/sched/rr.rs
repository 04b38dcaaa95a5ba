//! Round robin: each usable real server in turn.

use super::scheduler::Scheduler;
use super::turns::Turns;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug, Default)]
pub(super) struct RoundRobin {
    /// The index after the last chosen server.
    next: usize,
    turns: Turns,
}

impl Scheduler for RoundRobin {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let takes = |&(index, real): &(usize, &Real)| self.turns.takes(pool, index, real);
        round(pool, self.next).find(takes).map(|(index, _)| index)
    }

    fn taken(&mut self, picked: Option<usize>, pool: Pool<'_>) {
        let Some(picked) = picked else { return };
        for (index, real) in round(pool, self.next) {
            self.turns.asked(pool, index, real);
            if index == picked {
                break;
            }
        }
        self.next = picked + 1;
    }

    fn changed(&mut self, pool: Pool<'_>) {
        self.turns.changed(pool);
    }
}

/// The usable real servers in the order in which they are offered a turn. At least one of each
/// round takes its turn, so none is offered two.
fn round(pool: Pool<'_>, next: usize) -> impl Iterator<Item = (usize, &Real)> {
    pool.usable_from(next).chain(pool.usable())
}
