//! Where a real server stands: what is wanted of it and what its health is, kept apart, and what
//! follows from the two for the flows that it has.

use std::time::Duration;

use crate::model::{Existing, Health, Millis, Protocol, RealState, Wanted};

/// How a flow whose real server has no time left for it is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Both ends are told: the real server lives, and would keep its half.
    Both,
    /// The client alone is told: nothing that is sent to the real server arrives.
    Client,
}

/// What decides about a real server's state.
///
/// The operator's wish and health's word are two fields, and neither overwrites the other: who
/// comes back to health is still disabled, and who is enabled while it is down is still down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Availability {
    /// Its `deadline` is in `until`, as a moment.
    wanted: Wanted,
    health: Health,
    /// Whether it was removed from its service, which has it on while it has flows.
    removed: bool,
    /// When the flows that are left are ended, whatever else is wanted meanwhile.
    until: Option<Millis>,
}

impl Availability {
    pub(super) fn new(wanted: Wanted, until: Option<Millis>) -> Self {
        let mut availability =
            Self { wanted: Wanted::Up, health: Health::Up, removed: false, until: None };
        availability.set_wanted(wanted, until);
        availability
    }

    /// Something else is wanted of it; `until`, where it is to drain, is when that ends.
    pub(super) fn set_wanted(&mut self, wanted: Wanted, until: Option<Millis>) {
        self.wanted = wanted;
        match wanted {
            Wanted::Draining { .. } => self.until = until,
            // A removed one stays bound by its removal's deadline.
            _ if self.removed => {}
            _ => self.until = None,
        }
    }

    /// It stands as it did once; whether it is removed, and health's word, are as they are.
    pub(super) fn restore(&mut self, wanted: Wanted, until: Option<Millis>) {
        (self.wanted, self.until) = (wanted, until);
    }

    /// It is not removed any more. Health's word is as before: nothing was heard.
    pub(super) fn readd(&mut self, wanted: Wanted, until: Option<Millis>) {
        self.removed = false;
        self.set_wanted(wanted, until);
    }

    pub(super) fn wanted(self) -> Wanted {
        self.wanted
    }

    pub(super) fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    /// It is removed. A deadline that it has is only brought forward.
    pub(super) fn remove(&mut self, until: Option<Millis>) {
        self.removed = true;
        self.until = match (self.until, until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    pub(super) fn is_removed(self) -> bool {
        self.removed
    }

    #[inline]
    pub(super) fn state(self) -> RealState {
        match (self.wanted, self.health) {
            (Wanted::Disabled, _) => RealState::Disabled,
            (Wanted::Down, _) | (_, Health::Down) => RealState::Down,
            (Wanted::Draining { .. }, Health::Up) => RealState::Draining,
            (Wanted::Up, Health::Up) if self.removed => RealState::Draining,
            (Wanted::Up, Health::Up) => RealState::Up,
        }
    }

    /// Whether, and how, a flow of `protocol` ends with its next packet.
    pub(super) fn ending(
        self,
        now: Millis,
        existing: Existing,
        protocol: Protocol,
    ) -> Option<Ending> {
        let reset = existing == Existing::Reset;
        let over = match self.state() {
            RealState::Up | RealState::Draining => false,
            RealState::Disabled => reset,
            // A datagram has nothing to lose where nobody answers; IPVS's flows stick there for as
            // long as they talk.
            RealState::Down => reset || protocol == Protocol::Udp,
        };
        let late = self.is_over(now);
        let dead = self.wanted == Wanted::Down || self.health == Health::Down;
        (over || late).then_some(if dead { Ending::Client } else { Ending::Both })
    }

    /// Whether it has a deadline, and that has passed.
    pub(super) fn is_over(self, now: Millis) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// When the flows that are left are ended.
    pub(super) fn until(self) -> Option<Millis> {
        self.until
    }

    /// How long until the flows that are left are ended.
    pub(super) fn left(self, now: Millis) -> Option<Duration> {
        self.until.map(|until| now.until(until))
    }
}

#[cfg(test)]
mod tests;
