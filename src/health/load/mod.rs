//! Load as real servers report it.
//!
//! 1. [`report`]: a load agent's answer to a director's greeting, a line of JSON.
//! 2. [`reply`]: HAProxy's agent-check protocol, a line of words.
//! 3. [`last_report`]: the state of one agent or program.
//! 4. [`weight`]: the resulting effective weight.

pub mod last_report;
pub mod reply;
pub mod report;
pub mod weight;

pub use last_report::{LastReport, Reported};
pub use reply::{AgentReply, Rotation};
pub use report::{GREETING, ListenQueue, LoadReport, MAX_LISTENING, MAX_REPORT_LEN, Pressure};
pub use weight::Weighting;
