//! The findings on a fast path that both roles have.

use super::{Cause, Finding, Severity};
use crate::control::FastPathState;

/// What is well where the configuration has no fast path.
pub(super) const OFF: &str = "the fast path is off: all packets come to the daemon";

/// Why a fast path is missing, altogether or at an interface.
pub(super) fn missing(state: &FastPathState, unit: &str) -> Option<Finding> {
    if state.missing.is_empty() {
        return None;
    }
    let text = match state.at.is_empty() {
        true => "there is no fast path, though it is configured: all packets come to the daemon",
        false => "the fast path is not at all interfaces: packets at others come to the daemon",
    };
    let finding = Finding::new(Cause::FastPath, Severity::Warning, text);
    let mend = format!("systemctl restart {unit}");
    Some(finding.seen(state.missing.join("; ")).mended_by(mend))
}
