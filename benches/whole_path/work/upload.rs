//! Upload of one TCP stream: where raw IPIP is weakest, since the kernel takes each wire segment alone.
//!
//! Receive offload is on at the director's uplink, so that super-frames reach the TUN, as they do from a NIC.
//! The yardstick is what the kernel takes for a ready-made packet of the same size: reading, splitting, checksums
//! and deciding have to fit into a fifth of it.

use anyhow::Result;
use serde_json::Value;

use super::{GIGABITS, HOST, MICROSECONDS, PROCESS, THROUGHPUT, gigabits};
use crate::bed::{Bed, Cost, READY_MADE};
use crate::report::{Row, Target};
use crate::rounds::{Plan, Sample, interleave};
use crate::side::{BARE_BATCHED, BARE_LOOP, KERNEL, VSTUN};

/// Measures each way, and the ready-made packets.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut contestants: Vec<(&'static str, Option<usize>)> =
        [VSTUN, BARE_BATCHED, BARE_LOOP, KERNEL]
            .into_iter()
            .filter_map(|name| Some((name, Some(bed.side(name)?))))
            .collect();
    contestants.push((READY_MADE, None));
    let all = interleave(WORK, plan, &contestants, |&side| match side {
        Some(place) => stream(bed, place, plan.window),
        None => ready_made(bed, plan.window),
    })?;
    let figures = |name: &str, figure| {
        let series = all.get(name)?;
        Some((name.to_owned(), series.figure(figure).to_vec()))
    };
    let row = |figure, unit, subject, against, target| {
        let yardstick = Some(figures(against, figure)?);
        Some(Row {
            work: WORK,
            figure,
            unit,
            subject: figures(subject, figure)?,
            yardstick,
            target,
        })
    };
    let rows = [
        row(PROCESS, MICROSECONDS, VSTUN, READY_MADE, Some(Target::AtMost(1.20))),
        row(PROCESS, MICROSECONDS, BARE_BATCHED, READY_MADE, None),
        row(PROCESS, MICROSECONDS, BARE_LOOP, READY_MADE, None),
        row(PROCESS, MICROSECONDS, VSTUN, BARE_LOOP, None),
        row(HOST, MICROSECONDS, VSTUN, BARE_LOOP, None),
        row(THROUGHPUT, GIGABITS, VSTUN, BARE_LOOP, None),
        row(THROUGHPUT, GIGABITS, VSTUN, KERNEL, None),
    ];
    Ok(rows.into_iter().flatten().collect())
}

fn stream(bed: &mut Bed, place: usize, seconds: f64) -> Result<Sample> {
    let side = &bed.sides[place];
    let (process, order) = (side.process, format!("up {} {seconds}", side.vip));
    let (cost, answer) = bed.cost(process, |bed| bed.tcp_load.ask(&order))?;
    let mut sample = per_packet(cost);
    sample.push((THROUGHPUT, gigabits(&answer)?));
    Ok(sample)
}

fn ready_made(bed: &mut Bed, seconds: f64) -> Result<Sample> {
    let process = bed.ready_made.pid();
    let order = format!("send {seconds}");
    let (cost, _): (Cost, Value) = bed.cost(Some(process), |bed| bed.ready_made.ask(&order))?;
    Ok(per_packet(cost))
}

fn per_packet(cost: Cost) -> Sample {
    vec![(PROCESS, cost.process_ns / cost.packets / 1e3), (HOST, cost.host_ns / cost.packets / 1e3)]
}

const WORK: &str = "upload, one stream";
