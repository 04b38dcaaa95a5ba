//! The answer to `events`, line by line.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::alteration::Alteration;

/// One change, with its time and origin.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// UTC by RFC 3339.
    pub time: String,
    /// `operator`: over the control socket; `hook`: the hook program, over the control socket;
    /// `signal`: SIGHUP; `host`: the director itself, after a change of its host; `director`: it
    /// too, because of time or traffic; `health`: its health checks.
    pub who: String,
    /// The operator's user ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The operator's group number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The operator's process number; absent where it is of another process namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was asked for: `set-weight`, `reload`, …
    pub verb: String,
    /// What it has changed.
    #[serde(flatten)]
    pub change: Alteration,
}

/// Sent to a listener that was too slow and has lost this many events.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Missed {
    /// How many.
    pub missed: u64,
}

/// Sent first to a listener that asks for events of the past, if some of them are kept no more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Forgotten {
    /// The time of the latest one that is not, UTC by RFC 3339.
    pub forgotten_until: String,
}

/// `web 10.0.0.11: weight 1 → 3 (set-weight by operator, uid 0 gid 0 pid 4711)`, for the log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, uid, gid, pid, verb, change, .. } = self;
        write!(f, "{change} ({verb} by {who}")?;
        if let (Some(uid), Some(gid)) = (uid, gid) {
            write!(f, ", uid {uid} gid {gid}")?;
        }
        if let Some(pid) = pid {
            write!(f, " pid {pid}")?;
        }
        f.write_str(")")
    }
}
