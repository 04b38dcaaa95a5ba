//! Waits for changes of the host, until their burst has ended.

use std::time::Duration;

use anyhow::{Context, Error, Result};
use tokio::time::{Instant, timeout, timeout_at};

use crate::host::Announcement;
use crate::host::defence::{Claim, Defence};
use crate::sys::host_events::{HostEvent, HostEvents};
use crate::sys::netlink::{HostChange, NetlinkEvents};

use super::{Role, Session, conflict};

/// A burst of changes ends after this long without an event …
const QUIET: Duration = Duration::from_millis(100);
/// … or after this long at a real server if only routes have changed whose copies are known, or if
/// an interface is new: replies use the old route meanwhile; a change costs one route's work.
const SOON: Duration = Duration::from_millis(2);
/// … or after this long in any case: meanwhile a neighbour route may hide that the address is now
/// behind a router.
const BURST: Duration = Duration::from_millis(500);

impl Session {
    /// Waits for the end of a burst of changes, or for the time of the next check.
    pub(super) async fn hear(&mut self) -> Result<()> {
        if self.events.is_none() {
            // Events before the subscription were missed.
            (self.changed, self.known) = (true, None);
            let context = || "cannot open a netlink socket";
            let events = NetlinkEvents::open(&self.netlink).with_context(context)?;
            self.events = Some((events, HostEvents::open().with_context(context)?));
        }
        while !self.changed {
            let owed = self.defences.values().filter_map(Defence::owed).min();
            let wake = owed.map_or(self.next_look, |owed| self.next_look.min(owed.into()));
            if let Err(_silence) = timeout_at(wake, self.hear_one()).await {
                (self.changed, self.look_due) = (true, true);
                self.due_since.get_or_insert_with(Instant::now);
                return Ok(());
            }
        }
        self.due_since.get_or_insert_with(Instant::now);
        // Routes that change all the time must not delay the check of everything else.
        self.look_due |= Instant::now() >= self.next_look;
        let not_before = self.not_before;
        if self.unseen.other {
            let rest = async {
                loop {
                    self.hear_one().await?;
                }
            };
            timeout_at(not_before, rest).await.unwrap_or(Ok::<(), Error>(()))?;
        }
        let burst = async {
            while let Ok(heard) = timeout(self.quiet(), self.hear_one()).await {
                heard?;
            }
            Ok(())
        };
        // Later events are handled next time.
        timeout(BURST, burst).await.unwrap_or(Ok(()))
    }

    /// How long without an event is the end of a burst.
    fn quiet(&self) -> Duration {
        let real_server = matches!(self.role, Some(Role::RealServer(_)));
        let known = self.known.is_some() && self.report.is_well();
        let routes_alone = known && !self.unseen.other && !self.look_due;
        // A new interface answers ARP for virtual IPs until it is set up.
        let is_new = |index: &u32| self.last.link_at(*index).is_none();
        let hurries = routes_alone || self.bounced.iter().any(is_new);
        if real_server && hurries { SOON } else { QUIET }
    }

    /// Waits for one event and remembers it.
    async fn hear_one(&mut self) -> Result<()> {
        let Some((events, host_events)) = &mut self.events else { return Ok(()) };
        let lost = tokio::select! {
            heard = events.next() => {
                let heard = heard?;
                let lost = matches!(heard, HostChange::Lost);
                if let HostChange::AddressGone(link) = heard {
                    self.unaddressed.insert(link);
                }
                self.changed |= self.unseen.note(heard, &self.concern);
                lost
            }
            heard = host_events.next() => {
                let heard = heard?;
                self.note(&heard);
                false
            }
            (one, claim) = self.listening.next() => {
                self.claimed(&one, claim);
                false
            }
        };
        if lost { self.hear_anew() } else { Ok(()) }
    }

    /// Subscribes anew after lost messages. Those still in the old queue are older than the next
    /// look at the routes: if they were followed after it, a route whose last message is among the
    /// lost ones would be taken for what it was before.
    fn hear_anew(&mut self) -> Result<()> {
        if let Some((events, _)) = &mut self.events {
            *events = NetlinkEvents::open(&self.netlink).context("cannot open a netlink socket")?;
        }
        Ok(())
    }

    /// Remembers events whose effect may be over by the time of the check.
    fn note(&mut self, events: &[HostEvent]) {
        for event in events {
            match *event {
                HostEvent::Link { index, running, announce } => {
                    if !running {
                        self.bounced.insert(index);
                    }
                    if announce {
                        self.readdressed.insert(index);
                    }
                }
                HostEvent::Nexthop | HostEvent::Other => self.unseen.other = true,
                HostEvent::Settings => {}
            }
            (self.changed, self.look_due) = (true, true);
        }
    }

    /// Another host claims or wants a virtual IP that is announced here.
    fn claimed(&mut self, one: &Announcement, claim: Claim) {
        if !self.announced.contains(one) {
            return;
        }
        let now = Instant::now().into_std();
        let defence = self.defences.entry(one.clone()).or_default();
        let before = defence.rival(now);
        if defence.claimed(claim, now) {
            conflict::defend(one, &self.last);
        }
        if defence.rival(now) != before {
            (self.changed, self.look_due) = (true, true);
        }
    }
}
