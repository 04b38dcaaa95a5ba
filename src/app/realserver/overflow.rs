//! Packets lost before they could be read, because a socket's receive buffer was full.
//!
//! For a UDP socket the kernel's counter includes packets that the socket's filter refuses. So
//! increases of the counter while there is a filter are ignored.

use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::sys::raw::{Inside, Receiver};

/// The time between two reads of the kernel's counter.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts and logs the losses of one socket.
#[derive(Debug, Default)]
pub(super) struct SocketLosses {
    /// The kernel's counter at the last read.
    known: u32,
    /// The total; the kernel's counter wraps around after 32 bits.
    total: u64,
    asked: Option<Instant>,
    /// Whether the socket had a filter that is counted at that time.
    filtered: bool,
    throttle: LogThrottle,
}

impl SocketLosses {
    /// All packets that the socket has lost.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Reads the kernel's counter, at most once in an interval.
    pub(super) fn watch(&mut self, receiver: &Receiver, filtered: bool) {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= INTERVAL) {
            self.read(receiver, filtered, now);
        }
    }

    /// Reads the kernel's counter; `filtered`: whether the socket has a filter.
    pub(super) fn read(&mut self, receiver: &Receiver, filtered: bool, now: Instant) {
        self.asked = Some(now);
        let Ok(dropped) = receiver.dropped() else { return };
        let new = self.count(dropped, filtered && receiver.inside() == Inside::Gue);
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

    /// Updates the total from the kernel's counter; returns the increase. It is ignored if this
    /// call or the one before has `filtered`.
    fn count(&mut self, dropped: u32, filtered: bool) -> u64 {
        let others = filtered || self.filtered;
        let new = if others { 0 } else { u64::from(dropped.wrapping_sub(self.known)) };
        (self.known, self.filtered) = (dropped, filtered);
        self.total += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_goes_on_when_the_kernels_counter_wraps() {
        let mut overflow = SocketLosses::default();
        for (dropped, new) in [(3, 3), (3, 0), (u32::MAX, u64::from(u32::MAX) - 3), (1, 2)] {
            assert_eq!(overflow.count(dropped, false), new);
        }
        assert_eq!(overflow.total(), u64::from(u32::MAX) + 2);
    }

    #[test]
    fn what_a_counted_filter_refuses_is_not_lost() {
        let mut overflow = SocketLosses::default();
        let table = [(2, false, 2), (9, true, 0), (20, true, 0), (30, false, 0), (31, false, 1)];
        for (dropped, filtered, new) in table {
            assert_eq!(overflow.count(dropped, filtered), new, "at {dropped}");
        }
        assert_eq!(overflow.total(), 3);
    }
}
