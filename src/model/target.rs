//! Which real servers an operator means.

use serde::{Deserialize, Serialize};

/// A real server by its address, in one service or in all, as an operator wrote it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Target {
    /// Its address.
    pub address: String,
    /// The service's name; absent where one alone can be meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Every service that it concerns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_services: bool,
}
