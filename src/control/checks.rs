//! The answers to `checks` and `check`: each check with its last results, or the results of one
//! run.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Layout;
use super::table::{self, Columns};

/// All checks of a director.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checks {
    /// The largest lag of a probe in the last seconds, in milliseconds.
    pub check_lag_milliseconds: u64,
    /// The checks, in configuration order.
    pub checks: Vec<ListedCheck>,
}

/// A check of one real server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedCheck {
    /// The real server.
    pub address: String,
    /// The services that use it.
    pub services: Vec<String>,
    /// The check's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The type with its main parameters: `http GET /health`.
    pub check: String,
    /// `tunnel` or `direct`.
    pub via: String,
    /// The destination of its probes: address and port.
    pub destination: String,
    /// `up`, `falling`, `down` or `rising`.
    pub state: String,
    /// How many of its last results in a row were alike.
    pub streak: u32,
    /// Seconds since it last changed between up and down.
    pub since_seconds: u64,
    /// Milliseconds until its next probe; absent while a probe is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_milliseconds: Option<u64>,
    /// How late its last probe was.
    pub lag_milliseconds: u64,
    /// Probes so far.
    pub runs: u64,
    /// The last results, newest first.
    pub results: Vec<CheckResult>,
    /// The counts of the load agent's reports; absent for other types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<ListedAgent>,
}

/// The counts of a load agent's reports.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedAgent {
    /// Probes that have brought a report.
    pub reports: u64,
    /// Probes that have brought none.
    pub errors: u64,
    /// Whether its last report has expired, or there is none.
    pub stale: bool,
}

/// The result of one probe.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckResult {
    /// When, UTC by RFC 3339.
    pub time: String,
    /// Whether it has passed.
    pub passed: bool,
    /// The result as text: `status 200`, `connection refused`.
    pub detail: String,
    /// How long it took.
    pub microseconds: u64,
}

impl Checks {
    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        if self.checks.is_empty() {
            return "no service has a [[service.check]]\n".to_owned();
        }
        let rows = self.checks.iter().map(ListedCheck::cells).collect();
        let header = vec![
            "REAL SERVER",
            "CHECK",
            "TO",
            "VIA",
            "STATE",
            "SINCE",
            "TOOK",
            "NEXT",
            "LAST RESULT",
        ];
        let columns = Columns { header, numbers: &[5, 6, 7], prose: true };
        let text = columns.text(rows, layout.width);
        format!("{text}most delayed probe: {} ms late\n", self.check_lag_milliseconds)
    }
}

impl ListedCheck {
    fn cells(&self) -> Vec<String> {
        let last = self.results.first();
        let next =
            self.next_milliseconds.map_or_else(|| "now".to_owned(), |next| format!("{next}ms"));
        let state = match self.streak {
            streak if self.state == "falling" || self.state == "rising" => {
                format!("{} {streak}", self.state)
            }
            _ => self.state.clone(),
        };
        vec![
            self.address.clone(),
            self.check.clone(),
            self.destination.clone(),
            self.via.clone(),
            state,
            format!("{}s", self.since_seconds),
            last.map_or_else(String::new, |last| milliseconds(last.microseconds)),
            next,
            last.map_or_else(|| "not run yet".to_owned(), |last| last.detail.clone()),
        ]
    }
}

/// The results of one run of a real server's checks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checked {
    /// The real server.
    pub address: Option<IpAddr>,
    /// Its checks.
    pub checks: Vec<CheckedOnce>,
}

/// One run of a check.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckedOnce {
    /// The check, as in [`ListedCheck::check`].
    pub check: String,
    /// `tunnel` or `direct`.
    pub via: String,
    /// The destination of its probe.
    pub destination: String,
    /// Whether it has passed.
    pub passed: bool,
    /// The result as text.
    pub detail: String,
    /// How long it took.
    pub microseconds: u64,
    /// The steps, with their times.
    pub steps: Vec<CheckStep>,
}

/// A step of a probe.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckStep {
    /// Microseconds since the probe's start.
    pub microseconds: u64,
    /// The step.
    pub step: String,
}

impl Checked {
    /// Whether all have passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let mut text = String::new();
        for CheckedOnce { check, via, destination, passed, detail, microseconds, steps } in
            &self.checks
        {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{check} to {destination} via {via}");
            for CheckStep { microseconds, step } in steps {
                let _ = writeln!(text, "  {:>10}  {step}", milliseconds(*microseconds));
            }
            let word = if *passed { "passed" } else { "failed" };
            let _ = writeln!(text, "  {:>10}  {word}: {detail}", milliseconds(*microseconds));
        }
        if self.checks.iter().any(|check| !check.passed && check.via == TUNNELLED) {
            text.push_str("`vstun doctor` tells a fault of the tunnel from one of the program\n");
        }
        table::wrap(&text, layout.width, 12)
    }
}

/// [`CheckedOnce::via`] of a probe that the tunnel, the virtual IP or a firewall can fail too.
const TUNNELLED: &str = "tunnel";

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03}ms", microseconds / 1_000, microseconds % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_through_the_tunnel_names_what_looks_further() {
        for (via, passed, named) in
            [("tunnel", false, true), ("tunnel", true, false), ("direct", false, false)]
        {
            let once = CheckedOnce { via: via.to_owned(), passed, ..CheckedOnce::default() };
            let text =
                Checked { checks: vec![once], ..Checked::default() }.human(Layout::UNBOUNDED);
            assert_eq!(text.contains("vstun doctor"), named, "{via} {passed}: {text}");
        }
    }
}
