//! The four mixes of families through one director: small packets, as in [`small_udp`].
//!
//! Every director's figure includes the kernel's own output path for IPv6, so each family's bare
//! loop is shown too.

use anyhow::Result;

use super::small_udp::{self, BURSTS};
use super::{HOST, PROCESS, Spec, at_most, rows};
use crate::bed::Bed;
use crate::report::{Row, Target};
use crate::rounds::{Plan, interleave};
use crate::side::{
    BARE_LOOP, BARE_LOOP_6IN6, VSTUN, VSTUN_4IN6, VSTUN_6IN4, VSTUN_6IN6, VSTUN_6IN6_NEIGHBOUR,
    VSTUN_NEIGHBOUR,
};

/// Measures each mix, and each family's bare loop.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let ways = [VSTUN, VSTUN_6IN6, VSTUN_6IN4, VSTUN_4IN6];
    let neighbours = [VSTUN_NEIGHBOUR, VSTUN_6IN6_NEIGHBOUR];
    let names = [&ways[..], &neighbours, &[BARE_LOOP, BARE_LOOP_6IN6]].concat();
    let contestants = bed.sides(&names);
    let all = interleave(bed, WORK, plan, &contestants, |bed, &index| {
        small_udp::sample(bed, index, BURSTS, plan.window)
    });
    Ok(rows(WORK, &all, ROWS))
}

const ROWS: &[Spec] = &[
    (PROCESS, VSTUN_6IN6, VSTUN, V6),
    (PROCESS, VSTUN_6IN4, VSTUN, V6),
    (PROCESS, VSTUN_4IN6, VSTUN, None),
    (HOST, VSTUN_6IN6, VSTUN, None),
    (PROCESS, BARE_LOOP_6IN6, BARE_LOOP, None),
    (PROCESS, VSTUN, BARE_LOOP, None),
    (PROCESS, VSTUN_6IN6, BARE_LOOP_6IN6, None),
    (PROCESS, VSTUN_NEIGHBOUR, VSTUN, None),
    (PROCESS, VSTUN_6IN6_NEIGHBOUR, VSTUN_6IN6, None),
    (PROCESS, VSTUN_6IN6_NEIGHBOUR, VSTUN_NEIGHBOUR, V6),
];
/// The limit of an IPv6 client's packet relative to an IPv4 client's.
const V6: Option<Target> = at_most(1.10);
const WORK: &str = "small UDP by family";
