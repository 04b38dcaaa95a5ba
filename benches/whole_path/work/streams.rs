//! TCP streams for the loads that move bytes: one or eight, over plain wires or over 1 Gbit/s.

use anyhow::Result;

use super::{THROUGHPUT, gigabits, number, per_gigabyte, per_packet};
use crate::bed::Bed;
use crate::rounds::Sample;

/// One of the loads with streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Its name in the table.
    pub(super) work: &'static str,
    pub(super) streams: usize,
    /// The rate of all wires; `None`: as fast as they are.
    pub(super) rate: Option<&'static str>,
}

/// One window of streams `up` or `down` by the side at `index`.
pub(super) fn sample(
    bed: &mut Bed,
    index: usize,
    direction: &str,
    load: Load,
    seconds: f64,
) -> Result<Sample> {
    let order = format!("{direction} {} {seconds} {}", bed.sides[index].vip, load.streams);
    let (cost, answer) = bed.cost(bed.spenders(index), |bed| bed.tcp_load.ask(&order))?;
    let mut sample = per_packet(cost);
    sample.extend(per_gigabyte(cost, number(&answer, "all_bytes")?));
    sample.push((THROUGHPUT.name, gigabits(&answer)?));
    Ok(sample)
}
