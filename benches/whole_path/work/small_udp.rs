//! Small packets below saturation: 18 bytes of UDP, 256 flows, 50,000 a second.
//!
//! Nothing can be merged here, so every packet costs a TUN read and a pass through the kernel's output. What a
//! director may win is system calls, by batches; what it may lose is the logic.

use anyhow::{Result, ensure};

use super::{HOST, MICROSECONDS, PROCESS, number};
use crate::bed::Bed;
use crate::report::{Row, Target};
use crate::rounds::{Plan, Sample, interleave};
use crate::side::{BARE_BATCHED, BARE_LOOP, BARE_LOOP_AGAIN, VSTUN};

/// Measures each director with packets that arrive in bursts, then evenly.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut rows = bursts(bed, plan, WORK, BURSTS_US)?;
    rows.extend(bursts(bed, plan, EVEN_WORK, EVEN_US)?);
    Ok(rows)
}

fn bursts(bed: &mut Bed, plan: Plan, work: &'static str, tick_us: u32) -> Result<Vec<Row>> {
    let contestants = bed.sides(&[BARE_LOOP, BARE_LOOP_AGAIN, BARE_BATCHED, VSTUN]);
    let all =
        interleave(work, plan, &contestants, |&place| sample(bed, place, tick_us, plan.window))?;
    let Some(bare) = all.get(BARE_LOOP) else { return Ok(Vec::new()) };
    let others = all.iter().filter(|(name, _)| **name != BARE_LOOP);
    Ok(others
        .flat_map(|(name, series)| {
            [PROCESS, HOST].map(|figure| Row {
                work,
                figure,
                unit: MICROSECONDS,
                subject: ((*name).to_owned(), series.figure(figure).to_vec()),
                yardstick: Some((BARE_LOOP.to_owned(), bare.figure(figure).to_vec())),
                target: (*name == VSTUN && figure == PROCESS && tick_us == BURSTS_US)
                    .then_some(Target::AtMost(1.00)),
            })
        })
        .collect())
}

/// One window, again if something else took the CPU meanwhile.
pub(super) fn sample(bed: &mut Bed, place: usize, tick_us: u32, seconds: f64) -> Result<Sample> {
    let mut result = attempt(bed, place, tick_us, seconds);
    for _ in 1..ATTEMPTS {
        if let Err(e) = &result {
            println!("  {e:#}: again");
            result = attempt(bed, place, tick_us, seconds);
        }
    }
    result
}

fn attempt(bed: &mut Bed, place: usize, tick_us: u32, seconds: f64) -> Result<Sample> {
    let side = &bed.sides[place];
    let process = side.process;
    let order = format!("send {} {FLOWS} {RATE} {tick_us} {seconds}", side.vip);
    let before = bed.topology.real.datagrams()?;
    let (cost, answer) = bed.cost(process, |bed| bed.udp_load.ask(&order))?;
    let delivered = (bed.topology.real.datagrams()? - before) as f64;
    let sent = number(&answer, "sent")?;
    ensure!(
        delivered >= sent * LEAST_DELIVERED,
        "only {delivered} of {sent} datagrams arrived, the machine is too busy to measure"
    );
    let seconds = number(&answer, "seconds")?;
    Ok(vec![
        (PROCESS, cost.process_ns / cost.packets / 1e3),
        (HOST, cost.host_ns / cost.packets / 1e3),
        (OFFERED, sent / seconds),
    ])
}

const WORK: &str = "small UDP";
const EVEN_WORK: &str = "small UDP, evenly spaced";
const FLOWS: usize = 256;
/// Packets a second.
const RATE: u32 = 50_000;
/// How generators pace (iperf3 does so by default): 50 packets every millisecond.
pub(super) const BURSTS_US: u32 = 1000;
/// As evenly as a sleeping process can: 5 packets every 100 microseconds.
const EVEN_US: u32 = 100;
/// Of the datagrams sent; below, a full queue was measured and not the director.
const LEAST_DELIVERED: f64 = 0.99;
const ATTEMPTS: usize = 5;
const OFFERED: &str = "packets a second";
