//! A real server's availability: its wanted state and its health, kept apart, and what both mean
//! for its flows.

use std::time::Duration;

use crate::model::{AdminState, Existing, Health, Millis, Protocol, RealState, SavedState};

/// Which ends of a flow get a reset when its real server no longer keeps it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResetEnds {
    /// Both ends: the real server is alive and would keep its half of the connection.
    Both,
    /// The client alone: packets to the real server are lost.
    Client,
}

/// The inputs that decide a real server's state.
///
/// The operator's wanted state and the health are two fields, and neither overwrites the other: a
/// disabled server whose checks pass again stays disabled, and an enabled server whose checks fail
/// stays down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Availability {
    /// Its `deadline` is stored in `until`, as a moment.
    wanted: AdminState,
    health: Health,
    /// Whether it was removed from its service, which still lists it while it has flows.
    removed: bool,
    /// When the remaining flows are ended, even if the wanted state changes meanwhile.
    until: Option<Millis>,
    /// When the wanted state last changed; `None`: it has not.
    changed: Option<Millis>,
}

impl Availability {
    pub(super) fn new(wanted: AdminState, until: Option<Millis>) -> Self {
        let until = until.filter(|_| matches!(wanted, AdminState::Draining { .. }));
        Self { wanted, health: Health::Up, removed: false, until, changed: None }
    }

    /// Sets the wanted state; `until` is the end of a drain.
    pub(super) fn set_admin_state(
        &mut self,
        now: Millis,
        wanted: AdminState,
        until: Option<Millis>,
    ) {
        // Another deadline is not another state.
        if wanted.plain() != self.wanted.plain() {
            self.changed = Some(now);
        }
        self.wanted = wanted;
        match wanted {
            AdminState::Draining { .. } => self.until = until,
            // A removed one keeps its removal's deadline.
            _ if self.removed => {}
            _ => self.until = None,
        }
    }

    /// Restores a saved state; its removal and its health stay as they are.
    pub(super) fn restore(&mut self, now: Millis, saved: SavedState) {
        let SavedState { wanted, left, changed, .. } = saved;
        (self.wanted, self.until) = (wanted, left.map(|left| now.after(left)));
        self.changed = changed.map(|ago| now.before(ago));
    }

    /// Undoes its removal. Its health stays as it was, since no check ran meanwhile.
    pub(super) fn readd(&mut self, now: Millis, wanted: AdminState, until: Option<Millis>) {
        self.removed = false;
        self.set_admin_state(now, wanted, until);
    }

    pub(super) fn wanted(self) -> AdminState {
        self.wanted
    }

    pub(super) fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    /// Removes it. An existing deadline can only become earlier.
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
            (AdminState::Disabled, _) => RealState::Disabled,
            (AdminState::Down, _) | (_, Health::Down) => RealState::Down,
            (AdminState::Draining { .. }, Health::Up) => RealState::Draining,
            (AdminState::Up, Health::Up) if self.removed => RealState::Draining,
            (AdminState::Up, Health::Up) => RealState::Up,
        }
    }

    /// Whether its state is [`RealState::Up`]; for each packet, so without computing the state.
    #[inline(always)]
    pub(super) fn is_up(&self) -> bool {
        !self.removed && self.health == Health::Up && matches!(self.wanted, AdminState::Up)
    }

    /// Whether, and how, a flow of `protocol` ends with its next packet.
    pub(super) fn ending(
        self,
        now: Millis,
        existing: Existing,
        protocol: Protocol,
    ) -> Option<ResetEnds> {
        let reset = existing == Existing::Reset;
        let over = match self.state() {
            RealState::Up | RealState::Draining => false,
            RealState::Disabled => reset,
            // A datagram loses nothing if its server is dead; IPVS's flows stay there as long as
            // packets come.
            RealState::Down => reset || protocol == Protocol::Udp,
        };
        let late = self.is_over(now);
        let dead = self.wanted == AdminState::Down || self.health == Health::Down;
        (over || late).then_some(if dead { ResetEnds::Client } else { ResetEnds::Both })
    }

    /// Whether it has a deadline that has passed.
    pub(super) fn is_over(self, now: Millis) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// When the remaining flows are ended.
    pub(super) fn until(self) -> Option<Millis> {
        self.until
    }

    /// How long ago the wanted state last changed; `None`: it has not.
    pub(super) fn changed(self, now: Millis) -> Option<Duration> {
        self.changed.map(|then| then.until(now))
    }

    /// How long until the remaining flows are ended.
    pub(super) fn left(self, now: Millis) -> Option<Duration> {
        self.until.map(|until| now.until(until))
    }
}

#[cfg(test)]
mod tests;
