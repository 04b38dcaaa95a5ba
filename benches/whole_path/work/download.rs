//! Download of one TCP stream: the bytes pass no director, only their acknowledgements do.
//!
//! Over a wire shaped to 1 Gbit/s a balancer must not be seen at all; unshaped, the machine's one CPU is the limit.

use anyhow::Result;

use super::{GIGABITS, THROUGHPUT, gigabits};
use crate::bed::Bed;
use crate::report::{Row, Target};
use crate::rounds::{Plan, interleave};
use crate::side::{BARE_LOOP, KERNEL, VSTUN};

/// Measures each way over the shaped and the plain wire.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    bed.use_vstun_realserver()?;
    bed.topology.shape_replies(true)?;
    let mut rows = wire(bed, plan, "download over 1 Gbit/s", Some(Target::AtLeast(0.98)))?;
    bed.topology.shape_replies(false)?;
    rows.extend(wire(bed, plan, "download", None)?);
    Ok(rows)
}

fn wire(bed: &mut Bed, plan: Plan, work: &'static str, target: Option<Target>) -> Result<Vec<Row>> {
    let contestants = bed.sides(&[VSTUN, BARE_LOOP, KERNEL]);
    let all = interleave(work, plan, &contestants, |&place| {
        let order = format!("down {} {}", bed.sides[place].vip, plan.window);
        let (_, answer) = bed.cost(None, |bed| bed.tcp_load.ask(&order))?;
        Ok(vec![(THROUGHPUT, gigabits(&answer)?)])
    })?;
    let figures = |name: &str| {
        let series = all.get(name)?;
        Some((name.to_owned(), series.figure(THROUGHPUT).to_vec()))
    };
    let end = bed.real_end.as_ref().map_or("", |end| end.name);
    let rows = [(VSTUN, target), (BARE_LOOP, None)].into_iter().filter_map(|(name, target)| {
        let (name, rounds) = figures(name)?;
        let subject = (format!("{name} and {end}"), rounds);
        Some(Row {
            work,
            figure: THROUGHPUT,
            unit: GIGABITS,
            subject,
            yardstick: figures(KERNEL),
            target,
        })
    });
    Ok(rows.collect())
}
