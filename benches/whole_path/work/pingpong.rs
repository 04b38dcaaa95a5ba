//! 64 bytes back and forth over one TCP connection: the time that a side adds to a round trip on an
//! idle machine.

use anyhow::Result;

use super::{Figure, Spec, at_most, figure, number, rows};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, interleave};
use crate::side::{
    BARE_BOTH, BARE_LOOP, FAST_BOTH, HAPROXY, KERNEL, NGINX, ROUTING, VSTUN_BOTH, VSTUN_GUE,
};

/// Measures each side, without the wait for more packets to merge.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    bed.topology.wait_to_merge(false)?;
    let rows = measure(bed, plan);
    bed.topology.wait_to_merge(true)?;
    rows
}

fn measure(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut contestants =
        bed.sides(&[VSTUN_BOTH, VSTUN_GUE, FAST_BOTH, ROUTING, KERNEL, HAPROXY, NGINX]);
    contestants.extend(bed.renamed(BARE_LOOP, BARE_BOTH));
    let all = interleave(bed, WORK, plan, &contestants, |bed, &index| {
        let order = format!("pingpong {} {}", bed.sides[index].vip, plan.window);
        let (_, answer) = bed.cost(bed.spenders(index), |bed| bed.web_load.ask(&order))?;
        Ok(vec![(P50.name, number(&answer, "p50_us")?), (P99.name, number(&answer, "p99_us")?)])
    });
    Ok(rows(WORK, &all, ROWS))
}

const ROWS: &[Spec] = &[
    (P50, VSTUN_BOTH, BARE_BOTH, at_most(1.15)),
    (P50, VSTUN_BOTH, ROUTING, at_most(1.3)),
    (P50, BARE_BOTH, ROUTING, None),
    (P50, VSTUN_BOTH, KERNEL, None),
    (P50, VSTUN_BOTH, HAPROXY, None),
    (P50, VSTUN_BOTH, NGINX, None),
    (P50, VSTUN_GUE, VSTUN_BOTH, at_most(1.05)),
    (P50, FAST_BOTH, ROUTING, at_most(1.15)),
    (P50, FAST_BOTH, HAPROXY, None),
    (P99, VSTUN_BOTH, BARE_BOTH, None),
    (P99, VSTUN_BOTH, ROUTING, None),
    (P99, VSTUN_BOTH, HAPROXY, None),
];
const WORK: &str = "64-byte ping-pong";
const P50: Figure = figure("p50", "us");
const P99: Figure = figure("p99", "us");
