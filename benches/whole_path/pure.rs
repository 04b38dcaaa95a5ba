//! The pure layers' rows, as `benches/core.rs` has written them, for the one table.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::report::{Row, Target};

/// Reads them; all are in nanoseconds of one operation.
pub(crate) fn rows(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let written: Vec<Value> = serde_json::from_str(&text).context("rows of the core bench")?;
    written.iter().map(|row| read(row, &written)).collect()
}

fn read(row: &Value, all: &[Value]) -> Result<Row> {
    let name = text(row, "name")?;
    let against = text(row, "against")?;
    let yardstick = all.iter().find(|other| other["name"] == against).filter(|_| against != name);
    Ok(Row {
        work: "core",
        figure: "time of one",
        unit: "ns",
        subject: (name.to_owned(), rounds(row)?),
        yardstick: yardstick
            .map(|row| anyhow::Ok((against.to_owned(), rounds(row)?)))
            .transpose()?,
        target: row["at_most"].as_f64().map(Target::AtMost),
    })
}

fn text<'a>(row: &'a Value, key: &str) -> Result<&'a str> {
    row[key].as_str().with_context(|| format!("no {key} in {row}"))
}

fn rounds(row: &Value) -> Result<Vec<f64>> {
    let rounds = row["rounds"].as_array().with_context(|| format!("no rounds in {row}"))?;
    Ok(rounds.iter().filter_map(Value::as_f64).collect())
}
