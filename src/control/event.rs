//! The answer to `events`, line by line.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::alteration::Alteration;
use super::alteration_text::AlterationText;

/// One change, with its time and origin. [`EventText`] is how it prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// When, to the millisecond.
    pub time: Timestamp,
    /// Its origin.
    pub origin: Origin,
    /// What was asked for: `set-weight`, `reload`, …
    pub verb: &'static str,
    /// What it has changed.
    pub change: Alteration,
}

/// An [`Event`] as it prints and as JSON has it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EventText {
    /// UTC by RFC 3339.
    pub time: String,
    /// `operator`: over the control socket; `hook`: the hook program, over the control socket;
    /// `signal`: SIGHUP; `host`: the director itself, after a change of its host; `director`: the
    /// director itself, because of time or traffic; `health`: its health checks.
    pub who: String,
    /// The operator's user ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The operator's group ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The operator's process ID; absent where it is of another process namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was asked for: `set-weight`, `reload`, …
    pub verb: String,
    /// What it has changed.
    #[serde(flatten)]
    pub change: AlterationText,
}

/// The origin of a command or a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A client of the control socket.
    Operator(Credentials),
    /// The hook program, as a client of the control socket.
    Hook(Credentials),
    /// SIGHUP.
    Signal,
    /// The director itself, after a change on its host.
    Host,
    /// The director itself, because of a deadline or of traffic.
    Director,
    /// A health check.
    Health,
}

/// The user, group and process of a client of the control socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The user ID.
    pub uid: u32,
    /// The group number.
    pub gid: u32,
    /// The process ID; `None` where it is of another process namespace.
    pub pid: Option<i32>,
}

/// Sent to a listener that was too slow and has lost this many events.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Missed {
    /// How many.
    pub missed: u64,
}

/// Sent first to a listener that requests past events, if some of them are no longer kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Forgotten {
    /// The time of the latest event that is no longer kept, UTC by RFC 3339.
    pub forgotten_until: String,
}

impl Origin {
    /// The name in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Hook(_) => "hook",
            Self::Signal => "signal",
            Self::Host => "host",
            Self::Director => "director",
            Self::Health => "health",
        }
    }

    /// The process at the other end of the control socket.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Operator(credentials) | Self::Hook(credentials) => Some(*credentials),
            Self::Signal | Self::Host | Self::Director | Self::Health => None,
        }
    }
}

/// `operator, uid 0 gid 0 pid 4711`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.credentials().map_or(Ok(()), |credentials| write!(f, ", {credentials}"))
    }
}

/// `uid 0 gid 0 pid 4711`.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, pid } = self;
        write!(f, "uid {uid} gid {gid}")?;
        pid.map_or(Ok(()), |pid| write!(f, " pid {pid}"))
    }
}

impl From<&Event> for EventText {
    fn from(event: &Event) -> Self {
        let Event { time, origin, verb, change } = event;
        let credentials = origin.credentials();
        Self {
            time: format!("{time:.3}"),
            who: origin.name().to_owned(),
            uid: credentials.map(|one| one.uid),
            gid: credentials.map(|one| one.gid),
            pid: credentials.and_then(|one| one.pid),
            verb: (*verb).to_owned(),
            change: change.into(),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EventText::from(self).serialize(serializer)
    }
}

/// `web 10.0.0.11: weight 1 → 3 (set-weight by operator, uid 0 gid 0 pid 4711)`, for the log.
impl fmt::Display for EventText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, uid, gid, pid, verb, change, .. } = self;
        write!(f, "{change} ({verb} by {who}")?;
        if let (&Some(uid), &Some(gid), &pid) = (uid, gid, pid) {
            write!(f, ", {}", Credentials { uid, gid, pid })?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EventText::from(self).fmt(f)
    }
}
