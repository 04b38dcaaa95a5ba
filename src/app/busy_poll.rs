//! Busy polling: an idle packet loop polls for a while before it sleeps.
//!
//! A sleeping loop costs a packet the wake-up of a processor: some microseconds on hardware, tens
//! where a hypervisor has to wake a virtual one. Polling keeps an otherwise idle processor busy.

use std::time::{Duration, Instant};

/// When to sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct BusyPoll {
    length: Duration,
    /// When to sleep if nothing arrives; `None`: at once.
    until: Option<Instant>,
}

impl BusyPoll {
    /// With a `length` of zero the loop never polls while idle.
    pub(super) fn new(length: Duration) -> Self {
        Self { length, until: None }
    }

    /// Notes that something has arrived. The clock is read only if busy polling is on.
    pub(super) fn note(&mut self, now: impl FnOnce() -> Instant) {
        if !self.length.is_zero() {
            self.until = now().checked_add(self.length);
        }
    }

    /// Whether to poll again instead of sleeping.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        self.until = self.until.filter(|until| now < *until);
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_for_the_configured_time_after_the_last_arrival() {
        let (start, length) = (Instant::now(), Duration::from_micros(50));
        let at = |micros| start + Duration::from_micros(micros);
        let mut busy_poll = BusyPoll::new(length);
        assert!(!busy_poll.goes_on(start), "nothing has arrived yet");
        busy_poll.note(|| at(0));
        assert!(busy_poll.goes_on(at(49)));
        busy_poll.note(|| at(49));
        assert!(busy_poll.goes_on(at(98)) && !busy_poll.goes_on(at(99)));
        assert!(!busy_poll.goes_on(at(98)), "it sleeps until something arrives");
    }

    #[test]
    fn without_it_the_loop_sleeps_at_once() {
        let now = Instant::now();
        let mut busy_poll = BusyPoll::new(Duration::ZERO);
        busy_poll.note(|| unreachable!("the clock is not read"));
        assert!(!busy_poll.goes_on(now));
    }
}
