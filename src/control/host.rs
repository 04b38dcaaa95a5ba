//! The problems of the daemon's host, for `list`, `stats` and `status`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Layout;
use super::table;

/// The state of the host at the daemon's last inspection.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HostStatus {
    /// The current problems; empty if the host is as planned.
    pub wrong: Vec<Wrong>,
    /// How often the daemon has restored something that another program had removed.
    pub put_back: u64,
    /// The source addresses of the tunnels, without duplicates: real servers have to accept them
    /// (director).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
    /// The current name of the TUN: another program may rename it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tun: String,
}

/// One problem.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wrong {
    /// Its subject: `vip`, `uplink`, `capture`, `conflict`, `real_server`, `source`, `announcing`,
    /// `mss`, `step`, `contested`, `gue`, `control`, `unknown`.
    pub what: String,
    /// What it concerns: an address, an interface, a step.
    pub subject: String,
    /// The virtual IP or real server; absent if it does not concern a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// When it began: UTC by RFC 3339.
    pub since: String,
    /// The problem and its remedy.
    pub text: String,
}

impl HostStatus {
    /// The TUN's current name; `configured` before the first inspection.
    #[must_use]
    pub fn tun_or(&self, configured: &str) -> String {
        if self.tun.is_empty() { configured } else { &self.tun }.to_owned()
    }

    /// The text output; empty without problems.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let line = |wrong: &Wrong| format!("host: {} (since {})\n", wrong.text, wrong.since);
        table::wrap(&self.wrong.iter().map(line).collect::<String>(), layout.width, 2)
    }
}
