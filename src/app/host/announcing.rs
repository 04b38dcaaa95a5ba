//! Announces virtual IPs, after a probe whether another host has them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use log::info;
use tokio::time::Instant;

use crate::app::latest::Latest;
use crate::host::{Announcement, Facts, HostPlan, Link};

use super::{Session, conflict};

/// The interval at which an address that another host has is probed again.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

impl Session {
    /// The announcements that need a conflict probe. These are new ones and those whose link was
    /// down, since neighbours may have learnt another host's address meanwhile. Those that another
    /// host had are probed periodically.
    pub(super) fn unprobed(
        &self,
        plan: &HostPlan,
        facts: &Facts,
        at_once: Option<IpAddr>,
    ) -> Vec<Announcement> {
        let (now, first) = (Instant::now(), self.role.is_none());
        let due = |one: &&Announcement| match self.rivals.get(*one) {
            Some((_, probed)) => now.saturating_duration_since(*probed) >= PROBE_AGAIN,
            None => first || !self.announced.contains(*one) || self.lost(one, facts),
        };
        let wanted = plan.announcements.iter().filter(|one| Some(one.address) != at_once);
        wanted.filter(due).cloned().collect()
    }

    /// Whether this host has not answered for it for a moment.
    fn lost(&self, one: &Announcement, facts: &Facts) -> bool {
        let Some(link) = facts.link(&one.link) else { return true };
        self.bounced.contains(&link.index)
            || !facts.proxies.contains_key(&(link.index, one.address))
    }

    /// Forgets conflicts about announcements that are no longer planned.
    pub(super) fn forget_rivals(&mut self, whole: &HostPlan) {
        self.rivals.retain(|one, _| whole.announcements.contains(one));
    }

    /// The announcements held back because another host has the address.
    pub(super) fn held_back(&self) -> Vec<Announcement> {
        self.rivals.keys().cloned().collect()
    }

    /// Announces the probed addresses that no other host has.
    pub(super) fn announce_new(&mut self, plan: &HostPlan, probed: &[Announcement], facts: &Facts) {
        let wanted: BTreeSet<&Announcement> = plan.announcements.iter().collect();
        self.rivals.retain(|one, _| facts.link(&one.link).is_some_and(|link| link.up));
        self.announced.retain(|one| wanted.contains(one));
        self.defences.retain(|one, _| wanted.contains(one));
        let due: BTreeSet<_> = probed.iter().filter(|one| wanted.contains(one)).cloned().collect();
        self.announced.extend(due.iter().cloned());
        // The host that has an address until now may defend it against the first announcement.
        self.listening.listen_for(self.announced.iter(), facts);
        self.announce(&due.into_iter().collect::<Vec<_>>(), facts);
    }

    /// Announces addresses again that are now reached by another hardware address or another switch
    /// port.
    pub(super) fn announce_anew(&mut self, plan: &HostPlan, facts: &Facts) {
        let moved = |link: &Link| {
            let before = self.last.link_at(link.index).and_then(|before| before.mac);
            before.is_some_and(|mac| link.mac != Some(mac))
                || self.readdressed.contains(&link.index)
        };
        let moved = |one: &&Announcement| {
            self.announced.contains(*one) && facts.link(&one.link).is_some_and(moved)
        };
        let due: Vec<_> = plan.announcements.iter().filter(moved).cloned().collect();
        self.announce(&due, facts);
    }

    /// Once `stopping` is true, nothing is announced any more: neighbours would send packets here,
    /// and another director may have the address already.
    pub(in crate::app) fn stop_with(&mut self, stopping: Latest<bool>) {
        self.stopping = Some(stopping);
    }

    pub(super) fn unless_stopping(&self) -> Result<()> {
        match self.stopping.as_ref().is_some_and(Latest::get) {
            true => bail!("the daemon is stopping"),
            false => Ok(()),
        }
    }

    pub(super) fn announce(&mut self, announcements: &[Announcement], facts: &Facts) {
        if announcements.is_empty() || self.unless_stopping().is_err() {
            return;
        }
        for Announcement { link, address } in announcements {
            info!(address:% = address, link = link.as_str(); "announcing {address} on {link}");
        }
        self.start_announcing(announcements.to_vec(), facts);
    }

    fn start_announcing(&mut self, announcements: Vec<Announcement>, facts: &Facts) {
        self.announcing.retain(|(_, saying)| !saying.is_finished());
        let saying = conflict::announce(&announcements, facts);
        self.announcing.push((announcements, saying));
    }

    /// Stops repeating announcements that are not `wanted` any more: a neighbour that receives one
    /// would send packets here for an address that another director has now. The repetition of the
    /// others starts again.
    pub(super) fn stop_announcing(&mut self, wanted: &[Announcement], facts: &Facts) {
        let unwanted = |one: &Announcement| !wanted.contains(one);
        let (over, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.announcing)
            .into_iter()
            .partition(|(said, _)| said.iter().any(unwanted));
        self.announcing = still;
        for (mut said, saying) in over {
            if saying.is_finished() {
                continue;
            }
            saying.abort();
            said.retain(|one| wanted.contains(one));
            if !said.is_empty() {
                self.start_announcing(said, facts);
            }
        }
    }
}
