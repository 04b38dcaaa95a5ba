//! The cost of one packet in the pure layers, without a kernel: `cargo bench --bench core [--
//! WORD...]`, with words for the rows whose names contain one of them; a whole name selects that
//! row alone. `QUICK=1` for fewer rounds. At the end the flows that pool changes move with Maglev;
//! `disruption` selects that alone.
//!
//! Each row is the median of rounds in which all rows take turns, in nanoseconds and as a ratio to
//! parsing the packet and hashing its key, which every balancer of ours needs. Rows of IPv6 are
//! also compared with those of IPv4, each scheduler's with the packet of a known flow, which is not
//! scheduled. Rows with a large table are shown beside the machine's own latency of a dependent
//! read from as much memory. With `CORE_JSON=FILE` the rows are written there and not printed:
//! `benches/whole_path` shows them. `benches/against` compares the rows with those of another
//! revision.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use vstun::balancer::flow::Key;
use vstun::model::Seed;
use vstun::wire::checksum::Sum;
use vstun::wire::{Packet, Transport};

use rows::{Row, Run};

#[path = "core/batch.rs"]
mod batch;
#[path = "core/carried.rs"]
mod carried;
#[path = "core/disruption.rs"]
mod disruption;
#[path = "core/many.rs"]
mod many;
#[path = "core/memory.rs"]
mod memory;
#[path = "core/packets.rs"]
mod packets;
#[path = "core/rows.rs"]
mod rows;
#[path = "core/schedulers.rs"]
mod schedulers;
#[path = "core/short.rs"]
mod short;
#[path = "core/tunnels.rs"]
mod tunnels;

/// Rounds, of which the median counts.
const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 7;

fn main() {
    // `cargo test` runs benches with `--test`; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let quick = std::env::var_os("QUICK").is_some_and(|value| value == "1");
    let mut runs: Vec<(&Row, Run, Vec<f64>)> =
        wanted(&words).into_iter().map(|row| (row, (row.set_up)(), Vec::new())).collect();
    for _ in 0..if quick { QUICK_ROUNDS } else { ROUNDS } {
        for (row, run, times) in &mut runs {
            times.push(measure(run, row.operations));
        }
    }
    // The whole path's bench shows these rows in its table.
    if let Some(path) = std::env::var_os("CORE_JSON") {
        let rows: Vec<_> = runs.iter().map(|(row, _, times)| json(row, times)).collect();
        std::fs::write(path, serde_json::Value::from(rows).to_string()).unwrap();
        disruption::print();
        return;
    }
    let medians: Vec<_> = runs.into_iter().map(|(row, _, times)| (row, median(times))).collect();
    print(&medians);
    if words.is_empty() || words.iter().any(|word| word == "disruption") {
        disruption::print();
    }
}

/// The rows that match a word, and their references.
fn wanted(words: &[String]) -> Vec<&'static Row> {
    let named = |row: &Row| {
        words.iter().any(|word| match rows::ALL.iter().any(|row| row.name == word) {
            true => row.name == word,
            false => row.name.contains(word.as_str()),
        })
    };
    let chosen = |row: &Row| words.is_empty() || named(row);
    let needed = |row: &Row| {
        row.name == rows::YARDSTICK
            || rows::ALL.iter().any(|other| other.against == Some(row.name) && chosen(other))
    };
    rows::ALL.iter().filter(|row| chosen(row) || needed(row)).collect()
}

/// A row and its rounds; its reference is a row too.
fn json(row: &Row, times: &[f64]) -> serde_json::Value {
    serde_json::json!({
        "name": row.name, "rounds": times, "at_most": row.at_most,
        "against": row.against.unwrap_or(rows::YARDSTICK),
    })
}

fn print(medians: &[(&Row, f64)]) {
    let of = |name| medians.iter().find(|(row, _)| row.name == name).map(|(_, median)| *median);
    let yardstick = of(rows::YARDSTICK).unwrap_or(f64::NAN);
    println!(
        "{:<40} {:>10} {:>8} {:>8} {:>8}",
        "median of rounds that take turns", "ns", "ratio", "to like", "target"
    );
    for (row, median) in medians {
        print!("{:<40} {median:>10.1} {:>8.2}", row.name, median / yardstick);
        let ratio = row.against.and_then(of).map(|against| median / against);
        match (ratio, row.at_most) {
            (Some(ratio), Some(limit)) => {
                let verdict = if ratio <= limit { "met" } else { "MISSED" };
                println!(" {ratio:>8.2} {:>8} {verdict}", format!("<= {limit:.2}"));
            }
            (Some(ratio), None) => println!(" {ratio:>8.2}"),
            (None, _) => println!(),
        }
    }
}

/// Nanoseconds of one operation.
fn measure(run: &mut dyn FnMut(u64), operations: u64) -> f64 {
    let start = Instant::now();
    run(operations);
    #[allow(clippy::cast_precision_loss)] // counts and times far below 2^52
    let (elapsed, count) = (start.elapsed().as_nanos() as f64, operations as f64);
    elapsed / count
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Parses the packet and hashes its key: the least work to find a connection.
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
