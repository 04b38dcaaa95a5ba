//! Placement by hash: where a flow goes that has no entry in the table.
//!
//! Weighted rendezvous hashing: each real server draws a number from the flow's keyed hash and its own
//! address, and the best draw wins. The same flow always meets the same server, shares follow the weights, and
//! a server that comes or goes moves only the flows it wins or had won.

use std::net::IpAddr;

use super::service::Real;
use super::verdict::RealId;

/// The usable real server that a flow with this hash belongs to. One draw for each server: some ten nanoseconds.
pub(super) fn by_hash(flow: u64, ids: &[RealId], reals: &[Real]) -> Option<RealId> {
    ids.iter()
        .filter_map(|&id| Some((id, reals.get(id.0 as usize)?)))
        .filter(|(_, real)| real.usable())
        .map(|(id, real)| (draw(flow, real), id))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, id)| id)
}

/// An exponential variate with the weight as its rate: the smallest of several is each one's with a
/// probability proportional to its weight.
fn draw(flow: u64, real: &Real) -> f64 {
    let bits = mix(flow ^ real.salt());
    // The upper 53 bits make a number in (0, 1] that a float holds exactly.
    #[allow(clippy::cast_precision_loss)]
    let uniform = ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -uniform.ln() / f64::from(real.weight())
}

/// What tells a real server's draws from another's: the same for an address in every service and every run.
pub(super) fn salt(address: IpAddr) -> u64 {
    mix(match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            #[allow(clippy::cast_possible_truncation)] // both halves are used
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            high.rotate_left(32) ^ low
        }
    })
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::service::ServiceId;
    use crate::balancer::spec::RealSpec;

    fn reals(weights: &[u32]) -> (Vec<RealId>, Vec<Real>) {
        let real = |(n, &weight): (usize, &u32)| {
            let address = IpAddr::from([10, 0, 0, u8::try_from(n).unwrap_or_default()]);
            Real::new(ServiceId(0), RealSpec { address, weight }, None)
        };
        let ids = (0..u32::try_from(weights.len()).unwrap_or_default()).map(RealId).collect();
        (ids, weights.iter().enumerate().map(real).collect())
    }

    #[test]
    fn shares_follow_the_weights_and_weight_zero_takes_nothing() {
        let (ids, reals) = reals(&[1, 3, 0]);
        let mut shares = [0; 3];
        for flow in 0..40_000 {
            shares[by_hash(mix(flow), &ids, &reals).expect("two are usable").0 as usize] += 1;
        }
        assert!((9_500..10_500).contains(&shares[0]), "{shares:?}");
        assert_eq!(shares[2], 0);
    }

    #[test]
    fn a_lost_server_moves_only_its_own_flows() {
        let (ids, mut reals) = reals(&[1, 1, 1, 1]);
        let before: Vec<_> = (0..10_000).map(|flow| by_hash(mix(flow), &ids, &reals)).collect();
        reals[2].set_weight(0);
        for (flow, before) in (0..10_000).zip(before) {
            if before != Some(RealId(2)) {
                assert_eq!(by_hash(mix(flow), &ids, &reals), before, "flow {flow}");
            }
        }
        reals.iter_mut().for_each(|real| real.set_weight(0));
        assert_eq!(by_hash(1, &ids, &reals), None);
    }
}
