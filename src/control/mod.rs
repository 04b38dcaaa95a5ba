//! The control socket's requests and replies, and how they print. Pure; imports `balancer`,
//! `health`, `model` and `wire`.
//!
//! JSON lines on a Unix stream socket: one request object per line, and for each one reply object
//! per line; `connections` answers with several lines, all but the last with `"more":true`. Every
//! object carries `"version":1`; fields may be added to a version, never renamed. One thing has one
//! name: a real server or a virtual IP is `address` wherever it is named.
//!
//! ```text
//! → {"version":1,"verb":"drops"}
//! ← {"version":1,"drops":{"not_ip":0,…},"meanings":{"not_ip":"Not an IP packet.",…},…}
//! → {"version":1,"verb":"lisst"}
//! ← {"version":1,"error":"cannot read the request: unknown variant `lisst`, …"}
//! ```

mod alteration;
mod alteration_text;
mod before;
mod checks;
mod cleaned;
mod connections;
mod counts;
mod decision;
mod event;
mod explain;
mod fast_path;
mod hook;
mod host;
mod last_sources;
mod latency;
mod list;
mod listing;
mod passed_on;
mod plan;
mod printable;
mod rates;
mod readiness;
mod reply;
mod request;
mod setup;
mod stats;
mod table;

#[cfg(test)]
mod tests;

pub use alteration::{Alteration, Altered, StateUntil, Summary};
pub use alteration_text::AlterationText;
pub use before::Before;
pub use checks::{CheckResult, CheckStep, Checked, CheckedOnce, Checks, ListedAgent, ListedCheck};
pub use cleaned::{Cleaned, CleanedStep};
pub use connections::{Connection, Connections, PAGE};
pub use counts::{Counts, Drops, total};
pub use decision::{SentPacket, TraceBegins, TraceEnds, TracedDecision, from_hex, to_hex};
pub use event::{Credentials, Event, EventText, Forgotten, Missed, Origin};
pub use explain::{Explained, PassedOver};
pub use fast_path::FastPathState;
pub use hook::{HookCounts, hook_environment};
pub use host::{HostStatus, Wrong};
pub use last_sources::{LastSources, RefusedSource};
pub use latency::{LATENCY_BOUNDS_MICROS, ListedLatency, ListedTimes};
pub use list::{
    ListedFlood, ListedMaglev, ListedReal, ListedService, Rate, ServiceList, Thousandths, Use,
    VirtualIp,
};
pub use plan::{FlowOutcome, Moved, Planned, ReloadPlan};
pub use printable::{printable, printable_json, printable_line};
pub use readiness::Readiness;
pub use reply::{Failure, MAX_REPLY_LEN, ReplyError, Status, decode, encode, encode_error};
pub use request::{
    MAX_BODY_LEN, MAX_REQUEST_LEN, Request, RequestError, TraceRequest, Traced, Which,
};
pub use setup::{Probed, ProbedPort, Setup};
pub use stats::{
    AgentCounts, DirectorStats, FragmentStats, Packets, RealServerDrop, RealServerStats, Stats,
    Timers, TunnelErrorStats, TurnBucket, TurnStats,
};
pub use table::Layout;
pub(crate) use table::wrap;

/// A number with its noun: `1 change`, `2 changes`.
#[must_use]
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The protocol's version.
pub const VERSION: u32 = 1;
