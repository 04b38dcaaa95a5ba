//! The requests of the control socket.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::model::Target;

/// The longest request line in bytes, the newline included.
pub const MAX_REQUEST_LEN: usize = 4096;

/// The longest body after a request line in bytes: that of the longest configuration.
pub const MAX_BODY_LEN: usize = 16 << 20;

/// A query or a command, as in `{"version":1,"verb":"list"}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Services, real servers and drops: answered with [`super::ServiceList`].
    List,
    /// The connections: answered with lines of [`super::Connections`].
    Connections {
        /// At most this many; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// The selection.
        #[serde(flatten)]
        which: Which,
    },
    /// The daemon's counters: answered with [`super::Stats`].
    Stats,
    /// Drops by reason: answered with [`super::Drops`].
    Drops,
    /// Reads the configuration again: answered with [`super::Status`] once it is applied.
    Reload,
    /// The daemon's role and state: answered with [`super::Status`].
    Status,
    /// Where a flow goes and why: answered with [`super::Explained`].
    Explain {
        /// As in `tcp 198.51.100.7:40000 192.0.2.10:80`.
        flow: String,
    },
    /// What a reload of another configuration would change: answered with [`super::ReloadPlan`].
    /// The text of the configuration follows the line.
    Plan {
        /// The file's name, for faults.
        file: String,
        /// The length of the text in bytes, at most [`MAX_BODY_LEN`].
        bytes: usize,
    },
    /// The health checks with their last results: answered with [`super::Checks`].
    Checks,
    /// Runs the health checks of a real server now, apart from their schedule: answered with
    /// [`super::Checked`].
    Check {
        /// Its address.
        address: String,
    },
    /// How the daemon was started and what it serves: answered with [`super::Setup`].
    Setup,
    /// Connects through the tunnel to every port at every real server, apart from all health
    /// checks: answered with [`super::Probed`].
    Probe,
    /// Changes as they happen: answered with a [`super::Status`] and then a line for each
    /// [`super::Event`], until the client closes.
    Events {
        /// Past events first, since then: a duration back from now, or a time by RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<String>,
        /// Only past events; then the daemon closes.
        #[serde(default, skip_serializing_if = "is_false")]
        until_now: bool,
    },
    /// Decisions as they are made: answered with [`super::TraceBegins`] and then a line for each
    /// [`super::TracedDecision`], until the client closes.
    Trace(Box<TraceRequest>),
    /// Sets another weight. This and all further requests make a change, and are answered with a
    /// [`super::Status`] after it.
    SetWeight {
        /// The real server.
        #[serde(flatten)]
        real: Target,
        /// Share of new connections.
        weight: u32,
    },
    /// Drains a real server: no new connections; its connections go on, up to a deadline if one is
    /// given.
    Drain {
        /// The real server.
        #[serde(flatten)]
        real: Target,
        /// The deadline, as text: `10m`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<String>,
    },
    /// Puts a real server back into service.
    Enable {
        /// The real server.
        #[serde(flatten)]
        real: Target,
    },
    /// Takes a real server out of service.
    Disable {
        /// The real server.
        #[serde(flatten)]
        real: Target,
    },
    /// Adds a real server.
    AddReal {
        /// The real server and its service.
        #[serde(flatten)]
        real: Target,
        /// Share of new connections; 1 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
    },
    /// Removes a real server; its connections go on until they end.
    RemoveReal {
        /// The real server.
        #[serde(flatten)]
        real: Target,
    },
    /// Forgets connections: those of a service, of a real server, of both together, or all.
    Flush {
        /// Of this service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Of this real server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// All connections; then neither of the others is given.
        #[serde(default, skip_serializing_if = "is_false")]
        all: bool,
    },
    /// Answers for a virtual IP and announces it, at once.
    Announce {
        /// The virtual IP.
        address: String,
    },
    /// Stops answering for a virtual IP. Packets that arrive for it are still forwarded.
    Withdraw {
        /// The virtual IP.
        address: String,
    },
}

/// A selection of connections: those that match all given fields; all if none is given.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Which {
    /// The client: an address, or a network as in `198.51.100.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The state, as listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What a trace shows.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceRequest {
    /// The selection of packets.
    #[serde(flatten)]
    pub which: Traced,
    /// The decisions that the recorder keeps instead of new ones; then the daemon closes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recorded: bool,
    /// With [`super::TraceEnds`] behind them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub end: bool,
    /// With the packets as they came and as they were sent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub packets: bool,
    /// The bytes of each packet to send; absent: its headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
}

/// A selection of packets: those that match all given fields; all if none is given.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Traced {
    /// The client: an address, or a network as in `198.51.100.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The destination: an address, or an address with a port.
    #[serde(default, rename = "virtual", skip_serializing_if = "Option::is_none")]
    pub virtual_address: Option<String>,
    /// The real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `tunnel`, `reply`, `reset`, `drop` or `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The drop reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a line is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_LEN`].
    #[error("the request is longer than {MAX_REQUEST_LEN} bytes; send one JSON object per line")]
    TooLong,
    /// Not a JSON object of a request. The message contains the cause, so it is not repeated as
    /// source.
    #[error("cannot read the request: {0}")]
    Json(serde_json::Error),
    /// Another version of the protocol.
    #[error("this daemon speaks version {VERSION}, not {0}; use the vstun of the same release")]
    Version(u32),
    /// A text longer than [`MAX_BODY_LEN`].
    #[error("a text of {0} bytes; at most {MAX_BODY_LEN} are read")]
    Body(usize),
}

#[derive(Deserialize)]
struct RequestHead {
    version: u32,
}

impl Request {
    /// Decodes one line, with or without its newline.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLong);
        }
        let head: RequestHead = serde_json::from_slice(line).map_err(RequestError::Json)?;
        if head.version != VERSION {
            return Err(RequestError::Version(head.version));
        }
        let request: Self = serde_json::from_slice(line).map_err(RequestError::Json)?;
        match request {
            Self::Plan { bytes, .. } if bytes > MAX_BODY_LEN => Err(RequestError::Body(bytes)),
            request => Ok(request),
        }
    }

    /// The length of the body after the line, in bytes.
    #[must_use]
    pub fn body_len(&self) -> usize {
        if let Self::Plan { bytes, .. } = self { *bytes } else { 0 }
    }

    /// Whether only clients that may make changes may send it: it makes a change, or causes as much
    /// work as one.
    #[must_use]
    pub fn is_for_writers(&self) -> bool {
        match self {
            Self::List
            | Self::Connections { .. }
            | Self::Stats
            | Self::Drops
            | Self::Status
            | Self::Explain { .. }
            | Self::Checks
            | Self::Setup
            | Self::Events { .. } => false,
            // Reads megabytes and computes all Maglev tables that a reload would.
            Self::Plan { .. }
            // Sends packets.
            | Self::Check { .. }
            | Self::Probe
            // Shows what clients send, and costs the packet path.
            | Self::Trace(_)
            | Self::Reload
            | Self::SetWeight { .. }
            | Self::Drain { .. }
            | Self::Enable { .. }
            | Self::Disable { .. }
            | Self::AddReal { .. }
            | Self::RemoveReal { .. }
            | Self::Flush { .. }
            | Self::Announce { .. }
            | Self::Withdraw { .. } => true,
        }
    }

    /// The verb's name.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Connections { .. } => "connections",
            Self::Stats => "stats",
            Self::Drops => "drops",
            Self::Reload => "reload",
            Self::Status => "status",
            Self::Explain { .. } => "explain",
            Self::Plan { .. } => "plan",
            Self::Events { .. } => "events",
            Self::Trace(_) => "trace",
            Self::Checks => "checks",
            Self::Check { .. } => "check",
            Self::Setup => "setup",
            Self::Probe => "probe",
            Self::SetWeight { .. } => "set-weight",
            Self::Drain { .. } => "drain",
            Self::Enable { .. } => "enable",
            Self::Disable { .. } => "disable",
            Self::AddReal { .. } => "add-real",
            Self::RemoveReal { .. } => "remove-real",
            Self::Flush { .. } => "flush",
            Self::Announce { .. } => "announce",
            Self::Withdraw { .. } => "withdraw",
        }
    }
}
