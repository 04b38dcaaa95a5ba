//! Carrying out a plan.

use std::io;

use anyhow::{Context, Result, bail};
use log::{debug, info, warn};

use crate::host::{Announcement, Facts, HostPlan, MAIN, Object, Step, copies};
use crate::sys::sysctl;

use super::apply::{apply, copy};
use super::state::{self, State};
use super::undo::Mode;
use super::{Prepared, Role, Session, conflict};

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
    /// Makes the host as planned. The TUN must be there; it is set up here. What a killed predecessor left is taken
    /// over where the plan wants it and undone where not. Called again with another plan, it makes the difference.
    ///
    /// # Errors
    ///
    /// Another host has a virtual IP, or a step fails: what this call did is undone then, and on the first call what
    /// a predecessor left as well.
    pub async fn install(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared { role, plan: promised, at_once } = prepared;
        let facts = self.look(&role, true).await?;
        // Once more: the TUN is there now, and with it its settings.
        let plan = role.plan(&facts)?;
        let new = self.unannounced(&plan.announcements);
        let taken = |one: &&Announcement| Some(one.address) == at_once;
        let asked: Vec<_> = new.iter().filter(|one| !taken(one)).cloned().collect();
        refuse_conflicts(&role, &asked, &facts).await?;

        let before = if self.role.is_some() { self.state.steps.clone() } else { Vec::new() };
        if let Err(error) = self.carry_out(&role, &plan, &facts).await {
            self.roll_back(&before).await;
            return Err(error);
        }
        self.stop_announcing(&plan.announcements, &facts);
        self.prune(&plan).await;
        let told: Vec<_> = plan.announcements.iter().filter(taken).cloned().chain(asked).collect();
        self.announce(&told, &facts);
        self.role = Some(role);
        self.sources.clone_from(&promised.outer_sources);
        self.told = promised.outer_sources;
        // Other routes may matter now.
        (self.changed, self.known) = (true, None);
        Ok(())
    }

    /// What the host lacks of the plan.
    pub(super) async fn carry_out(
        &mut self,
        role: &Role,
        plan: &HostPlan,
        facts: &Facts,
    ) -> Result<()> {
        self.forget_lost_links(facts);
        let others = state::living(&self.files, &self.state.namespace);
        let on_tun = self.due(&plan.on_tun, facts, &others)?;
        let steps = self.due(&plan.steps, facts, &others)?;
        self.record(on_tun.iter().chain(&steps)).await?;

        self.make(&on_tun, role, facts).await?;
        let tun = facts.link(&plan.tun).with_context(|| format!("{} is gone", plan.tun))?;
        if !tun.up || tun.mtu != u32::from(plan.tun_mtu) {
            let raised = self.netlink.raise(tun.index, plan.tun_mtu.into()).await;
            raised.with_context(|| format!("cannot set interface {} up", plan.tun))?;
        }
        self.make(&steps, role, facts).await
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

    fn due(&self, steps: &[Step], facts: &Facts, others: &[State]) -> Result<Vec<Due>> {
        steps.iter().map(|step| self.due_one(step, facts, others)).collect()
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
            Some(known @ Step::Write { from, .. }) if now == *from && now != *to => {
                Due::Again(known.clone())
            }
            // Ours; or, while we run, somebody else's wish, which we respect; or, after a predecessor, a new original.
            Some(_) if now == *to || self.role.is_some() => Due::Nothing,
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

    async fn make(&mut self, due: &[Due], role: &Role, facts: &Facts) -> Result<()> {
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
                    // What hides may be there still with another source: it stays known until it has been taken away.
                    if !step.hides() {
                        self.state.forget(step);
                    }
                }
                Err(error) => return Err(error),
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

    /// Those that no recorded proxy entry stands for yet.
    fn unannounced(&self, announcements: &[Announcement]) -> Vec<Announcement> {
        let known = |one: &Announcement| {
            let (address, link) = (one.address, one.link.clone());
            self.state.steps.contains(&Step::Add(Object::Proxy { address, link }))
        };
        // A predecessor's entries say nothing about who has had the address since it died.
        let first = self.role.is_none();
        announcements.iter().filter(|one| first || !known(one)).cloned().collect()
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

    /// Nothing is said again that is not `wanted` any more: a neighbour that heard it would send here what has gone to
    /// another director. The rest of what was being said begins anew.
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

async fn refuse_conflicts(role: &Role, new: &[Announcement], facts: &Facts) -> Result<()> {
    let Role::Director(desired) = role else { return Ok(()) };
    let conflicts = conflict::probe(new, facts).await;
    for conflict in &conflicts {
        warn!("{conflict}");
    }
    match conflicts.first() {
        Some(conflict) if !desired.force => bail!(
            "{conflict}; stop that host, or start with --force to announce the address nevertheless"
        ),
        _ => Ok(()),
    }
}
