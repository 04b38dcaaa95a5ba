//! Checks for reached drain deadlines, for the notices. The deadline itself takes effect packet by
//! packet ([`super::ending`]).

use std::sync::Arc;

use super::{Balancer, DeadlineNotice};
use crate::model::{Millis, RealId};

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
            real.note_deadline_notice();
            let service = &self.registry.services[real.service()];
            self.watches.deadlines.notices.push(DeadlineNotice {
                service: Arc::clone(&service.name),
                address: real.address(),
                connections: real.active() + real.inactive(),
            });
        }
    }
}
