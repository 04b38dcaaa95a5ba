//! What can be asked.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::model::Target;

/// The longest request line in bytes, the newline included.
pub const MAX_REQUEST_LEN: usize = 4096;

/// The longest text in bytes that follows a request line: the longest configuration that is read.
pub const MAX_BODY_LEN: usize = 1 << 20;

/// A question or an order, as in `{"version":1,"verb":"list"}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Services, real servers and drops: answered with [`super::List`].
    List,
    /// The connections: answered with lines of [`super::Connections`].
    Connections {
        /// At most so many; all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Which.
        #[serde(flatten)]
        which: Which,
    },
    /// What the daemon has done and how: answered with [`super::Stats`].
    Stats,
    /// Drops by reason: answered with [`super::Drops`].
    Drops,
    /// Read the configuration again: answered with [`super::Status`] once it is in force.
    Reload,
    /// Who is there: answered with [`super::Status`].
    Status,
    /// Where a flow goes and why: answered with [`super::Explained`].
    Explain {
        /// As in `tcp 198.51.100.7:40000 192.0.2.10:80`.
        flow: String,
    },
    /// What a reload of another configuration would change: answered with [`super::ReloadPlan`].
    /// The text follows the line.
    Plan {
        /// The file's name, for faults.
        file: String,
        /// The length of the text in bytes, at most [`MAX_BODY_LEN`].
        bytes: usize,
    },
    /// The health checks with their last results: answered with [`super::Checks`].
    Checks,
    /// Runs the health checks of a real server now, beside their schedule: answered with
    /// [`super::Checked`].
    Check {
        /// Its address.
        address: String,
    },
    /// Changes as they happen: answered with a [`super::Status`] and then a line for each
    /// [`super::Event`], until the asker closes.
    Events,
    /// Another weight. This and all that follows changes something, and is answered with a
    /// [`super::Status`] when it has.
    SetWeight {
        /// Whose.
        #[serde(flatten)]
        real: Target,
        /// Share of new connections.
        weight: u32,
    },
    /// No new connections; those there are go on, up to a deadline where one is given.
    Drain {
        /// Who.
        #[serde(flatten)]
        real: Target,
        /// Until their end, as text: `10m`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<String>,
    },
    /// Back in service.
    Enable {
        /// Who.
        #[serde(flatten)]
        real: Target,
    },
    /// Out of service.
    Disable {
        /// Who.
        #[serde(flatten)]
        real: Target,
    },
    /// A real server more.
    AddReal {
        /// Who, and where.
        #[serde(flatten)]
        real: Target,
        /// Share of new connections; 1 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
    },
    /// A real server less; it keeps its connections to their end.
    RemoveReal {
        /// Who.
        #[serde(flatten)]
        real: Target,
    },
    /// Connections are forgotten: those of a service, of a real server, of both together, or all.
    Flush {
        /// Of this service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Of this real server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Every one; then neither of the others is there.
        #[serde(default, skip_serializing_if = "is_false")]
        all: bool,
    },
    /// A virtual IP is answered for and announced, at once.
    Announce {
        /// The virtual IP.
        address: String,
    },
    /// It is not any more. What arrives for it is still forwarded.
    Withdraw {
        /// The virtual IP.
        address: String,
    },
}

/// Which connections are asked for: those that all of it is true of; all when all is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Which {
    /// Their client: an address, or a network as in `198.51.100.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The real server that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<String>,
    /// Their state, as it is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Their service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_LEN`].
    #[error("the request is longer than {MAX_REQUEST_LEN} bytes; send one JSON object per line")]
    TooLong,
    /// No JSON object of a request. Its message holds the cause, which is therefore no source.
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
struct Head {
    version: u32,
}

impl Request {
    /// Reads one line, with or without its newline.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLong);
        }
        let head: Head = serde_json::from_slice(line).map_err(RequestError::Json)?;
        if head.version != VERSION {
            return Err(RequestError::Version(head.version));
        }
        let request: Self = serde_json::from_slice(line).map_err(RequestError::Json)?;
        match request {
            Self::Plan { bytes, .. } if bytes > MAX_BODY_LEN => Err(RequestError::Body(bytes)),
            request => Ok(request),
        }
    }

    /// How many bytes follow the line.
    #[must_use]
    pub fn body_len(&self) -> usize {
        if let Self::Plan { bytes, .. } = self { *bytes } else { 0 }
    }

    /// Whether it is for those who may change something: it does, or takes as much work as a
    /// change. Any client may ask the others.
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
            | Self::Events => false,
            // Reads up to a megabyte and makes all the Maglev tables that a reload would.
            Self::Plan { .. }
            // Sends packets.
            | Self::Check { .. }
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
            Self::Events => "events",
            Self::Checks => "checks",
            Self::Check { .. } => "check",
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
