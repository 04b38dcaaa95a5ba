//! The state of all checks. [`Board::start_due`] returns the probes to send, [`Board::finish`]
//! takes their results, and [`Board::take_events`] returns the resulting changes of real servers
//! and services.

mod load;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::load::{Heard, Rotation};
use super::plan::{Plan, PlannedCheck, ServicePlan};
use super::report::{self, CheckReport, Finding, KEPT, RealReport, ServiceReport};
use super::rule::Rules;
use super::schedule::Jitter;
use super::spec::Initial;
use super::state::State;
use super::weighed::Weighed;
use crate::model::{Health, Listen, Load, Millis};

/// How long a late probe counts for [`report::Board::lag`], at least.
const LAG_WINDOW: Duration = Duration::from_secs(10);

/// The ID of a check while it is planned.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CheckId(u64);

/// A probe to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// The check.
    pub id: CheckId,
    /// What is to be sent, and where.
    pub check: PlannedCheck,
}

/// A change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The health of a real server in a service has changed.
    Health {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its health from now on.
        health: Health,
        /// The reason, as text.
        why: String,
    },
    /// A service's checks are ignored from now on, or respected again.
    Panic {
        /// The service's name.
        service: String,
        /// Whether they are ignored.
        active: bool,
        /// How many real servers the checks report down.
        down: usize,
        /// How many real servers are counted.
        all: usize,
    },
    /// A service has lost or regained its quorum.
    Quorum {
        /// The service's name.
        service: String,
        /// Whether it has it.
        reached: bool,
        /// The sum of the weights of those that are up.
        alive: u64,
    },
    /// A real server can bear more or less, or has more or fewer connections.
    Load {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its load from now on.
        load: Load,
    },
    /// The owner of a real server takes it out of rotation, or puts it back.
    Rotation {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// What it was.
        before: Rotation,
        /// What it is from now on.
        after: Rotation,
    },
}

#[derive(Clone, Debug)]
struct Check {
    planned: PlannedCheck,
    state: State,
    jitter: Jitter,
    /// When its next probe is due, unless a probe is running.
    due: Millis,
    running: bool,
    /// Whether to run again at once, since a doubt arose after the probe had started.
    again: bool,
    started: Option<Millis>,
    runs: u64,
    lag: Duration,
    /// When it last changed between up and down.
    since: Millis,
    findings: VecDeque<Finding>,
    /// What its agent has said, if it is one of an agent.
    heard: Heard,
    /// Its services and real servers, as indexes on the board.
    users: Vec<(usize, usize)>,
}

#[derive(Clone, Debug)]
struct Real {
    address: IpAddr,
    weight: u32,
    checks: Vec<CheckId>,
    /// Whether its checks pass.
    passes: bool,
    /// The health last reported to the balancer.
    health: Health,
    since: Millis,
    why: String,
    weighed: Weighed,
}

#[derive(Clone, Debug)]
struct Service {
    name: String,
    rules: Rules,
    /// Whether weights follow the load that agents report.
    load: bool,
    listens: Vec<Listen>,
    /// Whether the balancer goes by the connections that its real servers report.
    reported: bool,
    quorum: bool,
    panic: bool,
    reals: Vec<Real>,
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
    services: Vec<Service>,
    next_id: u64,
    seed: u64,
    lag: Lag,
    events: Vec<Event>,
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
    /// that the service already had starts from that server's state, any other from its `initial`.
    pub fn adopt(&mut self, now: Millis, plan: &Plan) {
        let ids = self.take_checks(now, plan);
        let old = std::mem::take(&mut self.services);
        let mut known: HashMap<(&str, IpAddr), &Real> = HashMap::new();
        for service in &old {
            known.extend(
                service.reals.iter().map(|real| ((service.name.as_str(), real.address), real)),
            );
        }
        for service in &plan.services {
            let before = old.iter().find(|one| one.name == service.name);
            let service = self.take_service(now, service, &ids, before, &known);
            self.services.push(service);
        }
        let agents = self.checks.iter().filter(|(_, check)| Self::is_of_agent(check));
        let agents: Vec<CheckId> = agents.map(|(id, _)| *id).collect();
        for id in agents {
            self.weigh(now, id);
        }
        self.unweigh();
        for index in 0..self.services.len() {
            self.judge(now, index);
        }
    }

    fn take_checks(&mut self, now: Millis, plan: &Plan) -> Vec<CheckId> {
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
            if !check.running {
                self.queue.insert((check.due, id));
            }
            self.of_real.entry(planned.real).or_default().push(id);
            self.checks.insert(id, Check { users: Vec::new(), ..check });
            ids.push(id);
        }
        ids
    }

    fn take_service(
        &mut self,
        now: Millis,
        plan: &ServicePlan,
        ids: &[CheckId],
        before: Option<&Service>,
        known: &HashMap<(&str, IpAddr), &Real>,
    ) -> Service {
        let place = self.services.len();
        let mut reals = Vec::with_capacity(plan.reals.len());
        for (index, real) in plan.reals.iter().enumerate() {
            let checks: Vec<CheckId> =
                real.checks.iter().filter_map(|place| ids.get(*place).copied()).collect();
            let old = known.get(&(plan.name.as_str(), real.address));
            for id in &checks {
                let Some(check) = self.checks.get_mut(id) else { continue };
                check.users.push((place, index));
                // A new check starts from its real server's state, if that had checks before.
                if let Some(old) = old.filter(|old| check.runs == 0 && !old.checks.is_empty()) {
                    check.begin_as(if old.passes { Initial::Up } else { Initial::Down });
                }
            }
            reals.push(Real {
                address: real.address,
                weight: real.weight,
                checks,
                passes: true,
                health: old.map_or(Health::Up, |old| old.health),
                since: old.map_or(now, |old| old.since),
                why: old.map_or_else(String::new, |old| old.why.clone()),
                weighed: old.map_or_else(Weighed::default, |old| old.weighed.clone()),
            });
        }
        let (quorum, panic) = before.map_or((true, false), |one| (one.quorum, one.panic));
        let (load, listens) = (plan.load, plan.listens.clone());
        let reported = before.is_some_and(|one| one.reported);
        let (name, rules) = (plan.name.clone(), plan.rules);
        Service { name, rules, load, listens, reported, quorum, panic, reals }
    }

    /// When the next probe is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Starts the next due probe; the caller reports its result to [`Self::finish`].
    pub fn start_due(&mut self, now: Millis) -> Option<Order> {
        let (due, id) = *self.queue.first()?;
        if due > now {
            return None;
        }
        self.queue.pop_first();
        let check = self.checks.get_mut(&id)?;
        check.lag = due.until(now);
        self.lag.note(now, check.lag);
        (check.running, check.started) = (true, Some(now));
        check.runs += 1;
        Some(Order { id, check: check.planned.clone() })
    }

    /// Takes a probe's result. A result of a check that is no longer planned is ignored.
    pub fn finish(&mut self, now: Millis, id: CheckId, finding: Finding) {
        let Some(check) = self.checks.get_mut(&id) else { return };
        let timing = &check.planned.spec.timing;
        let before = check.state.phase();
        let finding = match Self::is_of_agent(check) {
            true => {
                finding.reported.iter().for_each(|reported| check.heard.hear(now, reported));
                // One that does not answer has its last word stay in force.
                Finding { passed: check.heard.rotation() != Rotation::Down, ..finding }
            }
            false => finding,
        };
        check.state = check.state.after(finding.passed, timing);
        let phase = check.state.phase();
        check.findings.push_front(finding);
        check.findings.truncate(KEPT);
        check.running = false;
        let started = check.started.unwrap_or(now);
        let due = match std::mem::take(&mut check.again) {
            true => Jitter::hurried(now, check.started, timing),
            false => check.jitter.next(started, check.runs, phase.in_doubt(), timing),
        };
        check.due = due.max(now);
        self.queue.insert((check.due, id));
        let mut moved = Vec::new();
        if before.is_up() != phase.is_up() {
            check.since = now;
            moved.extend(check.users.iter().map(|(service, _)| *service));
        }
        moved.extend(self.weigh(now, id));
        for service in moved {
            self.judge(now, service);
        }
    }

    /// Something makes the real server doubtful: its checks run now, as far as their fast interval
    /// allows.
    pub fn hurry(&mut self, now: Millis, real: IpAddr) {
        for id in self.of_real.get(&real).into_iter().flatten() {
            let Some(check) = self.checks.get_mut(id) else { continue };
            if check.running {
                check.again = true;
                continue;
            }
            let due = Jitter::hurried(now, check.started, &check.planned.spec.timing);
            if due < check.due {
                self.queue.remove(&(check.due, *id));
                check.due = due;
                self.queue.insert((due, *id));
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
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The real servers that are down, for a balancer with no knowledge of their health.
    #[must_use]
    pub fn down(&self) -> Vec<(String, IpAddr)> {
        let down = |service: &Service| {
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
    pub fn words(&self) -> impl Iterator<Item = (&str, IpAddr, Health)> {
        self.services.iter().flat_map(|service| {
            let reals = service.reals.iter();
            reals.map(|real| (service.name.as_str(), real.address, real.health))
        })
    }

    /// Derives the health of a service's real servers from their checks.
    fn judge(&mut self, now: Millis, index: usize) {
        let Self { checks, services, events, .. } = self;
        let Some(service) = services.get_mut(index) else { return };
        for real in &mut service.reals {
            let mut all = real.checks.iter().filter_map(|id| checks.get(id));
            let failed = all.find(|check| !check.state.phase().is_up());
            real.passes = failed.is_none();
            real.why = match failed {
                Some(check) => check.failure(),
                None if real.checks.is_empty() => String::new(),
                None => "all checks pass".to_owned(),
            };
        }
        service.judge_panic(events);
        for real in &mut service.reals {
            let believed = real.passes || service.panic;
            let health = if believed { Health::Up } else { Health::Down };
            if !real.passes && service.panic {
                real.why = format!("{}, but too many are down to believe it", real.why);
            }
            if real.health != health {
                (real.health, real.since) = (health, now);
                events.push(Event::Health {
                    service: service.name.clone(),
                    address: real.address,
                    health,
                    why: real.why.clone(),
                });
            }
        }
        service.judge_quorum(events);
    }

    /// The state of all services and checks.
    #[must_use]
    pub fn report(&self, now: Millis) -> report::Board {
        let mut checks: Vec<(&CheckId, &Check)> = self.checks.iter().collect();
        checks.sort_unstable_by_key(|(id, _)| **id);
        report::Board {
            services: self.services.iter().map(|service| service.report(now)).collect(),
            checks: checks
                .into_iter()
                .map(|(_, check)| check.report(now, &self.services))
                .collect(),
            lag: self.lag.at(now),
        }
    }

    /// The largest lag of a probe in the last seconds.
    #[must_use]
    pub fn lag(&self, now: Millis) -> Duration {
        self.lag.at(now)
    }
}

impl Service {
    fn judge_panic(&mut self, events: &mut Vec<Event>) {
        // A real server of weight 0 does not count.
        let counted = || self.reals.iter().filter(|real| real.weight > 0);
        let (down, all) = (counted().filter(|real| !real.passes).count(), counted().count());
        let active = self.rules.panic.exceeded(down, all);
        if self.panic != active {
            self.panic = active;
            events.push(Event::Panic { service: self.name.clone(), active, down, all });
        }
    }

    fn judge_quorum(&mut self, events: &mut Vec<Event>) {
        let serves = |real: &&Real| real.health == Health::Up && real.weighed.serves();
        let alive = self.reals.iter().filter(serves);
        let alive = alive.map(|real| u64::from(real.weight)).sum();
        let reached = self.rules.quorum.reached(self.quorum, alive);
        if self.quorum != reached {
            self.quorum = reached;
            events.push(Event::Quorum { service: self.name.clone(), reached, alive });
        }
    }

    fn report(&self, now: Millis) -> ServiceReport {
        let real = |real: &Real| RealReport {
            address: real.address,
            health: real.health,
            since: real.since.until(now),
            why: real.why.clone(),
        };
        ServiceReport {
            name: self.name.clone(),
            quorum: self.quorum,
            panic: self.panic,
            reals: self.reals.iter().map(real).collect(),
        }
    }
}

impl Check {
    fn new(now: Millis, planned: PlannedCheck, seed: u64) -> Self {
        let jitter = Jitter(seed);
        Self {
            state: State::new(planned.spec.timing.initial),
            due: jitter.first(now, &planned.spec.timing),
            planned,
            jitter,
            running: false,
            again: false,
            started: None,
            runs: 0,
            lag: Duration::ZERO,
            since: now,
            findings: VecDeque::new(),
            heard: Heard::default(),
            users: Vec::new(),
        }
    }

    /// Until its first result a check has the state of its real server.
    fn begin_as(&mut self, initial: Initial) {
        self.state = State::new(initial);
    }

    /// The reason why its real server is down.
    fn failure(&self) -> String {
        let name = self.planned.spec.probe.name();
        match self.findings.iter().find(|finding| !finding.passed) {
            Some(finding) => format!("{name} check failed: {}", finding.detail),
            None => format!("{name} check has not passed yet"),
        }
    }

    fn report(&self, now: Millis, services: &[Service]) -> CheckReport {
        let name = |(service, _): &(usize, usize)| Some(services.get(*service)?.name.clone());
        let aged = |finding: &Finding| (finding.at.until(now), finding.clone());
        CheckReport {
            check: self.planned.clone(),
            services: self.users.iter().filter_map(name).collect(),
            phase: self.state.phase(),
            streak: self.state.streak(),
            since: self.since.until(now),
            next: (!self.running).then(|| now.until(self.due)),
            lag: self.lag,
            runs: self.runs,
            findings: self.findings.iter().map(aged).collect(),
        }
    }
}
