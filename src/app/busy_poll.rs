//! Busy polling: a packet loop that has run dry goes on looking for a while before it sleeps.
//!
//! Sleeping costs a packet the wake-up of a processor: a few microseconds on hardware, tens where a
//! hypervisor has to wake a virtual one. Looking costs a processor that has nothing else to do.

use std::time::{Duration, Instant};

/// When to sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct BusyPoll {
    length: Duration,
    /// When to sleep if nothing more comes; `None`: at once.
    until: Option<Instant>,
}

impl BusyPoll {
    /// `length` of zero: never looks for longer than there is something.
    pub(super) fn new(length: Duration) -> Self {
        Self { length, until: None }
    }

    /// Something has come. The clock is read only where it matters.
    pub(super) fn note(&mut self, now: impl FnOnce() -> Instant) {
        if !self.length.is_zero() {
            self.until = now().checked_add(self.length);
        }
    }

    /// Whether to look again instead of sleeping.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        self.until = self.until.filter(|until| now < *until);
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_for_as_long_as_it_is_told_after_the_last_that_came() {
        let (start, length) = (Instant::now(), Duration::from_micros(50));
        let at = |micros| start + Duration::from_micros(micros);
        let mut busy_poll = BusyPoll::new(length);
        assert!(!busy_poll.goes_on(start), "nothing has come yet");
        busy_poll.note(|| at(0));
        assert!(busy_poll.goes_on(at(49)));
        busy_poll.note(|| at(49));
        assert!(busy_poll.goes_on(at(98)) && !busy_poll.goes_on(at(99)));
        assert!(!busy_poll.goes_on(at(98)), "it sleeps until something comes");
    }

    #[test]
    fn without_it_the_loop_sleeps_at_once() {
        let now = Instant::now();
        let mut busy_poll = BusyPoll::new(Duration::ZERO);
        busy_poll.note(|| unreachable!("nobody needs the clock"));
        assert!(!busy_poll.goes_on(now));
    }
}
