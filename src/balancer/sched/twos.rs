//! The power of two choices: draws two real servers at random by weight and takes the less loaded
//! one. This is almost as even as wlc, and several directors that do not know each other's
//! connections do not all choose the same server.
//!
//! IPVS draws from a range that is one number too large, which gives one server slightly more; here
//! shares are exact.

use super::load::{by_weight, overhead};
use super::scheduler::Scheduler;
use crate::balancer::hash::{STEP, next_hash};
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;

#[derive(Clone, Debug)]
pub(super) struct TwoChoices {
    random: Generator,
}

impl TwoChoices {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Generator(seed) }
    }
}

impl Scheduler for TwoChoices {
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let mut random = self.random.clone();
        let total: u64 = pool.usable().map(|(_, real)| real.share(pool.now)).sum();
        let (one, other) = (random.below(total), random.below(total));
        let (one, other) = (at(pool, one)?, at(pool, other)?);
        let chosen =
            if by_weight(other.1, one.1, pool.now, overhead).is_lt() { other } else { one };
        Some(chosen.0)
    }

    /// Two numbers have been drawn.
    fn taken(&mut self, _picked: Option<usize>, _pool: Pool<'_>) {
        self.random.skip();
        self.random.skip();
    }
}

/// The real server at `number`, with the shares laid end to end.
fn at(pool: Pool<'_>, mut number: u64) -> Option<(usize, &Real)> {
    pool.usable().find(|(_, real)| match number.checked_sub(real.share(pool.now)) {
        Some(rest) => {
            number = rest;
            false
        }
        None => true,
    })
}

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct Generator(pub(super) u64);

impl Generator {
    /// Advances to the next number.
    fn skip(&mut self) {
        self.0 = self.0.wrapping_add(STEP);
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let random = next_hash(self.0);
        self.skip();
        // Lemire's method without a division; the bias is below 2^-28 for 1,024 servers of the
        // largest weight.
        u64::try_from((u128::from(random) * u128::from(bound)) >> 64).unwrap_or_default()
    }
}
