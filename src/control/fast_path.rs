//! The state of a fast path, at either end.

use serde::{Deserialize, Serialize};

/// Where a fast path is attached. With `fast_path = "off"` both lists are empty.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FastPathState {
    /// The interfaces.
    pub at: Vec<String>,
    /// Why it is missing, altogether or at further interfaces (`eth1: why`).
    pub missing: Vec<String>,
}
