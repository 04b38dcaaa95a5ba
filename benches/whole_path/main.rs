//! `cargo bench --bench whole_path`: the whole path from client to real server, against its
//! yardsticks.
//!
//! Never an absolute time: every figure is compared with another taken in the same run, in
//! alternating rounds. Method, latest table and the limits of each figure: `docs/performance.md`.
//! Environment: `QUICK=1` for fewer and shorter rounds; `BUSY_POLL=50us` for a director with busy
//! polling; `REAL_FAST_PATH=on` for a real server with its fast path; `PLACEMENT=split` to give the
//! director its own CPU; `TUN_QUEUE=500` for a TUN queue of that many packets; `WIRE_QUEUE=noqueue`
//! for wires without a queue; `WORK=word` for the works whose names contain it.

mod bed;

mod meter;
mod node;
mod peer;
mod plot;
mod pure;
mod report;
mod rounds;
mod sandbox;
mod side;
mod topology;
mod tunnel_end;
mod work;
mod yardstick;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::report::Row;
use crate::rounds::Plan;
use crate::topology::Placement;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("yardstick") => yardstick::run(&arguments[1..]),
        // `cargo test --benches` runs this program too, without the flag: it does nothing then.
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
    let core = env::var_os("CORE_JSON").map(|path| pure::rows(Path::new(&path))).transpose()?;
    let begin = Instant::now();
    println!("building the nodes: {placement:?}");
    let mut bed = Bed::build(placement)?;
    for what in &bed.missing {
        println!("goes without {what}");
    }
    let mut rows = core.unwrap_or_default();
    rows.extend(works(&mut bed, plan)?);
    report::print(&rows, &bed.missing);
    let path = result_path();
    let setting = setting(placement, plan)?;
    report::write(&path, &setting, &rows, &bed.missing)?;
    println!("{} written after {} s", path.display(), begin.elapsed().as_secs());
    let plot = path.with_extension("svg");
    plot::write(&plot, &caption(&setting), &rows)?;
    println!("{} written", plot.display());
    // The documentation shows only whole runs of the usual placement.
    let whole = !quick && bed.missing.is_empty() && wanted_works().is_empty();
    if whole && placement.director == placement.others {
        fs::copy(&plot, DOCUMENTED_PLOT).context("keep the plot")?;
        println!("{DOCUMENTED_PLOT} written");
    }
    Ok(())
}

/// How the run was made, in one line.
fn caption(setting: &Value) -> String {
    let [kernel, director, others, rounds] =
        ["kernel", "director_cpu", "other_nodes_cpu", "rounds"].map(|key| setting.get(key));
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
    format!(
        "Linux {}; director on CPU {}, the other nodes on CPU {}; medians of {} rounds",
        kernel.and_then(Value::as_str).unwrap_or_default(),
        number(director),
        number(others),
        number(rounds),
    )
}

fn works(bed: &mut Bed, plan: Plan) -> Result<Vec<Row>> {
    type Work = (&'static str, fn(&mut Bed, Plan) -> Result<Vec<Row>>);
    let all: [Work; 11] = [
        ("idle", work::idle::run),
        ("small-udp", work::small_udp::run),
        ("families", work::families::run),
        ("pingpong", work::pingpong::run),
        ("reload", work::reload::run),
        ("connections", work::connections::run),
        ("replies", work::replies::run),
        ("upload", work::upload::run),
        ("upload-500", work::upload::run_slowly),
        ("download", work::download::run),
        ("real-server", work::real_server::run),
    ];
    let wanted = wanted_works();
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

/// The words that wanted works' names contain; empty: all.
fn wanted_works() -> String {
    env::var("WORK").unwrap_or_default()
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
        // Unless the work's name says otherwise.
        "receive_offload_at_real_server": true,
    }))
}

/// `bench.json` in the target directory, wherever that is.
fn result_path() -> PathBuf {
    let release = Path::new(env!("CARGO_BIN_EXE_vstun-director")).parent();
    release.and_then(Path::parent).unwrap_or_else(|| Path::new("target")).join("bench.json")
}

const FULL: Plan = Plan { rounds: 9, window: 0.6 };
const QUICK: Plan = Plan { rounds: 3, window: 0.2 };
const LIMIT: Duration = Duration::from_secs(2400);
const QUICK_LIMIT: Duration = Duration::from_secs(300);
/// In the folder of the page that shows it.
const DOCUMENTED_PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.svg");
/// The CPU of the harness; the nodes have CPU 0.
const HARNESS_CPU: usize = 1;
