//! A director without traffic: its memory, and how often it wakes.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;
use crate::meter;
use crate::report::{Row, Target};
use crate::rounds::{Plan, interleave};
use crate::side::VSTUN;

/// Measures this project's director before it has seen a packet.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let process = bed.side(VSTUN).and_then(|index| bed.sides[index].process);
    let Some(process) = process else { return Ok(Vec::new()) };
    let contestants = [(VSTUN, process)];
    let all = interleave(bed, WORK, plan, &contestants, |_, &process| {
        let before = meter::sleeps(process)?;
        thread::sleep(Duration::from_secs_f64(plan.window));
        let wakes = (meter::sleeps(process)? - before) as f64 / plan.window;
        Ok(vec![(MEMORY, meter::resident_kb(process)? as f64 / 1024.0), (WAKES, wakes)])
    });
    let Some(series) = all.get(VSTUN) else { return Ok(Vec::new()) };
    let row = |figure, unit, target| Row {
        work: WORK,
        figure,
        unit,
        subject: (VSTUN.to_owned(), series.figure(figure).to_vec()),
        yardstick: None,
        target,
    };
    Ok(vec![row(MEMORY, "MiB", Some(Target::AtMost(30.0))), row(WAKES, "/s", None)])
}

const WORK: &str = "idle, table of a million";
const MEMORY: &str = "resident memory";
const WAKES: &str = "wake-ups";
