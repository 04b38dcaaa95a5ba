//! The hash index.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn has(index: &Index, tag: u32, wanted: u32) -> bool {
    index.find(tag, |entry| (entry == wanted).then_some(())).is_some()
}

proptest! {
    /// Few distinct homes at the end of the slots, so that sequences collide and wrap around.
    #[test]
    fn behaves_like_a_map(operations in prop::collection::vec((0u32..6, 0u32..12), 1..200)) {
        let mut index = Index::new(8);
        let mut model: HashMap<u32, u32> = HashMap::new();
        for (home, entry) in operations {
            let tag = 13 + home;
            if let Some(tag) = model.remove(&entry) {
                index.remove(tag, entry);
            } else if model.len() < 8 {
                index.insert(tag, entry);
                model.insert(entry, tag);
            }
            for candidate in 0..12 {
                for tag in 13..19 {
                    let expected = model.get(&candidate) == Some(&tag);
                    prop_assert_eq!(has(&index, tag, candidate), expected);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// At every number of entries, in the midst of growth too.
    #[test]
    fn a_larger_index_has_the_same_entries(
        count in 0_u32..1_200,
        capacity in 1_200_u32..9_000,
        turns in 0_usize..4_000,
        again: bool,
    ) {
        let tag = |n: u32| n.wrapping_mul(0x9e37_79b9).rotate_left(16);
        let mut index = Index::new(1_200);
        (0..count).for_each(|n| index.insert(tag(n), n));
        let has = |index: &Index, n: u32| has(index, tag(n), n);
        index.enlarge(capacity);
        prop_assert!((0..count).all(|n| has(&index, n)));
        index.settle(turns);
        prop_assert!((0..count).all(|n| has(&index, n)), "in the midst of moving");
        if again {
            index.enlarge(capacity * 5);
            prop_assert!((0..count).all(|n| has(&index, n)), "larger twice");
        }
        // An entry that is removed before it is moved stays removed.
        (0..count).step_by(3).for_each(|n| index.remove(tag(n), n));
        prop_assert!((0..count).all(|n| has(&index, n) == (n % 3 > 0)));
        (0..count).step_by(3).for_each(|n| index.insert(tag(n), n));
        (count..capacity).for_each(|n| index.insert(tag(n), n));
        prop_assert!((0..capacity).all(|n| has(&index, n)));
        while !index.has_settled() {
            index.settle(100);
        }
        prop_assert!((0..capacity).all(|n| has(&index, n)));
        (0..capacity).for_each(|n| index.remove(tag(n), n));
        prop_assert_eq!(index.len, 0);
        prop_assert!(index.slots.iter().all(|slot| *slot == EMPTY));
    }

    /// Grows through several regions and shrinks again, with homes clustered at both ends of a
    /// region.
    #[test]
    fn finds_all_while_it_grows(
        tags in prop::collection::vec(any::<u32>(), 1_500),
        crowd: bool,
    ) {
        let tag = |n: usize| if crowd { (tags[n] % 64).wrapping_sub(32) } else { tags[n] };
        let mut index = Index::new(1_500);
        let found = |index: &Index, n: u32| has(index, tag(n as usize), n);
        for n in 0..1_500 {
            index.insert(tag(n as usize), n);
            prop_assert!(found(&index, n / 2) && found(&index, n), "{n} inserted");
            if n % 3 == 0 {
                index.remove(tag(n as usize), n);
                prop_assert!(!found(&index, n));
                index.insert(tag(n as usize), n);
            }
        }
        for n in 0..1_500 {
            prop_assert!(found(&index, n), "{n} before removal");
            index.remove(tag(n as usize), n);
            prop_assert!(!found(&index, n), "{n} after removal");
        }
        prop_assert!(index.slots.iter().all(|slot| *slot == EMPTY));
    }
}

#[test]
fn settling_reads_no_more_slots_than_it_may_and_hands_out_what_it_has_emptied() {
    const AT_ONCE: usize = 100;
    let mut index = Index::new(5_000);
    (0..5_000_u32).for_each(|n| index.insert(n.wrapping_mul(0x9e37_79b9), n));
    let before = index.memory();
    index.enlarge(20_000);
    // A full slot is read again once its entry has moved.
    let unread = |(region, at): &(Region, u32)| (region.mask + 1 - at) as usize;
    let of = |former: &Former| {
        let full = former.slots.iter().filter(|slot| **slot != EMPTY).count();
        full + former.regions.iter().map(unread).sum::<usize>()
    };
    let left = |index: &Index| -> usize { index.former.iter().map(of).sum() };
    while !index.has_settled() {
        let before = left(&index);
        assert!(index.take_emptied().is_none(), "{before} slots are not read yet");
        index.settle(AT_ONCE);
        assert!(before - left(&index) <= AT_ONCE, "{before} were left");
    }
    let emptied = index.take_emptied().map(|slots| slots.as_ptr() as usize);
    assert_eq!(emptied, Some(before.start), "the memory of the smaller index");
}

/// The writes of one insertion: its own slot, and for each step of the growth a freed slot,
/// those shifted back behind it, and a taken slot. Probe sequences are short, since the hash is
/// keyed and at most half of the slots are full.
#[test]
fn no_insertion_moves_more_than_a_few_slots() {
    const SHIFTED: usize = 12;
    let mut index = Index::new(1_200);
    let (mut most_written, mut grown) = (0, 0);
    for n in 0..1_200_u32 {
        let (before, old) = (index.slots.clone(), index.old);
        let tag = n.wrapping_mul(0x9e37_79b9).rotate_left(16).wrapping_mul(0x85eb_ca6b);
        index.insert(tag, n);
        let written = before.iter().zip(&index.slots).filter(|(a, b)| a != b).count();
        most_written = most_written.max(written);
        grown += u32::from(old.is_none() && index.old.is_some());
        let from = old.map_or(0, |(_, position)| position);
        if let Some((_, position)) = index.old {
            assert!((position - from) as usize <= STEPS, "{n}: {from} to {position}");
        }
    }
    assert_eq!((grown, index.slots.len()), (1, 1_024 + 4_096));
    assert!(most_written <= 1 + STEPS * (2 + SHIFTED), "{most_written}");
    assert!(most_written > STEPS, "{most_written}: it has been seen to grow");
}

#[test]
fn a_small_table_stays_on_few_pages_and_a_full_one_uses_the_largest_region() {
    let mut index = Index::new(1_000_000);
    for n in 0..256_u32 {
        index.insert(n.wrapping_mul(0x9e37_79b9), n);
    }
    assert!(index.current.end() <= 1_024, "{:?}", index.current);
    for n in 256..1_000_000_u32 {
        index.insert(n.wrapping_mul(0x9e37_79b9), n);
    }
    assert_eq!(index.current.end(), index.slots.len());
    assert!(index.old.is_none());
    let bytes = index.slots.len() * size_of::<u64>();
    assert!(bytes <= 23 * 1_000_000, "23 bytes for each of a million");
}

/// The kernel zeroes whole pages, so a batch of new flows would have it zero many in one turn.
#[test]
fn a_region_is_touched_bit_by_bit_before_entries_move_to_it() {
    let mut index = Index::new(100_000);
    let tag = |n: u32| n.wrapping_mul(0x9e37_79b9);
    let (mut seen, mut grown) = (0, 0);
    for n in 0..100_000_u32 {
        let before = index.current.end();
        index.insert(tag(n), n);
        if index.current.end() > before {
            grown += 1;
            assert!(index.untouched >= index.current.end(), "{n}: {}", index.untouched);
        }
        let touched = index.untouched.saturating_sub(seen.max(before));
        assert!(touched <= PAGE, "{n}: {touched} slots at once");
        seen = index.untouched;
    }
    assert_eq!(grown, 4);

    index.enlarge(400_000);
    let region = index.current;
    while index.untouched < region.end() {
        let before = index.untouched;
        index.settle(1_000);
        assert!(index.untouched - before <= 1_000 * TOUCHED_FOR_ONE);
        let moved = index.slots[region.start..region.end()].iter().any(|slot| *slot != EMPTY);
        assert!(!moved, "{} of {} touched", index.untouched, region.end());
    }
    while !index.has_settled() {
        index.settle(10_000);
    }
    assert!((0..100_000).all(|n| has(&index, tag(n), n)));
}
