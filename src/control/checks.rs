//! The answers to `checks` and `check`: each check with its last results, or what one run of it
//! found.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Layout;
use super::table::{self, Columns};

/// All checks of a director.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checks {
    /// How late the latest probe of the last seconds was, in milliseconds.
    pub check_lag_milliseconds: u64,
    /// The checks, in configuration order.
    pub checks: Vec<ListedCheck>,
}

/// A check of one real server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedCheck {
    /// The real server.
    pub real: String,
    /// The services that go by it.
    pub services: Vec<String>,
    /// The check's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same with what it asks for: `http GET /health`.
    pub check: String,
    /// `tunnel` or `direct`.
    pub via: String,
    /// Where its probes go: address and port.
    pub destination: String,
    /// `up`, `falling`, `down` or `rising`.
    pub state: String,
    /// How many of its last results were alike.
    pub streak: u32,
    /// Seconds since it went up or down.
    pub since_seconds: u64,
    /// Milliseconds until its next probe; absent while one is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_milliseconds: Option<u64>,
    /// How late its last probe was.
    pub lag_milliseconds: u64,
    /// Probes so far.
    pub runs: u64,
    /// The last results, the newest first.
    pub results: Vec<CheckResult>,
}

/// What one probe has found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckResult {
    /// When, UTC by RFC 3339.
    pub time: String,
    /// Whether it has passed.
    pub passed: bool,
    /// What was found: `status 200`, `connection refused`.
    pub detail: String,
    /// How long it took.
    pub microseconds: u64,
}

impl Checks {
    /// Lines for people.
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
        format!("{text}latest probe: {} ms late\n", self.check_lag_milliseconds)
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
            self.real.clone(),
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

/// What one run of a real server's checks has found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checked {
    /// The real server.
    pub real: Option<IpAddr>,
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
    /// Where its probe went.
    pub destination: String,
    /// Whether it has passed.
    pub passed: bool,
    /// What was found.
    pub detail: String,
    /// How long it took.
    pub microseconds: u64,
    /// What was done, and when.
    pub steps: Vec<CheckStep>,
}

/// A step of a probe.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckStep {
    /// Since the probe's start.
    pub microseconds: u64,
    /// What was done then.
    pub step: String,
}

impl Checked {
    /// Whether all have passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// Lines for people.
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
        table::wrap(&text, layout.width, 12)
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03}ms", microseconds / 1_000, microseconds % 1_000)
}
