//! Encodes replies as lines and decodes them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::alteration_text::AlterationText;
use super::host::HostStatus;
use super::{Layout, VERSION, table};

/// The longest reply line in bytes that a client reads: longer than the longest list that a
/// configuration's bounds allow.
pub const MAX_REPLY_LEN: usize = 64 << 20;

/// A request that was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// The reason and the remedy.
    pub error: String,
}

/// The daemon's status; also the answer to a command that was carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// `director` or `realserver`.
    pub role: String,
    /// The program's version.
    pub program: String,
    /// Seconds since the daemon was ready.
    pub uptime_seconds: u64,
    /// What a command did, as text; empty for the status alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// The changes that a command made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<AlterationText>,
    /// Warnings about the host caused by this command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The problems of the host.
    #[serde(default)]
    pub host: HostStatus,
}

impl Status {
    /// The text output.
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

/// Why a line is not the expected reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
    /// Not a JSON object of the expected reply. The message contains the cause, so it is not
    /// repeated as source.
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
struct ReplyHead {
    version: u32,
    #[serde(default)]
    error: Option<String>,
}

/// Encodes a request or a reply as one line, with version and newline.
#[must_use]
pub fn encode<T: Serialize>(body: &T) -> String {
    match serde_json::to_string(&Versioned { version: VERSION, body }) {
        Ok(line) => line + "\n",
        // Encoding fails only for a map whose keys are not texts, and no reply has one.
        Err(error) => encode_error(&error.to_string()),
    }
}

/// Encodes a refusal as one line.
#[must_use]
pub fn encode_error(message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!("{{\"version\":{VERSION},\"error\":{message}}}\n")
}

/// Decodes one reply line.
///
/// # Errors
/// See [`ReplyError`]; a refusal by the daemon is one.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, ReplyError> {
    let head: ReplyHead = serde_json::from_slice(line).map_err(ReplyError::Json)?;
    if let Some(error) = head.error {
        return Err(ReplyError::Refused(error));
    }
    if head.version != VERSION {
        return Err(ReplyError::Version(head.version));
    }
    serde_json::from_slice(line).map_err(ReplyError::Json)
}
