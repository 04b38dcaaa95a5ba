//! 64 bytes back and forth while a director with 20,000 other real servers reloads: the delay that
//! a large change adds to a packet.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, Spec, at_most, figure, number, rows};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, Sample, interleave};
use crate::side::large::{self, Large};

/// Measures the same director without a reload, and with one reload after the other.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut large = large::start(&bed.topology)?;
    bed.topology.wait_to_merge(false)?;
    let window = plan.window * WINDOWS;
    let contestants = [(QUIET, false), (AGAIN, false), (RELOADING, true)];
    let all = interleave(bed, WORK, plan, &contestants, |bed, &reloads| {
        large.director.check_alive()?;
        let over = AtomicBool::new(!reloads);
        thread::scope(|scope| {
            let reloading = scope.spawn(|| reload_until(&mut large, &over));
            let asked = ping_pong(bed, window);
            over.store(true, Ordering::Relaxed);
            let reloaded = reloading.join().expect("reloads end without a panic")?;
            ensure!(reloaded > 0 || !reloads, "no reload ended");
            if reloads {
                // The director's work after the last reload must not fall into the next window.
                ping_pong(bed, window)?;
            }
            asked
        })
    });
    bed.topology.wait_to_merge(true)?;
    Ok(rows(WORK, &all, ROWS))
}

fn ping_pong(bed: &mut Bed, window: f64) -> Result<Sample> {
    let answer = bed.web_load.ask(&format!("pingpong {} {window}", large::VIP))?;
    let figure = |figure: Figure, key| Ok((figure.name, number(&answer, key)?));
    [(P50, "p50_us"), (P99_9, "p99_9_us"), (LONGEST, "longest_us")]
        .into_iter()
        .map(|(one, key)| figure(one, key))
        .collect()
}

/// Changes all weights again and again until the window is over; returns how often.
fn reload_until(large: &mut Large, over: &AtomicBool) -> Result<u32> {
    let mut reloaded = 0;
    while !over.load(Ordering::Relaxed) {
        large.weight = large.weight % 100 + 1;
        large::write(&large.uplink, large.weight)?;
        let mut stream = UnixStream::connect(&large.socket).context("connect to the director")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"{\"version\":1,\"verb\":\"reload\"}\n")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let changes = answer.matches("\"what\":\"weight\"").count();
        let shown = answer.get(..200).unwrap_or(&answer);
        ensure!(changes == large::REALS, "{changes} changes: {shown}");
        reloaded += 1;
    }
    Ok(reloaded)
}

const ROWS: &[Spec] = &[
    (P99_9, RELOADING, QUIET, at_most(1.5)),
    (P99_9, AGAIN, QUIET, None),
    (P50, RELOADING, QUIET, None),
    (LONGEST, RELOADING, QUIET, None),
    (LONGEST, AGAIN, QUIET, None),
];
const WORK: &str = "64-byte ping-pong, reloads of 20,000 weights";
const QUIET: &str = "no reload";
const AGAIN: &str = "no reload (again)";
const RELOADING: &str = "reloads";
const P50: Figure = figure("p50", "us");
const P99_9: Figure = figure("p99.9", "us");
const LONGEST: Figure = figure("longest", "us");
/// A reload takes longer than the usual window.
const WINDOWS: f64 = 4.0;
const PATIENCE: Duration = Duration::from_secs(30);
