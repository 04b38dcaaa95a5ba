//! Which real servers an operator's request concerns.

use serde::{Deserialize, Serialize};

/// A real server by its address, in one service or in all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Target {
    /// Its address.
    pub address: String,
    /// The service's name; `None` if the address is in one service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether the request concerns every service that has the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_services: bool,
}
