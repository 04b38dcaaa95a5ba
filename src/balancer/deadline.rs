//! Notices about reached drain deadlines.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::Millis;

/// A real server's drain deadline has been reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadlineNotice {
    /// The service's name.
    pub service: Arc<str>,
    /// The real server.
    pub address: IpAddr,
    /// Its remaining connections, active or not: each ends with its next packet.
    pub connections: u64,
}

/// When to check for reached deadlines, and the notices.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// At or before the earliest future deadline; before it if that one was cancelled meanwhile.
    pub(super) next: Option<Millis>,
    pub(super) notices: Vec<DeadlineNotice>,
}

impl Deadlines {
    /// Checks no later than at this deadline.
    pub(super) fn watch(&mut self, deadline: Option<Millis>) {
        self.next = [self.next, deadline].into_iter().flatten().min();
    }
}
