//! Uploads at the real server: its daemon's cost for the bytes from the tunnel.
//!
//! The same director feeds both ends, each in its own namespace. If the NIC merges (GRO), a daemon
//! has one receive and one write for up to 64 KB; otherwise the bare one writes each packet by
//! itself.

use anyhow::Result;

use super::streams::{Load, sample};
use super::{END_GB, Spec, THROUGHPUT, at_most, rows};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, interleave};
use crate::side::{VSTUN, VSTUN_BOTH, VSTUN_GUE};
use crate::tunnel_end::{BARE_REAL, VSTUN_REAL};

/// Measures both ends with and without GRO.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut rows = streams(bed, plan, MERGED, BARE_REAL, MERGED_ROWS)?;
    bed.topology.merge_at_real_servers(false)?;
    let single = streams(bed, plan, SINGLE, ONE_WRITE, SINGLE_ROWS);
    bed.topology.merge_at_real_servers(true)?;
    rows.extend(single?);
    Ok(rows)
}

fn streams(
    bed: &mut Bed,
    plan: Plan,
    load: Load,
    bare: &'static str,
    specs: &[Spec],
) -> Result<Vec<Row>> {
    let ends = [(VSTUN_BOTH, VSTUN_REAL), (VSTUN_GUE, GUE_REAL), (VSTUN, bare)];
    let contestants: Vec<_> =
        ends.into_iter().filter_map(|(side, name)| bed.renamed(side, name)).collect();
    let all = interleave(bed, load.work, plan, &contestants, |bed, &index| {
        sample(bed, index, "up", load, plan.window)
    });
    Ok(rows(load.work, &all, specs))
}

const MERGED_ROWS: &[Spec] = &[
    (END_GB, VSTUN_REAL, BARE_REAL, at_most(1.10)),
    (END_GB, GUE_REAL, BARE_REAL, at_most(1.0)),
    (THROUGHPUT, VSTUN_REAL, BARE_REAL, None),
];
const SINGLE_ROWS: &[Spec] = &[
    (END_GB, VSTUN_REAL, ONE_WRITE, at_most(0.60)),
    (END_GB, GUE_REAL, ONE_WRITE, at_most(0.60)),
    (END_GB, GUE_REAL, VSTUN_REAL, None),
    (THROUGHPUT, VSTUN_REAL, ONE_WRITE, None),
];
/// This project's, with packets in GUE.
const GUE_REAL: &str = "vstun-realserver, GUE";
const MERGED: Load = Load { work: "upload at the real server, GRO on", streams: 1, rate: None };
const SINGLE: Load = Load { work: "upload at the real server, GRO off", streams: 1, rate: None };
/// The bare real server's figure if nothing is merged.
const ONE_WRITE: &str = "one write per packet";
