//! New connections: connect, ask, 100 bytes of answer, close; 32 clients at a time.
//!
//! Nothing is gained by large packets here: each connection is half a dozen small ones, and an
//! entry in the table. All nodes share a CPU, so the rate is what one connection costs altogether,
//! the client's and the server's part included.

use anyhow::Result;

use super::{END_1000, HOST_1000, PROCESS_1000, RATE, Spec, at_least, at_most, per_request, rows};
use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::{Plan, Sample, interleave};
use crate::side::{
    BARE_BOTH, BARE_LOOP, FAST_BOTH, HAPROXY, KERNEL, NGINX, ROUTING, VSTUN_BOTH, VSTUN_GUE,
};

/// Measures each side.
pub(crate) fn run(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    let mut contestants =
        bed.sides(&[VSTUN_BOTH, VSTUN_GUE, FAST_BOTH, ROUTING, KERNEL, HAPROXY, NGINX]);
    contestants.extend(bed.renamed(BARE_LOOP, BARE_BOTH));
    let all = interleave(bed, WORK, plan, &contestants, |bed, &index| window(bed, index, plan));
    let mut table = rows(WORK, &all, ROWS);
    let turns = Plan { rounds: TURNS * plan.rounds, ..plan };
    let contestants = bed.sides(&[VSTUN_BOTH, FAST_BOTH]);
    let all =
        interleave(bed, IN_TURNS, turns, &contestants, |bed, &index| window(bed, index, plan));
    table.extend(rows(IN_TURNS, &all, ROWS_IN_TURNS));
    Ok(table)
}

fn window(bed: &mut Bed, index: usize, plan: Plan) -> Result<Sample> {
    let order = format!("connections {} {CLIENTS} 100 {}", bed.sides[index].vip, plan.window);
    let (cost, answer) = bed.cost(bed.spenders(index), |bed| bed.web_load.ask(&order))?;
    per_request(cost, &answer)
}

const ROWS: &[Spec] = &[
    (HOST_1000, VSTUN_BOTH, HAPROXY, at_most(1.0 / 3.5)),
    (HOST_1000, VSTUN_BOTH, NGINX, None),
    (HOST_1000, VSTUN_GUE, HAPROXY, at_most(0.20)),
    (HOST_1000, BARE_BOTH, HAPROXY, None),
    (HOST_1000, VSTUN_BOTH, BARE_BOTH, None),
    (HOST_1000, VSTUN_BOTH, ROUTING, None),
    (HOST_1000, VSTUN_BOTH, KERNEL, None),
    (PROCESS_1000, VSTUN_BOTH, BARE_BOTH, None),
    (END_1000, VSTUN_BOTH, BARE_BOTH, None),
    (RATE, VSTUN_BOTH, HAPROXY, at_least(1.4)),
    (RATE, VSTUN_BOTH, NGINX, None),
    (RATE, VSTUN_BOTH, ROUTING, at_least(0.75)),
    (RATE, VSTUN_BOTH, BARE_BOTH, None),
    (RATE, VSTUN_BOTH, KERNEL, None),
];
/// Both directors' packets pass the program at the uplink, so its part is missing here: core's row
/// "not carried" has it.
const ROWS_IN_TURNS: &[Spec] = &[
    (HOST_1000, FAST_BOTH, VSTUN_BOTH, at_most(1.03)),
    (PROCESS_1000, FAST_BOTH, VSTUN_BOTH, at_most(1.03)),
];
/// A few percent need more rounds than the ratios above.
const TURNS: usize = 8;
const IN_TURNS: &str = "new connections, two directors in turn";
const WORK: &str = "new connections, 100-byte replies";
const CLIENTS: usize = 32;
