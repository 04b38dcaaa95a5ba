//! Why a real server has its health.

use std::fmt;

/// Why a real server has its health, by its latest results.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CheckCause {
    /// It has no check.
    Unchecked,
    /// All its checks pass.
    Passing,
    /// A check is down.
    Failing(CheckFailure),
    /// A check is down, but is ignored because checks of too many real servers are down.
    Disbelieved(CheckFailure),
}

/// A check that is down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckFailure {
    /// The name of its type.
    pub check: &'static str,
    /// The result of its latest failed probe; `None`: it has neither passed nor failed yet.
    pub found: Option<String>,
}

/// `http check failed: status 503`; nothing without a check.
impl fmt::Display for CheckCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchecked => Ok(()),
            Self::Passing => f.write_str("all checks pass"),
            Self::Failing(failure) => write!(f, "{failure}"),
            Self::Disbelieved(failure) => write!(f, "{failure}{DISBELIEVED}"),
        }
    }
}

/// The text after a failure that is ignored.
pub(super) const DISBELIEVED: &str = ", but too many are down to believe it";

/// `http check failed: status 503`.
impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, found } = self;
        match found {
            Some(found) => write!(f, "{check} check failed: {found}"),
            None => write!(f, "{check} check has not passed yet"),
        }
    }
}
