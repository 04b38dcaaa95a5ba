//! The thread's loop.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::late::LateProbes;
use super::pins::Pins;
use super::prober::Prober;
use super::socket::KeptProbe;
use super::{CheckRun, HealthMessage, TakesChanges};
use crate::app::budgets::director::CHANGES_A_PIECE;
use crate::app::due;
use crate::balancer::Change;
use crate::health::{
    Board, CheckId, Doubt, DueProbe, HealthEvent, Patterns, Plan, PlannedCheck, ProbeResult,
};
use crate::model::Millis;
use crate::sys::limits;

/// The most probes running at the same time: each has a socket. Between their probes as many checks
/// keep one, at most.
const IN_FLIGHT: usize = 4_096;

/// The most probes outside of all checks that run at the same time.
const APART: usize = 256;

/// How many of the process's open files are left for others.
const OTHER_FILES: u64 = 256;

/// No check has a shorter timeout.
const SOON: Duration = Duration::from_millis(10);

/// Starts of probes before messages and results are handled.
const STARTS_A_TURN: usize = 64;

/// Results of probes that are processed before the resulting changes are sent to the balancer.
const RESULTS_A_TURN: usize = 64;

/// A finished probe.
struct FinishedProbe {
    id: CheckId,
    finding: ProbeResult,
    /// What the check keeps.
    kept: Option<KeptProbe>,
}

/// The thread's state.
pub(super) struct Runner<B> {
    board: Board,
    prober: Arc<Prober<B>>,
    /// The flows of checks without a running probe, and how many of them have a socket.
    flows: HashMap<CheckId, KeptProbe>,
    sockets: usize,
    inbox: mpsc::UnboundedReceiver<HealthMessage>,
    events: mpsc::UnboundedSender<HealthEvent>,
    probes: JoinSet<FinishedProbe>,
    most: usize,
    late: LateProbes,
}

impl<B: TakesChanges> Runner<B> {
    pub(super) fn new(
        balancer: B,
        inbox: mpsc::UnboundedReceiver<HealthMessage>,
        events: mpsc::UnboundedSender<HealthEvent>,
        seed: u64,
    ) -> Self {
        let files = limits::raise_open_files().unwrap_or(1_024);
        let most = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(IN_FLIGHT);
        Self {
            board: Board::new(seed),
            prober: Arc::new(Prober {
                pins: Arc::new(Pins::new(balancer)),
                patterns: Patterns::default(),
                started: Instant::now(),
            }),
            flows: HashMap::new(),
            sockets: 0,
            inbox,
            events,
            probes: JoinSet::new(),
            most: most.clamp(16, IN_FLIGHT),
            late: LateProbes::default(),
        }
    }

    fn now(&self) -> Millis {
        self.prober.now()
    }

    /// Runs until the last handle is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let more = self.start();
            self.send_events().await;
            let due = self.board.next_due().filter(|_| self.has_room());
            let due = due.map(|due| self.prober.started + Duration::from_millis(due.0));
            let wait = async {
                match more {
                    true => tokio::task::yield_now().await,
                    false => due::reached(due.map(Into::into)).await,
                }
            };
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.answer(message).await,
                    None => return,
                },
                Some(done) = self.probes.join_next() => self.finish_all(done),
                () = wait => look_ahead().await,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.probes.len() < self.most
    }

    /// Starts due probes; returns whether more may be started.
    fn start(&mut self) -> bool {
        let (now, instant) = (self.now(), Instant::now());
        for _ in 0..STARTS_A_TURN {
            if !self.has_room() {
                return false;
            }
            let Some(DueProbe { id, check, lag }) = self.board.start_due(now) else { return false };
            if let Some((count, warning)) = self.late.note(instant, lag) {
                log::warn!(count; "{warning}");
            }
            let kept = self.flows.remove(&id);
            self.sockets -= kept.as_ref().map_or(0, sockets);
            let prober = Arc::clone(&self.prober);
            self.probes.spawn(async move {
                let (finding, kept) = prober.once(&check, kept).await;
                FinishedProbe { id, finding, kept }
            });
        }
        true
    }

    /// Processes the results of all finished probes, so that the balancer gets the resulting
    /// changes in one message.
    fn finish_all(&mut self, first: Result<FinishedProbe, tokio::task::JoinError>) {
        self.finish(first);
        for _ in 1..RESULTS_A_TURN {
            let Some(done) = self.probes.try_join_next() else { return };
            self.finish(done);
        }
    }

    fn finish(&mut self, done: Result<FinishedProbe, tokio::task::JoinError>) {
        // No probe is cancelled here, and one that panics ends the process (`app::panics`).
        let Ok(FinishedProbe { id, finding, kept }) = done else { return };
        let now = self.now();
        match kept {
            // A probe that ran at the same time may have stored its flow already.
            Some(mut kept) if self.board.has(id) && !self.flows.contains_key(&id) => {
                if self.sockets >= self.most {
                    kept.socket = None;
                }
                self.sockets += sockets(&kept);
                self.flows.insert(id, kept);
            }
            Some(kept) => self.prober.pins.release_later(vec![kept.flow]),
            None => {}
        }
        self.board.finish(now, id, finding);
    }

    async fn answer(&mut self, message: HealthMessage) {
        let now = self.now();
        match message {
            HealthMessage::Adopt(plan) => self.adopt(now, &plan),
            HealthMessage::Preview(plan, answer) => {
                let mut board = self.board.clone();
                board.adopt(now, &plan);
                drop(answer.send(board.down()));
            }
            HealthMessage::Repeat => {
                let changes = self.board.reported_health().map(|(service, address, health)| {
                    Change::SetHealth { service: service.to_owned(), address, health }
                });
                let loads = self.board.loads();
                let loads = loads.filter_map(|event| set_load(&event));
                self.change(changes.chain(loads).collect()).await;
            }
            HealthMessage::Want(states) => {
                for (service, address, wanted) in states {
                    self.board.set_admin_state(now, &service, address, wanted);
                }
            }
            HealthMessage::Hurry(real, doubt) => self.board.hurry(now, real, doubt),
            HealthMessage::Refuse { flow, real, refusal } => {
                if !self.prober.pins.refuse(flow, refusal) {
                    self.board.hurry(now, real, Doubt::Quoted);
                }
            }
            HealthMessage::WithoutQuorum(answer) => drop(answer.send(self.board.without_quorum())),
            HealthMessage::Steps(answer) => drop(answer.send(self.board.steps())),
            HealthMessage::Report(answer) => drop(answer.send(self.board.report(now))),
            HealthMessage::Check(real, answer) => {
                let checks = self.board.checks_of(real);
                self.probe(checks.into_iter().map(|(_, check)| check).collect(), answer);
            }
            HealthMessage::Probe(checks, answer) => self.probe(checks, answer),
        }
    }

    /// Adopts another plan. Sockets and flows of checks that are no longer planned are released.
    fn adopt(&mut self, now: Millis, plan: &Plan) {
        self.board.adopt(now, plan);
        let patterns = self.prober.patterns.clone().with(plan);
        self.prober = Arc::new(self.prober.with(patterns));
        let gone: Vec<CheckId> =
            self.flows.keys().copied().filter(|id| !self.board.has(*id)).collect();
        let gone: Vec<KeptProbe> = gone.iter().filter_map(|id| self.flows.remove(id)).collect();
        self.sockets -= gone.iter().map(sockets).sum::<usize>();
        self.prober.pins.release_later(gone.iter().map(|kept| kept.flow).collect());
    }

    /// Sends the changes to the balancer, then the events to the main task.
    async fn send_events(&mut self) {
        let events = self.board.take_events();
        if events.is_empty() {
            return;
        }
        let change = |event: &HealthEvent| match event {
            HealthEvent::Health { service, address, health, .. } => Some(Change::SetHealth {
                service: service.clone(),
                address: *address,
                health: *health,
            }),
            HealthEvent::Load { .. } => set_load(event),
            HealthEvent::Panic { .. }
            | HealthEvent::Quorum { .. }
            | HealthEvent::Step { .. }
            | HealthEvent::Rotation { .. } => None,
        };
        self.change(events.iter().filter_map(change).collect()).await;
        let shown = events.into_iter().filter(|event| !matches!(event, HealthEvent::Load { .. }));
        for event in shown {
            // The main task ends only when the director stops.
            let _ = self.events.send(event);
        }
    }

    /// Sends changes to the balancer, in pieces that do not hold packets up. A reload may have
    /// removed a service or a real server that the board still has: the changes of the others are
    /// still applied.
    async fn change(&self, changes: Vec<Change>) {
        let balancer = self.prober.pins.balancer();
        for piece in changes.chunks(CHANGES_A_PIECE) {
            if let Ok(Err(_)) = balancer.take(piece.to_vec()).await {
                for change in piece {
                    if let Ok(Err(error)) = balancer.take(vec![change.clone()]).await {
                        log::debug!("a result of a health check: {error}");
                    }
                }
            }
        }
    }

    /// Runs checks outside of their schedule, many at the same time; answers in their order.
    fn probe(&self, checks: Vec<PlannedCheck>, answer: oneshot::Sender<Vec<CheckRun>>) {
        let (prober, most) = (Arc::clone(&self.prober), self.most.min(APART));
        tokio::spawn(async move {
            let probes = checks.into_iter().map(|check| prober.apart(check));
            let all = futures_util::stream::iter(probes).buffered(most).collect().await;
            let _ = answer.send(all);
        });
    }
}

/// tokio wakes its driver, by a system call, for each new timer that is due before all that it knew
/// when it last looked. When the probes of a step start it mostly knows none, and each has a
/// timeout. This lets it look at one that is due before theirs.
async fn look_ahead() {
    let soon = pin!(sleep(SOON));
    tokio::select! {
        biased;
        () = soon => {}
        () = tokio::task::yield_now() => {}
    }
}

/// The change that sets a load in the balancer.
fn set_load(event: &HealthEvent) -> Option<Change> {
    let HealthEvent::Load { service, address, load } = event else { return None };
    Some(Change::SetLoad { service: service.clone(), address: *address, load: *load })
}

/// How many sockets it is.
fn sockets(kept: &KeptProbe) -> usize {
    usize::from(kept.socket.is_some())
}

#[cfg(test)]
mod tests;
