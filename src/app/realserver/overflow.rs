//! Packets lost before they could be read, because a raw socket's receive buffer was full.

use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::sys::raw::Receiver;

/// The time between two reads of the kernel's counter.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts and logs the losses of one socket.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    /// The kernel's counter at the last read.
    known: u32,
    /// The total; the kernel's counter wraps around after 32 bits.
    total: u64,
    asked: Option<Instant>,
    throttle: LogThrottle,
}

impl Overflow {
    /// All packets that the socket has lost.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Reads the kernel's counter, at most once in an interval.
    pub(super) fn watch(&mut self, receiver: &Receiver) {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= INTERVAL) {
            self.ask(receiver, now);
        }
    }

    /// Reads the kernel's counter.
    pub(super) fn ask(&mut self, receiver: &Receiver, now: Instant) {
        self.asked = Some(now);
        let Ok(dropped) = receiver.dropped() else { return };
        let new = self.count(dropped);
        if new == 0 {
            return;
        }
        if let Some(count) = self.throttle.note_many(new, now) {
            log::warn!(
                count;
                "{count} tunnelled packets lost because the receive buffer was full: this host \
                 does not keep up; Linux from 6.7 on tells the director \"protocol unreachable\" \
                 for each"
            );
        }
    }

    /// Updates the total from the kernel's counter; returns the increase.
    fn count(&mut self, dropped: u32) -> u64 {
        let new = u64::from(dropped.wrapping_sub(self.known));
        self.known = dropped;
        self.total += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_goes_on_when_the_kernels_counter_wraps() {
        let mut overflow = Overflow::default();
        for (dropped, new) in [(3, 3), (3, 0), (u32::MAX, u64::from(u32::MAX) - 3), (1, 2)] {
            assert_eq!(overflow.count(dropped), new);
        }
        assert_eq!(overflow.total(), u64::from(u32::MAX) + 2);
    }
}
