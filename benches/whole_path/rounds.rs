//! Interleaved rounds: A B A B …, so that what drifts on the machine drifts under both.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// How much of everything a run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that count; one more goes before, to warm up.
    pub(crate) rounds: usize,
    /// Length of one side's window in one round, seconds.
    pub(crate) window: f64,
}

/// What one window gave, by the name of the figure.
pub(crate) type Sample = Vec<(&'static str, f64)>;

/// All rounds of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    figures: BTreeMap<&'static str, Vec<f64>>,
}

impl Series {
    /// The rounds of one figure, in order; empty if the side has none.
    pub(crate) fn figure(&self, name: &str) -> &[f64] {
        self.figures.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Measures every contestant once a round, one after the other, and throws the first round away.
pub(crate) fn interleave<C>(
    work: &str,
    plan: Plan,
    contestants: &[(&'static str, C)],
    mut measure: impl FnMut(&C) -> Result<Sample>,
) -> Result<BTreeMap<&'static str, Series>> {
    let mut all: BTreeMap<&'static str, Series> = BTreeMap::new();
    for round in 0..=plan.rounds {
        match round {
            0 => println!("  {work}: warm-up"),
            _ => println!("  {work}: round {round} of {}", plan.rounds),
        }
        for (name, contestant) in contestants {
            let sample = measure(contestant).with_context(|| format!("{work}, {name}"))?;
            let series = all.entry(name).or_default();
            for (figure, value) in sample.into_iter().filter(|_| round > 0) {
                series.figures.entry(figure).or_default().push(value);
            }
        }
    }
    Ok(all)
}

/// The middle value; of an even number, the mean of the middle two; of none, not a number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
