//! The works: each loads the bed in one way, round by round, and names the references of its
//! figures.

pub(crate) mod connections;
pub(crate) mod download;
pub(crate) mod families;
pub(crate) mod idle;
pub(crate) mod pingpong;
pub(crate) mod real_server;
pub(crate) mod reload;
pub(crate) mod replies;
pub(crate) mod small_udp;
pub(crate) mod streams;
pub(crate) mod upload;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bed::Cost;
use crate::report::{Row, Target};
use crate::rounds::{Sample, Series};

/// A figure and its unit.
#[derive(Clone, Copy, Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
}

const fn figure(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit }
}

/// CPU of the process under test for each packet on the tunnel wire.
const PROCESS: Figure = figure("process CPU per packet", "us");
/// The same with the kernel's receive work on the director.
const HOST: Figure = figure("host CPU per packet", "us");
/// Seconds of CPU for 10^9 bytes of the streams' data that arrived.
const PROCESS_GB: Figure = figure("process CPU per GB", "s");
const HOST_GB: Figure = figure("host CPU per GB", "s");
/// The program that ends the tunnel at the real server.
const END_GB: Figure = figure("real server's daemon CPU per GB", "s");
const HOST_1000: Figure = figure("host CPU per 1,000 requests", "ms");
const PROCESS_1000: Figure = figure("process CPU per 1,000 requests", "ms");
const END_1000: Figure = figure("real server's daemon CPU per 1,000 requests", "ms");
const RATE: Figure = figure("requests a second", "/s");
const THROUGHPUT: Figure = figure("throughput", "Gbit/s");

/// The specification of a row: the figure, its contestant, its reference, and the target of the
/// ratio.
type Spec = (Figure, &'static str, &'static str, Option<Target>);

const fn at_most(limit: f64) -> Option<Target> {
    Some(Target::AtMost(limit))
}

const fn at_least(limit: f64) -> Option<Target> {
    Some(Target::AtLeast(limit))
}

/// The rows of one work whose contestants ran.
fn rows(work: &'static str, all: &BTreeMap<&'static str, Series>, specs: &[Spec]) -> Vec<Row> {
    let rounds = |name: &str, figure: Figure| {
        let rounds = all.get(name)?.figure(figure.name).to_vec();
        (!rounds.is_empty()).then(|| (name.to_owned(), rounds))
    };
    let row = |&(figure, subject, against, target): &Spec| {
        let (subject, yardstick) = (rounds(subject, figure)?, Some(rounds(against, figure)?));
        let Figure { name, unit } = figure;
        Some(Row { work, figure: name, unit, subject, yardstick, target })
    };
    specs.iter().filter_map(row).collect()
}

fn per_packet(cost: Cost) -> Sample {
    vec![
        (PROCESS.name, cost.process_ns / cost.packets / 1e3),
        (HOST.name, cost.host_ns / cost.packets / 1e3),
    ]
}

/// `bytes` of data were delivered.
fn per_gigabyte(cost: Cost, bytes: f64) -> Sample {
    vec![
        (PROCESS_GB.name, cost.process_ns / bytes),
        (HOST_GB.name, cost.host_ns / bytes),
        (END_GB.name, cost.tunnel_end_ns / bytes),
    ]
}

/// The cost per answer of a web client.
fn per_request(cost: Cost, answer: &Value) -> Result<Sample> {
    let requests = number(answer, "requests")?;
    Ok(vec![
        (PROCESS_1000.name, cost.process_ns / requests / 1e3),
        (HOST_1000.name, cost.host_ns / requests / 1e3),
        (END_1000.name, cost.tunnel_end_ns / requests / 1e3),
        (RATE.name, requests / number(answer, "seconds")?),
    ])
}

/// A number in a generator's answer.
fn number(answer: &Value, key: &str) -> Result<f64> {
    answer.get(key).and_then(Value::as_f64).with_context(|| format!("no {key} in {answer}"))
}

/// Rate of a TCP generator's answer, Gbit/s.
fn gigabits(answer: &Value) -> Result<f64> {
    Ok(number(answer, "bytes")? * 8e-9 / number(answer, "seconds")?)
}
