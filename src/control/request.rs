//! What can be asked.

use serde::{Deserialize, Serialize};

use super::VERSION;

/// The longest request line in bytes, the newline included.
pub const MAX_REQUEST_LEN: usize = 4096;

/// A question or an order, as in `{"version":1,"verb":"list"}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Request {
    /// Services, real servers and drops: answered with [`super::List`].
    List,
    /// The connections: answered with lines of [`super::Connections`].
    Connections {
        /// At most so many; all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// What the daemon has done and how: answered with [`super::Stats`].
    Stats,
    /// Drops by reason: answered with [`super::Drops`].
    Drops,
    /// Read the configuration again: answered with [`super::Status`] once it is in force.
    Reload,
    /// Who is there: answered with [`super::Status`].
    Status,
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
        serde_json::from_slice(line).map_err(RequestError::Json)
    }
}
