//! Durations in text form: `15m`, `2s`, `1h30m`, `1500ms`, `50us`.

use std::fmt;
use std::time::Duration;

/// The units and their microseconds, largest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Prints a duration with each unit at most once; fractions of a microsecond are cut off.
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

/// Reads whole numbers with units `d`, `h`, `m`, `s`, `ms`, `us`, larger units first, each at most
/// once. `None` for anything else.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (text, seconds) in [
            ("2s", 2),
            ("15m", 900),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("1d1h1m1s", 90_061),
            ("090s", 90),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("1s500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("1ms50us"), Some(Duration::from_micros(1050)));
        for text in [
            "", "15", "m", "15 m", "1m1h", "1m1m", "-1s", "1.5s", "15M", "1y", "1ms1s", "1us1ms",
            "٣s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("18446744073709551616s"), None);
        assert_eq!(parse("18446744073709551615d"), None);
        for text in ["1s", "15m", "1h30m", "31d", "1500ms", "1d1ms", "50us"] {
            let printed = Text(parse(text).unwrap()).to_string();
            assert_eq!(parse(&printed), parse(text), "{text} printed {printed}");
        }
        assert_eq!(Text(Duration::from_secs(5400)).to_string(), "1h30m");
        assert_eq!(Text(Duration::ZERO).to_string(), "0s");
    }
}
