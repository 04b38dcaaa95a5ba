//! Updates the weights for placing flows by hash when real servers report another load: in steps,
//! with new Maglev tables if needed, at a limited rate.

use std::time::Duration;

use tokio::time::Instant;

use super::reload::RunningDirector;
use crate::app::due;

/// The shortest time between two such updates: each may compute a table for every service.
const APART: Duration = Duration::from_secs(1);

/// How long after a failure the update is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// When the next update is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Following {
    /// Notes that a step has changed.
    fn want(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| (last + APART).max(now));
        self.due.get_or_insert(soonest);
    }
}

impl RunningDirector {
    /// Schedules an update, because a real server's share of its weight has changed. Further
    /// changes until then are part of it.
    pub(super) fn want_steps(&mut self) {
        self.following.want(Instant::now());
    }

    /// Sends the balancer the current shares of real servers' weights, with the Maglev tables for
    /// them.
    pub(super) async fn follow_steps(&mut self) {
        self.following = Following { due: None, last: Some(Instant::now()) };
        let steps = self.checks.steps().await;
        let changes = self.stepped(&steps);
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.apply(changes).await
            && !self.builder().has_stopped()
        {
            log::error!("placing by hash does not follow the real servers' load yet: {error:#}");
            self.following.due = Some(Instant::now() + AGAIN);
        }
    }

    /// Completes when [`Self::follow_steps`] is to run; never if nothing has changed.
    pub(super) fn steps_due(&self) -> impl Future<Output = ()> + use<> {
        due::reached(self.following.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_followed_at_once_and_the_next_ones_together() {
        let now = Instant::now();
        let mut following = Following::default();
        following.want(now);
        assert_eq!(following.due, Some(now));
        let mut following = Following { due: None, last: Some(now) };
        following.want(now + APART / 4);
        following.want(now + APART / 2);
        assert_eq!(following.due, Some(now + APART));
        let mut following = Following { due: None, last: Some(now) };
        following.want(now + APART * 2);
        assert_eq!(following.due, Some(now + APART * 2));
    }
}
