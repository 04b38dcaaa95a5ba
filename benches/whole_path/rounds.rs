//! Interleaved rounds: A B A B …, so that drifts of the machine affect both.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::bed::Bed;

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that count; one more before them warms up.
    pub(crate) rounds: usize,
    /// Length of one side's window in one round, seconds.
    pub(crate) window: f64,
}

/// The figures of one window, by name.
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

    fn add(&mut self, round: Sample) {
        for (figure, value) in round {
            self.figures.entry(figure).or_default().push(value);
        }
    }
}

/// Measures every contestant once per round, one after the other, and discards the first round.
///
/// One that fails has no rounds, and the reason goes below the table; the others go on.
pub(crate) fn interleave<C>(
    bed: &mut Bed,
    work: &str,
    plan: Plan,
    contestants: &[(&'static str, C)],
    mut measure: impl FnMut(&mut Bed, &C) -> Result<Sample>,
) -> BTreeMap<&'static str, Series> {
    let mut all: BTreeMap<&'static str, Series> =
        contestants.iter().map(|(name, _)| (*name, Series::default())).collect();
    for round in 0..=plan.rounds {
        match round {
            0 => println!("  {work}: warm-up"),
            _ => println!("  {work}: round {round} of {}", plan.rounds),
        }
        for (name, contestant) in contestants {
            let Some(series) = all.get_mut(name) else { continue };
            match measure(bed, contestant) {
                Ok(sample) if round > 0 => series.add(sample),
                Ok(_) => {}
                Err(e) => {
                    println!("  goes on without {name}: {e:#}");
                    bed.missing.push(format!("{work}, {name}: {e:#}"));
                    all.remove(name);
                }
            }
        }
    }
    all
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
