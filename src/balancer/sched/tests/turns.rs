//! rr and wrr.

use std::collections::HashMap;

use super::*;

/// Round robin: a pointer that walks the list, at most twice, to the next usable one; it stays if
/// there is none.
#[derive(Default)]
struct NaiveRoundRobin {
    pointer: usize,
}

impl NaiveRoundRobin {
    fn pick(&mut self, members: &[Member]) -> Option<usize> {
        let twice = (0..members.len()).chain(0..members.len());
        let start = self.pointer.min(members.len());
        let index = twice
            .enumerate()
            .find(|&(step, index)| step >= start && members[index].usable())
            .map(|(_, index)| index)?;
        self.pointer = index + 1;
        Some(index)
    }
}

/// Smooth weighted round robin as its file describes it, in thousandths: each server earns its
/// weight, the richest pays, and credits scale with the total.
#[derive(Default)]
struct NaiveSmooth {
    credits: HashMap<u32, i128>,
    total: i128,
}

impl NaiveSmooth {
    fn pick(&mut self, members: &[Member]) -> Option<usize> {
        self.credits.retain(|id, _| members.iter().any(|member| member.id == *id));
        let usable = || members.iter().filter(|member| member.usable());
        let total = usable().map(|member| i128::from(member.weight) * 1_000).sum();
        if total != self.total {
            self.credits
                .values_mut()
                .for_each(|credit| *credit = *credit * total / self.total.max(1));
            self.total = total;
        }
        usable().for_each(|member| {
            *self.credits.entry(member.id).or_default() += i128::from(member.weight) * 1_000;
        });
        let most = usable().map(|member| self.credits[&member.id]).max()?;
        let is_richest = |member: &Member| member.usable() && self.credits[&member.id] == most;
        let index = members.iter().position(is_richest)?;
        *self.credits.get_mut(&members[index].id)? -= total;
        Some(index)
    }
}

/// How often each weight is picked in one cycle of IPVS's interleaved rounds.
fn shares_of_ipvs(weights: &[u32]) -> Vec<u32> {
    let gcd = |a: u32, b: u32| {
        (1..=a.max(b)).rev().find(|d| a.is_multiple_of(*d) && b.is_multiple_of(*d)).unwrap()
    };
    let used: Vec<_> = weights.iter().copied().filter(|weight| *weight > 0).collect();
    let step = used.iter().copied().reduce(gcd).unwrap_or(1);
    let mut shares = vec![0; weights.len()];
    let mut round = used.iter().copied().max().unwrap_or(0);
    while round > 0 {
        for (share, weight) in shares.iter_mut().zip(weights) {
            *share += u32::from(*weight >= round);
        }
        round -= step;
    }
    shares
}

/// The longest run of picks of each server.
fn longest_runs(turns: &[usize], servers: usize) -> Vec<usize> {
    let mut runs = vec![0; servers];
    for run in turns.chunk_by(|one, next| one == next) {
        runs[run[0]] = runs[run[0]].max(run.len());
    }
    runs
}

/// As many real servers of the largest weight as a service may have, before and after one of them
/// gets the smallest.
#[test]
fn the_largest_sum_of_weights_does_not_overflow() {
    let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &[65_535; 1_024]);
    let mut model = NaiveSmooth::default();
    for weight in [65_535, 1, 65_535] {
        bench.members[0].set_weight(weight);
        bench.changed();
        for _ in 0..20 {
            assert_eq!(bench.pick(), model.pick(&bench.members));
        }
    }
}

proptest! {
    #[test]
    fn round_robin_walks_the_list(start in members(), steps in steps()) {
        let mut bench = Bench::new(SchedulerKind::RoundRobin, &start);
        let mut model = NaiveRoundRobin::default();
        for step in steps {
            for _ in 0..bench.apply(step) {
                prop_assert_eq!(bench.pick(), model.pick(&bench.members), "{:?}", bench.members);
            }
        }
    }

    #[test]
    fn weighted_round_robin_picks_the_largest_credit(start in members(), steps in steps()) {
        let mut bench = Bench::new(SchedulerKind::WeightedRoundRobin, &start);
        let mut model = NaiveSmooth::default();
        for step in steps {
            for _ in 0..bench.apply(step) {
                prop_assert_eq!(bench.pick(), model.pick(&bench.members), "{:?}", bench.members);
            }
        }
    }

    /// The same shares as IPVS's, cycle by cycle, and short runs: at most twice as many picks in a
    /// row as the weights make unavoidable, and with two servers no more than those.
    #[test]
    fn weighted_round_robin_has_ipvs_s_shares_without_its_bursts(
        weights in prop::collection::vec(0_u32..40, 1..6),
        unit in 1_u32..5,
    ) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let scaled: Vec<_> = weights.iter().map(|weight| weight * unit).collect();
        let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &scaled);
        let expected = shares_of_ipvs(&weights);
        let cycle: u32 = expected.iter().sum();
        let mut turns = Vec::new();
        for _ in 0..3 {
            let mut shares = vec![0; weights.len()];
            for _ in 0..cycle {
                let index = bench.pick().unwrap();
                shares[index] += 1;
                turns.push(index);
            }
            prop_assert_eq!(&shares, &expected);
        }
        let others = weights.iter().filter(|weight| **weight > 0).count() - 1;
        for (run, weight) in longest_runs(&turns, weights.len()).into_iter().zip(&weights) {
            if others > 0 {
                let unavoidable = weight.div_ceil(total - weight) as usize;
                let most = if others == 1 { unavoidable } else { 2 * unavoidable };
                prop_assert!(run <= most, "{} turns in a row for {} of {:?}", run, weight, weights);
            }
        }
    }

    /// Credit earned with large weights is not a burst with small ones, whichever server was
    /// removed.
    #[test]
    fn weighted_round_robin_stays_smooth_when_weights_shrink(
        large in prop::collection::vec(1_u32..65_536, 3),
        picks in 0_usize..200,
        gone in 0_usize..3,
    ) {
        let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &large);
        bench.sequence(picks);
        bench.apply(TurnStep::Leave(gone));
        bench.apply(TurnStep::Weight(0, 1));
        bench.apply(TurnStep::Weight(1, 1));
        let turns: Vec<_> = (0..20).map(|_| bench.pick().unwrap()).collect();
        prop_assert!(longest_runs(&turns, 2).iter().all(|run| *run <= 4), "{:?}", turns);
    }
}

#[test]
fn known_sequences() {
    use SchedulerKind::{RoundRobin, WeightedRoundRobin};
    let rows: &[(SchedulerKind, &[u32], &str)] = &[
        (RoundRobin, &[1, 1, 1], "ABCABC"),
        (RoundRobin, &[5, 1], "ABABAB"),
        (RoundRobin, &[1, 0, 1], "ACACAC"),
        (WeightedRoundRobin, &[3, 1], "AABAAABA"),
        (WeightedRoundRobin, &[4, 2], "ABAABA"),
        (WeightedRoundRobin, &[1, 1], "ABABAB"),
        (WeightedRoundRobin, &[5, 1, 1], "AABACAA"),
        (WeightedRoundRobin, &[4, 3, 2], "ABCABACBA"),
        (WeightedRoundRobin, &[0, 2, 1], "BCBBCB"),
        (WeightedRoundRobin, &[65_535, 65_535], "ABABAB"),
    ];
    for &(kind, weights, expected) in rows {
        let mut bench = Bench::of_weights(kind, weights);
        assert_eq!(bench.sequence(expected.len()), expected, "{} {weights:?}", kind.name());
    }
}

/// A server that returns has earned nothing while it was away.
#[test]
fn weighted_round_robin_gives_no_credit_for_absence() {
    let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &[1, 1, 1]);
    assert_eq!(bench.sequence(3), "ABC");
    bench.apply(TurnStep::Weight(1, 0));
    assert_eq!(bench.sequence(100).matches('A').count(), 50);
    bench.apply(TurnStep::Weight(1, 1));
    assert_eq!(bench.sequence(6), "ABCABC");
}

/// The largest allowed weight does not overflow, and the others wait no longer than necessary.
#[test]
fn the_largest_weights_next_to_the_smallest() {
    let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &[1, 65_535]);
    let first: Vec<_> = (0..65_536).map(|_| bench.pick().unwrap()).collect();
    assert_eq!(first.iter().filter(|&&index| index == 0).count(), 1);
    let many = vec![65_535; 1_024];
    let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &many);
    for index in (0..1_024).chain(0..3) {
        assert_eq!(bench.pick(), Some(index));
    }
}
