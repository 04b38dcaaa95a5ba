//! The schedulers against models of IPVS's algorithms, written the naive way.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::balancer::service::{Life, ServiceId};
use crate::balancer::spec::RealSpec;
use crate::balancer::tcp::State;

/// What a model knows of a real server.
#[derive(Clone, Debug)]
struct Member {
    weight: u32,
    draining: bool,
    active: u64,
    inactive: u64,
}

impl Member {
    fn idle(weight: u32) -> Self {
        Self { weight, draining: false, active: 0, inactive: 0 }
    }

    fn usable(&self) -> bool {
        self.weight > 0 && !self.draining
    }

    fn overhead(&self) -> u64 {
        256 * self.active + (self.active + self.inactive)
    }

    fn real(&self) -> Real {
        let mut real = Real::new(
            ServiceId(0),
            RealSpec { address: IpAddr::from([10, 0, 0, 1]), weight: self.weight },
            None,
        );
        if self.draining {
            real.set_life(Life::Draining);
        }
        for _ in 0..self.active + self.inactive {
            real.bind();
        }
        for _ in 0..self.active {
            real.moved(State::None, State::Established);
        }
        real
    }
}

/// A scheduler with its pool.
struct Bench {
    scheduler: Box<dyn Scheduler>,
    members: Vec<Member>,
}

impl Bench {
    fn new(kind: SchedulerKind, members: &[Member]) -> Self {
        let mut bench = Self { scheduler: new(kind), members: members.to_vec() };
        bench.changed();
        bench
    }

    fn of_weights(kind: SchedulerKind, weights: &[u32]) -> Self {
        Self::new(kind, &weights.iter().copied().map(Member::idle).collect::<Vec<_>>())
    }

    fn with_pool<T>(&mut self, act: impl FnOnce(&mut dyn Scheduler, Pool<'_>) -> T) -> T {
        let reals: Vec<_> = self.members.iter().map(Member::real).collect();
        let ids: Vec<_> = (0..u32::try_from(reals.len()).unwrap()).map(RealId).collect();
        act(self.scheduler.as_mut(), Pool { ids: &ids, reals: &reals })
    }

    fn changed(&mut self) {
        self.with_pool(|scheduler, pool| scheduler.changed(pool));
    }

    fn pick(&mut self) -> Option<usize> {
        self.with_pool(|scheduler, pool| scheduler.pick(pool))
    }

    /// Picks as a word: A for the first real server, `-` for none.
    fn sequence(&mut self, len: usize) -> String {
        const NAMES: [char; 6] = ['A', 'B', 'C', 'D', 'E', 'F'];
        (0..len).map(|_| self.pick().map_or('-', |place| NAMES[place])).collect()
    }
}

/// Round robin: a pointer that walks the list, twice at most, to the next usable one; it stays where it is when
/// there is none.
#[derive(Default)]
struct NaiveRoundRobin {
    pointer: usize,
}

impl NaiveRoundRobin {
    fn pick(&mut self, members: &[Member]) -> Option<usize> {
        let twice = (0..members.len()).chain(0..members.len());
        let start = self.pointer.min(members.len());
        let place = twice
            .enumerate()
            .find(|&(step, place)| step >= start && members[place].usable())
            .map(|(_, place)| place)?;
        self.pointer = place + 1;
        Some(place)
    }
}

/// IPVS's weighted round robin, step by step as its description goes; `None` is the list's head.
#[derive(Default)]
struct NaiveWeighted {
    last: Option<usize>,
    di: u32,
    mw: u32,
    cw: i64,
}

impl NaiveWeighted {
    fn changed(&mut self, members: &[Member]) {
        let weights: Vec<_> =
            members.iter().filter(|member| member.usable()).map(|member| member.weight).collect();
        let max = weights.iter().copied().max().unwrap_or(0);
        self.di = (1..=max.max(1))
            .rev()
            .find(|divisor| weights.iter().all(|weight| weight % divisor == 0))
            .unwrap_or(1);
        self.mw = (max + 1).saturating_sub(self.di);
        self.last = None;
        if self.cw > i64::from(self.mw) || self.cw == 0 {
            self.cw = i64::from(self.mw);
        } else if self.di > 1 {
            self.cw = self.cw / i64::from(self.di) * i64::from(self.di) + 1;
        }
    }

    fn pick(&mut self, members: &[Member]) -> Option<usize> {
        if self.mw == 0 {
            return None;
        }
        loop {
            let start = self.last.map_or(0, |last| last + 1);
            for (place, member) in members.iter().enumerate().skip(start) {
                if member.usable() && i64::from(member.weight) >= self.cw {
                    self.last = Some(place);
                    return Some(place);
                }
            }
            self.last = None;
            self.cw -= i64::from(self.di);
            if self.cw <= 0 {
                self.cw = i64::from(self.mw);
            }
        }
    }
}

/// The first with the least load, found by comparing each with each.
fn naive_least(members: &[Member], less: fn(&Member, &Member) -> bool) -> Option<usize> {
    let usable = || members.iter().enumerate().filter(|(_, member)| member.usable());
    usable().find(|(_, one)| !usable().any(|(_, other)| less(other, one))).map(|(place, _)| place)
}

fn fewer(one: &Member, other: &Member) -> bool {
    one.overhead() < other.overhead()
}

fn lighter(one: &Member, other: &Member) -> bool {
    one.overhead() * u64::from(other.weight) < other.overhead() * u64::from(one.weight)
}

fn member() -> impl Strategy<Value = Member> {
    let weight = prop_oneof![Just(0), 1_u32..6, Just(6), Just(12), 1_u32..200];
    (weight, prop::bool::weighted(0.2), 0_u64..4, 0_u64..600).prop_map(
        |(weight, draining, active, inactive)| Member { weight, draining, active, inactive },
    )
}

/// What happens to a pool between picks.
#[derive(Clone, Debug)]
enum Step {
    Picks(usize),
    Weight(usize, u32),
    Join(Member),
    Drain(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || 0_usize..6;
    let step = prop_oneof![
        4 => (1_usize..20).prop_map(Step::Picks),
        1 => (place(), prop_oneof![Just(0), 1_u32..12]).prop_map(|(at, weight)| Step::Weight(at, weight)),
        1 => member().prop_map(Step::Join),
        1 => place().prop_map(Step::Drain),
        1 => place().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..30)
}

/// Does the step to `members`; the number of picks that follow, and whether the pool has changed.
fn apply(step: Step, members: &mut Vec<Member>) -> (usize, bool) {
    match step {
        Step::Picks(picks) => return (picks, false),
        Step::Weight(at, weight) if at < members.len() => members[at].weight = weight,
        Step::Join(member) if members.len() < 6 => members.push(member),
        Step::Drain(at) if at < members.len() => members[at].draining = true,
        Step::Leave(at) if at < members.len() => drop(members.remove(at)),
        _ => return (0, false),
    }
    (0, true)
}

proptest! {
    #[test]
    fn round_robin_walks_the_list(
        start in prop::collection::vec(member(), 0..6),
        steps in steps(),
    ) {
        let mut bench = Bench::new(SchedulerKind::RoundRobin, &start);
        let mut model = NaiveRoundRobin::default();
        for step in steps {
            let (picks, changed) = apply(step, &mut bench.members);
            if changed {
                bench.changed();
            }
            for _ in 0..picks {
                prop_assert_eq!(bench.pick(), model.pick(&bench.members), "{:?}", bench.members);
            }
        }
    }

    #[test]
    fn weighted_round_robin_is_ipvs_s(
        start in prop::collection::vec(member(), 0..6),
        steps in steps(),
    ) {
        let mut bench = Bench::new(SchedulerKind::WeightedRoundRobin, &start);
        let mut model = NaiveWeighted::default();
        model.changed(&start);
        for step in steps {
            let (picks, changed) = apply(step, &mut bench.members);
            if changed {
                bench.changed();
                model.changed(&bench.members);
            }
            for _ in 0..picks {
                prop_assert_eq!(bench.pick(), model.pick(&bench.members), "{:?}", bench.members);
            }
        }
    }

    /// Over one cycle each server gets exactly its weight, in units of the greatest common divisor.
    #[test]
    fn weighted_round_robin_s_shares_are_the_weights(
        weights in prop::collection::vec(0_u32..40, 1..6),
        unit in 1_u32..5,
    ) {
        let weights: Vec<_> = weights.iter().map(|weight| weight * unit).collect();
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &weights);
        let mut shares = vec![0; weights.len()];
        for _ in 0..total {
            shares[bench.pick().unwrap()] += 1;
        }
        prop_assert_eq!(shares, weights);
    }

    #[test]
    fn least_connections_takes_the_first_of_the_least_loaded(
        members in prop::collection::vec(member(), 0..6),
    ) {
        let mut plain = Bench::new(SchedulerKind::LeastConnections, &members);
        prop_assert_eq!(plain.pick(), naive_least(&members, fewer));
        let mut weighted = Bench::new(SchedulerKind::WeightedLeastConnections, &members);
        prop_assert_eq!(weighted.pick(), naive_least(&members, lighter));
    }

    #[test]
    fn only_the_usable_are_picked_and_somebody_whenever_there_is_one(
        kind in prop::sample::select(SchedulerKind::ALL.to_vec()),
        start in prop::collection::vec(member(), 0..6),
        steps in steps(),
    ) {
        let mut bench = Bench::new(kind, &start);
        for step in steps {
            let (picks, changed) = apply(step, &mut bench.members);
            if changed {
                bench.changed();
            }
            for _ in 0..picks {
                match bench.pick() {
                    Some(place) => prop_assert!(bench.members[place].usable()),
                    None => prop_assert!(!bench.members.iter().any(Member::usable)),
                }
            }
        }
    }
}

#[test]
fn known_sequences() {
    use SchedulerKind::{RoundRobin, WeightedRoundRobin};
    let rows: &[(SchedulerKind, &[u32], &str)] = &[
        (RoundRobin, &[1, 1, 1], "ABCABC"),
        (RoundRobin, &[5, 1], "ABABAB"),
        (RoundRobin, &[1, 0, 1], "ACACAC"),
        (WeightedRoundRobin, &[3, 1], "AAABAAAB"),
        (WeightedRoundRobin, &[4, 2], "AABAAB"),
        (WeightedRoundRobin, &[1, 1], "ABABAB"),
        (WeightedRoundRobin, &[4, 3, 2], "AABABCABC"),
        (WeightedRoundRobin, &[0, 2, 1], "BBCBBC"),
        (WeightedRoundRobin, &[65_535, 65_535], "ABABAB"),
    ];
    for &(kind, weights, expected) in rows {
        let mut bench = Bench::of_weights(kind, weights);
        assert_eq!(bench.sequence(expected.len()), expected, "{} {weights:?}", kind.name());
    }
}

#[test]
fn ties_go_to_the_one_configured_first() {
    for kind in [SchedulerKind::LeastConnections, SchedulerKind::WeightedLeastConnections] {
        assert_eq!(Bench::of_weights(kind, &[0, 7, 7]).pick(), Some(1), "{}", kind.name());
    }
}

#[test]
fn an_active_connection_weighs_as_much_as_257_inactive_ones() {
    let loaded = |active, inactive| Member { active, inactive, ..Member::idle(1) };
    for (others, expected) in [(256, 1), (257, 0), (258, 0)] {
        let members = [loaded(1, 0), loaded(0, others)];
        let mut bench = Bench::new(SchedulerKind::LeastConnections, &members);
        assert_eq!(bench.pick(), Some(expected), "{others} inactive");
    }
}

#[test]
fn weighted_least_connections_compares_load_per_weight() {
    let loaded = |weight, active| Member { active, ..Member::idle(weight) };
    let rows = [
        ([loaded(1, 1), loaded(3, 2)], 1),
        ([loaded(1, 1), loaded(3, 4)], 0),
        ([loaded(1, 1), loaded(3, 3)], 0),
        ([loaded(0, 0), loaded(1, 9)], 1),
    ];
    for (members, expected) in rows {
        let mut bench = Bench::new(SchedulerKind::WeightedLeastConnections, &members);
        assert_eq!(bench.pick(), Some(expected), "{members:?}");
    }
}

#[test]
fn nobody_usable_is_nobody_picked() {
    for kind in SchedulerKind::ALL {
        assert_eq!(Bench::of_weights(kind, &[]).sequence(3), "---", "{}", kind.name());
        assert_eq!(Bench::of_weights(kind, &[0, 0]).sequence(3), "---", "{}", kind.name());
        let draining = Member { draining: true, ..Member::idle(1) };
        assert_eq!(Bench::new(kind, &[draining]).sequence(3), "---", "{}", kind.name());
    }
}

/// The largest weight that a service takes does not overflow, nor does a search among such weights take long.
#[test]
fn the_largest_weights_next_to_the_smallest() {
    let mut bench = Bench::of_weights(SchedulerKind::WeightedRoundRobin, &[1, 65_535]);
    let first: Vec<_> = (0..65_536).map(|_| bench.pick().unwrap()).collect();
    assert_eq!(first.iter().filter(|&&place| place == 0).count(), 1);
    let members = [
        Member { active: 3, ..Member::idle(65_535) },
        Member { active: 0, inactive: 1, ..Member::idle(1) },
    ];
    let mut least = Bench::new(SchedulerKind::WeightedLeastConnections, &members);
    assert_eq!(least.pick(), Some(0));
}

#[test]
fn names_are_those_of_lvs() {
    assert_eq!(SchedulerKind::ALL.map(SchedulerKind::name), ["rr", "wrr", "lc", "wlc"]);
    for kind in SchedulerKind::ALL {
        assert_eq!(SchedulerKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(SchedulerKind::from_name("WLC"), None);
}
