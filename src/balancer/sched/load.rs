//! A real server's load, for the schedulers that compare it.

use std::cmp::Ordering;

use crate::balancer::pool::Pool;
use crate::balancer::real::Real;
use crate::model::Millis;

/// IPVS's overhead of a real server: 256 × active + all. An active connection weighs as much as 257
/// inactive ones.
pub(super) fn overhead(real: &Real) -> u64 {
    match real.reported() {
        Some(_) => 257 * real.busy(),
        None => 257 * real.active() + real.inactive(),
    }
}

/// The usable real server with the least load per weight; of several the one configured first.
pub(super) fn least(pool: Pool<'_>, load: fn(&Real) -> u64) -> Option<usize> {
    pool.usable().min_by(|(_, a), (_, b)| by_weight(a, b, pool.now, load)).map(|(index, _)| index)
}

/// Compares load per share by cross-multiplication, so that nothing is rounded. At most 2^24
/// connections and a share below 2^26 stay below 2^59.
pub(super) fn by_weight(a: &Real, b: &Real, now: Millis, load: fn(&Real) -> u64) -> Ordering {
    (load(a) * b.share(now)).cmp(&(load(b) * a.share(now)))
}

/// The one with the larger weight; of equal ones the first.
pub(super) fn heavier<'a>(one: (usize, &'a Real), other: (usize, &'a Real)) -> (usize, &'a Real) {
    if other.1.weight() > one.1.weight() { other } else { one }
}
