//! The latencies of real servers, estimated from their clients' packets.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;

use crate::control::{LATENCY_BOUNDS_MICROS, ListedLatency, ListedTimes};

use super::families::Families;

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// A histogram of each kind for each real server that has samples.
pub(super) fn write<'a, L, I>(families: &mut Families<'_>, each: impl Fn() -> I) -> fmt::Result
where
    L: EncodeLabelSet,
    I: Iterator<Item = (L, &'a ListedLatency)>,
{
    type Times = fn(&ListedLatency) -> &ListedTimes;
    let kinds: [(&str, &str, Times); 2] = [
        (
            "real_handshake_seconds",
            "From a client's SYN to the end of the handshake, sampled",
            |latency| &latency.handshake,
        ),
        (
            "real_response_seconds",
            "From a client's request to its first acknowledgement of the response, sampled",
            |latency| &latency.response,
        ),
    ];
    for (name, help, times) in kinds {
        let measured = each().map(|(labels, latency)| (labels, times(latency)));
        let series = measured.filter(|(_, times)| times.samples > 0);
        families.histograms(name, help, series.map(|(labels, times)| (labels, buckets(times))))?;
    }
    Ok(())
}

/// The sum in seconds, and the buckets with their bounds.
fn buckets(times: &ListedTimes) -> (f64, Vec<(f64, u64)>) {
    let bounds = LATENCY_BOUNDS_MICROS.iter().map(|&micros| f64::from(micros) / MICROS);
    let beyond = times.samples.saturating_sub(times.buckets.iter().sum());
    let all = bounds.zip(times.buckets).chain([(f64::INFINITY, beyond)]).collect();
    // Sums of microseconds are exact up to 2^53, 285 years.
    #[allow(clippy::cast_precision_loss)]
    let sum = times.sum_microseconds as f64 / MICROS;
    (sum, all)
}
