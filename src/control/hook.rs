//! The environment of the hook program.

use serde::{Deserialize, Serialize};

use super::alteration::Altered;
use super::alteration_text::AlterationText;
use super::encode;
use super::event::{Event, EventText};

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
    /// Changes that wait for the program now.
    pub queued: u64,
}

/// The program's environment for an event; `None`: it does not run for this event. Variables
/// without a value are empty.
#[must_use]
pub fn hook_environment(event: &Event) -> Option<Vec<(&'static str, String)>> {
    if !runs_for(&event.change.what) {
        return None;
    }
    let EventText { time, who, change, .. } = EventText::from(event);
    let AlterationText { what, service, address, before, after, why } = change;
    Some(vec![
        ("VSTUN_EVENT", what),
        ("VSTUN_SERVICE", service.unwrap_or_default()),
        ("VSTUN_ADDRESS", address.map(|address| address.to_string()).unwrap_or_default()),
        ("VSTUN_BEFORE", before.unwrap_or_default()),
        ("VSTUN_AFTER", after.unwrap_or_default()),
        ("VSTUN_WHY", why.unwrap_or_default()),
        ("VSTUN_WHO", who),
        ("VSTUN_TIME", time),
        ("VSTUN_JSON", encode(event)),
    ])
}

fn runs_for(what: &Altered) -> bool {
    matches!(
        what,
        Altered::Health { .. }
            | Altered::State { .. }
            | Altered::Quorum { .. }
            | Altered::Panic { .. }
            | Altered::Announced { .. }
    )
}
