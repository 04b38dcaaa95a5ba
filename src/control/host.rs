//! What is wrong with the daemon's host, as `list`, `stats` and `status` have it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Layout;
use super::table;

/// The host as the daemon last saw it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HostStatus {
    /// What is wrong now; empty: the host is as planned.
    pub wrong: Vec<Wrong>,
    /// How often something that somebody else had undone was put back.
    pub put_back: u64,
    /// The source addresses of the tunnels, each once: what real servers have to admit (director).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wrong {
    /// What it is about: `vip`, `uplink`, `capture`, `conflict`, `real_server`, `source`,
    /// `announcing`, `step`, `contested`, `unknown`.
    pub what: String,
    /// What it concerns: an address, an interface, a step.
    pub subject: String,
    /// The virtual IP or real server; absent where it concerns none alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// When it began: UTC by RFC 3339.
    pub since: String,
    /// What is wrong and what mends it.
    pub text: String,
}

impl HostStatus {
    /// Lines for people; none where nothing is wrong.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let line = |wrong: &Wrong| format!("host: {} (since {})\n", wrong.text, wrong.since);
        table::wrap(&self.wrong.iter().map(line).collect::<String>(), layout.width, 2)
    }
}
