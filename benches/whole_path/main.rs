//! `cargo bench --bench whole_path`: the whole path from client to real server, against its yardsticks.
//!
//! Never an absolute time: every figure is held against another taken in the same run, round by round in turn.
//! Method, latest table and what bounds each figure: `docs/performance.md`. Environment: `QUICK=1` for fewer and
//! shorter rounds; `PLACEMENT=split` to give the director a CPU of its own; `WORK=word` for the works whose name holds it.

mod bed;
mod meter;
mod node;
mod report;
mod rounds;
mod sandbox;
mod side;
mod topology;
mod work;
mod yardstick;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::Result;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::Plan;
use crate::topology::Placement;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("yardstick") => yardstick::run(&arguments[1..]),
        // `cargo test --benches` runs this program too, without the flag: it is no test.
        _ if !arguments.iter().any(|argument| argument == "--bench") => Ok(()),
        _ => bench(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let quick = env::var_os("QUICK").is_some_and(|value| value == "1");
    let placement = placement();
    sandbox::enter(HARNESS_CPU)?;
    sandbox::end_after(if quick { QUICK_LIMIT } else { LIMIT });
    let plan = if quick { QUICK } else { FULL };
    let begin = Instant::now();
    println!("building three nodes: {placement:?}");
    let mut bed = Bed::build(placement)?;
    for what in &bed.missing {
        println!("goes without {what}");
    }
    let rows = works(&mut bed, plan)?;
    report::print(&rows, &bed.missing);
    let path = result_path();
    report::write(&path, &setting(placement, plan)?, &rows, &bed.missing)?;
    println!("{} written after {} s", path.display(), begin.elapsed().as_secs());
    Ok(())
}

fn works(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    type Work = (&'static str, fn(&mut Bed, Plan) -> Result<Vec<Row>>);
    let all: [Work; 5] = [
        ("idle", work::idle::run),
        ("small-udp", work::small_udp::run),
        ("families", work::families::run),
        ("upload", work::upload::run),
        // Last: it changes the real server's end.
        ("download", work::download::run),
    ];
    let wanted = env::var("WORK").unwrap_or_default();
    let mut rows = Vec::new();
    for (name, run) in all.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        println!("{name}");
        match run(bed, plan) {
            Ok(more) => rows.extend(more),
            Err(e) => bed.missing.push(format!("{name}: {e:#}")),
        }
    }
    Ok(rows)
}

fn placement() -> Placement {
    match env::var("PLACEMENT").as_deref() {
        Ok("split") => Placement { director: 1, others: 0 },
        _ => Placement { director: 0, others: 0 },
    }
}

fn setting(placement: Placement, plan: Plan) -> Result<Value> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(json!({
        "kernel": kernel.trim(),
        "director_cpu": placement.director,
        "other_nodes_cpu": placement.others,
        "rounds": plan.rounds,
        "window_seconds": plan.window,
        "receive_offload_at_real_server": true,
    }))
}

/// `bench.json` in the target directory, wherever that is.
fn result_path() -> PathBuf {
    let release = Path::new(env!("CARGO_BIN_EXE_vstun-director")).parent();
    release.and_then(Path::parent).unwrap_or_else(|| Path::new("target")).join("bench.json")
}

const FULL: Plan = Plan { rounds: 11, window: 0.6 };
const QUICK: Plan = Plan { rounds: 5, window: 0.4 };
const LIMIT: Duration = Duration::from_secs(900);
const QUICK_LIMIT: Duration = Duration::from_secs(180);
/// Where the harness runs, beside the nodes' CPU 0.
const HARNESS_CPU: usize = 1;
