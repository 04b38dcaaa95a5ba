//! The table on the terminal and the JSON file beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::rounds::median;

/// The target of a ratio, or of a figure without a yardstick.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One comparison.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) unit: &'static str,
    /// What is measured, and its rounds.
    pub(crate) subject: (String, Vec<f64>),
    /// Its reference, and the reference's rounds.
    pub(crate) yardstick: Option<(String, Vec<f64>)>,
    /// The target of the ratio, or of the figure if there is no yardstick. `None`: reported only.
    pub(crate) target: Option<Target>,
}

impl Row {
    /// Median over median.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (_, yardstick) = self.yardstick.as_ref()?;
        Some(median(&self.subject.1) / median(yardstick))
    }

    /// The smallest and the largest ratio of a single round.
    pub(crate) fn spread(&self) -> Option<(f64, f64)> {
        let (_, yardstick) = self.yardstick.as_ref()?;
        let ratios = self.subject.1.iter().zip(yardstick).map(|(a, b)| a / b);
        Some(ratios.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        }))
    }

    /// Whether the target, if there is one, is met.
    pub(crate) fn met(&self) -> Option<bool> {
        let value = self.ratio().unwrap_or_else(|| median(&self.subject.1));
        self.target.map(|target| match target {
            Target::AtMost(limit) => value <= limit,
            Target::AtLeast(limit) => value >= limit,
        })
    }

    fn cells(&self) -> [String; 8] {
        let number = |values: &[f64]| format!("{:.2} {}", median(values), self.unit);
        [
            format!("{}: {}", self.work, self.figure),
            self.subject.0.clone(),
            number(&self.subject.1),
            self.yardstick.as_ref().map_or_else(String::new, |(name, _)| name.clone()),
            self.yardstick.as_ref().map_or_else(String::new, |(_, values)| number(values)),
            match (self.ratio(), self.spread()) {
                (Some(ratio), Some((low, high))) => {
                    format!("{} ({low:.2}-{high:.2})", short(ratio))
                }
                _ => String::new(),
            },
            match self.target {
                Some(Target::AtMost(limit)) => format!("<= {}", short(limit)),
                Some(Target::AtLeast(limit)) => format!(">= {}", short(limit)),
                None => String::new(),
            },
            self.met().map_or("", |met| if met { "met" } else { "MISSED" }).to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let target = self.target.map(|target| match target {
            Target::AtMost(limit) => json!({"at_most": limit}),
            Target::AtLeast(limit) => json!({"at_least": limit}),
        });
        json!({
            "work": self.work, "figure": self.figure, "unit": self.unit,
            "subject": self.subject.0, "subject_rounds": self.subject.1,
            "yardstick": self.yardstick.as_ref().map(|(name, _)| name),
            "yardstick_rounds": self.yardstick.as_ref().map(|(_, values)| values),
            "ratio": self.ratio(), "ratio_spread": self.spread(),
            "target": target, "met": self.met(),
        })
    }
}

/// With two decimals, or three for small values.
pub(crate) fn short(ratio: f64) -> String {
    if ratio < 0.5 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}

/// Prints the table.
pub(crate) fn print(rows: &[Row], missing: &[String]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["work", "measured", "median", "against", "median", "ratio", "target", ""]);
    for row in rows {
        table.add_row(row.cells());
    }
    for column in [2, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("\n{table}\n");
    for what in missing {
        println!("missing: {what}");
    }
}

/// Writes the table with every round; `setting` describes the run.
pub(crate) fn write(path: &Path, setting: &Value, rows: &[Row], missing: &[String]) -> Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let all = json!({"version": 1, "setting": setting, "rows": rows, "missing": missing});
    let text = serde_json::to_string_pretty(&all)?;
    fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
}
