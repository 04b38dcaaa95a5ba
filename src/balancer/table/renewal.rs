//! The deadlines that packets give to flows that go on.

use std::time::Duration;

use super::wheel::tick_after;
use crate::model::Millis;

/// The deadline of flows with one timeout whose last packet came at one moment. The packets of a
/// batch come at the same moment, so only the first of them computes it.
#[derive(Clone, Copy, Debug)]
pub(in crate::balancer) struct Renewal {
    at: Millis,
    deadline: u32,
}

/// The deadlines of established connections and of UDP flows.
#[derive(Clone, Copy, Debug)]
pub(in crate::balancer) struct Renewals {
    pub(in crate::balancer) established: Renewal,
    pub(in crate::balancer) udp: Renewal,
}

impl Renewals {
    /// None is computed: for other timeouts than before.
    pub(in crate::balancer) const NONE: Self =
        Self { established: Renewal::NONE, udp: Renewal::NONE };
}

impl Renewal {
    /// The deadline at the last moment, which is the same for all timeouts.
    const NONE: Self = Self { at: Millis(u64::MAX), deadline: u32::MAX };

    /// The tick at whose end a flow with this timeout expires if it gets no packet after `now`. The
    /// timeout must be the same at each call.
    #[inline(always)]
    pub(in crate::balancer) fn deadline(&mut self, now: Millis, timeout: Duration) -> u32 {
        if self.at != now {
            *self = Self { at: now, deadline: tick_after(now, timeout) };
        }
        self.deadline
    }
}
