//! Takes a few of many addresses at a time, all of them in turn.

use std::net::IpAddr;

/// Where the next turn begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InTurn(usize);

impl InTurn {
    /// The next ones of the list, at most so many.
    pub(super) fn next(&mut self, all: &[IpAddr], most: usize) -> Vec<IpAddr> {
        let count = most.min(all.len());
        // The list may be shorter than at the last turn.
        let first = if self.0 < all.len() { self.0 } else { 0 };
        self.0 = first + count;
        let around = all.iter().chain(all).skip(first);
        self.0 %= all.len().max(1);
        around.take(count).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: u8) -> Vec<IpAddr> {
        (0..count).map(|last| IpAddr::from([10, 0, 0, last])).collect()
    }

    #[test]
    fn each_has_its_turn_and_a_turn_has_none_twice() {
        for (count, most) in [(0, 8), (1, 8), (8, 8), (9, 8), (64, 8), (65, 8), (3, 1)] {
            let (all, mut turn) = (list(count), InTurn::default());
            let turns = all.len().div_ceil(most);
            for round in 0..3 {
                let mut seen = Vec::new();
                for _ in 0..turns {
                    let mut some = turn.next(&all, most);
                    assert_eq!(some.len(), most.min(all.len()));
                    some.sort_unstable();
                    some.dedup();
                    assert_eq!(some.len(), most.min(all.len()), "{count} {most}");
                    seen.extend(some);
                }
                assert!(all.iter().all(|one| seen.contains(one)), "{count} {most} {round}");
            }
        }
    }

    #[test]
    fn a_list_may_become_shorter() {
        let mut turn = InTurn::default();
        turn.next(&list(64), 60);
        assert_eq!(turn.next(&list(10), 4), list(4));
    }
}
