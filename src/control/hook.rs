//! The environment of the hook program.

use serde::{Deserialize, Serialize};

use super::encode;
use super::event::Event;

/// The changes for which the program runs, by [`super::Alteration::what`].
pub const HOOK_EVENTS: [&str; 5] = ["health", "state", "quorum", "panic", "announced"];

/// Counters of the hook program's runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HookCounts {
    /// Finished runs.
    pub run: u64,
    /// Runs that failed: not started, an exit code other than 0, killed.
    pub failed: u64,
    /// Runs that took too long and were killed.
    pub killed: u64,
    /// Changes for which the program did not run, since too many were queued.
    pub dropped: u64,
}

/// The program's environment for an event; `None`: it does not run for this event. Variables
/// without a value are empty.
#[must_use]
pub fn hook_environment(event: &Event) -> Option<Vec<(&'static str, String)>> {
    let change = &event.change;
    if !HOOK_EVENTS.contains(&change.what.as_str()) {
        return None;
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Some(vec![
        ("VSTUN_EVENT", change.what.clone()),
        ("VSTUN_SERVICE", text(&change.service)),
        ("VSTUN_ADDRESS", change.address.map(|address| address.to_string()).unwrap_or_default()),
        ("VSTUN_BEFORE", text(&change.before)),
        ("VSTUN_AFTER", text(&change.after)),
        ("VSTUN_WHY", text(&change.why)),
        ("VSTUN_WHO", event.who.clone()),
        ("VSTUN_TIME", event.time.clone()),
        ("VSTUN_JSON", encode(event)),
    ])
}
