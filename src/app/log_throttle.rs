//! Repeated errors are logged at most once a minute, with a count.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(60);

/// The throttle of one sort of error.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    logged: Option<Instant>,
    since: u64,
}

impl LogThrottle {
    /// When the last line was written.
    pub(super) fn logged(&self) -> Option<Instant> {
        self.logged
    }

    /// Whether the next error is logged.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.logged.is_none_or(|logged| now.duration_since(logged) >= PAUSE)
    }

    /// Counts an error. `Some(count)` if it is to be logged: the number of errors since the last
    /// line.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        self.note_many(1, now)
    }

    /// As [`Self::note`], for several errors.
    pub(super) fn note_many(&mut self, more: u64, now: Instant) -> Option<u64> {
        self.since += more;
        self.is_due(now).then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_with_the_count_of_errors() {
        let start = Instant::now();
        let mut throttle = LogThrottle::default();
        assert_eq!(throttle.note(start), Some(1));
        assert_eq!(throttle.note(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.note(start + Duration::from_millis(59_999)), None);
        assert_eq!(throttle.note(start + PAUSE), Some(3));
    }
}
