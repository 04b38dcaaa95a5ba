//! Carries out a plan.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use log::{debug, warn};
use tokio::time::Instant;

use crate::host::contest::{Contest, ContestMove, Presence, ROUNDS};
use crate::host::sysctl as host_sysctl;
use crate::host::{
    Facts, HostPlan, HostRecord, HostStep, MAIN, Object, Problem, ProblemKind, RecordKey, copies,
    undone,
};

use super::apply::{apply, copy};
use super::conflict::Conflict;
use super::due::{Due, UNSAVED};
use super::failures::{Failures, KnownParts, Strict};
use super::follow::HostCheck;
use super::pending::Concern;
use super::state;
use super::undo::Mode;
use super::{Prepared, Role, Session};

impl Session {
    /// Makes the host as planned. The TUN must exist; it is set up here. Leftovers of a killed
    /// predecessor are taken over if the plan has them, and undone otherwise. A further call with
    /// another plan applies the difference. A step that the host refused before is reported and
    /// blocks no other.
    ///
    /// # Errors
    ///
    /// Another host has a virtual IP that the plan adds, a step that it adds fails, or the state
    /// file cannot be written. Then the changes of this call are undone; on the first call those of
    /// a predecessor as well.
    pub async fn install(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared { role: wanted, plan: prepared_plan, at_once } = prepared;
        let first = self.role.is_none();
        let facts = self.look(&wanted, true).await?;
        if first {
            self.tun = facts.link(wanted.tun()).map(|link| link.index);
        }
        self.follow_names(&wanted, &facts).await?;
        let role = self.current(&wanted, &facts);
        // Again: the TUN exists now, with its settings.
        let mut plan = role.plan_items(&facts)?;
        if first {
            plan = plan.whole()?;
        }
        let known = self.known_parts(&facts)?;
        // A change by the operator ends the contests about steps.
        self.contests.clear();
        self.keep_tun_mtu = true;
        let unprobed = self.unprobed(&plan, &facts, at_once);
        let conflicts = self.probe_conflicts(&role, &unprobed, &facts).await;
        self.unless_stopping()?;
        if let Err(error) = refuse(&role, &conflicts, &known) {
            self.rivals.retain(|one, _| known.vips.contains(&one.address));
            return Err(error);
        }
        self.rivals.retain(|one, _| Some(one.address) != at_once);
        self.forget_rivals(&plan);
        let mut looked =
            HostCheck { problems: std::mem::take(&mut plan.problems), ..HostCheck::default() };
        let plan = plan.without(&self.held_back());

        let before = if first { HostRecord::default() } else { self.state.steps.clone() };
        let mut made = self.refill_copies(&role, &facts).await.map(|()| Vec::new());
        if made.is_ok() {
            made = self.carry_out(&role, &plan, &facts, Strict::But(&known.steps)).await;
        }
        match made {
            Ok(failed) => looked.failed(failed),
            Err(error) => {
                self.roll_back(&before).await;
                // The next check restores anything that a new step has replaced.
                (self.changed, self.look_due, self.known) = (true, true, None);
                return Err(error);
            }
        }
        self.stop_announcing(&plan.announcements, &facts);
        self.prune(&plan).await;
        self.concern = Concern::of(&wanted);
        self.role = Some(wanted);
        let taken = plan.announcements.iter().filter(|one| Some(one.address) == at_once);
        let announced: Vec<_> = taken.chain(&unprobed).cloned().collect();
        self.announce_new(&plan, &announced, &facts);
        self.tunnel_routes.clone_from(&prepared_plan.tunnel_routes);
        self.reported_tunnel_routes = prepared_plan.tunnel_routes;
        self.conclude(&plan, &facts, looked).await;
        self.remember_links(&facts);
        // Other routes may be relevant now.
        (self.changed, self.known) = (true, None);
        Ok(())
    }

    /// The parts of the running plan on the host as it is; on the first call none.
    fn known_parts(&self, facts: &Facts) -> Result<KnownParts> {
        let Some(running) = &self.role else { return Ok(KnownParts::default()) };
        let plan = self.current(running, facts).plan_items(facts)?;
        let steps = plan.on_tun.iter().chain(&plan.steps).map(HostStep::subject);
        Ok(KnownParts { steps: steps.collect(), vips: running.vips().iter().copied().collect() })
    }

    /// Applies the steps that the host lacks. Returns those that failed and need not succeed; the
    /// others are applied.
    pub(super) async fn carry_out(
        &mut self,
        role: &Role,
        plan: &HostPlan,
        facts: &Facts,
        strict: Strict<'_>,
    ) -> Result<Vec<Problem>> {
        self.forget_lost_links(facts);
        let mut failures = Failures { strict, problems: Vec::new() };
        let others = state::of_running_daemons(&self.files, &self.state.namespace);
        let mut on_tun = self.due(&plan.on_tun, facts, &others, &mut failures)?;
        let mut steps = self.due(&plan.steps, facts, &others, &mut failures)?;
        self.note_forwarding(on_tun.iter().chain(&steps), facts);
        if let Err(error) = self.record(on_tun.iter().chain(&steps)).await {
            failures.note(UNSAVED, Err::<(), _>(error))?;
            on_tun.retain(Due::is_recorded);
            steps.retain(Due::is_recorded);
        }

        self.make(&on_tun, role, facts, &mut failures).await?;
        let tun = facts.link(&plan.tun).with_context(|| format!("{} is gone", plan.tun))?;
        let mtu = if self.keep_tun_mtu { plan.tun_mtu.into() } else { tun.mtu };
        if !tun.up || tun.mtu != mtu {
            let raised = self.netlink.raise(tun.index, mtu).await;
            let raised = raised.with_context(|| format!("cannot set interface {} up", plan.tun));
            failures.note(&format!("interface {} up", plan.tun), raised)?;
        }
        if self.keep_tun_mtu {
            self.tun_mtu = Some(plan.tun_mtu);
        }
        self.make(&steps, role, facts, &mut failures).await?;
        Ok(failures.problems)
    }

    /// Evaluates the steps that were applied before. Returns the plan without the steps that are
    /// left undone, the problems with them, and those about to be restored.
    pub(super) fn contest(&mut self, mut plan: HostPlan, facts: &Facts) -> (HostPlan, HostCheck) {
        let now = Instant::now().into_std();
        let mut looked = HostCheck::default();
        let mut left = HashSet::new();
        let tun_down = facts.link(&plan.tun).is_some_and(|tun| !tun.up);
        for step in plan.on_tun.iter().chain(&plan.steps) {
            if self.state.steps.same_end(step).is_none() && !self.was_as_planned(step) {
                continue;
            }
            let seen = match facts.holds(step) {
                true => Presence::InForce,
                false if self.lost_with_link(step, &plan.tun, tun_down, facts) => {
                    Presence::LostWithLink
                }
                false => Presence::Missing,
            };
            let subject = step.subject();
            match self.decide(&subject, seen, now) {
                ContestMove::Nothing | ContestMove::PutBackUnlogged => {}
                ContestMove::PutBack => looked.put_back.push(subject),
                decision => {
                    left.insert(step.record_key());
                    looked.problems.push(left_alone(&subject, decision));
                }
            }
        }
        self.contest_tun(&plan, facts, &mut looked, now);
        self.note_as_planned(&plan, facts);
        plan.on_tun.retain(|step| !left.contains(&step.record_key()));
        plan.steps.retain(|step| !left.contains(&step.record_key()));
        plan.announcements
            .retain(|one| !left.contains(&RecordKey::Proxy(one.address, one.link.clone())));
        (plan, looked)
    }

    /// Whether a setting was as planned at the last check, and nothing had to be done for it.
    fn was_as_planned(&self, step: &HostStep) -> bool {
        matches!(step, HostStep::Write { sysctl, .. } if self.as_planned.contains(sysctl))
    }

    /// Remembers the settings that are as planned.
    fn note_as_planned(&mut self, plan: &HostPlan, facts: &Facts) {
        let in_force = plan.on_tun.iter().chain(&plan.steps).filter(|step| facts.holds(step));
        let setting = |step: &HostStep| match step {
            HostStep::Write { sysctl, .. } => Some(sysctl.clone()),
            _ => None,
        };
        self.as_planned = in_force.filter_map(setting).collect();
    }

    /// As [`Self::contest`], for the TUN itself. It is set up each time, since nothing is forwarded
    /// without it. An MTU that another program sets again and again is left.
    fn contest_tun(
        &mut self,
        plan: &HostPlan,
        facts: &Facts,
        looked: &mut HostCheck,
        now: std::time::Instant,
    ) {
        let Some(tun) = facts.link(&plan.tun) else { return };
        let presence = |missing| if missing { Presence::Missing } else { Presence::InForce };
        let subject = format!("interface {} up", tun.name);
        if self.decide(&subject, presence(!tun.up), now) != ContestMove::Nothing {
            looked.put_back.push(subject);
        }
        let undone = undone::tun_mtu(plan, facts, self.tun_mtu);
        let subject = format!("MTU {} of {}", plan.tun_mtu, tun.name);
        self.keep_tun_mtu = true;
        match self.decide(&subject, presence(undone.is_some()), now) {
            ContestMove::Nothing | ContestMove::PutBackUnlogged => {}
            ContestMove::PutBack => looked.put_back.push(subject),
            decision => {
                self.keep_tun_mtu = false;
                looked.problems.push(left_alone(&subject, decision));
            }
        }
    }

    /// Steps in force that were never contested have no entry.
    fn decide(&mut self, subject: &str, seen: Presence, now: std::time::Instant) -> ContestMove {
        let known = self.contests.get(subject).copied().unwrap_or_default();
        let (next, decision) = known.next(seen, now);
        if next == Contest::default() {
            self.contests.remove(subject);
        } else if next != known {
            self.contests.insert(subject.to_owned(), next);
        }
        decision
    }

    /// Whether the kernel has removed it because its interface lost its carrier or address.
    /// Settings survive that.
    fn lost_with_link(&self, step: &HostStep, tun: &str, tun_down: bool, facts: &Facts) -> bool {
        let HostStep::Add(object) = step else { return false };
        if object.prefers_a_source() && !self.unaddressed.is_empty() {
            return true;
        }
        let Some(name) = step.link() else { return false };
        // The removal of an address of ours is its loss, and no consequence of one.
        let is_address = matches!(object, Object::Address { .. });
        let lost = |index| {
            self.bounced.contains(&index) || !is_address && self.unaddressed.contains(&index)
        };
        facts.link(name).is_some_and(|link| lost(link.index)) || (name == tun && tun_down)
    }

    /// Forgets the steps of removed interfaces: new interfaces with the same name do not have them,
    /// and no other program has undone them there.
    pub(super) fn forget_lost_links(&mut self, facts: &Facts) {
        let known = std::mem::take(&mut self.indices);
        self.indices = facts.links.iter().map(|link| (link.name.clone(), link.index)).collect();
        let now = &self.indices;
        let lost = |name: &str| known.get(name).is_some_and(|index| now.get(name) != Some(index));
        self.state.steps.retain(|step| !step.link().is_some_and(lost));
        self.as_planned.retain(|setting| !host_sysctl::link(setting).is_some_and(lost));
    }

    async fn make(
        &mut self,
        due: &[Due],
        role: &Role,
        facts: &Facts,
        failures: &mut Failures<'_>,
    ) -> Result<()> {
        for due in due {
            let (Due::New(step) | Due::Again(step)) = due else { continue };
            // A route whose source has changed still exists under the same key.
            let replace = match step {
                HostStep::Add(Object::Route { address, table, .. }) => {
                    facts.routes_to(*address, *table).next().is_some()
                }
                // Only vstun's own route is replaced: a plan has no route where another program has
                // one.
                HostStep::Add(Object::Neighbour { address, .. }) => {
                    facts.routes_to(*address, MAIN).next().is_some()
                }
                // It may have become a source of the host's own connections.
                HostStep::Add(Object::Address { address, link }) => {
                    facts.owners(*address).any(|(_, owner)| owner.name == *link)
                }
                _ => false,
            };
            match apply(step, replace, &self.netlink).await {
                Ok(()) => debug!("host: {step}"),
                Err(error) if step.optional() => {
                    // Tried again at every change of the host, logged once.
                    self.warn(&[format!("{error:#}")]);
                    // The hiding route may still exist with another source: it stays recorded until
                    // it is removed.
                    if !step.hides() {
                        self.state.steps.forget(step);
                    }
                }
                Err(error) => {
                    let subject = step.subject();
                    self.contests.remove(&subject);
                    failures.note::<()>(&subject, Err(error))?;
                    // It is tried at each check, as if for the first time.
                    if let Due::New(_) = due {
                        self.state.steps.forget(step);
                    }
                    continue;
                }
            }
            if let HostStep::Add(Object::Copies { .. }) = step {
                self.copy_routes(role, facts).await?;
            }
        }
        Ok(())
    }

    /// Updates an existing table of copies for a new plan, before rules lead to it.
    async fn refill_copies(&self, role: &Role, facts: &Facts) -> Result<()> {
        let Role::RealServer(desired) = role else { return Ok(()) };
        let copies = HostStep::Add(Object::Copies { table: desired.table });
        match self.state.steps.contains(&copies) {
            true => self.copy_routes(role, facts).await,
            false => Ok(()),
        }
    }

    /// Updates the table of copies from the tables that it copies.
    pub(super) async fn copy_routes(&self, role: &Role, facts: &Facts) -> Result<()> {
        let Role::RealServer(desired) = role else { return Ok(()) };
        if !desired.mss_route {
            return Ok(());
        }
        let changes = copies::changes(desired, facts);
        if !changes.is_empty() {
            debug!("host: {} changes in table {}", changes.len(), desired.table);
        }
        copy(&changes, &self.netlink).await
    }

    /// Undoes recorded steps that are not in the plan.
    async fn prune(&mut self, plan: &HostPlan) {
        let wanted: HostRecord = plan.on_tun.iter().chain(&plan.steps).cloned().collect();
        let unwanted = |step: &&HostStep| wanted.same_end(step).is_none();
        let unwanted = self.state.steps.iter().filter(unwanted).cloned().collect();
        self.undo_steps(unwanted, Mode::Prune).await;
    }

    /// Removes steps that hide another program's route and are not in `hiding`.
    pub(super) async fn stop_hiding(&mut self, hiding: &[HostStep]) {
        let wanted: HostRecord = hiding.iter().cloned().collect();
        let hiding = |step: &&HostStep| step.hides() && wanted.same_end(step).is_none();
        let hiding: Vec<_> = self.state.steps.iter().filter(hiding).cloned().collect();
        if !hiding.is_empty() {
            self.undo_steps(hiding, Mode::Prune).await;
        }
    }

    async fn roll_back(&mut self, keep: &HostRecord) {
        let new = self.state.steps.iter().filter(|step| !keep.contains(step)).cloned().collect();
        self.undo_steps(new, Mode::RollBack).await;
    }
}

/// A step that is not applied although the host lacks it.
fn left_alone(subject: &str, decision: ContestMove) -> Problem {
    if decision == ContestMove::Wait {
        let text =
            format!("{subject}: another program has undone it again; it is put back in a moment");
        return Problem::new(ProblemKind::Step, subject, text);
    }
    let text = format!(
        "{subject}: another program has undone it {ROUNDS} times; it is left so. Find that \
         program, stop it, and then `vstun reload` or a restart puts it back"
    );
    Problem::new(ProblemKind::Contested, subject, text)
}

fn refuse(role: &Role, conflicts: &[Conflict], known: &KnownParts) -> Result<()> {
    let Role::Director(desired) = role else { return Ok(()) };
    let mut new = conflicts.iter().filter(|conflict| !known.vips.contains(&conflict.address));
    for conflict in new.clone() {
        warn!(address:% = conflict.address, link = conflict.link.as_str(); "{conflict}");
    }
    match new.next() {
        Some(conflict) if !desired.force => bail!(
            "{conflict}; stop that host, or start with --force to announce the address nevertheless"
        ),
        _ => Ok(()),
    }
}
