//! What one packet costs in the pure layers, without a kernel: `cargo bench --bench core [-- WORD...]`, with
//! words for the rows whose names have one of them.
//!
//! Each row is the median of rounds in which all rows take turns, in nanoseconds and as a ratio to parsing
//! the packet and hashing its key, which no balancer of ours can do without. Rows that walk a large table
//! stand beside the machine's own latency of a dependent read from as much memory.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use vstun::balancer::Seed;
use vstun::balancer::flow::Key;
use vstun::wire::checksum::Sum;
use vstun::wire::{Packet, Transport};

#[path = "core/memory.rs"]
mod memory;
#[path = "core/rows.rs"]
mod rows;

/// Rounds, of which the median counts.
const ROUNDS: usize = 21;

/// Operations of each kind in a round.
const OPERATIONS: u64 = 200_000;

fn main() {
    // `cargo test` runs benches with `--test`; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let rows = rows::ALL.iter().filter(|(name, _)| *name == rows::YARDSTICK || wanted(name));
    let mut rows: Vec<_> = rows.map(|(name, set_up)| (*name, set_up(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (_, run, times) in &mut rows {
            times.push(measure(run));
        }
    }
    let medians: Vec<_> = rows.into_iter().map(|(name, _, times)| (name, median(times))).collect();
    let yardstick = medians.iter().find(|(name, _)| *name == rows::YARDSTICK);
    let yardstick = yardstick.map_or(f64::NAN, |(_, median)| *median);
    println!("{:<40} {:>10} {:>8}", "median of rounds that take turns", "ns", "ratio");
    for (name, median) in medians {
        println!("{name:<40} {median:>10.1} {:>8.2}", median / yardstick);
    }
}

/// Nanoseconds of one operation.
fn measure(run: &mut dyn FnMut(u64)) -> f64 {
    let start = Instant::now();
    run(OPERATIONS);
    #[allow(clippy::cast_precision_loss)] // counts and times far below 2^52
    let (elapsed, count) = (start.elapsed().as_nanos() as f64, OPERATIONS as f64);
    elapsed / count
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Parses the packet and hashes its key: the least that finding a connection takes.
fn parse_and_hash(bytes: &[u8], seed: Seed) -> u64 {
    let packet = Packet::parse(black_box(bytes)).unwrap();
    let (source_port, destination_port) = match packet.transport {
        Transport::Tcp(header) => (header.source_port, header.destination_port),
        Transport::Udp { source_port, destination_port } => (source_port, destination_port),
        _ => (0, 0),
    };
    let (protocol, client, vip) = (packet.protocol, packet.source, packet.destination);
    Key::new(protocol, client, source_port, vip, destination_port).hash(seed)
}

/// The checksum of a full segment's payload.
fn checksum(payload: &[u8]) -> u16 {
    Sum::of(black_box(payload)).checksum()
}
