//! Downloads: only the acknowledgements pass the director.
//!
//! Over a wire shaped to 1 Gbit/s a balancer must not be noticeable; unshaped, the machine's one
//! CPU is the limit.

use anyhow::Result;

use super::streams::{Load, sample};
use super::{
    END_GB, HOST, HOST_GB, PROCESS, PROCESS_GB, Spec, THROUGHPUT, at_least, at_most, rows,
};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, interleave};
use crate::side::{
    BARE_BOTH, BARE_LOOP, BARE_LOOP_VSTUN, FAST_BOTH, HAPROXY, KERNEL, NGINX, ROUTING, VSTUN_BOTH,
};

/// Measures each side over the shaped and the plain wire.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for load in LOADS {
        bed.topology.shape(load.rate)?;
        let measured = streams(bed, plan, load);
        bed.topology.shape(None)?;
        rows.extend(measured?);
    }
    Ok(rows)
}

fn streams(bed: &mut Bed, plan: Plan, load: Load) -> Result<Vec<Row>> {
    let mut contestants = bed.sides(&[VSTUN_BOTH, FAST_BOTH, BARE_LOOP_VSTUN, ROUTING, KERNEL]);
    if load.rate.is_none() {
        contestants.extend(bed.sides(&[HAPROXY, NGINX]));
        contestants.extend(bed.renamed(BARE_LOOP, BARE_BOTH));
    }
    let all = interleave(bed, load.work, plan, &contestants, |bed, &index| {
        sample(bed, index, "down", load, plan.window)
    });
    Ok(rows(load.work, &all, if load.rate.is_some() { SHAPED } else { PLAIN }))
}

const SHAPED: &[Spec] = &[
    (THROUGHPUT, VSTUN_BOTH, ROUTING, at_least(0.99)),
    (THROUGHPUT, VSTUN_BOTH, KERNEL, None),
    (HOST_GB, VSTUN_BOTH, ROUTING, None),
    (HOST_GB, FAST_BOTH, ROUTING, None),
    (HOST_GB, VSTUN_BOTH, BARE_LOOP_VSTUN, None),
    (PROCESS_GB, VSTUN_BOTH, BARE_LOOP_VSTUN, None),
];
const PLAIN: &[Spec] = &[
    (THROUGHPUT, VSTUN_BOTH, ROUTING, None),
    (THROUGHPUT, VSTUN_BOTH, KERNEL, None),
    (THROUGHPUT, VSTUN_BOTH, BARE_LOOP_VSTUN, None),
    (THROUGHPUT, VSTUN_BOTH, HAPROXY, None),
    (HOST_GB, VSTUN_BOTH, HAPROXY, None),
    (HOST_GB, FAST_BOTH, HAPROXY, at_most(0.05)),
    (HOST_GB, FAST_BOTH, VSTUN_BOTH, None),
    (HOST_GB, FAST_BOTH, KERNEL, None),
    (HOST, FAST_BOTH, KERNEL, None),
    (PROCESS, FAST_BOTH, VSTUN_BOTH, None),
    (HOST_GB, KERNEL, HAPROXY, None),
    (HOST_GB, VSTUN_BOTH, NGINX, None),
    (HOST_GB, VSTUN_BOTH, ROUTING, None),
    (HOST_GB, VSTUN_BOTH, KERNEL, None),
    (PROCESS_GB, VSTUN_BOTH, BARE_BOTH, None),
    (END_GB, VSTUN_BOTH, BARE_BOTH, None),
];
const LOADS: [Load; 4] = [
    Load { work: "download over 1 Gbit/s, one stream", streams: 1, rate: Some("1gbit") },
    Load { work: "download over 1 Gbit/s, eight streams", streams: 8, rate: Some("1gbit") },
    Load { work: "download, one stream", streams: 1, rate: None },
    Load { work: "download, eight streams", streams: 8, rate: None },
];
