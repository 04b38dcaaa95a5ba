//! Durations as people write and read them: `15m`, `2s`, `1h30m`, `1500ms`, `50us`. Read by `config`.

use std::fmt;
use std::time::Duration;

/// The units and their microseconds, from the largest on.
pub const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Prints a duration with each unit once; below a microsecond nothing is left.
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
