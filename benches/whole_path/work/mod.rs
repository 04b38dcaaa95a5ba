//! The works: each loads the bed in one way, round by round, and says what the figures are held against.

pub(crate) mod download;
pub(crate) mod families;
pub(crate) mod idle;
pub(crate) mod small_udp;
pub(crate) mod upload;

use anyhow::{Context, Result};
use serde_json::Value;

/// CPU of the process under test for each packet on the tunnel wire.
const PROCESS: &str = "process CPU per packet";
/// The same with the kernel's receive work on the director.
const HOST: &str = "host CPU per packet";
const THROUGHPUT: &str = "throughput";
const MICROSECONDS: &str = "us";
const GIGABITS: &str = "Gbit/s";

/// A number out of a generator's answer.
fn number(answer: &Value, key: &str) -> Result<f64> {
    answer.get(key).and_then(Value::as_f64).with_context(|| format!("no {key} in {answer}"))
}

/// Rate of a TCP generator's answer, Gbit/s.
fn gigabits(answer: &Value) -> Result<f64> {
    Ok(number(answer, "bytes")? * 8e-9 / number(answer, "seconds")?)
}
