//! lc, wlc, sed, nq, fo, ovf and twos.

use super::super::twos::Generator;
use super::*;

impl Member {
    fn overhead(&self) -> u64 {
        256 * self.active + (self.active + self.inactive)
    }
}

/// The first eligible member such that no other eligible one is less, found by comparing each with
/// each.
fn first_least(
    members: &[Member],
    eligible: impl Fn(&Member) -> bool,
    less: impl Fn(&Member, &Member) -> bool,
) -> Option<usize> {
    let candidates = || members.iter().enumerate().filter(|(_, member)| eligible(member));
    candidates().find(|(_, one)| !candidates().any(|(_, other)| less(other, one))).map(|(at, _)| at)
}

fn fewer(one: &Member, other: &Member) -> bool {
    one.overhead() < other.overhead()
}

fn lighter(one: &Member, other: &Member) -> bool {
    one.overhead() * u64::from(other.weight) < other.overhead() * u64::from(one.weight)
}

fn sooner(one: &Member, other: &Member) -> bool {
    (one.active + 1) * u64::from(other.weight) < (other.active + 1) * u64::from(one.weight)
}

fn heavier(one: &Member, other: &Member) -> bool {
    one.weight > other.weight
}

/// IPVS's algorithms, literally.
fn model(kind: SchedulerKind, members: &[Member]) -> Option<usize> {
    let usable = Member::usable;
    match kind {
        SchedulerKind::LeastConnections => first_least(members, usable, fewer),
        SchedulerKind::WeightedLeastConnections => first_least(members, usable, lighter),
        SchedulerKind::ShortestExpectedDelay => first_least(members, usable, sooner),
        SchedulerKind::NeverQueue => members
            .iter()
            .position(|member| member.usable() && member.active == 0)
            .or_else(|| first_least(members, usable, sooner)),
        SchedulerKind::Failover => first_least(members, usable, heavier),
        SchedulerKind::Overflow => {
            let has_room =
                |member: &Member| member.usable() && member.active <= u64::from(member.weight);
            first_least(members, has_room, heavier)
        }
        _ => unreachable!("no scheduler of this sort"),
    }
}

/// Two draws from the weights laid end to end, one by one; the second if its load per weight is
/// less.
fn two_choices(random: &mut Generator, members: &[Member]) -> Option<usize> {
    let lots: Vec<usize> = members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.usable())
        .flat_map(|(index, member)| std::iter::repeat_n(index, member.weight as usize))
        .collect();
    let draws = [0; 2].map(|_| usize::try_from(random.below(lots.len() as u64)).unwrap());
    let (first, second) = (*lots.get(draws[0])?, *lots.get(draws[1])?);
    Some(if lighter(&members[second], &members[first]) { second } else { first })
}

const BY_LOAD: [SchedulerKind; 6] = [
    SchedulerKind::LeastConnections,
    SchedulerKind::WeightedLeastConnections,
    SchedulerKind::ShortestExpectedDelay,
    SchedulerKind::NeverQueue,
    SchedulerKind::Failover,
    SchedulerKind::Overflow,
];

proptest! {
    #[test]
    fn load_schedulers_take_the_first_of_the_best(members in members()) {
        for kind in BY_LOAD {
            let picked = Bench::new(kind, &members).pick();
            prop_assert_eq!(picked, model(kind, &members), "{}", kind.name());
        }
    }

    /// Small loads and weights, among which there are ties.
    #[test]
    fn ties_are_decided_alike(
        loads in prop::collection::vec((0_u32..3, 0_u64..3, 0_u64..3), 0..6),
    ) {
        let member = |&(weight, active, inactive): &(u32, u64, u64)|
            Member { active, inactive, ..Member::idle(weight) };
        let members: Vec<_> = loads.iter().map(member).collect();
        for kind in BY_LOAD {
            let picked = Bench::new(kind, &members).pick();
            prop_assert_eq!(picked, model(kind, &members), "{}", kind.name());
        }
    }

    #[test]
    fn two_choices_are_drawn_by_weight_and_the_lighter_is_taken(
        start in members(),
        steps in steps(),
    ) {
        let mut bench = Bench::new(SchedulerKind::TwoChoices, &start);
        let mut random = Generator(RANDOM);
        for step in steps {
            for _ in 0..bench.apply(step) {
                prop_assert_eq!(bench.pick(), two_choices(&mut random, &bench.members));
            }
        }
    }
}

#[test]
fn ties_go_to_the_one_configured_first() {
    for kind in BY_LOAD {
        assert_eq!(Bench::of_weights(kind, &[0, 7, 7]).pick(), Some(1), "{}", kind.name());
    }
}

#[test]
fn an_active_connection_weighs_as_much_as_257_inactive_ones() {
    let loaded = |active, inactive| Member { active, inactive, ..Member::idle(1) };
    for (others, expected) in [(256, 1), (257, 0), (258, 0)] {
        let members = [loaded(1, 0), loaded(0, others)];
        let mut bench = Bench::new(SchedulerKind::LeastConnections, &members);
        assert_eq!(bench.pick(), Some(expected), "{others}");
    }
}

#[test]
fn overflow_is_full_one_past_the_weight() {
    let busy = |active| Member { active, ..Member::idle(3) };
    for (active, expected) in [(2, "A"), (3, "A"), (4, "B")] {
        let mut bench = Bench::new(SchedulerKind::Overflow, &[busy(active), Member::idle(1)]);
        assert_eq!(bench.sequence(1), expected, "{active} active");
    }
    let mut bench = Bench::new(SchedulerKind::Overflow, &[busy(4), busy(4)]);
    assert_eq!(bench.sequence(1), "-", "all are full");
}

/// Every chosen server keeps its connections: the case that sed and nq are for.
#[test]
fn idle_servers_are_filled_by_weight_or_one_by_one() {
    let filled = |kind| {
        let mut bench = Bench::of_weights(kind, &[1, 3]);
        let picks = (0..8).map(|_| {
            let index = bench.pick().unwrap();
            bench.members[index].active += 1;
            ['A', 'B'][index]
        });
        picks.collect::<String>()
    };
    assert_eq!(filled(SchedulerKind::WeightedLeastConnections), "ABBBABBB");
    assert_eq!(filled(SchedulerKind::ShortestExpectedDelay), "BBABBBAB");
    assert_eq!(filled(SchedulerKind::NeverQueue), "ABBBBBAB");
}

#[test]
fn two_idle_choices_have_exact_shares() {
    let mut bench = Bench::of_weights(SchedulerKind::TwoChoices, &[1, 3, 0]);
    let word = bench.sequence(40_000);
    let shares = ['A', 'B', 'C'].map(|name| word.matches(name).count());
    // A quarter of 40,000, give or take five standard deviations.
    assert!((9_560..=10_440).contains(&shares[0]), "{shares:?}");
    assert_eq!(shares[2], 0);
}

#[test]
fn the_lighter_of_two_choices_has_three_quarters() {
    let busy = Member { active: 9, ..Member::idle(1) };
    let word = Bench::new(SchedulerKind::TwoChoices, &[busy, Member::idle(1)]).sequence(10_000);
    let lighter = word.matches('B').count();
    assert!((7_280..=7_720).contains(&lighter), "{lighter}");
}

#[test]
fn a_number_below_a_bound_is_below_it() {
    let mut random = Generator(0);
    assert_eq!([random.below(0), random.below(1)], [0, 0]);
    let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| random.below(7)).collect();
    assert_eq!(drawn, (0..7).collect());
    assert!((0..200).any(|_| random.below(u64::MAX) > 1 << 63));
}

/// The largest allowed weight does not overflow.
#[test]
fn the_largest_weight_beside_the_smallest() {
    let members = [
        Member { active: 3, ..Member::idle(65_535) },
        Member { active: 0, inactive: 1, ..Member::idle(1) },
    ];
    let mut least = Bench::new(SchedulerKind::WeightedLeastConnections, &members);
    assert_eq!(least.pick(), Some(0));
}
