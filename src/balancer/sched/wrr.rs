//! Weighted round robin, IPVS's interleaved form: rounds of falling thresholds, in each of which every real
//! server with at least that weight has its turn. Weights 3 and 1 give A A A B.

use super::{Pool, Scheduler};

#[derive(Debug, Default)]
pub(super) struct WeightedRoundRobin {
    /// The place after the last one chosen.
    next: usize,
    /// The weight that has its turn in this round.
    current: u32,
    /// The first round's weight: the highest at which a round differs from the one before.
    highest: u32,
    /// By how much a round's weight falls: the weights' greatest common divisor.
    step: u32,
}

impl Scheduler for WeightedRoundRobin {
    fn pick(&mut self, pool: Pool<'_>) -> Option<usize> {
        if self.step == 0 {
            self.changed(pool);
        }
        // Each round that finds nobody lowers the threshold; at `step` everybody usable qualifies, so one
        // full cycle of rounds finds somebody or there is nobody.
        let rounds = self.highest.div_ceil(self.step.max(1)) + 1;
        for _ in 0..=rounds {
            let turn = pool
                .usable()
                .find(|&(place, real)| place >= self.next && real.weight() >= self.current.max(1));
            if let Some((place, _)) = turn {
                self.next = place + 1;
                return Some(place);
            }
            self.next = 0;
            self.current = match self.current.saturating_sub(self.step) {
                0 => self.highest,
                lower => lower,
            };
        }
        None
    }

    fn changed(&mut self, pool: Pool<'_>) {
        let weights = || pool.usable().map(|(_, real)| real.weight());
        self.step = weights().fold(0, gcd);
        let max = weights().max().unwrap_or_default();
        self.highest = (max + 1).saturating_sub(self.step);
        self.next = 0;
        self.current = match self.current {
            0 => self.highest,
            current if current > self.highest => self.highest,
            current if self.step > 1 => current / self.step * self.step + 1,
            current => current,
        };
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
