//! The packet thread: one mio loop that owns the balancer, the TUN and the raw sockets.
//!
//! Each turn: timers, messages from the control thread, tunnel errors, then a budget of packets.
//! mio is edge-triggered: a source that was not drained stays ready, and the next poll does not
//! wait.

mod budget;
mod clock;
mod frame;
mod messages;

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::oneshot;

use crate::app::budgets::director::ERRORS_A_TURN;
use crate::app::busy_poll::BusyPoll;
use crate::app::health::FlowRefusal;
use crate::app::turns::TurnLengths;
use crate::balancer::outer::Inner;
use crate::balancer::{
    Balancer, Change, ChangeError, Reason, TunnelError, TunnelErrorKind, Verdict,
};
use crate::health::Doubt;
use crate::model::Millis;
use crate::sys::raw::{self, ErrorQueue, RawError};
use crate::sys::tun::Tun;
use crate::wire::Packet;
use crate::wire::icmp::{self, TunnelCause, TunnelReport};

use self::budget::Budget;
use super::doubts::Doubts;
use super::fast_path::KernelCarrier;
use super::input::Input;
use super::logs::{FullLog, QueueLog, TunnelLog};
use super::messages::{Applied, PacketThreadEnds};
use super::output::Output;
use super::recorder;
use super::tracing::Tracing;

const TUN: Token = Token(0);
const ERRORS: Token = Token(1);
/// The control thread's waker.
pub(super) const WAKER: Token = Token(2);

/// Reads that may fail in a row before the director gives up. One failure is a packet that the
/// kernel could not describe and has dropped; this many are a broken device.
const FAILURES: u32 = 1_000;

/// Turns that may leave packets in the TUN before noted flows are carried nevertheless. Their
/// packets may then overtake each other once, but a TUN that is never empty must not keep flows
/// here. A turn reads what a young connection has in flight, so more turns would not help: a
/// connection that fills the TUN only gets more in flight.
const CROWDED_TURNS: u32 = 1;

/// Counters of the loop that the balancer does not have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoopCounters {
    /// Frames read.
    pub(super) frames: u64,
    /// Super-frames among them.
    pub(super) super_frames: u64,
    /// Turns of the loop that had something to do.
    pub(super) wakeups: u64,
    /// All turns.
    pub(super) turns: TurnLengths,
}

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct DirectorLoop {
    poll: Poll,
    tun: Tun,
    errors: ErrorQueue,
    input: Input,
    output: Output,
    balancer: Balancer,
    ends: PacketThreadEnds,
    started: Instant,
    /// The key of outer flow labels and UDP hop limits; see [`crate::balancer::outer`].
    label_key: u64,
    loop_counters: LoopCounters,
    /// How many reads of the TUN in a row have failed.
    failures: u32,
    tun_ready: bool,
    /// Turns in a row that have left packets in the TUN while flows waited to be carried.
    crowded: u32,
    errors_ready: bool,
    messages_ready: bool,
    /// How many batches of changes were applied.
    applied: u64,
    /// Applied batches whose connections still follow their listens.
    unanswered: Vec<(oneshot::Sender<Applied>, Applied)>,
    busy_poll: BusyPoll,
    tunnel_log: TunnelLog,
    full_log: FullLog,
    queue_log: QueueLog,
    doubts: Doubts,
    tracing: Tracing,
    /// How many decisions are kept; 0: none.
    recorder: u32,
}

impl DirectorLoop {
    /// Registers the sources with `poll`; the control thread's waker has the token [`WAKER`] there.
    /// Moments count from `started` on; `label_key` is random.
    pub(super) fn new(
        poll: Poll,
        tun: Tun,
        errors: ErrorQueue,
        output: Output,
        balancer: Balancer,
        ends: PacketThreadEnds,
        (started, label_key): (Instant, u64),
    ) -> io::Result<Self> {
        let registry = poll.registry();
        registry.register(&mut SourceFd(&tun.as_raw_fd()), TUN, Interest::READABLE)?;
        for descriptor in errors.descriptors() {
            registry.register(&mut SourceFd(&descriptor), ERRORS, Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            tun,
            errors,
            input: Input::new(),
            output,
            balancer,
            ends,
            started,
            label_key,
            loop_counters: LoopCounters::default(),
            failures: 0,
            tun_ready: true,
            crowded: 0,
            errors_ready: true,
            messages_ready: true,
            applied: 0,
            unanswered: Vec::new(),
            busy_poll: BusyPoll::new(Duration::ZERO),
            tunnel_log: TunnelLog::default(),
            full_log: FullLog::default(),
            queue_log: QueueLog::default(),
            doubts: Doubts::default(),
            tracing: Tracing::default(),
            recorder: 0,
        })
    }

    /// Uses `carrier` for established flows, if there is one.
    pub(super) fn carried_by(mut self, carrier: Option<KernelCarrier>) -> Self {
        if let Some(carrier) = carrier {
            self.balancer.carry_by(Box::new(carrier), self.label_key);
        }
        self
    }

    /// Makes an idle loop poll for this long before it sleeps.
    pub(super) fn busy_polling(mut self, length: Duration) -> Self {
        self.busy_poll = BusyPoll::new(length);
        self
    }

    /// Makes the loop keep this many of its latest decisions.
    pub(super) fn recording(mut self, capacity: u32) -> Self {
        self.recorder = capacity;
        self
    }

    /// Runs until a stop message.
    ///
    /// # Errors
    /// The TUN was deleted, or polling failed.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(16);
        if self.recorder > 0 {
            let epoch = Timestamp::now().checked_sub(self.started.elapsed())?;
            self.tracing.record(self.recorder, epoch, self.balancer.seeds());
        }
        loop {
            let began = Instant::now();
            let now = self.millis(began);
            self.stamp(began);
            // Before messages, so that a report shows no expired flows.
            self.balancer.expire(now);
            if self.messages(now).is_break() {
                return Ok(());
            }
            self.tunnel_errors(now);
            let read = self.loop_counters.frames;
            self.frames(now)?;
            self.size_probes(now);
            self.carry();
            // The time runs from the end of a turn, however long the turn was.
            if self.loop_counters.frames != read {
                self.busy_poll.note(Instant::now);
            }
            // The loop did not read everything, so the TUN's queue may have been full.
            if self.tun_ready {
                self.queue_log.look(&self.tun);
            }
            self.full_log.note(self.balancer.counters().without_entry);
            self.notices();
            self.suspicions(now);
            self.wait(&mut events, began)?;
        }
    }

    fn apply(&mut self, now: Millis, changes: &[Change]) -> Result<(), ChangeError> {
        self.balancer.apply_all(now, changes)?;
        for change in changes {
            match change {
                Change::SetHashSeed(_) => recorder::seeds_are(self.balancer.seeds()),
                Change::SetSources(sources) => self.output.sources_changed(sources),
                Change::SetCapacity(_) => super::prefer_huge_pages(&self.balancer),
                _ => {}
            }
        }
        Ok(())
    }

    fn tunnel_errors(&mut self, now: Millis) {
        for _ in 0..ERRORS_A_TURN {
            if !self.errors_ready {
                return;
            }
            let mut room = [0; raw::MAX_ERROR];
            let sources = self.output.gue_ports().sources;
            let ours = |port| sources.contains(port);
            let report = match self.errors.next(&mut room) {
                Ok(RawError::V4(packet)) => icmp::report_v4(packet, ours),
                Ok(RawError::V6(sender, message)) => icmp::report_v6(sender, message, ours),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(_) => {
                    self.errors_ready = false;
                    None
                }
            };
            if let Some(report) = report {
                self.tunnel_error(now, &report);
            }
        }
    }

    fn tunnel_error(&mut self, now: Millis, report: &TunnelReport) {
        let TunnelReport { sender, real, cause, quoted } = *report;
        let kind = match cause {
            TunnelCause::ProtocolUnreachable => TunnelErrorKind::ProtocolUnreachable,
            TunnelCause::PathMtu(mtu) => TunnelErrorKind::PathMtu(mtu),
            _ => TunnelErrorKind::Unreachable,
        };
        let verdict = self.balancer.tunnel_error(now, TunnelError { real, kind }, quoted);
        let unverified = verdict == Verdict::Drop(Reason::TunnelErrorUnverified);
        match unverified {
            true => self.tunnel_log.note_unverified(Instant::now(), real),
            false => self.tunnel_log.note(Instant::now(), real, cause),
        }
        if !cause.refuses() {
            return;
        }
        if let Some(flow) = self.balancer.refused_probe(real, quoted) {
            // Otherwise the probe's own answer decides.
            if !cause.is_certain() {
                return;
            }
            let why = format!("{} from {sender}", cause.name());
            let refusal = FlowRefusal { why, by_end: cause.is_of_the_end() };
            return self.ends.checks.refuse(flow, real, refusal);
        }
        // An unverified error costs a probe and nothing else.
        let doubt = if unverified { Doubt::Unverified } else { Doubt::Quoted };
        if self.doubts.record(now, real, doubt) {
            self.ends.checks.hurry(real, doubt);
        }
    }

    /// Sends the balancer's probes of paths.
    fn size_probes(&mut self, now: Millis) {
        while let Some((tunnel, probe)) = self.balancer.size_probe(now) {
            let Ok(packet) = Packet::parse(probe) else { continue };
            let inner = Inner::of_size_probe(&packet, self.label_key);
            if let Some(room) = self.input.released_room().get_mut(..probe.len()) {
                room.copy_from_slice(probe);
                let at = self.input.released(probe.len());
                self.output.whole(&mut self.input, at, inner, &tunnel);
            }
            self.output.flush(&self.input);
            self.input.clear_answers();
        }
    }

    /// Reads frames until there are none or the budget is used up, and sends the results.
    fn frames(&mut self, now: Millis) -> anyhow::Result<()> {
        let mut budget = Budget::of_a_turn();
        while self.tun_ready && budget.lasts() {
            let outcome = self.read(&mut budget);
            self.balancer.look_ahead(self.input.packets());
            for index in 0..self.input.len() {
                self.input.select(index);
                self.frame(now);
            }
            self.output.flush(&self.input);
            self.input.clear();
            outcome?;
        }
        self.output.finish(&self.input);
        Ok(())
    }

    /// Starts to carry noted flows whose packets have all been forwarded, or that have waited long
    /// enough.
    fn carry(&mut self) {
        if !self.balancer.wants_to_carry() || self.tracing.has_traces() {
            return;
        }
        self.crowded = if self.tun_ready { self.crowded + 1 } else { 0 };
        if self.crowded == 0 || self.crowded > CROWDED_TURNS {
            self.balancer.carry_wanted();
            self.crowded = 0;
        }
    }

    /// Reads frames until the buffer is full or there are none.
    fn read(&mut self, budget: &mut Budget) -> anyhow::Result<()> {
        while self.input.has_room() && budget.lasts() {
            match self.tun.read(self.input.room()) {
                Ok(len) => {
                    self.loop_counters.frames += 1;
                    budget.take(len);
                    self.failures = 0;
                    self.input.filled(len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tun_ready = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    budget.take(0);
                    self.failed(error)?;
                }
            }
        }
        Ok(())
    }

    /// Handles a failed read: a packet is lost, or the device is broken.
    #[cold]
    fn failed(&mut self, error: io::Error) -> anyhow::Result<()> {
        self.failures += 1;
        if is_end(&error, self.failures) {
            let name = self.tun.name();
            return Err(error)
                .with_context(|| format!("the TUN device {name:?} is gone or broken"));
        }
        self.loop_counters.frames += 1;
        self.balancer.refuse(Reason::BadOffload);
        Ok(())
    }

    /// Waits for the next event: not at all if there is something left to read, else until the next
    /// deadline. The current turn began at `began`.
    fn wait(&mut self, events: &mut Events, began: Instant) -> anyhow::Result<()> {
        let moment = Instant::now();
        self.loop_counters.turns.note(moment - began);
        let ready = self.tun_ready || self.errors_ready || self.messages_ready;
        let busy = ready || self.busy_poll.goes_on(moment);
        let now = self.millis(moment);
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            self.balancer.next_deadline().map(|deadline| now.until(deadline))
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("waiting for packets failed"),
        }
        self.loop_counters.wakeups += u64::from(!busy);
        for event in events.iter() {
            match event.token() {
                TUN => self.tun_ready = true,
                ERRORS => self.errors_ready = true,
                _ => self.messages_ready = true,
            }
        }
        Ok(())
    }
}

/// Whether a failed read, the `failures`th in a row, means that the device is broken.
fn is_end(error: &io::Error, failures: u32) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EFAULT)) || failures >= FAILURES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thousand_failed_reads_in_a_row_or_a_deleted_device_end_the_loop() {
        let error = io::Error::from_raw_os_error;
        assert!(!is_end(&error(libc::EINVAL), 1));
        assert!(!is_end(&error(libc::EINVAL), FAILURES - 1));
        assert!(is_end(&error(libc::EINVAL), FAILURES));
        assert!(is_end(&error(libc::EBADFD), 1));
        assert!(is_end(&error(libc::EFAULT), 1));
    }
}
