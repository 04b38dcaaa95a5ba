//! Withdraws virtual IPs whose services have all lost their quorum, if so configured, and announces
//! them again when a service regains it. A virtual IP that the operator has withdrawn stays
//! withdrawn.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::reload::RunningDirector;
use crate::app::due;
use crate::app::host::Session;
use crate::config;
use crate::control::Origin;
use crate::health::Board;
use crate::model::Millis;

/// How long after a failed change on the host it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Virtual IPs that are not announced, by reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Withdrawn {
    /// Withdrawn by the operator, or by `announce = false`.
    pub(super) by_operator: BTreeSet<IpAddr>,
    /// None of their services has its quorum.
    pub(super) without_quorum: BTreeSet<IpAddr>,
}

impl Withdrawn {
    /// The state at the director's start.
    pub(super) fn at_start(config: &config::Director) -> Self {
        let mut board = Board::new(0);
        board.adopt(Millis(0), &config.checks());
        let by_operator =
            if config.announce { BTreeSet::new() } else { config.vips().into_iter().collect() };
        Self { by_operator, without_quorum: config.unserved(&board.without_quorum()) }
    }

    /// The state after a reload from `old` to `config`. A changed `announce` applies to all virtual
    /// IPs; otherwise the operator's withdrawals stay.
    pub(super) fn after(&self, old: &config::Director, config: &config::Director) -> Self {
        let (fresh, known) = (Self::at_start(config), old.vips());
        let mut after = Self::default();
        for vip in config.vips() {
            let from = if known.contains(&vip) { self } else { &fresh };
            let by_operator = if old.announce == config.announce { from } else { &fresh };
            after.by_operator.extend(by_operator.by_operator.get(&vip));
            after.without_quorum.extend(from.without_quorum.get(&vip));
        }
        after
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeSet<IpAddr> {
        self.by_operator.union(&self.without_quorum).copied().collect()
    }

    pub(super) fn contains(&self, vip: IpAddr) -> bool {
        self.by_operator.contains(&vip) || self.without_quorum.contains(&vip)
    }
}

impl RunningDirector {
    /// Withdraws and announces virtual IPs according to their services' quorum.
    pub(super) async fn follow_quorum(&mut self, session: &mut Session) {
        self.quorum_due = None;
        let lost = match self.config.withdraw_without_quorum {
            true => self.checks.without_quorum().await,
            false => Vec::new(),
        };
        let before = self.withdrawn.clone();
        let after = Withdrawn { without_quorum: self.config.unserved(&lost), ..before.clone() };
        if after == before {
            return;
        }
        let moved = before.without_quorum.symmetric_difference(&after.without_quorum);
        match self.set_withdrawn(session, after.clone(), None).await {
            Ok(warnings) => warnings.iter().for_each(|warning| log::warn!("{warning}")),
            Err(error) => {
                log::error!("virtual IPs do not follow their services' quorum yet: {error:#}");
                self.quorum_due = Some(Instant::now() + AGAIN);
                return;
            }
        }
        for &vip in moved {
            let changes = self.note_announced(vip, true);
            self.publish_changes(Origin::Health, "quorum", &changes).await;
        }
    }

    /// Completes when [`Self::follow_quorum`] is to be tried again; never if nothing failed.
    pub(super) fn quorum_due(&self) -> impl Future<Output = ()> + use<> {
        due::reached(self.quorum_due)
    }
}
