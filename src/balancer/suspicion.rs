//! Real servers become suspicious because of SYNs that lead to no connection
//! ([`super::handshakes`]).

use super::Balancer;
use super::handshakes::Suspicion;
use crate::model::{Millis, RealId};

impl Balancer {
    /// A real server that has become suspicious since the last call. The caller repeats this until
    /// there is none.
    pub fn suspicion(&mut self, now: Millis) -> Option<Suspicion> {
        while let Some(id) = self.watches.suspects.pop() {
            // Its last connection may have ended in the same turn.
            let Some(real) = self.registry.reals.get(id) else { continue };
            let Some(service) = self.registry.services.get(real.service()) else { continue };
            let (syns, lasting) = real.handshakes.unanswered(now);
            let (service, address) = (service.name.clone(), real.address());
            return Some(Suspicion { service: service.to_string(), address, syns, lasting });
        }
        None
    }

    /// Counts a SYN, new or retransmitted, that goes to this real server and has an entry.
    #[inline]
    pub(super) fn handshake_begins(&mut self, now: Millis, real: RealId) {
        if self.registry.reals[real].handshakes.open(now) {
            self.watches.suspects.push(real);
        }
    }
}
