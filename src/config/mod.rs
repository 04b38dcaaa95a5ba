//! Configuration: text → value → checked model → list of changes. Pure; imports `balancer`,
//! `health`, `model` and `wire`.
//!
//! 1. `document`: TOML to tables with line numbers; a syntax error ends the reading here.
//! 2. `section`: one table, its known keys, its entries.
//! 3. `value`, `address`: one text to one checked value, from the file or from a command-line flag.
//! 4. `director`, `service`, `realserver`: the models, and the rules between their values.
//! 5. `diff`: the changes that lead from one model to another.
//! 6. `save`: the text with the changes that verbs have made.
//! 7. `operator_states`: the states that operators have set, kept over a restart.
//!
//! Every fault of a text is reported at once, each with its line, its key, and what to write
//! instead.

mod access;
mod address;
mod bounds;
mod check;
mod diff;
mod differences;
mod director;
mod document;
mod edit;
mod fault;
mod http;
pub mod keys;
mod operator_states;
mod policy;
mod realserver;
mod restart;
mod save;
mod section;
mod service;
mod value;

#[cfg(test)]
mod tests;

pub use access::{Access, MAX_GROUP_LEN};
pub use bounds::{
    MAX_LISTENS, MAX_NAME_LEN, MAX_REALS, MAX_REALS_PER_SERVICE, MAX_RECORDED, MAX_SERVICES,
};
pub use check::{MAX_CHECKS_PER_SERVICE, ServiceHealth};
pub use diff::diff;
pub use differences::{director_differences, health_differences, realserver_differences};
pub use director::{Director, FastPath};
pub use document::MAX_LEN;
pub use edit::{Edit, Selected, deadline, real, vip};
pub use fault::{Fault, MAX_FAULTS};
pub use http::HttpAddress;
pub use operator_states::{OperatorState, operator_states_text, parse_operator_states};
pub use realserver::{AgentSettings, MAX_DIRECTORS, MAX_VIPS, MssSetting, RealServer};
pub use restart::needs_restart;
pub use save::{RunningReal, RunningService, SaveError, saved};
pub use service::ServiceConfig;
pub use value::{MAX_BUSY_POLL, MAX_HASH_SEED_LEN, MAX_MAGLEV_SLOTS, MIN_HASH_SEED_LEN};
pub use value::{MAX_CONNECTIONS, MAX_CONTROL_LEN, MAX_INTERFACE_LEN, MAX_UPLINKS};
pub use value::{MAX_HOOK_WORD_LEN, MAX_HOOK_WORDS};

use document::Document;
use fault::Faults;

/// Reads the director's part of a configuration: `[director]` and `[[service]]`. It ignores a
/// `[realserver]` table, which [`realserver()`] reads.
///
/// # Errors
/// Every fault of the text, by line.
pub fn director(text: &str) -> Result<Director, Vec<Fault>> {
    let mut faults = Faults::default();
    let director = Document::parse(text, &mut faults)
        .and_then(|document| Director::read(&document, &mut faults));
    faults.into_result(director)
}

/// Reads the real server's part of a configuration: `[realserver]`. It ignores the director's
/// tables, which [`director()`] reads.
///
/// # Errors
/// Every fault of the text, by line.
pub fn realserver(text: &str) -> Result<RealServer, Vec<Fault>> {
    let mut faults = Faults::default();
    let realserver = Document::parse(text, &mut faults)
        .and_then(|document| RealServer::read(&document, &mut faults));
    faults.into_result(realserver)
}
