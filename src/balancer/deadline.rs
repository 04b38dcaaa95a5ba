//! Notices about reached drain deadlines. The deadline itself takes effect packet by packet
//! ([`super::ending`]).

use std::net::IpAddr;

use super::Balancer;
use crate::model::{Millis, RealId};

/// A real server's drain deadline has been reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadlineNotice {
    /// The service's name.
    pub service: String,
    /// The real server.
    pub address: IpAddr,
    /// Its remaining connections, active or not: each ends with its next packet.
    pub connections: u64,
}

/// When to check for reached deadlines, and the notices.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// At or before the earliest future deadline; before it if that one was cancelled meanwhile.
    next: Option<Millis>,
    notices: Vec<DeadlineNotice>,
}

impl Deadlines {
    pub(super) fn next(&self) -> Option<Millis> {
        self.next
    }

    fn watch(&mut self, deadline: Option<Millis>) {
        self.next = [self.next, deadline].into_iter().flatten().min();
    }
}

impl Balancer {
    /// The real servers whose deadline has been reached since the last call.
    pub fn deadline_notices(&mut self) -> Vec<DeadlineNotice> {
        std::mem::take(&mut self.watches.deadlines.notices)
    }

    /// A real server may have another deadline than before.
    pub(super) fn watch_deadline(&mut self, id: RealId) {
        let deadline = self.registry.reals[id].deadline();
        self.watches.deadlines.watch(deadline);
    }

    /// Checks for reached deadlines, if one may have been reached.
    #[inline]
    pub(super) fn look_for_deadlines(&mut self, now: Millis) {
        if self.watches.deadlines.next.is_some_and(|next| now >= next) {
            self.note_deadlines(now);
        }
    }

    #[cold]
    fn note_deadlines(&mut self, now: Millis) {
        self.watches.deadlines.next = None;
        for real in self.registry.reals.iter_mut() {
            let Some(deadline) = real.deadline() else { continue };
            if now < deadline {
                self.watches.deadlines.watch(Some(deadline));
                continue;
            }
            real.deadline_is_told();
            let service = &self.registry.services[real.service()];
            self.watches.deadlines.notices.push(DeadlineNotice {
                service: service.name.clone(),
                address: real.address(),
                connections: real.active() + real.inactive(),
            });
        }
    }
}
