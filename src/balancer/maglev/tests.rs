#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::balancer::change::Change;
use crate::model::{Policy, RealSpec, RealValue, SchedulerKind, ServiceSpec, WeightStep};

const SEED: Seed = Seed(17, 19);
const SMALL: u32 = MIN_SLOTS;

/// Every third one is IPv6.
fn address(number: u32) -> IpAddr {
    if number.is_multiple_of(3) {
        IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(number)).into())
    } else {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }
}

fn reals(weights: &[u32]) -> Vec<(IpAddr, u32)> {
    (0..).map(address).zip(weights.iter().copied()).collect()
}

fn table(slots: u32, weights: &[u32]) -> MaglevTable {
    MaglevTable::new(SEED, slots, reals(weights))
}

/// The table as the documentation of `build` describes it: all turns of all members sorted, each
/// member's permutation written out.
fn naive(slots: u32, weights: &[u32]) -> Vec<Option<IpAddr>> {
    let slots = u64::from(slots);
    let draw = |address: IpAddr, what: u8| {
        let mut hasher = SipHasher13::new_with_keys(SEED.0, SEED.1);
        hasher.write(&match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        });
        hasher.write(&[what]);
        hasher.finish()
    };
    let mut members: Vec<_> =
        reals(weights).into_iter().filter(|(_, weight)| *weight > 0).collect();
    members.sort();
    let mut turns = Vec::new();
    for (index, &(address, weight)) in members.iter().enumerate() {
        let phase = draw(address, 2) >> 32;
        // More turns than a member can get.
        for number in 0..slots {
            // (number + phase) / weight with a common denominator for all.
            let product: u128 = members.iter().map(|(_, weight)| u128::from(*weight)).product();
            let moment =
                (u128::from(number) << 32 | u128::from(phase)) * (product / u128::from(weight));
            turns.push((if number == 0 { 0 } else { moment }, phase, index, number));
        }
    }
    turns.sort_unstable();
    let mut owners = vec![None; usize::try_from(slots).unwrap()];
    let mut walks: Vec<_> = members
        .iter()
        .map(|&(address, _)| {
            let (offset, skip) = (draw(address, 0) % slots, draw(address, 1) % (slots - 1) + 1);
            (0..slots).map(move |step| usize::try_from((offset + step * skip) % slots).unwrap())
        })
        .collect();
    for (_, _, index, _) in turns.into_iter().take(owners.len()) {
        let slot = walks[index].find(|slot| owners[*slot].is_none()).unwrap();
        owners[slot] = Some(members[index].0);
    }
    owners
}

fn owners(table: &MaglevTable) -> Vec<Option<IpAddr>> {
    let hashes = 0..table.slots() as u64;
    hashes.map(|hash| Some(table.members()[table.member(hash)?])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tables_are_filled_turn_by_turn(weights in prop::collection::vec(0_u32..20, 1..6)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        prop_assert_eq!(owners(&table(SMALL, &weights)), naive(SMALL, &weights));
    }

    /// Each has a share of slots by its weight, within two slots, and at least one.
    #[test]
    fn shares_are_the_weights(weights in prop::collection::vec(1_u32..=65_535, 1..20)) {
        let table = table(SMALL, &weights);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (address, weight) in reals(&weights) {
            let share = f64::from(SMALL) * f64::from(weight) / total;
            let slots = table.slots_of(address) as f64;
            prop_assert!(slots >= 1.0, "{address} has no slot");
            // A member with the one guaranteed slot takes it from the others.
            let given = weights.len() as f64;
            prop_assert!((slots - share).abs() <= given.max(2.0), "{} for {}", slots, share);
        }
    }

    #[test]
    fn the_order_of_real_servers_does_not_matter(
        weights in prop::collection::vec(0_u32..20, 1..9),
        turned in 0_usize..9,
    ) {
        let mut reals = reals(&weights);
        let one = MaglevTable::new(SEED, SMALL, reals.iter().copied());
        reals.rotate_left(turned % weights.len());
        let other = MaglevTable::new(SEED, SMALL, reals.iter().rev().copied());
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.checksum(), other.checksum());
        prop_assert_eq!(one.moved(&other), 0);
    }

    /// A removed member moves its own slots and at most a few others.
    #[test]
    fn a_lost_server_or_a_weight_moves_little_else(
        weights in prop::collection::vec(1_u32..20, 2..30),
        which in 0_usize..30,
        weight in 0_u32..20,
    ) {
        let which = which % weights.len();
        let before = table(SLOTS, &weights);
        let mut other = weights.clone();
        other[which] = weight;
        let after = table(SLOTS, &other);
        let slots = |table: &MaglevTable| table.slots_of(address(u32::try_from(which).unwrap()));
        let needed = slots(&before).abs_diff(slots(&after));
        let moved = before.moved(&after);
        prop_assert!(moved >= needed);
        prop_assert!(moved - needed <= SLOTS as usize / 100, "{} of {} had to move", needed, moved);
    }
}

/// Computed by another program, over bytes in little-endian order: directors of different versions
/// and machines agree while this value stays.
#[test]
fn a_table_is_the_same_on_every_machine() {
    let reals = [("10.0.0.11", 1), ("2001:db8:1::13", 2), ("10.0.0.12", 3), ("10.0.0.14", 0)];
    let reals = reals.map(|(address, weight)| (address.parse().unwrap(), weight));
    let table = MaglevTable::new(Seed::from_text("one for all"), SLOTS, reals);
    let shares: Vec<_> = table.members().iter().map(|member| table.slots_of(*member)).collect();
    assert_eq!(shares, [10_922, 32_769, 21_846]);
    assert_eq!(&table.slots[..10], [2, 2, 1, 1, 2, 2, 2, 1, 1, 1]);
    assert_eq!(table.checksum(), 0xe2d9_2163_c76a_a631);
}

#[test]
fn the_seed_and_everything_else_is_in_the_checksum() {
    let base = table(SMALL, &[1, 2, 3]);
    let others = [
        MaglevTable::new(Seed(17, 20), SMALL, reals(&[1, 2, 3])),
        table(1_033, &[1, 2, 3]),
        table(SMALL, &[1, 2, 4]),
        table(SMALL, &[1, 2]),
        MaglevTable::new(
            SEED,
            SMALL,
            reals(&[1, 2, 3]).into_iter().map(|(_, w)| (address(w + 9), w)),
        ),
    ];
    for other in others {
        assert_ne!(base.checksum(), other.checksum(), "{other:?}");
        assert!(base.moved(&other) > 0);
    }
    assert_eq!(format!("{base:?}").matches("slots").count(), 1, "not every slot is printed");
}

#[test]
fn odd_tables() {
    let empty = table(SMALL, &[0, 0]);
    assert_eq!((empty.slots(), empty.member(7), empty.members().len()), (0, None, 0));
    assert_eq!((empty.slots_of(address(0)), empty.moved(&table(SMALL, &[1]))), (0, 1_031));
    let alone = table(SMALL, &[65_535]);
    assert_eq!((alone.slots(), alone.slots_of(address(0))), (1_031, 1_031));
    // As many as a service may have, each with a slot; and more than there are slots.
    let full = table(SMALL, &[1; 1_024]);
    assert!((0..1_024).all(|number| full.slots_of(address(number)) >= 1));
    assert_eq!(table(7, &[1; 9]).members().len(), 7);
    for slots in [0, 1, 2] {
        assert_eq!(table(slots, &[1, 1, 1]).slots(), slots as usize);
    }
}

#[test]
fn primes_and_the_bounds() {
    let primes: Vec<_> = (0..30).filter(|number| is_prime(*number)).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    assert!(is_prime(SLOTS) && !(1 << 16..SLOTS).any(is_prime));
    assert!(is_prime(MIN_SLOTS) && !(1_025..MIN_SLOTS).any(is_prime));
    assert!(is_prime(MAX_SLOTS) && !(MAX_SLOTS + 1..1 << 20).any(is_prime));
    assert!(is_prime(4_294_967_291) && !is_prime(u32::MAX));
}

// The tables that follow changes.

fn service(name: &str, scheduler: SchedulerKind, weights: &[u32]) -> Change {
    let reals = reals(weights).into_iter().map(|(address, weight)| RealSpec::new(address, weight));
    Change::AddService(ServiceSpec {
        name: name.to_owned(),
        listens: Vec::new(),
        scheduler,
        policy: Policy::default(),
        reals: reals.collect(),
    })
}

fn set_weight(number: u32, weight: u32) -> Change {
    Change::SetReal {
        service: "web".to_owned(),
        address: address(number),
        value: RealValue::Weight(weight),
    }
}

/// The tables of one service `web` with mh and the weights 1, 2, 3.
fn maglev_tables() -> MaglevTables {
    let mut maglev_tables = MaglevTables::new(SEED, SMALL);
    let _ = maglev_tables.follow(vec![service("web", SchedulerKind::Maglev, &[1, 2, 3])]);
    maglev_tables
}

/// The tables behind the changes, by service.
fn tables(changes: &[Change]) -> Vec<(&str, &Arc<MaglevTable>)> {
    let tables = changes.iter().map(|change| match change {
        Change::SetMaglev { service, table } => Some((service.as_str(), table)),
        _ => None,
    });
    tables.flatten().collect()
}

#[test]
fn a_table_comes_with_its_service_and_behind_everything_else() {
    let mut maglev_tables = MaglevTables::new(SEED, SMALL);
    let asked = vec![
        service("web", SchedulerKind::Maglev, &[1, 2, 3]),
        service("dns", SchedulerKind::RoundRobin, &[1]),
        service("mail", SchedulerKind::Maglev, &[1, 2, 3]),
    ];
    let changes = maglev_tables.follow(asked.clone());
    assert_eq!(changes[..3], asked);
    let tables = tables(&changes);
    assert_eq!(tables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["mail", "web"]);
    assert_eq!(**tables[0].1, table(SMALL, &[1, 2, 3]));
    assert!(Arc::ptr_eq(tables[0].1, tables[1].1), "the same servers, one table");
    assert_eq!((maglev_tables.table("web"), maglev_tables.table("dns")), (Some(tables[1].1), None));
}

#[test]
fn a_change_of_its_input_computes_a_table() {
    let web = || "web".to_owned();
    let real = RealSpec::new(address(3), 4);
    let rows = [
        (set_weight(2, 7), Some(table(SMALL, &[1, 2, 7]))),
        (set_weight(2, 3), None),
        (set_weight(2, 0), None),
        (Change::AddReal { service: web(), real }, Some(table(SMALL, &[1, 2, 3, 4]))),
        (Change::AddReal { service: web(), real: RealSpec::new(address(3), 0) }, None),
        (Change::RemoveReal { service: web(), address: address(2) }, Some(table(SMALL, &[1, 2]))),
        (Change::RemoveService { service: web() }, None),
        (Change::SetListens { service: web(), listens: Vec::new() }, None),
        (Change::SetPolicy { service: web(), policy: Policy::default() }, None),
        (
            Change::SetHashSeed(Seed(1, 1)),
            Some(MaglevTable::new(Seed(1, 1), SMALL, reals(&[1, 2, 3]))),
        ),
        (Change::SetHashSeed(SEED), None),
        (Change::SetScheduler { service: web(), scheduler: SchedulerKind::Failover }, None),
    ];
    for (change, expected) in rows {
        let mut maglev_tables = maglev_tables();
        let changes = maglev_tables.follow(vec![change.clone()]);
        assert_eq!(changes[0], change);
        let tables: Vec<_> = tables(&changes).into_iter().map(|(_, table)| &**table).collect();
        assert_eq!(tables, expected.iter().collect::<Vec<_>>(), "{change:?}");
    }
}

#[test]
fn weight_zero_keeps_the_previous_slots() {
    let mut maglev_tables = maglev_tables();
    let before = Arc::clone(maglev_tables.table("web").unwrap());
    assert_eq!(maglev_tables.follow(vec![set_weight(1, 0)]).len(), 1);
    // Another change does not restore its weight either.
    let changes = maglev_tables.follow(vec![set_weight(0, 5)]);
    assert_eq!(**tables(&changes)[0].1, table(SMALL, &[5, 2, 3]));
    let changes = maglev_tables.follow(vec![set_weight(0, 1), set_weight(1, 2)]);
    assert_eq!(tables(&changes)[0].1, &before);
}

fn set_step(number: u32, thousandths: u32) -> Change {
    let step = WeightStep::FULL.after(thousandths);
    Change::SetStep { service: "web".to_owned(), address: address(number), step }
}

#[test]
fn a_real_server_s_load_changes_its_slots_in_steps() {
    let mut maglev_tables = maglev_tables();
    let before = Arc::clone(maglev_tables.table("web").unwrap());
    let changes = maglev_tables.follow(vec![set_step(1, 500)]);
    assert_eq!(**tables(&changes)[0].1, table(SMALL, &[8, 2 * 4, 3 * 8]));
    assert_eq!(maglev_tables.follow(vec![set_step(1, 500)]).len(), 1, "the same needs no table");
    // Another weight has the same share.
    let changes = maglev_tables.follow(vec![set_weight(1, 4)]);
    assert_eq!(**tables(&changes)[0].1, table(SMALL, &[8, 4 * 4, 3 * 8]));
    let _ = maglev_tables.follow(vec![set_weight(1, 2)]);
    let changes = maglev_tables.follow(vec![set_step(1, 1_000)]);
    assert_eq!(tables(&changes)[0].1, &before);
    // One that is removed and added again has its whole weight. As a last resort it has no slots.
    let _ = maglev_tables.follow(vec![set_step(1, 500)]);
    let (service, real) = ("web".to_owned(), RealSpec::new(address(1), 2));
    let again = [
        Change::RemoveReal { service: service.clone(), address: address(1) },
        Change::AddReal { service, real },
    ];
    let changes = maglev_tables.follow(again.to_vec());
    assert_eq!(tables(&changes)[0].1, &before);
    assert_eq!(maglev_tables.follow(vec![set_step(9, 500)]).len(), 1, "it is not there");
}

#[test]
fn steps_are_for_services_that_place_by_hash_and_only_where_they_differ() {
    let mut maglev_tables = maglev_tables();
    let wanted = |number, thousandths| {
        let step = WeightStep::FULL.after(thousandths);
        HashMap::from([(("web".to_owned(), address(number)), step)])
    };
    assert_eq!(maglev_tables.stepped(&wanted(0, 1_000)), []);
    assert_eq!(maglev_tables.stepped(&wanted(9, 500)), []);
    let changes = maglev_tables.stepped(&wanted(0, 500));
    assert_eq!(changes, [set_step(0, 500)]);
    let _ = maglev_tables.follow(changes);
    assert_eq!(maglev_tables.stepped(&wanted(0, 500)), []);
    assert_eq!(maglev_tables.stepped(&wanted(1, 500)), [set_step(1, 500), set_step(0, 1_000)]);
    let to = |scheduler| Change::SetScheduler { service: "web".to_owned(), scheduler };
    let _ = maglev_tables.follow(vec![to(SchedulerKind::SourceHashing)]);
    assert_eq!(maglev_tables.stepped(&wanted(1, 500)).len(), 2);
    let _ = maglev_tables.follow(vec![to(SchedulerKind::RoundRobin)]);
    assert_eq!(maglev_tables.stepped(&wanted(0, 500)), [set_step(0, 1_000)]);
}

/// The step's share of slots moves, and at most half a per cent of all slots besides.
#[test]
fn a_step_moves_its_part_of_one_share_and_few_other_slots() {
    for (count, [first, last]) in [(4, [1_585, 2_420]), (10, [743, 874]), (100, [81, 82])] {
        for (from, to, asked) in [(8, 7, first), (2, 1, last)] {
            let with = |eighths| {
                let mut weights = vec![8; count];
                weights[1] = eighths;
                table(SLOTS, &weights)
            };
            let (one, other) = (with(from), with(to));
            let share = one.slots_of(address(1)).abs_diff(other.slots_of(address(1)));
            let moved = one.moved(&other);
            assert!(share.abs_diff(asked) <= 3, "{count}, {from} to {to}: {share}");
            let needless = moved - share;
            assert!(needless <= SLOTS as usize / 200, "{count}, {from} to {to}: {needless}");
        }
    }
}

#[test]
fn a_service_that_returns_to_maglev_gets_a_table() {
    let mut maglev_tables = maglev_tables();
    let to = |scheduler| vec![Change::SetScheduler { service: "web".to_owned(), scheduler }];
    let _ = maglev_tables.follow(to(SchedulerKind::Failover));
    assert_eq!(maglev_tables.table("web"), None);
    let changes = maglev_tables.follow(vec![set_weight(0, 9)]);
    assert_eq!(tables(&changes).len(), 0);
    let changes = maglev_tables.follow(to(SchedulerKind::Maglev));
    assert_eq!(**tables(&changes)[0].1, table(SMALL, &[9, 2, 3]));
}

#[test]
fn other_slots_or_another_seed_are_tables_for_all() {
    let mut maglev_tables = maglev_tables();
    assert_eq!(maglev_tables.remake(SEED, SMALL), []);
    assert_eq!(maglev_tables.follow(Vec::new()), []);
    assert_eq!(maglev_tables.remake(SEED, 1_033), []);
    let changes = maglev_tables.follow(Vec::new());
    assert_eq!(**tables(&changes)[0].1, table(1_033, &[1, 2, 3]));
    let seed = maglev_tables.remake(Seed(1, 1), 1_033);
    assert_eq!(seed, [Change::SetHashSeed(Seed(1, 1))]);
    let changes = maglev_tables.follow(seed);
    assert_eq!(changes.len(), 2);
    assert_eq!(**tables(&changes)[0].1, MaglevTable::new(Seed(1, 1), 1_033, reals(&[1, 2, 3])));
}

/// A director that stops does not wait for a thousand tables.
#[test]
fn no_table_is_computed_after_a_stop() {
    let mut maglev_tables = MaglevTables::new(SEED, SMALL);
    assert!(maglev_tables.is_current());
    maglev_tables.note_all(&[service("dns", SchedulerKind::RoundRobin, &[1])]);
    assert!(maglev_tables.is_current(), "that one needs none");
    maglev_tables.note_all(&[
        service("web", SchedulerKind::Maglev, &[1, 2, 3]),
        service("mail", SchedulerKind::Maglev, &[1, 2]),
    ]);
    assert!(!maglev_tables.is_current());
    let asked = std::cell::Cell::new(0);
    let first_only = || asked.replace(asked.get() + 1) == 0;
    assert_eq!(maglev_tables.clone().make_while(first_only), None);
    assert_eq!(asked.get(), 2, "before each");
    assert_eq!(maglev_tables.make_while(|| true).map(|tables| tables.len()), Some(2));
    assert!(maglev_tables.is_current());
}
