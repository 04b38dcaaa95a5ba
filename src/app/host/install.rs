//! Carrying out a plan.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use log::{debug, info, warn};
use tokio::time::Instant;

use crate::host::contest::{Contest, Decision, ROUNDS, Seen};
use crate::host::{
    Announcement, Facts, HostPlan, Link, MAIN, Object, Problem, ProblemKind, Proxy, Step, copies,
};
use crate::sys::sysctl;

use super::apply::{apply, copy};
use super::conflict::{self, Conflict};
use super::follow::Looked;
use super::state::{self, State};
use super::undo::Mode;
use super::{Prepared, Role, Session};

/// Where another host has a virtual IP, it is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What to do about one step.
enum Due {
    /// It holds already.
    Nothing,
    /// Make it; it is in the state file.
    Again(Step),
    /// Write it down, then make it.
    New(Step),
    /// Write it down: another daemon has made it.
    Claim(Step),
}

impl Session {
    /// Makes the host as planned. The TUN must be there; it is set up here. What a killed
    /// predecessor left is taken over where the plan wants it and undone where not. Called again
    /// with another plan, it makes the difference, as far as it can be made: what cannot is
    /// reported.
    ///
    /// # Errors
    ///
    /// On the first call another host has a virtual IP, or a step fails: what this call did is
    /// undone then, and what a predecessor left as well. Later, the state file cannot be written.
    pub async fn install(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared { role: wanted, plan: promised, at_once } = prepared;
        let first = self.role.is_none();
        let facts = self.look(&wanted, true).await?;
        self.follow_names(&wanted, &facts).await?;
        let role = self.current(&wanted, &facts);
        // Once more: the TUN is there now, and with it its settings.
        let mut plan = role.plan_items(&facts)?;
        if first {
            plan = plan.whole()?;
        }
        // Whoever changes something wants it to be as planned.
        self.contests.clear();
        let questions = self.unasked(&plan, &facts, at_once);
        let conflicts = self.ask(&role, &questions, &facts).await;
        if first {
            refuse(&role, &conflicts)?;
        }
        self.rivals.retain(|one, _| Some(one.address) != at_once);
        let mut looked =
            Looked { problems: std::mem::take(&mut plan.problems), ..Looked::default() };
        let plan = plan.without(&self.held_back());

        let before = if first { Vec::new() } else { self.state.steps.clone() };
        match self.carry_out(&role, &plan, &facts).await {
            Ok(failed) => looked.failed(failed),
            Err(error) => {
                self.roll_back(&before).await;
                return Err(error);
            }
        }
        self.stop_announcing(&plan.announcements, &facts);
        self.prune(&plan).await;
        self.role = Some(wanted);
        let taken = plan.announcements.iter().filter(|one| Some(one.address) == at_once);
        let told: Vec<_> = taken.chain(&questions).cloned().collect();
        self.announce_new(&plan, &told, &facts);
        self.sources.clone_from(&promised.outer_sources);
        self.told = promised.outer_sources;
        self.conclude(&plan, &facts, looked).await;
        self.remember_links(&facts);
        // Other routes may matter now.
        (self.changed, self.known) = (true, None);
        Ok(())
    }

    /// What the host lacks of the plan. On the first call a failed step is an error; later, what
    /// fails is given back and the rest is made.
    pub(super) async fn carry_out(
        &mut self,
        role: &Role,
        plan: &HostPlan,
        facts: &Facts,
    ) -> Result<Vec<Problem>> {
        self.forget_lost_links(facts);
        let mut failures = Failures { strict: self.role.is_none(), problems: Vec::new() };
        let others = state::living(&self.files, &self.state.namespace);
        let on_tun = self.due(&plan.on_tun, facts, &others, &mut failures)?;
        let steps = self.due(&plan.steps, facts, &others, &mut failures)?;
        self.record(on_tun.iter().chain(&steps)).await?;

        self.make(&on_tun, role, facts, &mut failures).await?;
        let tun = facts.link(&plan.tun).with_context(|| format!("{} is gone", plan.tun))?;
        if !tun.up || tun.mtu != u32::from(plan.tun_mtu) {
            let raised = self.netlink.raise(tun.index, plan.tun_mtu.into()).await;
            let raised = raised.with_context(|| format!("cannot set interface {} up", plan.tun));
            failures.note(&format!("interface {} up", plan.tun), raised)?;
        }
        self.make(&steps, role, facts, &mut failures).await?;
        Ok(failures.problems)
    }

    /// What is seen of the steps that were made before. The plan without those that are left to
    /// whoever undoes them, what is wrong with them, and what is about to be put back.
    pub(super) fn contest(&mut self, mut plan: HostPlan, facts: &Facts) -> (HostPlan, Looked) {
        let now = Instant::now().into_std();
        let mut looked = Looked::default();
        let mut left = Vec::new();
        let tun_down = facts.link(&plan.tun).is_some_and(|tun| !tun.up);
        for step in plan.on_tun.iter().chain(&plan.steps) {
            if !self.state.steps.iter().any(|known| known.same_end(step)) {
                continue;
            }
            let seen = match facts.holds(step) {
                true => Seen::InForce,
                false if self.lost_with_link(step, &plan.tun, tun_down, facts) => {
                    Seen::LostWithLink
                }
                false => Seen::Missing,
            };
            let subject = step.subject();
            match self.decide(&subject, seen, now) {
                Decision::Nothing | Decision::MakeAgain => {}
                Decision::PutBack => looked.put_back.push(subject),
                decision => {
                    left.push(step.clone());
                    looked.problems.push(left_alone(&subject, decision));
                }
            }
        }
        let subject = format!("interface {} up", plan.tun);
        let seen = if tun_down { Seen::Missing } else { Seen::InForce };
        if self.decide(&subject, seen, now) == Decision::PutBack {
            looked.put_back.push(subject);
        }
        plan.on_tun.retain(|step| !left.contains(step));
        plan.steps.retain(|step| !left.contains(step));
        plan.announcements.retain(|one| !left.contains(&proxy(one)));
        (plan, looked)
    }

    /// The subjects of what is in force and was never contested take no room.
    fn decide(&mut self, subject: &str, seen: Seen, now: std::time::Instant) -> Decision {
        let known = self.contests.get(subject).copied().unwrap_or_default();
        let (next, decision) = known.next(seen, now);
        if next == Contest::default() {
            self.contests.remove(subject);
        } else if next != known {
            self.contests.insert(subject.to_owned(), next);
        }
        decision
    }

    /// Whether the kernel has taken it away with its interface's carrier or address. Settings
    /// survive that.
    fn lost_with_link(&self, step: &Step, tun: &str, tun_down: bool, facts: &Facts) -> bool {
        let Step::Add(_) = step else { return false };
        let Some(name) = step.link() else { return false };
        let bounced = facts.link(name).is_some_and(|link| self.bounced.contains(&link.index));
        bounced || (name == tun && tun_down)
    }

    /// Interfaces that are gone, or others under the same name, have none of what was made on them.
    fn forget_lost_links(&mut self, facts: &Facts) {
        let known = std::mem::take(&mut self.indices);
        let lost = |name: &str| {
            let now = facts.link(name).map(|link| link.index);
            known.get(name).is_some_and(|index| Some(*index) != now)
        };
        self.state.steps.retain(|step| !step.link().is_some_and(lost));
        self.indices = facts.links.iter().map(|link| (link.name.clone(), link.index)).collect();
    }

    fn due(
        &self,
        steps: &[Step],
        facts: &Facts,
        others: &[State],
        failures: &mut Failures,
    ) -> Result<Vec<Due>> {
        let mut all = Vec::with_capacity(steps.len());
        for step in steps {
            let due = self.due_one(step, facts, others);
            all.extend(failures.note(&step.subject(), due)?);
        }
        Ok(all)
    }

    fn due_one(&self, step: &Step, facts: &Facts, others: &[State]) -> Result<Due> {
        let recorded = self.state.steps.iter().find(|known| known.same_end(step));
        let Step::Write { sysctl, to, beside, .. } = step else {
            return Ok(match recorded {
                Some(_) if facts.lacks(step) => Due::Again(step.clone()),
                Some(_) => Due::Nothing,
                None => Due::New(step.clone()),
            });
        };
        let now = match sysctl::read(sysctl) {
            Ok(now) => now,
            // The interface has gone since the host was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Due::Nothing),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read sysctl {sysctl}"));
            }
        };
        let claimed = others.iter().find_map(|other| other.holder(sysctl, to));
        Ok(match recorded {
            Some(_) if now == *to => Due::Nothing,
            // While we run it is put back. After a predecessor, what somebody else has set is a new
            // original.
            Some(known @ Step::Write { from, .. }) if self.role.is_some() || now == *from => {
                Due::Again(known.clone())
            }
            _ if now != *to => Due::New(Step::Write {
                sysctl: sysctl.clone(),
                from: now,
                to: to.clone(),
                beside: beside.clone(),
            }),
            _ => claimed.map_or(Due::Nothing, |original| Due::Claim(original.clone())),
        })
    }

    async fn record<'a>(&mut self, due: impl Iterator<Item = &'a Due>) -> Result<()> {
        let mut changed = false;
        for due in due {
            let (Due::New(step) | Due::Claim(step)) = due else { continue };
            self.state.add(step);
            changed = true;
        }
        if changed { self.save().await } else { Ok(()) }
    }

    async fn make(
        &mut self,
        due: &[Due],
        role: &Role,
        facts: &Facts,
        failures: &mut Failures,
    ) -> Result<()> {
        for due in due {
            let (Due::New(step) | Due::Again(step)) = due else { continue };
            // A route whose source has changed is still there under the same key.
            let replace = match step {
                Step::Add(Object::Route { address, table, .. }) => {
                    facts.routes_to(*address, *table).next().is_some()
                }
                // Only ours: a plan wants none where somebody else has one.
                Step::Add(Object::Neighbour { address, .. }) => {
                    facts.routes_to(*address, MAIN).next().is_some()
                }
                _ => false,
            };
            match apply(step, replace, &self.netlink).await {
                Ok(()) => debug!("host: {step}"),
                Err(error) if step.optional() => {
                    // Tried again with every change of the host, said once.
                    self.warn(&[format!("{error:#}")]);
                    // What hides may be there still with another source: it stays known until it
                    // has been taken away.
                    if !step.hides() {
                        self.state.forget(step);
                    }
                }
                Err(error) => {
                    let subject = step.subject();
                    self.contests.remove(&subject);
                    failures.note::<()>(&subject, Err(error))?;
                    // It is tried with each look, as if for the first time.
                    if let Due::New(_) = due {
                        self.state.forget(step);
                    }
                    continue;
                }
            }
            if let Step::Add(Object::Copies { .. }) = step {
                self.copy_routes(role, facts).await?;
            }
        }
        Ok(())
    }

    /// Brings the table of copies in step with the tables it is copied from.
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

    /// Undoes what is recorded and not in the plan.
    async fn prune(&mut self, plan: &HostPlan) {
        let wanted =
            |step: &Step| plan.on_tun.iter().chain(&plan.steps).any(|other| other.same_end(step));
        let unwanted = self.state.steps.iter().filter(|step| !wanted(step)).cloned().collect();
        self.undo_steps(unwanted, Mode::Prune).await;
    }

    /// Takes away what hides a route of somebody else's and is not to.
    pub(super) async fn uncover(&mut self, hiding: &[Step]) {
        let wanted = |step: &Step| hiding.iter().any(|other| other.same_end(step));
        let hiding = self.state.steps.iter().filter(|step| step.hides() && !wanted(step));
        let hiding: Vec<_> = hiding.cloned().collect();
        if !hiding.is_empty() {
            self.undo_steps(hiding, Mode::Prune).await;
        }
    }

    async fn roll_back(&mut self, keep: &[Step]) {
        let new = self.state.steps.iter().filter(|step| !keep.contains(step)).cloned().collect();
        self.undo_steps(new, Mode::RollBack).await;
    }

    /// What is to be announced, and it is not known whether another host has it: what was not
    /// announced before, what the neighbours may have heard of otherwise while a link was down,
    /// and, now and then, what another host had.
    pub(super) fn unasked(
        &self,
        plan: &HostPlan,
        facts: &Facts,
        at_once: Option<IpAddr>,
    ) -> Vec<Announcement> {
        let (now, first) = (Instant::now(), self.role.is_none());
        let due = |one: &&Announcement| match self.rivals.get(*one) {
            Some((_, asked)) => now.saturating_duration_since(*asked) >= ASK_AGAIN,
            None => first || !self.announced.contains(*one) || self.lost(one, facts),
        };
        let wanted = plan.announcements.iter().filter(|one| Some(one.address) != at_once);
        wanted.filter(due).cloned().collect()
    }

    /// Whether nobody here has answered for it for a moment.
    fn lost(&self, one: &Announcement, facts: &Facts) -> bool {
        let Some(link) = facts.link(&one.link) else { return true };
        let answers = |there: &Proxy| there.link == link.index && there.address == one.address;
        self.bounced.contains(&link.index) || !facts.proxies.iter().any(answers)
    }

    /// What other hosts have, and so is not announced.
    pub(super) fn held_back(&self) -> Vec<Announcement> {
        self.rivals.keys().cloned().collect()
    }

    /// Announces what was asked about and is free.
    pub(super) fn announce_new(&mut self, plan: &HostPlan, asked: &[Announcement], facts: &Facts) {
        let wanted: BTreeSet<&Announcement> = plan.announcements.iter().collect();
        self.rivals.retain(|one, _| facts.link(&one.link).is_some_and(|link| link.up));
        self.announced.retain(|one| wanted.contains(one));
        self.defences.retain(|one, _| wanted.contains(one));
        let told: BTreeSet<_> = asked.iter().filter(|one| wanted.contains(one)).cloned().collect();
        self.announced.extend(told.iter().cloned());
        self.announce(&told.into_iter().collect::<Vec<_>>(), facts);
    }

    /// Announces anew what is reached by another hardware address now, or by another port of a
    /// switch.
    pub(super) fn announce_anew(&mut self, plan: &HostPlan, facts: &Facts) {
        let moved = |link: &Link| {
            let before = self.last.link_at(link.index).and_then(|before| before.mac);
            before.is_some_and(|mac| link.mac != Some(mac))
                || self.readdressed.contains(&link.index)
        };
        let moved = |one: &&Announcement| {
            self.announced.contains(*one) && facts.link(&one.link).is_some_and(moved)
        };
        let told: Vec<_> = plan.announcements.iter().filter(moved).cloned().collect();
        self.announce(&told, facts);
    }

    pub(super) fn announce(&mut self, announcements: &[Announcement], facts: &Facts) {
        if announcements.is_empty() {
            return;
        }
        for Announcement { link, address } in announcements {
            info!("announcing {address} on {link}");
        }
        self.start_announcing(announcements.to_vec(), facts);
    }

    fn start_announcing(&mut self, announcements: Vec<Announcement>, facts: &Facts) {
        self.announcing.retain(|(_, saying)| !saying.is_finished());
        let saying = conflict::announce(&announcements, facts);
        self.announcing.push((announcements, saying));
    }

    /// Nothing is said again that is not `wanted` any more: a neighbour that heard it would send
    /// here what has gone to another director. The rest of what was being said begins anew.
    fn stop_announcing(&mut self, wanted: &[Announcement], facts: &Facts) {
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

/// Failed steps: an error on the first call, else problems.
struct Failures {
    strict: bool,
    problems: Vec<Problem>,
}

impl Failures {
    fn note<T>(&mut self, subject: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.strict => Err(error),
            Err(error) => {
                self.problems.push(Problem::new(ProblemKind::Step, subject, format!("{error:#}")));
                Ok(None)
            }
        }
    }
}

/// A step that is not made although the host lacks it.
fn left_alone(subject: &str, decision: Decision) -> Problem {
    if decision == Decision::Wait {
        let text = format!("{subject}: somebody has undone it again; it is put back in a moment");
        return Problem::new(ProblemKind::Step, subject, text);
    }
    let text = format!(
        "{subject}: somebody has undone it {ROUNDS} times; it is left so. Find out who does, end that, and then `vstun reload` or a restart puts it back"
    );
    Problem::new(ProblemKind::Contested, subject, text)
}

fn proxy(one: &Announcement) -> Step {
    Step::Add(Object::Proxy { address: one.address, link: one.link.clone() })
}

fn refuse(role: &Role, conflicts: &[Conflict]) -> Result<()> {
    let Role::Director(desired) = role else { return Ok(()) };
    for conflict in conflicts {
        warn!("{conflict}");
    }
    match conflicts.first() {
        Some(conflict) if !desired.force => bail!(
            "{conflict}; stop that host, or start with --force to announce the address nevertheless"
        ),
        _ => Ok(()),
    }
}
