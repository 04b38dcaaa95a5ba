//! Keeps the host as planned while it changes: interfaces that appear, links that flap, routes that
//! change, and changes by other programs.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use log::warn;
use tokio::time::{Instant, sleep};

use crate::host::copies::RouteChange;
use crate::host::undone::CopiesSince;
use crate::host::{
    Announcement, Facts, Family, HostPlan, HostStep, Object, Problem, ProblemKind, RouteEvent,
    RouteKey, SelectiveRule, TunnelRoutes, capture, copies, rename, replies, undone,
};
use crate::sys::process;

use super::apply::copy;
use super::conflict::{self, Conflict};
use super::failures::Strict;
use super::pending::PendingEvents;
use super::{Known, Role, Session, gather, in_turn};

/// After a full check of the host the next one waits this many times its duration …
const REST: u32 = 4;
/// … but at most this long: with very many routes the daemon must not check all the time.
const REST_MAX: Duration = Duration::from_secs(5);
/// A check that has been due for this long is not interrupted any more.
const OVERDUE: Duration = Duration::from_secs(1);
/// The time between attempts to subscribe to changes.
const RETRY: Duration = Duration::from_secs(1);
/// How often the host is checked without an event: the kernel sends none for a removed proxy entry
/// or for `arp_ignore`.
const LOOK: Duration = Duration::from_secs(4);
/// Checking takes at most this fraction (1/n) of a CPU, however large the host is. The time that a
/// check waits for a CPU does not count: a busy host is checked as often as an idle one.
const LOOK_SHARE: u32 = 50;
/// How many checks until routes are read too, in case an event was lost.
const LIGHT_LOOKS: u32 = 15;

/// What was done after events.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Followed {
    /// The copies of single routes were changed.
    Copies,
    /// The host was checked.
    Checked,
    /// The TUN of that name was deleted. A real server's packet loop detects that only at the next
    /// packet.
    TunGone(String),
}

impl Session {
    /// Follows the host's changes until it is dropped, or until the paths to the real servers
    /// differ from the last ones that [`Self::install`] or this method returned. Then it returns
    /// the new ones. A real server has none. It may be dropped at any await point and called again:
    /// unhandled changes are remembered.
    ///
    /// # Errors
    ///
    /// The TUN was deleted.
    pub async fn follow(&mut self) -> Result<TunnelRoutes> {
        loop {
            // No await from here to the return, or a cancelled call would lose the change.
            if self.tunnel_routes != self.reported_tunnel_routes {
                self.reported_tunnel_routes = self.tunnel_routes.clone();
                return Ok(self.reported_tunnel_routes.clone());
            }
            if let Err(error) = self.wait_for_changes().await {
                self.events = None;
                warn!("cannot watch this host for changes: {error:#}");
                sleep(RETRY).await;
                continue;
            }
            self.check().await?;
        }
    }

    /// Completes a check that has been due for a second. The caller of [`Self::follow`] drops it
    /// for each command: so that many commands do not delay checks for ever, it calls this between
    /// two of them.
    ///
    /// # Errors
    ///
    /// As [`Self::follow`].
    pub async fn catch_up(&mut self) -> Result<()> {
        let overdue = self.due_since.is_some_and(|since| since.elapsed() >= OVERDUE);
        if overdue && Instant::now() >= self.not_before { self.check().await } else { Ok(()) }
    }

    /// Checks the host and reports a failure of that. The error is that of [`Self::follow`].
    async fn check(&mut self) -> Result<()> {
        // Netlink answers within the call: the kernel's work counts as this thread's.
        let begun = process::thread_cpu_time();
        let result = self.sync().await;
        (self.changed, self.due_since) = (false, None);
        if !matches!(result, Ok(Followed::Copies)) {
            let used = process::thread_cpu_time().saturating_sub(begun);
            self.next_look = Instant::now() + LOOK.max(used * LOOK_SHARE);
        }
        match result {
            Ok(Followed::TunGone(name)) => {
                bail!("the TUN device {name:?} is gone: another program has deleted it");
            }
            Ok(Followed::Copies | Followed::Checked) => {}
            Err(error) => {
                self.report.unknown(
                    format!("cannot keep this host as planned: {error:#}"),
                    &self.tunnel_routes.sources,
                );
            }
        }
        Ok(())
    }

    /// Announces virtual IPs that were claimed again right after they were defended.
    fn defend_again(&mut self) {
        let now = Instant::now().into_std();
        for (one, defence) in &mut self.defences {
            if defence.take_due(now) {
                conflict::defend(one, &self.last);
            }
        }
    }

    /// Checks the host and makes what is missing. It removes only steps that hide another program's
    /// route: other steps may be missing in the plan only for a moment, while an interface lacks
    /// its address.
    async fn sync(&mut self) -> Result<Followed> {
        self.defend_again();
        let Some(role) = self.role.clone() else { return Ok(Followed::Checked) };
        let unseen = std::mem::take(&mut self.unseen);
        // If this returns early, the next check covers everything.
        let light = !unseen.other && !self.left_copies && self.light_looks < LIGHT_LOOKS;
        let known = self.known.take().filter(|_| light);
        let known = self.follow_routes(&role, known, &unseen.routes).await?;
        if let (Some(_), Role::RealServer(_)) = (&known, &role)
            && !self.look_due
            && self.report.is_well()
        {
            self.known = known;
            return Ok(Followed::Copies);
        }
        let begun = Instant::now();
        let (mut facts, copies_are_right) = self.look_again(&role, known, &unseen).await?;
        self.follow_names(&role, &facts).await?;
        if self.tun.is_some_and(|index| facts.link_at(index).is_none()) {
            return Ok(Followed::TunGone(self.report.tun().to_owned()));
        }
        let role = self.current(&role, &facts);
        self.forget_lost_links(&facts);
        if !copies_are_right {
            facts.copies_undone = self.copies_are_undone(&role, &facts, &unseen.ours);
        }
        // Independent of other problems of the host.
        self.tunnel_routes = role.tunnel_routes(&facts);
        self.stop_hiding(&role.hiding(&facts)).await;
        let plan = role.plan_items(&facts)?;
        self.warn(&plan.warnings);
        self.warn(&unseen_rules(&role, &facts));
        let (plan, mut looked) = self.contest(plan, &facts);
        looked.problems.extend(plan.problems.clone());

        self.forget_rivals(&plan);
        let unprobed = self.unprobed(&plan, &facts, None);
        let known = plan.clone().without(&unprobed).without(&self.held_back());
        let failed = self.carry_out(&role, &known, &facts, Strict::No).await?;
        looked.failed(failed);
        self.left_copies = self.leaves_copies(&role, &known);
        if !copies_are_right && !self.left_copies {
            self.copy_routes(&role, &facts).await?;
        }
        self.announce_anew(&known, &facts);

        self.probe_conflicts(&role, &unprobed, &facts).await;
        let plan = plan.without(&self.held_back());
        if !unprobed.is_empty() {
            let failed = self.carry_out(&role, &plan, &facts, Strict::No).await?;
            looked.failed(failed);
        }
        self.announce_new(&plan, &unprobed, &facts);
        self.conclude(&plan, &facts, looked).await;
        self.remember_links(&facts);
        self.remember(&role, facts);
        self.look_due = false;
        self.not_before = Instant::now() + (begun.elapsed() * REST).min(REST_MAX);
        Ok(Followed::Checked)
    }

    /// The state to compare with at the next check.
    pub(super) fn remember_links(&mut self, facts: &Facts) {
        let (links, addresses) = (facts.links.clone(), facts.addresses.clone());
        self.last = Facts { links, addresses, ..Facts::default() };
    }

    /// Whether another program has undone copies of routes.
    fn copies_are_undone(
        &mut self,
        role: &Role,
        facts: &Facts,
        touched: &HashSet<RouteKey>,
    ) -> bool {
        let Role::RealServer(desired) = role else { return false };
        if !desired.mss_route {
            return false;
        }
        let changes = copies::changes(desired, facts);
        let disturbed = &self.bounced | &self.unaddressed;
        let since = CopiesSince { touched, had: &self.had_copies, disturbed: &disturbed };
        let undone = undone::copies(desired, facts, &changes, since);
        self.had_copies = undone::families_with_copies(desired, facts, &changes);
        // Those that were left are missed until they are restored.
        undone || self.left_copies && !changes.is_empty()
    }

    /// Whether the copies are left as another program has made them.
    fn leaves_copies(&self, role: &Role, plan: &HostPlan) -> bool {
        let Role::RealServer(desired) = role else { return false };
        let copies = HostStep::Add(Object::Copies { table: desired.table });
        self.state.steps.contains(&copies) && !plan.steps.contains(&copies)
    }

    /// Updates the known routes and the copies for changes of single routes. `None`: everything has
    /// to be read again.
    async fn follow_routes(
        &mut self,
        role: &Role,
        known: Option<Known>,
        events: &[RouteEvent],
    ) -> Result<Option<Known>> {
        let Some(mut known) = known else { return Ok(None) };
        let Known { facts, room } = &mut known;
        if let Role::RealServer(desired) = role
            && desired.mss_route
        {
            let Some(changes) = copies::follow(desired, facts, *room, events) else {
                return Ok(None);
            };
            // It may have been the last one of its family.
            let removed = |family: &Family| {
                changes.iter().any(|change| match change {
                    RouteChange::Remove(route) => Family::of_net(&route.destination) == *family,
                    RouteChange::Replace(_) => false,
                })
            };
            self.had_copies.retain(|family| !removed(family));
            copy(&changes, &self.netlink).await?;
        } else {
            for event in events {
                if facts.routes.follow(event.clone()).is_err() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(known))
    }

    /// Reads the host again: without its routes if they are known, and nothing else that copies
    /// depend on has changed. The second value: whether the copies are as planned for this state.
    /// `unseen`: the events since then.
    async fn look_again(
        &mut self,
        role: &Role,
        known: Option<Known>,
        unseen: &PendingEvents,
    ) -> Result<(Facts, bool)> {
        if let Some(mut known) = known {
            let routes = std::mem::take(&mut known.facts.routes);
            let asked = self.reals_in_turn.asked(role.reals(), !unseen.routes.is_empty());
            let mut facts = self.look_with(role, true, Some(routes), &asked).await?;
            self.look_up_others(role, &known.facts, &mut facts, &asked).await;
            let is_director = matches!(role, Role::Director(_));
            if is_director || copies::same_inputs(&known.facts, &facts) {
                self.light_looks += 1;
                return Ok((facts, true));
            }
        }
        self.light_looks = 0;
        Ok((self.look(role, true).await?, false))
    }

    /// Completes the lookups: the known ones of the real servers that were not asked for, or new
    /// ones if anything differs that they depend on.
    async fn look_up_others(
        &self,
        role: &Role,
        known: &Facts,
        facts: &mut Facts,
        asked: &[IpAddr],
    ) {
        if asked.len() == role.reals().len() {
            return;
        }
        let others = role.reals().iter().filter(|real| !asked.contains(real)).copied();
        if in_turn::others_are_known(asked, known, facts) {
            let known = others.filter_map(|real| Some((real, *known.lookups.get(&real)?)));
            facts.lookups.extend(known);
        } else {
            let others: Vec<IpAddr> = others.collect();
            facts.lookups.extend(gather::lookups(&self.netlink, &others).await);
        }
    }

    /// Remembers the current state of the host.
    fn remember(&mut self, role: &Role, mut facts: Facts) {
        let mut room = None;
        if let Role::RealServer(desired) = role {
            room = copies::Copier::new(desired, &facts).room();
            facts.routes.remove_table(desired.table);
        }
        self.known = Some(Known { facts, room });
    }

    /// Renamed interfaces are the same ones, with their settings.
    pub(super) async fn follow_names(&mut self, role: &Role, facts: &Facts) -> Result<()> {
        let now = facts.links.iter().map(|link| (link.index, link.name.clone())).collect();
        let renamed = rename::renamed(&self.indices, &now);
        for (old, new) in &renamed {
            warn!(
                link = new.as_str();
                "interface {old} is called {new} now; what was set on it is kept and undone there"
            );
        }
        self.state.rename(&renamed);
        let indices = std::mem::take(&mut self.indices).into_iter();
        let current = |(name, index)| (renamed.get(&name).cloned().unwrap_or(name), index);
        self.indices = indices.map(current).collect();
        if let Role::Director(desired) = role
            && let Some(names) = &desired.uplinks
        {
            let _ = self.uplinks.current(names, facts);
        }
        if renamed.is_empty() { Ok(()) } else { self.save().await }
    }

    /// Probes whether other hosts have these addresses. Addresses in use elsewhere are not
    /// announced, unless the operator has given `--force`.
    pub(super) async fn probe_conflicts(
        &mut self,
        role: &Role,
        unprobed: &[Announcement],
        facts: &Facts,
    ) -> Vec<Conflict> {
        let conflicts =
            if unprobed.is_empty() { Vec::new() } else { conflict::probe(unprobed, facts).await };
        let forced = matches!(role, Role::Director(desired) if desired.force);
        for one in unprobed {
            let rival = conflicts.iter().find(|conflict| conflict.is_about(one));
            match rival {
                Some(Conflict { mac, .. }) if !forced => {
                    self.rivals.insert(one.clone(), (*mac, Instant::now()));
                }
                _ => drop(self.rivals.remove(one)),
            }
        }
        conflicts
    }

    /// Reports the problems that remain after a check and its actions.
    pub(super) async fn conclude(&mut self, plan: &HostPlan, facts: &Facts, looked: HostCheck) {
        let HostCheck { problems, put_back } = looked;
        let mut problems: Vec<_> = self.save_again().await.into_iter().chain(problems).collect();
        problems.extend(self.contended());
        problems.extend(self.files.missing_socket().await);
        problems.extend(self.default_route.note(plan, facts));
        let questions = capture::questions(&plan.captured, &plan.uplinks, facts);
        for (question, answer) in gather::captures(&self.netlink, questions).await {
            problems.extend(capture::judge(&question, answer, &plan.tun, facts));
        }
        let role = self.role.as_ref().map(|role| self.current(role, facts));
        let suspicions = role.as_ref().map(|role| role.suspicions(plan, facts));
        for suspicion in suspicions.unwrap_or_default() {
            match suspicion {
                SelectiveRule::Leads(problem) => problems.push(problem),
                SelectiveRule::May(warning) => self.warn(&[warning]),
            }
        }
        if let Some(Role::RealServer(desired)) = &role {
            let asked = replies::questions(plan, facts);
            for (reply, table) in gather::reply_tables(&self.netlink, asked).await {
                problems.extend(replies::judge(&reply, table, desired, facts));
            }
        }
        self.listening.listen_for(self.announced.iter(), facts);
        let moved = self.own_macs.note(facts);
        self.announce(&moved, facts);
        self.report.name_tun(&plan.tun);
        self.report.update(problems, &put_back, &self.tunnel_routes.sources);
        let down =
            |index: &u32| facts.link_at(*index).is_some_and(|link| !link.up || !link.carrier);
        self.bounced.retain(down);
        self.unaddressed.clear();
        self.readdressed.clear();
    }

    /// Virtual IPs that other hosts have, or claim.
    fn contended(&self) -> Vec<Problem> {
        let now = Instant::now().into_std();
        let held = self.rivals.iter().map(|(one, (mac, _))| {
            let hint = "it is not announced there; stop that host, or take the address with \
                        `vstun announce`";
            conflict_problem(one, *mac, hint)
        });
        let claimed = self.defences.iter().filter(|(one, _)| self.announced.contains(*one));
        let claimed = claimed.filter_map(|(one, defence)| {
            let hint =
                "it is announced here too, and defended every ten seconds; stop one of the two";
            Some(conflict_problem(one, defence.rival(now)?, hint))
        });
        held.chain(claimed).collect()
    }
}

/// The findings of a check, and the actions taken.
#[derive(Debug, Default)]
pub(super) struct HostCheck {
    pub(super) problems: Vec<Problem>,
    /// The subjects of steps that other programs had undone and that were restored.
    pub(super) put_back: Vec<String>,
}

impl HostCheck {
    /// Records steps that could not be applied.
    pub(super) fn failed(&mut self, problems: Vec<Problem>) {
        let failed: HashSet<&str> =
            problems.iter().map(|problem| problem.subject.as_str()).collect();
        self.put_back.retain(|step| !failed.contains(step.as_str()));
        self.problems.extend(problems);
    }
}

fn conflict_problem(one: &Announcement, mac: [u8; 6], hint: &str) -> Problem {
    let Announcement { link, address } = one;
    let text = format!("{}; {hint}", Conflict::of(one, mac));
    let problem = Problem::new(ProblemKind::Conflict, format!("{address} {link}"), text);
    Problem { address: Some(*address), ..problem }
}

fn unseen_rules(role: &Role, facts: &Facts) -> Vec<String> {
    let Role::RealServer(desired) = role else { return Vec::new() };
    if !desired.mss_route {
        return Vec::new();
    }
    let warning = |priority| {
        format!(
            "routing rule {priority} is not seen by packets from the virtual IPs: they follow the \
             rules of priority {}, which cannot copy it; give it a priority below that, or set \
             `mss = \"off\"`",
            desired.rule_priority
        )
    };
    copies::unseen_rules(desired, facts).into_iter().map(warning).collect()
}
