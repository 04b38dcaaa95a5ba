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
    pub(super) async fn wait_for_changes(&mut self) -> Result<()> {
        if self.events.is_none() {
            // Events before the subscription were missed.
            (self.changed, self.known) = (true, None);
            let context = || "cannot open a netlink socket";
            let events = NetlinkEvents::open(&self.netlink).with_context(context)?;
            self.events = Some((events, HostEvents::open().with_context(context)?));
        }
        while !self.changed {
            let next = self.defences.values().filter_map(Defence::next_defence).min();
            let wake = next.map_or(self.next_look, |next| self.next_look.min(next.into()));
            if let Err(_silence) = timeout_at(wake, self.next_event()).await {
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
                    self.next_event().await?;
                }
            };
            timeout_at(not_before, rest).await.unwrap_or(Ok::<(), Error>(()))?;
        }
        let burst = async {
            while let Ok(event) = timeout(self.burst_end(), self.next_event()).await {
                event?;
            }
            Ok(())
        };
        // Later events are handled next time.
        timeout(BURST, burst).await.unwrap_or(Ok(()))
    }

    /// How long without an event is the end of a burst.
    fn burst_end(&self) -> Duration {
        let real_server = matches!(self.role, Some(Role::RealServer(_)));
        let known = self.known.is_some() && self.report.is_well();
        let routes_alone = known && !self.unseen.other && !self.look_due;
        // A new interface answers ARP for virtual IPs until it is set up.
        let is_new = |index: &u32| self.last.link_at(*index).is_none();
        let hurries = routes_alone || self.bounced.iter().any(is_new);
        if real_server && hurries { SOON } else { QUIET }
    }

    /// Waits for one event and remembers it.
    async fn next_event(&mut self) -> Result<()> {
        let Some((events, host_events)) = &mut self.events else { return Ok(()) };
        let lost = tokio::select! {
            change = events.next() => {
                let change = change?;
                let lost = matches!(change, HostChange::Lost);
                if let HostChange::AddressGone(link) = change {
                    self.unaddressed.insert(link);
                }
                self.changed |= self.unseen.note(change, &self.concern);
                lost
            }
            events = host_events.next() => {
                let events = events?;
                self.note(&events);
                false
            }
            (one, claim) = self.listening.next() => {
                self.defend(&one, claim);
                false
            }
        };
        if lost { self.subscribe_again() } else { Ok(()) }
    }

    /// Subscribes again after the kernel has lost messages. Those still in the old queue are older
    /// than the routes that the next check reads. If they were applied after that, a route whose
    /// last message is among the lost ones would be restored to what it was before.
    fn subscribe_again(&mut self) -> Result<()> {
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

    /// Records that another host claims a virtual IP that is announced here, or probes for it, and
    /// defends it.
    fn defend(&mut self, one: &Announcement, claim: Claim) {
        if !self.announced.contains(one) {
            return;
        }
        let now = Instant::now().into_std();
        let defence = self.defences.entry(one.clone()).or_default();
        let before = defence.rival(now);
        if defence.record(claim, now) {
            conflict::defend(one, &self.last);
        }
        if defence.rival(now) != before {
            (self.changed, self.look_due) = (true, true);
        }
    }
}
