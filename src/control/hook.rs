//! What the hook program finds in its environment.

use serde::{Deserialize, Serialize};

use super::encode;
use super::event::Event;

/// The changes that the program is told of, by [`super::Alteration::what`].
pub const HOOK_EVENTS: [&str; 5] = ["health", "state", "quorum", "panic", "announced"];

/// What has become of the hook program's runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HookCounts {
    /// Runs that have come to their end.
    pub run: u64,
    /// Those of them that have failed: not started, another exit code than 0, killed.
    pub failed: u64,
    /// Those that took too long and were killed.
    pub killed: u64,
    /// Changes that the program was never told of: too many waited.
    pub dropped: u64,
}

/// The environment of the run that tells of an event; `None`: the program is not told of it.
/// Variables without a value are empty.
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
