//! Keeping the host as planned while it changes: interfaces that appear, links that flap, routes that move.

use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use log::{info, warn};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::host::{Announcement, Facts, HostPlan, Object, OuterSources, RouteEvent, Step, copies};
use crate::sys::netlink::Events;

use super::apply::copy;
use super::heard::Concern;
use super::{DesiredRealServer, Known, Role, Session};

/// A burst of changes is over when nothing has come for this long …
const QUIET: Duration = Duration::from_millis(100);
/// … and is acted upon after this long in any case: meanwhile a neighbour's route may hide where the address has moved to.
const BURST: Duration = Duration::from_millis(500);
/// A whole look at the host is followed by a rest of so many times what it took …
const REST: u32 = 4;
/// … and of at most this: with very many routes the daemon must not look all the time.
const REST_MAX: Duration = Duration::from_secs(5);
/// Between attempts to hear of changes.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the TUN is still there. A real server's packet loop does not hear of its end until a packet comes.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Tun {
    There,
    /// The one of that name is not.
    Gone(String),
}

impl Session {
    /// Follows the host's changes until it is dropped, or until the tunnels' source addresses are others than those
    /// that [`Self::install`] or this last gave out: then it gives them. A real server has none. It may be dropped at any
    /// await point and called again: a change that was heard of and not acted upon is remembered.
    ///
    /// # Errors
    ///
    /// The TUN is gone.
    pub async fn follow(&mut self) -> Result<OuterSources> {
        loop {
            if let Err(error) = self.hear().await {
                self.events = None;
                warn!("cannot hear of changes of this host: {error:#}");
                sleep(RETRY).await;
                continue;
            }
            let result = self.sync().await;
            self.changed = false;
            match result {
                Ok(Tun::Gone(name)) => {
                    bail!("the TUN device {name:?} is gone: somebody has deleted it");
                }
                Ok(Tun::There) => self.report(None),
                Err(error) => self.report(Some(error)),
            }
            // No await from here to the return, or a change could be given to nobody.
            if self.sources != self.told {
                self.told = self.sources.clone();
                return Ok(self.told.clone());
            }
        }
    }

    /// Waits for a burst of changes to be over.
    async fn hear(&mut self) -> Result<()> {
        let Self { events, changed, unseen, known, not_before, netlink, role, .. } = self;
        let concern = role.as_ref().map_or(Concern::Leaving, Concern::of);
        let events = match events {
            Some(events) => events,
            none => {
                // What happened before is not heard any more.
                (*changed, *known) = (true, None);
                none.insert(Events::open(netlink).context("cannot open a netlink socket")?)
            }
        };
        while !*changed {
            *changed = unseen.note(events.next().await?, &concern);
        }
        if unseen.other {
            let rest = async {
                loop {
                    unseen.note(events.next().await?, &concern);
                }
            };
            timeout_at(*not_before, rest).await.unwrap_or(Ok::<(), Error>(()))?;
        }
        let burst = async {
            while let Ok(heard) = timeout(QUIET, events.next()).await {
                unseen.note(heard?, &concern);
            }
            Ok(())
        };
        // What has not been heard by then is heard next time.
        timeout(BURST, burst).await.unwrap_or(Ok(()))
    }

    /// Looks at the host and makes what it lacks. Nothing is taken away but what hides a route of somebody else's: what a
    /// plan does not want for a moment, while an interface is without its address, it may want again.
    async fn sync(&mut self) -> Result<Tun> {
        let Some(role) = self.role.clone() else { return Ok(Tun::There) };
        let unseen = std::mem::take(&mut self.unseen);
        // What ends this early has the next look be at everything.
        let known = self.known.take().filter(|_| !unseen.other);
        let known = match (known, &role) {
            (Some(mut known), Role::RealServer(desired)) if self.failing.is_none() => {
                if self.follow_routes(desired, &mut known, &unseen.routes).await? {
                    self.known = Some(known);
                    return Ok(Tun::There);
                }
                None
            }
            (Some(known), Role::Director(_)) => Some(known),
            _ => None,
        };
        let mut routes = known.map(|known| known.facts.routes);
        for event in unseen.routes {
            routes = routes.and_then(|mut all| all.follow(event).ok().map(|()| all));
        }
        let begun = Instant::now();
        let facts = self.look_with(&role, true, routes).await?;
        // Whatever else is wrong with the host.
        self.sources = role.outer_sources(&facts);
        self.uncover(&role.hiding(&facts)).await;
        let plan = role.plan(&facts)?;
        if facts.link(&plan.tun).is_none() {
            return Ok(Tun::Gone(plan.tun));
        }
        self.warn(&plan.warnings);
        self.warn(&unseen_rules(&role, &facts));
        let lost = lost(&plan, &facts);
        self.carry_out(&role, &plan, &facts).await?;
        self.copy_routes(&role, &facts).await?;
        self.announce(&lost, &facts);
        self.remember(&role, facts);
        self.not_before = Instant::now() + (begun.elapsed() * REST).min(REST_MAX);
        Ok(Tun::There)
    }

    /// Copies what single routes have changed. `false`: it takes a look at the host.
    async fn follow_routes(
        &self,
        desired: &DesiredRealServer,
        known: &mut Known,
        events: &[RouteEvent],
    ) -> Result<bool> {
        if !desired.mss_route {
            return Ok(true);
        }
        let Known { facts, room } = known;
        match copies::follow(desired, facts, *room, events) {
            Some(changes) => copy(&changes, &self.netlink).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Remembers the host as it is by now.
    fn remember(&mut self, role: &Role, mut facts: Facts) {
        let mut room = None;
        if let Role::RealServer(desired) = role {
            room = copies::Copier::new(desired, &facts).room();
            facts.routes.remove_table(desired.table);
        }
        self.known = Some(Known { facts, room });
    }

    /// The same failure over and over is said once.
    fn report(&mut self, error: Option<Error>) {
        let failing = error.map(|error| format!("{error:#}"));
        if failing != self.failing {
            match &failing {
                Some(error) => warn!("this host is not as planned: {error}"),
                None => info!("this host is as planned again"),
            }
        }
        self.failing = failing;
    }
}

/// Addresses that nobody answers for any more: taking an interface down takes its proxy entries away.
fn lost(plan: &HostPlan, facts: &Facts) -> Vec<Announcement> {
    let lacks = |one: &&Announcement| {
        let (address, link) = (one.address, one.link.clone());
        facts.lacks(&Step::Add(Object::Proxy { address, link }))
    };
    plan.announcements.iter().filter(lacks).cloned().collect()
}

fn unseen_rules(role: &Role, facts: &Facts) -> Vec<String> {
    let Role::RealServer(desired) = role else { return Vec::new() };
    if !desired.mss_route {
        return Vec::new();
    }
    let warning = |priority| {
        format!(
            "routing rule {priority} is not seen by packets from the virtual IPs: they follow the rules of priority {}, which cannot copy it; give it a priority below that, or set `mss = \"off\"`",
            desired.rule_priority
        )
    };
    copies::unseen_rules(desired, facts).into_iter().map(warning).collect()
}
