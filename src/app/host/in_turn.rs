//! The real servers whose routes an inspection of the host looks up: a few at a time, all of them
//! in turn, or all at once if something may have changed.

use std::net::IpAddr;

use crate::host::Facts;

/// How many real servers' routes an inspection looks up that nothing has caused. The kernel reports
/// every change that a lookup depends on, and packets wait for a CPU meanwhile.
const QUIET_LOOKUPS: usize = 8;

/// Where the next turn begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InTurn(usize);

impl InTurn {
    /// The ones to look up. `caused`: by an event, which may concern any of them.
    pub(super) fn asked(&mut self, all: &[IpAddr], caused: bool) -> Vec<IpAddr> {
        if caused { all.to_vec() } else { self.next(all, QUIET_LOOKUPS) }
    }

    /// The next ones of the list, at most so many.
    fn next(&mut self, all: &[IpAddr], most: usize) -> Vec<IpAddr> {
        let count = most.min(all.len());
        // The list may be shorter than at the last turn.
        let first = if self.0 < all.len() { self.0 } else { 0 };
        self.0 = first + count;
        let around = all.iter().chain(all).skip(first);
        self.0 %= all.len().max(1);
        around.take(count).copied().collect()
    }
}

/// Whether the lookups that were not asked for are still those of `known`: nothing that they depend
/// on differs, and neither does one that was `asked` for.
pub(super) fn others_are_known(asked: &[IpAddr], known: &Facts, facts: &Facts) -> bool {
    let same = |real: &IpAddr| facts.lookups.get(real) == known.lookups.get(real);
    asked.iter().all(same)
        && facts.links == known.links
        && facts.addresses == known.addresses
        && facts.rules == known.rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Family, Link, LocalAddress, Lookup, RouteKind, Rule, Selectors};

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

    #[test]
    fn a_quiet_inspection_asks_for_a_few_and_one_that_an_event_has_caused_for_all() {
        let (all, mut turn) = (list(20), InTurn::default());
        assert_eq!(turn.asked(&all, false), list(8));
        assert_eq!(turn.asked(&all, true), all);
        assert_eq!(turn.asked(&all, false), all[8..16]);
        assert_eq!(turn.asked(&list(8), true), list(8));
        assert_eq!(turn.asked(&list(3), false), list(3));
    }

    /// The state of a host on which the two real servers leave by this interface.
    fn host(link: u32) -> Facts {
        let kind = RouteKind::Unicast;
        let route = Lookup { kind, link: Some(link), source: None, mtu: None };
        let lookups = list(2).into_iter().map(|real| (real, route)).collect();
        Facts { lookups, ..Facts::default() }
    }

    /// The same host with an interface, an address or a rule more.
    fn different() -> [Facts; 3] {
        let link = Link {
            index: 3,
            name: "eth1".to_owned(),
            mtu: 1_500,
            up: true,
            carrier: true,
            loopback: false,
            arp: true,
            mac: None,
            tunnel: None,
            master: None,
            takes_packets: false,
        };
        let address = LocalAddress {
            link: 2,
            address: list(9)[8],
            subnet: "10.0.0.0/24".parse().expect("a network"),
            tentative: false,
            temporary: false,
            deprecated: false,
            host_scope: false,
        };
        let rule = Rule {
            family: Family::V4,
            priority: 100,
            from: None,
            table: Some(100),
            special: false,
            only: Selectors::default(),
            protocol: 0,
        };
        [
            Facts { links: vec![link], ..host(2) },
            Facts { addresses: vec![address], ..host(2) },
            Facts { rules: vec![rule], ..host(2) },
        ]
    }

    #[test]
    fn the_other_lookups_are_known_while_nothing_differs() {
        let (known, all) = (host(2), list(2));
        assert!(others_are_known(&all[..1], &known, &host(2)));
        assert!(others_are_known(&[], &known, &host(3)));
        assert!(!others_are_known(&all[..1], &known, &host(3)), "another route");
        let mut gone = host(2);
        gone.lookups.remove(&all[0]);
        assert!(!others_are_known(&all[..1], &known, &gone), "no route");
        assert!(others_are_known(&all[1..], &known, &gone));
        for other in different() {
            assert!(!others_are_known(&all[..1], &known, &other), "{other:?}");
            assert!(!others_are_known(&all[..1], &other, &known), "{other:?}");
        }
    }
}
