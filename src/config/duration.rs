//! Durations as text: `15m`, `2s`, `1h30m`, `1500ms`, `50us`.

use std::time::Duration;

pub use crate::balancer::duration::Text;
use crate::balancer::duration::UNITS;

/// Reads whole numbers with units `d`, `h`, `m`, `s`, `ms`, `us`, larger units first, each at most once.
/// `None` for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (_, micros) = units.find(|(unit, _)| *unit == name)?;
        let count: u64 = digits.parse().ok()?;
        total = total.checked_add(count.checked_mul(*micros)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_micros(total))
}
