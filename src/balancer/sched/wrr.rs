//! Weighted round robin, the smooth form: weights 3 and 1 give A A B A and not A A A B.
//!
//! At each pick every usable real server earns its weight (in thousandths, so that a slow start
//! counts). The server with the most credit is picked and pays the sum of all weights; of equal
//! ones the first. Over as many picks as that sum each server is picked exactly as often as its
//! weight says, as with IPVS's interleaved rounds, but spread out.
//! with IPVS's interleaved rounds, but spread out.

use std::collections::HashMap;

use super::{Pool, Scheduler};
use crate::balancer::placement::PlacementKey;
use crate::balancer::real::Real;
use crate::model::RealId;

#[derive(Clone, Debug, Default)]
pub(super) struct WeightedRoundRobin {
    /// The credit of each index of the pool.
    credits: Vec<Credit>,
    /// The sum of the shares by which it was earned.
    total: i64,
}

#[derive(Clone, Copy, Debug)]
struct Credit {
    real: RealId,
    earned: i64,
}

impl Scheduler for WeightedRoundRobin {
    fn pick(&mut self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        self.settle(pool.usable().map(|(_, real)| share(real)).sum());
        let mut richest: Option<(usize, i64)> = None;
        for (place, real) in pool.usable() {
            let Some(credit) = self.credits.get_mut(place) else { continue };
            credit.earned += share(real);
            if richest.is_none_or(|(_, most)| credit.earned > most) {
                richest = Some((place, credit.earned));
            }
        }
        let (place, _) = richest?;
        if let Some(credit) = self.credits.get_mut(place) {
            credit.earned -= self.total;
        }
        Some(place)
    }

    fn changed(&mut self, pool: Pool<'_>) {
        let kept: HashMap<_, _> =
            self.credits.iter().map(|credit| (credit.real, credit.earned)).collect();
        let credit = |&real| Credit { real, earned: kept.get(&real).copied().unwrap_or_default() };
        self.credits = pool.ids.iter().map(credit).collect();
    }
}

fn share(real: &Real) -> i64 {
    i64::try_from(real.share()).unwrap_or(i64::MAX)
}

impl WeightedRoundRobin {
    /// If shares change, credits scale with their sum: each server keeps its position in the cycle,
    /// and credit earned with large weights is no burst with small ones.
    fn settle(&mut self, total: i64) {
        if self.total == total {
            return;
        }
        for credit in &mut self.credits {
            // Neither exceeds a service's sum of shares, 1,024 × 65,535 × 1,000, but their product
            // is beyond 64 bits.
            let settled =
                i128::from(credit.earned) * i128::from(total) / i128::from(self.total.max(1));
            credit.earned = i64::try_from(settled).unwrap_or_default();
        }
        self.total = total;
    }
}
