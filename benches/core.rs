//! What one packet costs in the pure layers, without a kernel: `cargo bench --bench core`.
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

use rows::Row;

/// Rounds, of which the median counts.
const ROUNDS: usize = 21;

fn main() {
    // `cargo test` runs benches with `--test`; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut rows = rows::all();
    let mut times = vec![Vec::with_capacity(ROUNDS); rows.len()];
    for _ in 0..ROUNDS {
        for (row, times) in rows.iter_mut().zip(&mut times) {
            times.push(measure(row));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let yardstick = rows.iter().zip(&medians).find(|(row, _)| row.name == rows::YARDSTICK);
    let yardstick = *yardstick.expect("the yardstick is a row").1;
    println!("{:<48} {:>10} {:>8}", "median of rounds that take turns", "ns", "ratio");
    for (row, median) in rows.iter().zip(&medians) {
        println!("{:<48} {median:>10.1} {:>8.2}", row.name, median / yardstick);
    }
}

/// Nanoseconds of one operation.
fn measure(row: &mut Row) -> f64 {
    let start = Instant::now();
    (row.run)(row.count);
    #[allow(clippy::cast_precision_loss)] // counts and times far below 2^52
    let (elapsed, count) = (start.elapsed().as_nanos() as f64, row.count as f64);
    elapsed / count
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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
