//! Uploads: the most expensive work for raw IPIP, since the kernel takes each wire segment alone.
//!
//! Receive offload is on at the director's uplink, so that super-frames reach the TUN, as from a
//! NIC. The yardstick is the kernel's cost of a ready-made packet of the same size: reading,
//! splitting, checksums and deciding have to fit into a tenth of it. GUE has to do with half of
//! what the batched bare loop takes. All tunnels but GUE's end at the bare real server here;
//! `real_server` measures the other one.

use anyhow::Result;

use super::streams::{self, Load};
use super::{HOST, HOST_GB, PROCESS, PROCESS_GB, Spec, THROUGHPUT, at_most, per_packet, rows};
use crate::bed::{Bed, READY_MADE, Spenders};
use crate::report::Row;
use crate::rounds::{Plan, Sample, interleave};
use crate::side::{
    BARE_BATCHED, BARE_GUE, BARE_GUE_NIC, BARE_LOOP, FAST, HAPROXY, KERNEL, NGINX, ROUTING, VSTUN,
    VSTUN_GUE, VSTUN_GUE_NIC,
};

/// Measures each side over plain wires and over 1 Gbit/s, and the ready-made packets.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    loads(bed, plan, &LOADS)
}

/// Measures each side over 500 Mbit/s, where none is saturated.
pub(crate) fn run_slowly(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    loads(bed, plan, &SLOW_LOADS)
}

fn loads(bed: &mut Bed, plan: Plan, loads: &[Load]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &load in loads {
        bed.topology.shape(load.rate)?;
        let measured = measure(bed, plan, load);
        bed.topology.shape(None)?;
        rows.extend(measured?);
    }
    Ok(rows)
}

fn measure(bed: &mut Bed, plan: Plan, load: Load) -> Result<Vec<Row>> {
    let names: &[&'static str] = match load.rate {
        None => &[
            VSTUN,
            VSTUN_GUE,
            VSTUN_GUE_NIC,
            FAST,
            BARE_BATCHED,
            BARE_GUE,
            BARE_GUE_NIC,
            BARE_LOOP,
            ROUTING,
            KERNEL,
            HAPROXY,
            NGINX,
        ],
        Some(SLOW) => &[
            VSTUN,
            VSTUN_GUE,
            VSTUN_GUE_NIC,
            BARE_BATCHED,
            BARE_GUE,
            BARE_GUE_NIC,
            ROUTING,
            HAPROXY,
        ],
        Some(_) => &[VSTUN, VSTUN_GUE, BARE_BATCHED, BARE_LOOP, ROUTING],
    };
    let ways = bed.sides(names).into_iter().map(|(name, index)| (name, Some(index)));
    let mut contestants: Vec<_> = ways.collect();
    if load.rate.is_none() {
        contestants.push((READY_MADE, None));
    }
    let all = interleave(bed, load.work, plan, &contestants, |bed, &side| match side {
        Some(index) => streams::sample(bed, index, "up", load, plan.window),
        None => ready_made(bed, plan.window),
    });
    let specs = match load.rate {
        None => PLAIN,
        Some(SLOW) => SLOWLY,
        Some(_) => SHAPED,
    };
    Ok(rows(load.work, &all, specs))
}

fn ready_made(bed: &mut Bed, seconds: f64) -> Result<Sample> {
    let spenders = Spenders { director: Some(bed.ready_made.pid()), tunnel_end: None };
    let order = format!("send {seconds}");
    let (cost, _) = bed.cost(spenders, |bed| bed.ready_made.ask(&order))?;
    Ok(per_packet(cost))
}

const PLAIN: &[Spec] = &[
    (PROCESS, VSTUN, READY_MADE, at_most(1.10)),
    (PROCESS, BARE_BATCHED, READY_MADE, None),
    (PROCESS, BARE_LOOP, READY_MADE, None),
    (PROCESS, VSTUN_GUE, BARE_BATCHED, at_most(0.50)),
    (PROCESS, VSTUN, BARE_LOOP, at_most(0.60)),
    (HOST, VSTUN, BARE_LOOP, None),
    (HOST_GB, VSTUN, ROUTING, None),
    (HOST_GB, VSTUN, HAPROXY, None),
    (HOST_GB, VSTUN, NGINX, None),
    (HOST_GB, VSTUN_GUE, VSTUN, at_most(0.60)),
    (HOST_GB, VSTUN_GUE, HAPROXY, at_most(1.8)),
    (PROCESS, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (HOST_GB, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (PROCESS, BARE_GUE, BARE_BATCHED, None),
    (HOST_GB, BARE_GUE, HAPROXY, None),
    (PROCESS, VSTUN_GUE_NIC, BARE_BATCHED, at_most(0.35)),
    (HOST_GB, VSTUN_GUE_NIC, VSTUN, at_most(0.50)),
    (HOST_GB, VSTUN_GUE_NIC, HAPROXY, at_most(1.4)),
    (PROCESS, VSTUN_GUE_NIC, BARE_GUE_NIC, at_most(1.15)),
    (HOST_GB, VSTUN_GUE_NIC, BARE_GUE_NIC, at_most(1.15)),
    (PROCESS, BARE_GUE_NIC, BARE_BATCHED, None),
    (HOST_GB, BARE_GUE_NIC, HAPROXY, None),
    (THROUGHPUT, VSTUN_GUE, VSTUN, None),
    (HOST_GB, FAST, ROUTING, at_most(1.15)),
    (HOST_GB, FAST, HAPROXY, at_most(1.0)),
    (HOST_GB, FAST, VSTUN, None),
    (THROUGHPUT, FAST, ROUTING, None),
    (THROUGHPUT, FAST, HAPROXY, None),
    (THROUGHPUT, VSTUN, BARE_LOOP, None),
    (THROUGHPUT, VSTUN, ROUTING, None),
    (THROUGHPUT, VSTUN, KERNEL, None),
    (THROUGHPUT, VSTUN, HAPROXY, None),
];
const SHAPED: &[Spec] = &[
    (THROUGHPUT, VSTUN, ROUTING, None),
    (PROCESS, VSTUN, BARE_LOOP, None),
    (PROCESS, VSTUN_GUE, BARE_BATCHED, None),
    (HOST_GB, VSTUN_GUE, VSTUN, None),
    (PROCESS, VSTUN, BARE_BATCHED, None),
    (PROCESS_GB, VSTUN, BARE_LOOP, None),
    (HOST_GB, VSTUN, BARE_LOOP, None),
];
const SLOWLY: &[Spec] = &[
    (HOST_GB, VSTUN_GUE, HAPROXY, at_most(1.25)),
    (HOST_GB, VSTUN_GUE_NIC, HAPROXY, at_most(1.1)),
    (HOST_GB, VSTUN, HAPROXY, None),
    (HOST_GB, BARE_GUE, HAPROXY, None),
    (HOST_GB, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (PROCESS, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (PROCESS, VSTUN_GUE, BARE_BATCHED, None),
    (PROCESS, BARE_GUE, BARE_BATCHED, None),
    (HOST_GB, BARE_GUE_NIC, HAPROXY, None),
    (HOST_GB, VSTUN_GUE_NIC, BARE_GUE_NIC, at_most(1.15)),
    (PROCESS, VSTUN_GUE_NIC, BARE_GUE_NIC, at_most(1.15)),
    (PROCESS, VSTUN_GUE_NIC, BARE_BATCHED, None),
    (PROCESS, BARE_GUE_NIC, BARE_BATCHED, None),
    (HOST_GB, VSTUN_GUE, ROUTING, None),
    (HOST_GB, VSTUN_GUE, VSTUN, None),
    (THROUGHPUT, VSTUN_GUE, ROUTING, None),
];
/// Below what any side can do here.
const SLOW: &str = "500mbit";
const SLOW_LOADS: [Load; 2] = [
    Load { work: "upload over 500 Mbit/s, one stream", streams: 1, rate: Some(SLOW) },
    Load { work: "upload over 500 Mbit/s, eight streams", streams: 8, rate: Some(SLOW) },
];
const LOADS: [Load; 4] = [
    Load { work: "upload, one stream", streams: 1, rate: None },
    Load { work: "upload, eight streams", streams: 8, rate: None },
    Load { work: "upload over 1 Gbit/s, one stream", streams: 1, rate: Some("1gbit") },
    Load { work: "upload over 1 Gbit/s, eight streams", streams: 8, rate: Some("1gbit") },
];
