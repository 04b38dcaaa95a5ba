//! The latest events, for clients that request past events.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

/// How many events are kept at most.
pub(super) const KEPT: usize = 4_096;

/// How many bytes of them at most: an event that names thousands of listens is large.
pub(super) const KEPT_BYTES: usize = 4 << 20;

/// Lines of events with their times, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventRing {
    lines: VecDeque<(Timestamp, Arc<str>)>,
    bytes: usize,
    /// The time of the latest event that is no longer kept.
    forgotten: Option<Timestamp>,
}

/// The events from some time on.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) lines: VecDeque<Arc<str>>,
    /// The time of the latest event of that span that is no longer kept, if there is one.
    pub(super) forgotten: Option<Timestamp>,
}

impl EventRing {
    /// Keeps an event; drops the oldest ones if there is no room.
    pub(super) fn push(&mut self, time: Timestamp, line: Arc<str>) {
        self.bytes += line.len();
        self.lines.push_back((time, line));
        while self.lines.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((time, line)) = self.lines.pop_front() else { return };
            self.bytes -= line.len();
            self.forgotten = self.forgotten.max(Some(time));
        }
    }

    /// The events of that moment and later.
    pub(super) fn since(&self, moment: Timestamp) -> Past {
        let later = self.lines.iter().filter(|(time, _)| *time >= moment);
        Past {
            lines: later.map(|(_, line)| Arc::clone(line)).collect(),
            forgotten: self.forgotten.filter(|time| *time >= moment),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn moment(second: usize) -> Timestamp {
        Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
    }

    #[test]
    fn as_many_are_kept_as_fit_and_one_more_drops_the_oldest() {
        let mut ring = EventRing::default();
        for second in 0..KEPT {
            ring.push(moment(second), "x".into());
        }
        let past = ring.since(moment(0));
        assert_eq!((past.lines.len(), past.forgotten), (KEPT, None));
        ring.push(moment(KEPT), "y".into());
        let past = ring.since(moment(0));
        assert_eq!((past.lines.len(), past.forgotten), (KEPT, Some(moment(0))));
        assert_eq!(ring.since(moment(1)).forgotten, None, "all of that time are there");
    }

    #[test]
    fn large_events_are_bounded_by_their_bytes() {
        let half: Arc<str> = "x".repeat(KEPT_BYTES / 2).into();
        let mut ring = EventRing::default();
        ring.push(moment(1), Arc::clone(&half));
        ring.push(moment(2), half);
        assert_eq!(ring.since(moment(0)).lines.len(), 2);
        ring.push(moment(3), "y".into());
        let past = ring.since(moment(0));
        assert_eq!((past.lines.len(), past.forgotten), (2, Some(moment(1))));
        ring.push(moment(4), "x".repeat(KEPT_BYTES + 1).into());
        let past = ring.since(moment(0));
        assert_eq!((past.lines.len(), past.forgotten), (0, Some(moment(4))));
        assert_eq!(ring.bytes, 0);
    }

    #[test]
    fn events_of_the_moment_itself_are_among_them() {
        let mut ring = EventRing::default();
        for second in 0..4 {
            ring.push(moment(second), second.to_string().into());
        }
        let lines: Vec<_> = ring.since(moment(2)).lines.into();
        assert_eq!(lines, [Arc::from("2"), Arc::from("3")]);
        assert!(ring.since(moment(4)).lines.is_empty());
    }
}
