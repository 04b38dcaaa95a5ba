//! The turns of a packet thread; other packets wait during a turn.

use std::fmt;

use crate::control::TurnStats;

use super::families::Families;

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// The histogram of turns.
pub(super) fn write(families: &mut Families<'_>, turns: &TurnStats) -> fmt::Result {
    let bound = |limit: Option<u32>| limit.map_or(f64::INFINITY, |limit| f64::from(limit) / MICROS);
    let buckets: Vec<_> = turns
        .buckets
        .iter()
        .map(|bucket| (bound(bucket.up_to_microseconds), bucket.count))
        .collect();
    // Sums of microseconds are exact up to 2^53, 285 years.
    #[allow(clippy::cast_precision_loss)]
    let sum = turns.microseconds as f64 / MICROS;
    let help = "Time that the packet thread spent in one turn, while other packets waited";
    families.histogram("packet_thread_turn_seconds", help, sum, &buckets)
}
