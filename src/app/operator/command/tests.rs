#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn an_interval_is_a_duration_within_its_bounds() {
    for (text, milliseconds) in
        [("1", 1_000), ("1s", 1_000), ("100ms", 100), ("24h", 86_400_000), ("86400", 86_400_000)]
    {
        assert_eq!(interval(text), Ok(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "0", "99ms", "86401", "24h1ms", "soon", "-1", "1.5"] {
        assert!(interval(text).unwrap_err().contains("from 100ms to 1d"), "{text}");
    }
}
