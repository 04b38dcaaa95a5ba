//! Durations as text: `15m`, `2s`, `1h30m`, `1500ms`, `50us`.

use std::fmt;
use std::time::Duration;

/// Units and their microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

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

/// Prints a duration in the form that [`parse`] reads; below a microsecond nothing is left.
#[derive(Clone, Copy, Debug)]
pub struct Text(pub Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_micros();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, micros) in UNITS {
            let count = rest / u128::from(micros);
            rest %= u128::from(micros);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}
