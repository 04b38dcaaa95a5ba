//! Placement by hash: the real server that a flow belongs to, independent of earlier flows.
//!
//! Weighted rendezvous hashing: each real server draws a number from the flow's keyed hash and its
//! own address, and the best draw wins. A flow always gets the same server, shares follow the
//! weights, and adding or removing a server moves only its own flows.
//!
//! The seed is not the connection table's: several directors can share it, and then agree on every
//! flow.

use super::flow::Key;
use super::hash::mix;
use super::pool::Pool;
use super::real::Real;
use crate::model::Seed;

/// A flow to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacementKey<'a> {
    pub(super) key: &'a Key,
    pub(super) seed: Seed,
}

impl PlacementKey<'_> {
    /// The hash of all its fields.
    pub(super) fn hash(self) -> u64 {
        self.key.hash(self.seed)
    }

    /// The hash of its client: with the ports of the flow, or of the address alone, which all flows
    /// of the client share.
    pub(super) fn client_hash(self, with_ports: bool) -> u64 {
        if with_ports { self.hash() } else { self.key.client_hash(self.seed) }
    }

    /// The hash of its virtual address.
    pub(super) fn vip_hash(self) -> u64 {
        self.key.vip_hash(self.seed)
    }
}

/// The index of the usable real server that a flow with this hash belongs to. One draw for each
/// server: some ten nanoseconds.
pub(super) fn usable(hash: u64, pool: Pool<'_>, weight: fn(&Real) -> u32) -> Option<usize> {
    best(hash, pool.usable(), weight)
}

/// As [`usable()`], but without the policy's fallback a flow whose server takes no new flow is
/// refused.
pub(super) fn by_policy(hash: u64, pool: Pool<'_>, weight: fn(&Real) -> u32) -> Option<usize> {
    if pool.policy.fallback {
        return usable(hash, pool, weight);
    }
    best(hash, pool.configured(), weight).filter(|&index| pool.is_usable(index))
}

fn best<'a>(
    hash: u64,
    reals: impl Iterator<Item = (usize, &'a Real)>,
    weight: fn(&Real) -> u32,
) -> Option<usize> {
    reals
        .map(|(index, real)| (draw(hash ^ real.salt(), weight(real)), index))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, index)| index)
}

/// An exponential variate with the weight as its rate: the probability to be the smallest of
/// several is proportional to the weight.
fn draw(bits: u64, weight: u32) -> f64 {
    // The upper 53 bits are a number in (0, 1] that a float represents exactly.
    #[allow(clippy::cast_precision_loss)]
    let uniform = ((mix(bits) >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::balancer::pool::Eligible;
    use crate::balancer::real::Reals;
    use crate::balancer::tunnel::LocalRoute;
    use crate::model::FloodMarks;
    use crate::model::Millis;
    use crate::model::RealId;
    use crate::model::RealSpec;
    use crate::model::ServiceId;
    use crate::model::{Existing, Policy, RealValue};

    const FALLS_BACK: Policy = Policy {
        hash_ports: None,
        fallback: true,
        unknown: None,
        persistence: None,
        one_packet: false,
        existing: Existing::Keep,
        drain_deadline: None,
        slow_start: Duration::ZERO,
        flood: FloodMarks::OFF,
    };
    const REFUSES: Policy = Policy { fallback: false, ..FALLS_BACK };

    fn reals(weights: &[u32]) -> (Vec<RealId>, Reals) {
        let service = ServiceId { index: 0, generation: 0 };
        let mut reals = Reals::default();
        let mut real = |(n, &weight): (usize, &u32)| {
            let address = IpAddr::from([10, 0, 0, u8::try_from(n).unwrap_or_default()]);
            reals.insert_with(|_| {
                Real::new(service, RealSpec::new(address, weight), LocalRoute::default())
            })
        };
        let ids = weights.iter().enumerate().map(&mut real).collect();
        (ids, reals)
    }

    fn by_hash(flow: u64, ids: &[RealId], reals: &Reals, policy: &Policy) -> Option<usize> {
        by_policy(
            mix(flow),
            Pool {
                ids,
                reals,
                policy,
                maglev: None,
                eligible: Eligible::ForNewFlows,
                now: Millis(0),
            },
            Real::hash_weight,
        )
    }

    #[test]
    fn shares_follow_the_weights_and_weight_zero_takes_nothing() {
        let (ids, reals) = reals(&[1, 3, 0]);
        for policy in [FALLS_BACK, REFUSES] {
            let mut shares = [0; 3];
            for flow in 0..40_000 {
                shares[by_hash(flow, &ids, &reals, &policy).expect("two are usable")] += 1;
            }
            assert!((9_500..10_500).contains(&shares[0]), "{shares:?}");
            assert_eq!(shares[2], 0);
        }
    }

    #[test]
    fn a_lost_server_moves_only_its_own_flows() {
        let (ids, mut reals) = reals(&[1, 1, 1, 1]);
        let placed = |reals: &Reals, policy: &Policy| -> Vec<_> {
            (0..10_000).map(|flow| by_hash(flow, &ids, reals, policy)).collect()
        };
        let before = placed(&reals, &FALLS_BACK);
        assert_eq!(placed(&reals, &REFUSES), before);
        reals[ids[2]].set(RealValue::Weight(0));
        let (others, none) = (placed(&reals, &FALLS_BACK), placed(&reals, &REFUSES));
        for (flow, before) in before.iter().enumerate() {
            if *before == Some(2) {
                assert!(others[flow].is_some() && none[flow].is_none(), "flow {flow}");
            } else {
                assert_eq!((others[flow], none[flow]), (*before, *before), "flow {flow}");
            }
        }
        reals.iter_mut().for_each(|real| real.set(RealValue::Weight(0)));
        assert_eq!(by_hash(1, &ids, &reals, &FALLS_BACK), None);
    }
}
