//! Weighted overflow: everything to the server of the highest weight until its active connections
//! exceed that weight, then to the next. Where all are full nobody is chosen, as in IPVS.
//!
//! Flows without an entry are not in any count, and go by weight, as with most schedulers
//! ([`Scheduler::place`]): a weight here is what a server bears, so each gets its share of what all
//! bear together. The heaviest one would get all there is.

use super::load::heavier;
use super::{Pool, Scheduler};
use crate::balancer::placement::PlacementKey;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct Overflow;

impl Scheduler for Overflow {
    fn pick(&mut self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        pool.usable().filter(|(_, real)| has_room(real)).reduce(heavier).map(|(place, _)| place)
    }
}

fn has_room(real: &Real) -> bool {
    real.active() <= u64::from(real.weight())
}
