//! The four mixes of families through one director: small packets, as in [`small_udp`].
//!
//! What the kernel's own way out costs for IPv6 is in every director's figure, so the bare loop of each family stands beside.

use anyhow::Result;

use super::small_udp::{self, BURSTS_US};
use super::{HOST, MICROSECONDS, PROCESS};
use crate::bed::Bed;
use crate::report::{Row, Target};
use crate::rounds::{Plan, interleave};
use crate::side::{BARE_LOOP, BARE_LOOP_6IN6, VSTUN, VSTUN_4IN6, VSTUN_6IN4, VSTUN_6IN6};

/// Measures each mix, and each family's bare loop.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let names = [VSTUN, VSTUN_6IN6, VSTUN_6IN4, VSTUN_4IN6, BARE_LOOP, BARE_LOOP_6IN6];
    let contestants = bed.sides(&names);
    let all = interleave(WORK, plan, &contestants, |&place| {
        small_udp::sample(bed, place, BURSTS_US, plan.window)
    })?;
    let figures = |name: &str, figure| {
        let series = all.get(name)?;
        Some((name.to_owned(), series.figure(figure).to_vec()))
    };
    let row = |figure, subject, against, target| {
        let (subject, yardstick) = (figures(subject, figure)?, figures(against, figure));
        Some(Row { work: WORK, figure, unit: MICROSECONDS, subject, yardstick, target })
    };
    let rows = [
        row(PROCESS, VSTUN_6IN6, VSTUN, V6),
        row(PROCESS, VSTUN_6IN4, VSTUN, V6),
        row(PROCESS, VSTUN_4IN6, VSTUN, None),
        row(HOST, VSTUN_6IN6, VSTUN, None),
        row(PROCESS, BARE_LOOP_6IN6, BARE_LOOP, None),
        row(PROCESS, VSTUN, BARE_LOOP, None),
        row(PROCESS, VSTUN_6IN6, BARE_LOOP_6IN6, None),
    ];
    Ok(rows.into_iter().flatten().collect())
}

/// What an IPv6 client's packet may cost of what an IPv4 client's does.
const V6: Option<Target> = Some(Target::AtMost(1.10));
const WORK: &str = "small UDP by family";
