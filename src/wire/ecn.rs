//! Explicit congestion notification through a tunnel (RFC 6040), on whole traffic class bytes.
//!
//! ```text
//!            7 6 5 4 3 2 1 0
//!           +-----------+---+      0 Not-ECT   1 ECT(1)
//!           |   DSCP    |ECN|      2 ECT(0)    3 CE
//!           +-----------+---+
//! ```

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const CE: u8 = 3;

/// The outer traffic class at the tunnel's entry: normal mode copies the ECN field (RFC 6040
/// section 4.1); the DSCP is copied too (RFC 2983 section 3, the uniform model).
#[inline]
#[must_use]
pub fn encapsulate(inner_traffic_class: u8) -> u8 {
    inner_traffic_class
}

/// The inner traffic class at the tunnel's exit (RFC 6040 section 4.2, figure 4); the inner DSCP
/// stays.
///
/// `None`: a router marked congestion on a packet whose sender cannot understand the mark. The
/// packet must be dropped, as the router would have dropped it without ECN.
#[inline]
#[must_use]
pub fn decapsulate(outer: u8, inner: u8) -> Option<u8> {
    match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) | (CE, _) => Some(inner),
        (_, CE) => Some(inner | CE),
        (_, ECT_1) => Some(inner & !ECN | ECT_1),
        (_, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECT_0: u8 = 2;

    /// RFC 6040 figure 4: a row per inner field; columns are the outer Not-ECT, ECT(0), ECT(1), CE.
    const FIGURE_4: [(u8, [Option<u8>; 4]); 4] = [
        (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
        (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];

    #[test]
    fn decapsulation_is_figure_4_whatever_the_dscp() {
        for (inner, row) in FIGURE_4 {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                for (outer_dscp, inner_dscp) in [(0, 0), (0xb8, 0), (0, 0xb8), (0xfc, 0x28)] {
                    assert_eq!(
                        decapsulate(outer_dscp | outer, inner_dscp | inner),
                        expected.map(|ecn| inner_dscp | ecn),
                        "inner {inner}, outer {outer}"
                    );
                }
            }
        }
    }

    #[test]
    fn encapsulation_then_decapsulation_changes_nothing() {
        for inner in 0..=u8::MAX {
            assert_eq!(decapsulate(encapsulate(inner), inner), Some(inner));
        }
    }
}
