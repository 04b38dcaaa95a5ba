//! A real server's latencies in listings.

use serde::{Deserialize, Serialize};

pub use crate::balancer::BOUNDS_MICROS as LATENCY_BOUNDS_MICROS;
use crate::balancer::{BOUNDS_MICROS, LatencySnapshot, TimesSnapshot};

/// How long clients wait for a real server, estimated from their packets alone. Each time includes
/// one round trip between the client and the director's side.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedLatency {
    /// From a SYN to the end of the handshake.
    pub handshake: ListedTimes,
    /// From a request to the first acknowledgement of its response.
    pub response: ListedTimes,
}

/// Durations of one kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedTimes {
    /// How many were measured: a sample of all.
    pub samples: u64,
    /// Their sum.
    pub sum_microseconds: u64,
    /// The median of the last 15 to 30 seconds; absent without samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_microseconds: Option<u32>,
    /// The 99th percentile of the same samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_microseconds: Option<u32>,
    /// How many take at most each of [`BOUNDS_MICROS`] and longer than the bound before; for
    /// metrics only.
    #[serde(skip)]
    pub buckets: [u64; BOUNDS_MICROS.len()],
}

impl From<&LatencySnapshot> for ListedLatency {
    fn from(latency: &LatencySnapshot) -> Self {
        let LatencySnapshot { handshake, response } = latency;
        Self { handshake: handshake.into(), response: response.into() }
    }
}

impl From<&TimesSnapshot> for ListedTimes {
    fn from(times: &TimesSnapshot) -> Self {
        let &TimesSnapshot { count, micros, buckets, p50_micros, p99_micros } = times;
        Self {
            samples: count,
            sum_microseconds: micros,
            p50_microseconds: p50_micros,
            p99_microseconds: p99_micros,
            buckets,
        }
    }
}
