//! The state of all checks. [`Board::start_due`] returns the probes to send, [`Board::finish`]
//! takes their results, and [`Board::take_events`] returns the resulting changes of real servers
//! and services.

mod check;
mod load;
mod service;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::event::HealthEvent;
use super::plan::{Plan, PlannedCheck, ServicePlan};
use super::report::{self, KEPT, ProbeResult};
use super::schedule::Doubt;
use super::spec::Initial;
use super::weighed::Weighed;
use crate::model::{AdminState, Health, Millis};
use check::Check;
use service::{CheckedReal, CheckedService};

pub use check::CheckId;

/// How long a late probe counts for [`Board::lag`] at least.
const LAG_WINDOW: Duration = Duration::from_secs(10);

/// A probe to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DueProbe {
    /// The check.
    pub id: CheckId,
    /// The check that is to be made.
    pub check: PlannedCheck,
    /// How late it starts.
    pub lag: Duration,
}

/// The largest lag of the current and of the previous window.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    began: Millis,
    worst: Duration,
    before: Duration,
}

impl Lag {
    fn turn(&mut self, now: Millis) {
        let age = self.began.until(now);
        if age >= LAG_WINDOW {
            self.before = if age < LAG_WINDOW * 2 { self.worst } else { Duration::ZERO };
            (self.began, self.worst) = (now, Duration::ZERO);
        }
    }

    fn note(&mut self, now: Millis, lag: Duration) {
        self.turn(now);
        self.worst = self.worst.max(lag);
    }

    fn at(mut self, now: Millis) -> Duration {
        self.turn(now);
        self.worst.max(self.before)
    }
}

/// The state of all checks.
#[derive(Clone, Debug)]
pub struct Board {
    checks: HashMap<CheckId, Check>,
    /// The checks whose next probe is scheduled.
    queue: BTreeSet<(Millis, CheckId)>,
    of_real: HashMap<IpAddr, Vec<CheckId>>,
    services: Vec<CheckedService>,
    next_id: u64,
    seed: u64,
    lag: Lag,
    events: Vec<HealthEvent>,
}

impl Board {
    /// A board without checks. `seed` is for jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            checks: HashMap::new(),
            queue: BTreeSet::new(),
            of_real: HashMap::new(),
            services: Vec::new(),
            next_id: 0,
            seed,
            lag: Lag::default(),
            events: Vec::new(),
        }
    }

    /// Adopts another plan. A check in both plans keeps its state. A new check of a real server
    /// that the service already had, perhaps under another name, starts from that server's state,
    /// and from what its agent or program has reported, any other from its `initial`.
    pub fn adopt(&mut self, now: Millis, plan: &Plan) {
        let last = CheckId(self.next_id);
        let (ids, gone) = self.take_checks(now, plan);
        let is_new = |id: &CheckId| *id > last;
        let old = std::mem::take(&mut self.services);
        let mut known: HashMap<(&str, IpAddr), &CheckedReal> = HashMap::new();
        for service in &old {
            known.extend(
                service.reals.iter().map(|real| ((service.name.as_str(), real.address), real)),
            );
        }
        for service in &plan.services {
            let before = old.iter().find(|one| service.before.as_ref() == Some(&one.name));
            self.take_reports(service, &ids, &gone, &known);
            let service = self.take_service(now, service, &ids, is_new, before, &known);
            self.services.push(service);
        }
        let reporting = self.checks.iter().filter(|(_, check)| check.reporter().is_some());
        let reporting: Vec<CheckId> = reporting.map(|(id, _)| *id).collect();
        for id in reporting {
            self.weigh(now, id);
        }
        self.unweigh();
        for index in 0..self.services.len() {
            self.judge(now, index);
        }
    }

    /// The IDs of the plan's checks, and the checks that it does not have.
    fn take_checks(&mut self, now: Millis, plan: &Plan) -> (Vec<CheckId>, HashMap<CheckId, Check>) {
        let mut kept: HashMap<PlannedCheck, CheckId> = HashMap::new();
        kept.extend(self.checks.iter().map(|(id, check)| (check.planned.clone(), *id)));
        let mut before = std::mem::take(&mut self.checks);
        self.queue.clear();
        self.of_real.clear();
        let mut ids = Vec::with_capacity(plan.checks.len());
        for planned in &plan.checks {
            let old = kept.get(planned).and_then(|id| Some((*id, before.remove(id)?)));
            let (id, check) = old.unwrap_or_else(|| {
                self.next_id += 1;
                (CheckId(self.next_id), Check::new(now, planned.clone(), self.seed ^ self.next_id))
            });
            if check.queued {
                self.queue.insert((check.due, id));
            }
            self.of_real.entry(planned.real).or_default().push(id);
            self.checks.insert(id, Check { users: Vec::new(), inherited: false, ..check });
            ids.push(id);
        }
        (ids, before)
    }

    /// Gives new checks the last reports of the agents and programs that the service's real servers
    /// had before: a foreign agent says `drain` once.
    fn take_reports(
        &mut self,
        plan: &ServicePlan,
        ids: &[CheckId],
        gone: &HashMap<CheckId, Check>,
        known: &HashMap<(&str, IpAddr), &CheckedReal>,
    ) {
        let Some(name) = plan.before.as_deref() else { return };
        for real in &plan.reals {
            let Some(old) = known.get(&(name, real.address)) else { continue };
            for id in real.checks.iter().filter_map(|check| ids.get(*check)) {
                let Some(new) = self.checks.get(id).filter(|check| check.runs == 0) else {
                    continue;
                };
                let Some(reporter) = new.reporter() else { continue };
                let before = |old: &CheckId| gone.get(old).or_else(|| self.checks.get(old));
                let mut before = old.checks.iter().filter_map(before);
                let Some(before) = before.find(|one| one.reporter() == Some(reporter)) else {
                    continue;
                };
                let last = before.last_report.before_first_probe();
                if let Some(new) = self.checks.get_mut(id) {
                    new.last_report = last;
                }
            }
        }
    }

    fn take_service(
        &mut self,
        now: Millis,
        plan: &ServicePlan,
        ids: &[CheckId],
        is_new: impl Fn(&CheckId) -> bool,
        before: Option<&CheckedService>,
        known: &HashMap<(&str, IpAddr), &CheckedReal>,
    ) -> CheckedService {
        let service = self.services.len();
        let mut reals = Vec::with_capacity(plan.reals.len());
        for (index, real) in plan.reals.iter().enumerate() {
            let checks: Vec<CheckId> =
                real.checks.iter().filter_map(|check| ids.get(*check).copied()).collect();
            let name = plan.before.as_deref();
            let old = name.and_then(|name| known.get(&(name, real.address)));
            for id in &checks {
                let Some(check) = self.checks.get_mut(id) else { continue };
                check.users.push((service, index));
                // A new check starts from its real server's state, if that had checks before: up if
                // any of its services has it up, since no result has taken it down there.
                if let Some(old) = old.filter(|old| is_new(id) && !old.checks.is_empty()) {
                    let up = old.passes || check.inherited && check.state.phase().is_up();
                    let waits = old.waits && (check.waits || !check.inherited);
                    check.begin_as(if up { Initial::Up } else { Initial::Down }, waits);
                }
            }
            reals.push(CheckedReal {
                address: real.address,
                weight: real.weight,
                out: real.out,
                checks,
                passes: true,
                waits: false,
                health: old.map_or(Health::Up, |old| old.health),
                since: old.map_or(now, |old| old.since),
                weighed: old.map_or_else(Weighed::default, |old| old.weighed.clone()),
            });
        }
        let (quorum, panic) = before.map_or((true, false), |one| (one.quorum, one.panic));
        let (load, listens) = (plan.load, plan.listens.clone());
        let (name, rules) = (plan.name.clone(), plan.rules);
        CheckedService { name, rules, load, listens, quorum, panic, reals }
    }

    /// When the next probe is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Starts the next due probe; the caller reports its result to [`Self::finish`].
    pub fn start_due(&mut self, now: Millis) -> Option<DueProbe> {
        let (due, id) = *self.queue.first()?;
        if due > now {
            return None;
        }
        self.queue.pop_first();
        let check = self.checks.get_mut(&id)?;
        check.start(now);
        let lag = check.lag;
        self.lag.note(now, lag);
        if check.queued {
            self.queue.insert((check.due, id));
        }
        Some(DueProbe { id, check: check.planned.clone(), lag })
    }

    /// Takes a probe's result. A result of a check that is no longer planned is ignored.
    pub fn finish(&mut self, now: Millis, id: CheckId, finding: ProbeResult) {
        let Some(check) = self.checks.get_mut(&id) else { return };
        let (before, waited) = (check.state.phase(), check.waits);
        check.last_report.take(now, finding.reported.as_ref());
        let finding = match check.is_of_agent() {
            // The last report of an agent that does not answer stays in force.
            true => ProbeResult { passed: check.is_believed_up(), ..finding },
            false => finding,
        };
        check.take(finding.passed);
        let phase = check.state.phase();
        let next = check.end(now, &finding);
        check.findings.push_front(finding);
        check.findings.truncate(KEPT);
        if let Some(due) = next {
            check.queue_at(&mut self.queue, id, due);
        }
        let mut moved = Vec::new();
        if before.is_up() != phase.is_up() {
            check.since = now;
        }
        if before.is_up() != phase.is_up() || waited != check.waits {
            moved.extend(check.users.iter().map(|(service, _)| *service));
        }
        moved.extend(self.weigh(now, id));
        for service in moved {
            self.judge(now, service);
        }
    }

    /// Records that the operator has taken a service's real server out of service, or put it back.
    /// That counts for the quorum and not for its health.
    pub fn set_admin_state(
        &mut self,
        now: Millis,
        service: &str,
        address: IpAddr,
        wanted: AdminState,
    ) {
        let Some(index) = self.services.iter().position(|one| one.name == service) else { return };
        let Some(service) = self.services.get_mut(index) else { return };
        for real in service.reals.iter_mut().filter(|real| real.address == address) {
            real.out = wanted != AdminState::Up;
        }
        service.tell_loads(&mut self.events);
        self.judge(now, index);
    }

    /// Brings the real server's checks forward because of a doubt, as far as the shortest time
    /// between extra probes allows.
    pub fn hurry(&mut self, now: Millis, real: IpAddr, doubt: Doubt) {
        for id in self.of_real.get(&real).into_iter().flatten() {
            let Some(check) = self.checks.get_mut(id) else { continue };
            let Some(due) = check.hurry(now, doubt) else { continue };
            if check.running > 0 && !doubt.begins_row() {
                check.again = Some(due);
            } else {
                check.queue_at(&mut self.queue, *id, due);
            }
        }
    }

    /// The checks of the real server with that address, to be run now, whatever their intervals.
    #[must_use]
    pub fn checks_of(&self, real: IpAddr) -> Vec<(CheckId, PlannedCheck)> {
        let ids = self.of_real.get(&real).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.checks.get(id)?.planned.clone()))).collect()
    }

    /// Whether the check is still planned.
    #[must_use]
    pub fn has(&self, id: CheckId) -> bool {
        self.checks.contains_key(&id)
    }

    /// Takes the changes since the last call.
    pub fn take_events(&mut self) -> Vec<HealthEvent> {
        std::mem::take(&mut self.events)
    }

    /// The real servers that are down, for a balancer with no knowledge of their health.
    #[must_use]
    pub fn down(&self) -> Vec<(String, IpAddr)> {
        let down = |service: &CheckedService| {
            let reals = service.reals.iter().filter(|real| real.health == Health::Down);
            reals.map(|real| (service.name.clone(), real.address)).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(down).collect()
    }

    /// The services without their quorum.
    #[must_use]
    pub fn without_quorum(&self) -> Vec<String> {
        let lost = self.services.iter().filter(|service| !service.quorum);
        lost.map(|service| service.name.clone()).collect()
    }

    /// The health last reported to the balancer, for every real server.
    pub fn reported_health(&self) -> impl Iterator<Item = (&str, IpAddr, Health)> {
        self.services.iter().flat_map(|service| {
            let reals = service.reals.iter();
            reals.map(|real| (service.name.as_str(), real.address, real.health))
        })
    }

    /// Derives the health of a service's real servers from their checks.
    fn judge(&mut self, now: Millis, index: usize) {
        let Self { checks, services, events, .. } = self;
        let Some(service) = services.get_mut(index) else { return };
        service.judge(now, checks, events);
    }

    /// The state of all services and checks.
    #[must_use]
    pub fn report(&self, now: Millis) -> report::HealthReport {
        let mut checks: Vec<(&CheckId, &Check)> = self.checks.iter().collect();
        checks.sort_unstable_by_key(|(id, _)| **id);
        let name = |service: usize| Some(self.services.get(service)?.name.clone());
        report::HealthReport {
            services: self
                .services
                .iter()
                .map(|service| service.report(now, &self.checks))
                .collect(),
            checks: checks.into_iter().map(|(_, check)| check.report(now, name)).collect(),
            lag: self.lag.at(now),
        }
    }

    /// The largest lag of a probe in the last seconds.
    #[must_use]
    pub fn lag(&self, now: Millis) -> Duration {
        self.lag.at(now)
    }
}
