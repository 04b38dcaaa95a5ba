//! Weighted overflow: all flows go to the server with the highest weight until its active
//! connections exceed that weight, then to the next. If all are full none is chosen, as in IPVS.
//!
//! Flows without an entry are in no count, and are placed by weight, as with most schedulers
//! ([`Scheduler::place`]): a weight here is a server's capacity, so each gets its share of the
//! total capacity. Otherwise the server with the highest weight would get all of them.

use super::load::heavier;
use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct Overflow;

impl Scheduler for Overflow {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        pool.usable().filter(|(_, real)| has_room(real)).reduce(heavier).map(|(index, _)| index)
    }
}

fn has_room(real: &Real) -> bool {
    real.active() <= u64::from(real.weight())
}
