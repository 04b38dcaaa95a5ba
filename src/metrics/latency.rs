//! The latencies of real servers, estimated from their clients' packets.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;

use crate::control::{LATENCY_BOUNDS_MICROS, ListedLatency, ListedTimes};

use super::families::Families;

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// Upper bounds of the handshakes' buckets, some of the listed ones. A handshake is the network's
/// time, which is near, far, or has lost a packet; a page of many real servers has room for that.
const HANDSHAKE_BOUNDS: [u32; 3] = [3_000, 32_000, 320_000];

/// A histogram of each kind for each real server that has samples.
pub(super) fn write<'a, L, I>(families: &mut Families<'_>, each: impl Fn() -> I) -> fmt::Result
where
    L: EncodeLabelSet,
    I: Iterator<Item = (L, &'a ListedLatency)>,
{
    type Times = fn(&ListedLatency) -> &ListedTimes;
    let kinds: [(&str, &str, &[u32], Times); 2] = [
        (
            "real_handshake_seconds",
            "From a client's SYN to the end of the handshake, sampled",
            &HANDSHAKE_BOUNDS,
            |latency| &latency.handshake,
        ),
        (
            "real_response_seconds",
            "From a client's request to its first acknowledgement of the response, sampled",
            &LATENCY_BOUNDS_MICROS,
            |latency| &latency.response,
        ),
    ];
    for (name, help, bounds, times) in kinds {
        let measured = each().map(|(labels, latency)| (labels, times(latency)));
        let series = measured.filter(|(_, times)| times.samples > 0);
        let series = series.map(|(labels, times)| (labels, buckets(times, bounds)));
        families.histograms(name, help, series)?;
    }
    Ok(())
}

/// The sum in seconds, and the buckets with these bounds, each of which is a listed one.
fn buckets(times: &ListedTimes, bounds: &[u32]) -> (f64, Vec<(f64, u64)>) {
    let listed = || LATENCY_BOUNDS_MICROS.into_iter().zip(times.buckets);
    let mut counted = 0;
    let mut all = Vec::with_capacity(bounds.len() + 1);
    for &bound in bounds {
        let within = listed().filter(|&(upper, _)| upper <= bound).map(|(_, count)| count).sum();
        all.push((f64::from(bound) / MICROS, within - counted));
        counted = within;
    }
    all.push((f64::INFINITY, times.samples.saturating_sub(counted)));
    // Sums of microseconds are exact up to 2^53, 285 years.
    #[allow(clippy::cast_precision_loss)]
    let sum = times.sum_microseconds as f64 / MICROS;
    (sum, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_handshakes_are_listed_ones() {
        assert!(HANDSHAKE_BOUNDS.iter().all(|bound| LATENCY_BOUNDS_MICROS.contains(bound)));
    }

    #[test]
    fn a_bucket_has_all_counts_between_its_bounds() {
        let buckets_listed = [1, 2, 4, 8, 16, 32, 64];
        let times = ListedTimes { samples: 255, buckets: buckets_listed, ..Default::default() };
        let counts = |bounds| buckets(&times, bounds).1.into_iter().map(|(_, count)| count);
        assert_eq!(counts(&HANDSHAKE_BOUNDS).collect::<Vec<_>>(), [3, 12, 48, 192]);
        let fine = counts(&LATENCY_BOUNDS_MICROS).collect::<Vec<_>>();
        assert_eq!(fine, [1, 2, 4, 8, 16, 32, 64, 128]);
    }
}
