//! Weighted round robin, the smooth form: weights 3 and 1 give A A B A and not A A A B.
//!
//! At each pick every usable real server earns its weight (in thousandths, so that a slow start
//! counts). The server with the most credit is picked and pays the sum of all weights; of equal
//! ones the first. Over as many picks as that sum each server is picked exactly as often as its
//! weight says, as with IPVS's interleaved rounds, but spread out.

use std::collections::HashMap;

use super::scheduler::Scheduler;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::Pool;
use crate::balancer::real::Real;
use crate::model::{Millis, RealId};

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
    fn pick(&self, _flow: PlacementKey<'_>, pool: Pool<'_>) -> Option<usize> {
        let (richest, total) = self.richest(pool, |earned| earned);
        if total == self.total {
            return richest;
        }
        self.richest(pool, |earned| self.scaled(earned, total)).0
    }

    fn taken(&mut self, picked: Option<usize>, pool: Pool<'_>) {
        let total = self.earn(pool, 1);
        if total != self.total {
            // Credits are settled before the shares of this turn are earned.
            self.earn(pool, -1);
            self.settle(total);
            self.earn(pool, 1);
        }
        if let Some(credit) = picked.and_then(|index| self.credits.get_mut(index)) {
            credit.earned -= self.total;
        }
    }

    fn changed(&mut self, pool: Pool<'_>) {
        // Most changes are of weights or states; then the credits stay at their indexes.
        if self.credits.iter().map(|credit| credit.real).eq(pool.ids.iter().copied()) {
            return;
        }
        let kept: HashMap<_, _> =
            self.credits.iter().map(|credit| (credit.real, credit.earned)).collect();
        let credit = |&real| Credit { real, earned: kept.get(&real).copied().unwrap_or_default() };
        self.credits = pool.ids.iter().map(credit).collect();
    }
}

fn share(real: &Real, now: Millis) -> i64 {
    i64::try_from(real.share(now)).unwrap_or(i64::MAX)
}

impl WeightedRoundRobin {
    /// The index with the most credit after all have earned their shares, and the sum of the
    /// shares.
    #[inline]
    fn richest(&self, pool: Pool<'_>, earned: impl Fn(i64) -> i64) -> (Option<usize>, i64) {
        let (mut richest, mut total) = (None, 0);
        for (index, real) in pool.usable() {
            let share = share(real, pool.now);
            total += share;
            let Some(credit) = self.credits.get(index) else { continue };
            let earned = earned(credit.earned) + share;
            if richest.is_none_or(|(_, most)| earned > most) {
                richest = Some((index, earned));
            }
        }
        (richest.map(|(index, _)| index), total)
    }

    /// Adds its share to each credit, `times` times. Returns the sum of the shares.
    #[inline]
    fn earn(&mut self, pool: Pool<'_>, times: i64) -> i64 {
        let mut total = 0;
        for (index, real) in pool.usable() {
            let share = share(real, pool.now);
            total += share;
            if let Some(credit) = self.credits.get_mut(index) {
                credit.earned += share * times;
            }
        }
        total
    }

    /// If shares change, credits scale with their sum: each server keeps its position in the cycle,
    /// and credit earned with large weights is not a burst with small ones.
    fn settle(&mut self, total: i64) {
        let mut credits = std::mem::take(&mut self.credits);
        for credit in &mut credits {
            credit.earned = self.scaled(credit.earned, total);
        }
        (self.credits, self.total) = (credits, total);
    }

    fn scaled(&self, earned: i64, total: i64) -> i64 {
        // Neither exceeds a service's sum of shares, 1,024 × 65,535 × 1,000, but their product is
        // beyond 64 bits.
        let scaled = i128::from(earned) * i128::from(total) / i128::from(self.total.max(1));
        i64::try_from(scaled).unwrap_or_default()
    }
}
