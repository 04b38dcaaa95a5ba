//! How replies become lines and back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::alteration::Alteration;
use super::host::HostStatus;
use super::{Layout, VERSION, table};

/// The longest reply line in bytes that a client takes: beyond the longest list that a
/// configuration's bounds allow.
pub const MAX_REPLY_LEN: usize = 16 << 20;

/// A request that was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// Why, and what to do.
    pub error: String,
}

/// Who answers; also the answer to an order that was carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// `director` or `realserver`.
    pub role: String,
    /// The program's version.
    pub program: String,
    /// Seconds since the daemon was ready.
    pub uptime_seconds: u64,
    /// What was done, for people; empty when only the status was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// What an order has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Alteration>,
    /// What is odd about the host since the order was carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is wrong with the host.
    #[serde(default)]
    pub host: HostStatus,
}

impl Status {
    /// Lines for people.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let Self { role, program, uptime_seconds: up, done, .. } = self;
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        if done.is_empty() {
            let up = format!("{role}, vstun {program}, up {hours}:{minutes:02}:{seconds:02}\n");
            up + &self.host.human(layout)
        } else {
            table::wrap(done, layout.width, 2)
        }
    }
}

/// Why a line is no reply, or a reply no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
    /// No JSON object of the expected reply. Its message holds the cause, which is therefore no
    /// source.
    #[error("cannot read the daemon's reply: {0}")]
    Json(serde_json::Error),
    /// Another version of the protocol.
    #[error("the daemon speaks version {0}, this vstun {VERSION}; use the vstun of its release")]
    Version(u32),
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    error: Option<String>,
}

/// A request or a reply as one line, with its version and its newline.
#[must_use]
pub fn encode<T: Serialize>(body: &T) -> String {
    match serde_json::to_string(&Versioned { version: VERSION, body }) {
        Ok(line) => line + "\n",
        // Only a map with keys that are no text fails, and no reply has one.
        Err(error) => encode_error(&error.to_string()),
    }
}

/// A refusal as one line.
#[must_use]
pub fn encode_error(message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!("{{\"version\":{VERSION},\"error\":{message}}}\n")
}

/// Reads one reply line.
///
/// # Errors
/// See [`ReplyError`]; a refusal by the daemon is one.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, ReplyError> {
    let head: Head = serde_json::from_slice(line).map_err(ReplyError::Json)?;
    if let Some(error) = head.error {
        return Err(ReplyError::Refused(error));
    }
    if head.version != VERSION {
        return Err(ReplyError::Version(head.version));
    }
    serde_json::from_slice(line).map_err(ReplyError::Json)
}
