//! Round robin: each usable real server in turn.

use super::turns::Turns;
use super::{Pool, Scheduler};
use crate::balancer::placement::PlacementKey;

#[derive(Clone, Debug, Default)]
pub(super) struct RoundRobin {
    /// The index after the last chosen server.
    next: usize,
    turns: Turns,
}

impl Scheduler for RoundRobin {
    fn pick(&mut self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let mut walk = pool.usable_from(self.next).chain(pool.usable());
        let (place, _) = walk.find(|&(place, real)| self.turns.takes(pool, place, real))?;
        self.next = place + 1;
        Some(place)
    }

    fn changed(&mut self, pool: Pool<'_>) {
        self.turns.changed(pool);
    }
}
