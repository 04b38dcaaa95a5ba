//! Where a real server's tunnelled packets have come from lately.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A host whose tunnelled packets a real server refuses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusedSource {
    /// Its address.
    pub address: IpAddr,
    /// How many packets, as far as they were read.
    pub count: u64,
    /// Seconds since the last one.
    pub seconds: u64,
}

/// The last refused hosts, and when the last packet was admitted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct LastSources {
    /// The last hosts whose packets were refused because `directors` does not admit them.
    pub refused_sources: Vec<RefusedSource>,
    /// Seconds since the last packet was admitted, those of the fast path left out; null if none
    /// was.
    pub admitted_seconds: Option<u64>,
}
