//! Warns of probes that start late.

use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::control::counted;

/// A probe that starts this late shows that the checks do not keep up.
const LATE: Duration = Duration::from_secs(1);

/// Counts late probes.
#[derive(Debug, Default)]
pub(super) struct LateProbes {
    throttle: LogThrottle,
    /// The largest delay since the last warning.
    worst: Duration,
}

impl LateProbes {
    /// Records how late a probe has started. The warning if there is one to log, and its count.
    pub(super) fn note(&mut self, now: Instant, lag: Duration) -> Option<(u64, String)> {
        if lag < LATE {
            return None;
        }
        self.worst = self.worst.max(lag);
        let count = self.throttle.note(now)?;
        let worst = std::mem::take(&mut self.worst).as_millis();
        let probes = counted(count, "probe");
        let warning = format!(
            "health checks run up to {worst} ms late ({probes}): raise their intervals, or give \
             this host more processors"
        );
        Some((count, warning))
    }
}

#[cfg(test)]
impl LateProbes {
    /// Whether there was a warning.
    pub(super) fn has_warned(&self) -> bool {
        self.throttle.logged().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_of_a_second_warns_once_a_minute_with_the_worst_and_the_number() {
        let (start, mut late) = (Instant::now(), LateProbes::default());
        let mut note = |seconds, lag| {
            let now = start + Duration::from_secs(seconds);
            late.note(now, Duration::from_millis(lag)).map(|(count, text)| {
                (count, text.split(": ").next().unwrap_or_default().to_owned())
            })
        };
        let warns = |count, text: &str| Some((count, format!("health checks run up to {text}")));
        assert_eq!(note(0, 999), None);
        assert_eq!(note(0, 1_000), warns(1, "1000 ms late (1 probe)"));
        assert_eq!(note(10, 4_000), None);
        assert_eq!(note(20, 1_500), None);
        assert_eq!(note(59, 0), None);
        assert_eq!(note(61, 999), None, "in time");
        assert_eq!(note(62, 1_200), warns(3, "4000 ms late (3 probes)"));
        assert_eq!(note(122, 1_100), warns(1, "1100 ms late (1 probe)"));
    }
}
