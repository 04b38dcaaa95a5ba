//! A connection table that is larger than the caches.

use vstun::balancer::table::AHEAD;
use vstun::balancer::{Balancer, Change};
use vstun::model::{Millis, Policy, Timeouts};
use vstun::sys::memory::prefer_huge_pages;

use super::packets::Family;
use super::rows::{FLAGS, Run, SYN, director, open, take};

/// Flows of the large table.
pub(crate) const MILLION: u32 = 1_000_000;

/// How the connection table's memory is backed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pages {
    Usual,
    Huge,
}

/// A director with a capacity of a million and this many lasting established connections.
fn director_of_many(family: Family, connections: u32, pages: Pages) -> Balancer {
    let mut director = director(family, MILLION);
    let tcp_established = Timeouts::MAX;
    let timeouts = Timeouts { tcp_established, ..Timeouts::DEFAULT };
    director.apply(Millis(0), &Change::SetTimeouts(timeouts)).unwrap();
    if pages == Pages::Huge {
        director.memory().into_iter().for_each(|part| prefer_huge_pages(part).unwrap());
    }
    let mut packet = family.segment(0, &[]);
    for number in 0..connections {
        family.set_client(&mut packet, number);
        open(&mut director, &packet);
    }
    director
}

/// One packet whose client changes, so that only the table is far away.
pub(crate) fn forward_many(family: Family, pages: Pages) -> Run {
    let mut director = director_of_many(family, MILLION, pages);
    let mut packet = family.segment(0, &[]);
    let mut random = Random(1);
    Box::new(move |count| {
        for _ in 0..count {
            family.set_client(&mut packet, random.below(MILLION));
            take(&mut director, Millis(1), &packet);
        }
    })
}

/// As in the packet loop: a batch is read, its connections are prefetched, then it is processed.
pub(crate) fn forward_batches(family: Family, pages: Pages) -> Run {
    let mut director = director_of_many(family, MILLION, pages);
    let mut batch = vec![family.segment(0, &[]); AHEAD];
    let mut random = Random(1);
    Box::new(move |count| {
        for _ in 0..count / AHEAD as u64 {
            for packet in &mut batch {
                family.set_client(packet, random.below(MILLION));
            }
            director.look_ahead(batch.iter().map(Vec::as_slice));
            for packet in &batch {
                take(&mut director, Millis(1), packet);
            }
        }
    })
}

/// A new flow each millisecond, which lives for five minutes, among connections that stay; 900,000
/// in all. As in the packet loop, with the cost of as many expiring flows.
pub(crate) fn forward_new_among_many(family: Family) -> Run {
    const STAY: u32 = 600_000;
    let mut director = director_of_many(family, STAY, Pages::Huge);
    let mut batch = vec![family.datagram(0); AHEAD];
    let mut number = 0;
    let mut turn = move |director: &mut Balancer| {
        let now = Millis(u64::from(number));
        director.expire(now);
        for packet in &mut batch {
            family.set_client(packet, MILLION + number);
            number += 1;
        }
        director.look_ahead(batch.iter().map(Vec::as_slice));
        for packet in &batch {
            take(director, now, packet);
        }
    };
    // Until as many flows expire as begin.
    (0..310_000 / AHEAD).for_each(|_| turn(&mut director));
    Box::new(move |count| {
        (0..count / AHEAD as u64).for_each(|_| turn(&mut director));
        assert_eq!(director.counters().without_entry, 0, "the table has room");
    })
}

/// Each packet is a SYN from another source, and the table is in use to its mark.
pub(crate) fn forward_flood(family: Family) -> Run {
    let mut director = director_of_many(family, MILLION / 10 * 9, Pages::Usual);
    let policy = Policy::default();
    director.apply(Millis(0), &Change::SetPolicy { service: "web".to_owned(), policy }).unwrap();
    let mut packet = family.segment(0, &[]);
    packet[family.header_len() + FLAGS] = SYN;
    let mut number = MILLION;
    Box::new(move |count| {
        for _ in 0..count {
            family.set_client(&mut packet, number);
            take(&mut director, Millis(1), &packet);
            number += 1;
        }
        assert!(director.snapshot().services[0].flood.active);
    })
}

/// A pseudo-random generator, good enough to avoid patterns in the cache.
pub(crate) struct Random(pub(crate) u32);

impl Random {
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // The upper bits are the better ones.
        u32::try_from((u64::from(self.0) * u64::from(bound)) >> 32).unwrap()
    }
}
