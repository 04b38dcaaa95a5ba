//! The flows placed by mh that a change of the real servers moves: the share of Maglev slots that
//! change their server, and how many of them needlessly.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use vstun::balancer::maglev::{MaglevTable, SLOTS};
use vstun::model::Seed;

/// Real servers of a service.
const POOLS: [u32; 4] = [4, 10, 100, 400];
/// Seeds, over which the figures are averaged.
const SEEDS: u64 = 5;
/// The weight of all; a change of one is to half of it, and to a tenth more.
const WEIGHT: u32 = 100;

/// A change of one real server of a pool.
struct Case {
    name: &'static str,
    /// Its weights before and after; 0: it is absent.
    weights: (u32, u32),
}

const CASES: [Case; 4] = [
    Case { name: "one is removed", weights: (WEIGHT, 0) },
    Case { name: "one is added", weights: (0, WEIGHT) },
    Case { name: "one's weight, 100 to 50", weights: (WEIGHT, WEIGHT / 2) },
    Case { name: "one's weight, 100 to 110", weights: (WEIGHT, WEIGHT / 10 * 11) },
];

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number).into()
}

/// The table of `count` real servers of which one has another weight.
fn table(seed: u64, count: u32, changed: u32, weight: u32) -> MaglevTable {
    let weight_of = |number| if number == changed { weight } else { WEIGHT };
    MaglevTable::new(
        Seed(seed, 7),
        SLOTS,
        (0..count).map(|number| (address(number), weight_of(number))),
    )
}

/// The per cent of all slots that change their server, and of slots that change needlessly.
fn moved(count: u32, case: &Case) -> (f64, f64) {
    let changed = count / 3;
    // `count` includes the changed real server before or after the change.
    let count = if case.weights.0 == 0 { count + 1 } else { count };
    let (mut all, mut unneeded) = (0, 0);
    for seed in 0..SEEDS {
        let before = table(seed, count, changed, case.weights.0);
        let after = table(seed, count, changed, case.weights.1);
        let own = |table: &MaglevTable| table.slots_of(address(changed));
        let moved = before.moved(&after);
        all += moved;
        unneeded += moved - own(&before).abs_diff(own(&after));
    }
    #[allow(clippy::cast_precision_loss)] // counts far below 2^52
    let per_cent = |slots: usize| 100.0 * slots as f64 / (SEEDS * u64::from(SLOTS)) as f64;
    (per_cent(all), per_cent(unneeded))
}

/// Prints the moved shares, and how long a table takes to compute.
pub(crate) fn print() {
    println!(
        "\nmh, {SLOTS} slots: per cent of flows that move, and of them those that need not have"
    );
    print!("{:<40}", "real servers");
    POOLS.iter().for_each(|count| print!(" {count:>13}"));
    println!();
    for case in &CASES {
        print!("{:<40}", case.name);
        for count in POOLS {
            let (all, unneeded) = moved(count, case);
            print!(" {:>13}", format!("{all:.2} / {unneeded:.2}"));
        }
        println!();
    }
    print!("{:<40}", "milliseconds to make a table");
    for count in POOLS {
        let start = Instant::now();
        std::hint::black_box(table(0, count, 0, WEIGHT));
        print!(" {:>13.1}", start.elapsed().as_secs_f64() * 1e3);
    }
    println!();
}
