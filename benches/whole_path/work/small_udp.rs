//! Small packets: 18 bytes of UDP, 256 flows; below saturation 50,000 a second, at its edge twice
//! as many, and beyond. Then 18 to 120 bytes, as real ones have different sizes.
//!
//! Nothing can be merged here, so every packet costs a TUN read and a pass through the kernel's
//! output. A director can save system calls by batches; its logic costs extra. In GUE many packets
//! are one pass.

use anyhow::{Result, ensure};

use super::{Figure, HOST, PROCESS, Spec, at_least, at_most, figure, number, per_packet, rows};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, Sample, interleave};
use crate::side::{
    BARE_BATCHED, BARE_GUE, BARE_LOOP, BARE_LOOP_AGAIN, FAST, KERNEL, ROUTING, VSTUN, VSTUN_GUE,
};

/// How packets are offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    work: &'static str,
    /// Packets a second.
    rate: u32,
    /// The interval at which due packets are sent together, in microseconds.
    tick_us: u32,
    /// Bytes of the longest datagram; the shortest has 18.
    longest: usize,
    /// The share of the sent datagrams; below it, the window measures a full queue and not the
    /// director.
    least_delivered: f64,
}

/// Measures each director with each offer.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut all = offered(bed, plan, BURSTS, CLEAN)?;
    all.extend(offered(bed, plan, EVEN, CLEAN)?);
    all.extend(offered(bed, plan, TWICE, FULL)?);
    all.extend(offered(bed, plan, UNLIMITED, FULL)?);
    all.extend(offered(bed, plan, MIXED, FULL)?);
    Ok(all)
}

fn offered(bed: &mut Bed, plan: Plan, offer: Offer, specs: &[Spec]) -> Result<Vec<Row>> {
    let names = [
        BARE_LOOP,
        BARE_LOOP_AGAIN,
        BARE_BATCHED,
        BARE_GUE,
        VSTUN,
        VSTUN_GUE,
        FAST,
        ROUTING,
        KERNEL,
    ];
    // Only those that a row uses.
    let has = |name| specs.iter().any(|spec| spec.1 == name || spec.2 == name);
    let names: Vec<_> = names.into_iter().filter(|name| has(*name)).collect();
    let contestants = bed.sides(&names);
    let measured = interleave(bed, offer.work, plan, &contestants, |bed, &index| {
        sample(bed, index, offer, plan.window)
    });
    let mut rows = rows(offer.work, &measured, specs);
    if offer.tick_us == EVEN.tick_us {
        rows.iter_mut().for_each(|row| row.target = None);
    }
    Ok(rows)
}

/// One window, repeated if something else took the CPU meanwhile.
pub(super) fn sample(bed: &mut Bed, index: usize, offer: Offer, seconds: f64) -> Result<Sample> {
    let mut result = attempt(bed, index, offer, seconds);
    for _ in 1..ATTEMPTS {
        if let Err(e) = &result {
            println!("  {e:#}: again");
            result = attempt(bed, index, offer, seconds);
        }
    }
    result
}

fn attempt(bed: &mut Bed, index: usize, offer: Offer, seconds: f64) -> Result<Sample> {
    let side = &bed.sides[index];
    let (vip, end) = (side.vip, side.end);
    let order =
        format!("send {vip} {FLOWS} {} {} {seconds} {}", offer.rate, offer.tick_us, offer.longest);
    let arrived = |bed: &Bed| bed.topology.real(end).node.datagrams();
    let before = arrived(bed)?;
    let (cost, (answer, meanwhile)) = bed.cost(bed.spenders(index), |bed| {
        let answer = bed.udp_load.ask(&order)?;
        Ok((answer, arrived(bed)? - before))
    })?;
    let delivered = (arrived(bed)? - before) as f64;
    let sent = number(&answer, "sent")?;
    ensure!(
        delivered >= sent * offer.least_delivered,
        "only {delivered} of {sent} datagrams arrived, the machine is too busy to measure"
    );
    let seconds = number(&answer, "seconds")?;
    let mut sample = per_packet(cost);
    sample.push((OFFERED, sent / seconds));
    sample.push((DELIVERED.name, meanwhile as f64 / seconds / 1e3));
    Ok(sample)
}

const CLEAN: &[Spec] = &[
    (PROCESS, BARE_LOOP_AGAIN, BARE_LOOP, None),
    (HOST, BARE_LOOP_AGAIN, BARE_LOOP, None),
    (PROCESS, BARE_BATCHED, BARE_LOOP, None),
    (HOST, BARE_BATCHED, BARE_LOOP, None),
    (PROCESS, VSTUN, BARE_LOOP, at_most(0.95)),
    (HOST, VSTUN, BARE_LOOP, None),
    (PROCESS, VSTUN_GUE, BARE_LOOP, None),
    (HOST, VSTUN_GUE, BARE_LOOP, None),
    (PROCESS, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (HOST, VSTUN, ROUTING, None),
    (HOST, VSTUN, KERNEL, None),
    (HOST, FAST, ROUTING, at_most(1.5)),
    (HOST, FAST, VSTUN, None),
];
const FULL: &[Spec] = &[
    (DELIVERED, VSTUN, BARE_LOOP, None),
    (DELIVERED, VSTUN, BARE_BATCHED, None),
    (DELIVERED, VSTUN, ROUTING, None),
    (DELIVERED, VSTUN_GUE, BARE_LOOP, at_least(1.6)),
    (DELIVERED, FAST, ROUTING, at_least(0.9)),
    (PROCESS, VSTUN_GUE, BARE_LOOP, at_most(0.5)),
    (HOST, VSTUN_GUE, BARE_LOOP, None),
    (PROCESS, VSTUN_GUE, BARE_GUE, at_most(1.15)),
    (PROCESS, BARE_GUE, BARE_LOOP, None),
    (DELIVERED, BARE_GUE, BARE_LOOP, None),
    (PROCESS, VSTUN, BARE_LOOP, None),
    (HOST, VSTUN, BARE_LOOP, None),
];
const DELIVERED: Figure = figure("packets delivered", "k/s");
const FLOWS: usize = 256;
/// How generators pace (iperf3 does so by default): 50 packets every millisecond.
pub(super) const BURSTS: Offer = Offer {
    work: "small UDP, 50k/s",
    rate: 50_000,
    tick_us: 1000,
    longest: 18,
    least_delivered: 0.99,
};
/// As evenly as a sleeping process can: 5 packets every 100 microseconds.
const EVEN: Offer = Offer { work: "small UDP, 50k/s evenly spaced", tick_us: 100, ..BURSTS };
/// More than one CPU can do for the three nodes of some sides.
const TWICE: Offer =
    Offer { work: "small UDP, 100k/s", rate: 100_000, least_delivered: 0.0, ..BURSTS };
/// More than the generator can send.
const UNLIMITED: Offer = Offer { work: "small UDP, unlimited", rate: 4_000_000, ..TWICE };
const MIXED: Offer = Offer { work: "small UDP, unlimited, mixed sizes", longest: 120, ..UNLIMITED };
const ATTEMPTS: usize = 5;
const OFFERED: &str = "packets a second";
