//! Replies of 100 kB on 16 kept connections: a web server's usual work.
//!
//! With a proxy, and with plain routing at the director, the bytes pass through; with direct return
//! only their acknowledgements do.

use anyhow::Result;

use super::{
    END_1000, END_GB, HOST_1000, HOST_GB, RATE, Spec, THROUGHPUT, at_most, gigabits, number,
    per_gigabyte, per_request, rows,
};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, interleave};
use crate::side::{
    BARE_BOTH, BARE_LOOP, FAST_BOTH, HAPROXY, KERNEL, NGINX, ROUTING, VSTUN_BOTH, VSTUN_GUE,
};

/// Measures each side.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut contestants =
        bed.sides(&[VSTUN_BOTH, VSTUN_GUE, FAST_BOTH, ROUTING, KERNEL, HAPROXY, NGINX]);
    contestants.extend(bed.renamed(BARE_LOOP, BARE_BOTH));
    let all = interleave(bed, WORK, plan, &contestants, |bed, &index| {
        let vip = bed.sides[index].vip;
        let order = format!("requests {vip} {CLIENTS} {BYTES} {}", plan.window);
        let (cost, answer) = bed.cost(bed.spenders(index), |bed| bed.web_load.ask(&order))?;
        let mut sample = per_request(cost, &answer)?;
        sample.extend(per_gigabyte(cost, number(&answer, "bytes")?));
        sample.push((THROUGHPUT.name, gigabits(&answer)?));
        Ok(sample)
    });
    Ok(rows(WORK, &all, ROWS))
}

const ROWS: &[Spec] = &[
    (HOST_GB, VSTUN_BOTH, HAPROXY, at_most(1.0 / 6.0)),
    (HOST_GB, VSTUN_BOTH, NGINX, at_most(1.0 / 6.0)),
    (HOST_GB, VSTUN_GUE, HAPROXY, at_most(0.12)),
    (HOST_GB, VSTUN_GUE, VSTUN_BOTH, None),
    (HOST_GB, FAST_BOTH, HAPROXY, at_most(0.06)),
    (HOST_GB, FAST_BOTH, VSTUN_BOTH, None),
    (HOST_GB, FAST_BOTH, KERNEL, None),
    (HOST_GB, KERNEL, HAPROXY, None),
    (HOST_GB, BARE_BOTH, HAPROXY, None),
    (HOST_GB, VSTUN_BOTH, BARE_BOTH, None),
    (HOST_GB, VSTUN_BOTH, ROUTING, None),
    (HOST_GB, VSTUN_BOTH, KERNEL, None),
    (HOST_1000, VSTUN_BOTH, HAPROXY, None),
    (END_1000, VSTUN_BOTH, BARE_BOTH, None),
    (END_GB, VSTUN_BOTH, BARE_BOTH, None),
    (RATE, VSTUN_BOTH, HAPROXY, None),
    (RATE, VSTUN_BOTH, NGINX, None),
    (RATE, VSTUN_BOTH, ROUTING, None),
    (THROUGHPUT, VSTUN_BOTH, KERNEL, None),
];
const WORK: &str = "100 kB replies, 16 connections";
const CLIENTS: usize = 16;
const BYTES: usize = 100_000;
