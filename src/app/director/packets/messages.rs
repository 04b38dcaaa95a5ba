//! Messages of the control thread to the packet loop, and notices back.

use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::DirectorLoop;
use crate::app::budgets::director::{
    LOOKED_AT_A_PIECE, MESSAGES_A_TURN, REALS_A_PIECE, RECORDED_A_PIECE,
};
use crate::app::busy_poll::BusyPoll;
use crate::app::director::messages::{
    DirectorMessage, DirectorReport, LoopSettings, Notice, ServicePage,
};
use crate::app::director::{logs, recorder};
use crate::balancer::Change;
use crate::balancer::listing::{ListCursor, ListFilter};
use crate::health::Doubt;
use crate::model::Millis;

/// How long SYNs at a real server must go unanswered before there is an event. Its checks, which
/// find the cause, end earlier.
const EVENT_AFTER: Duration = Duration::from_secs(3);

/// The next message if the turn may still take one. `ready` is false once there is none left.
fn next<T>(inbox: &Receiver<T>, left: &mut usize, ready: &mut bool) -> Option<T> {
    *left = left.checked_sub(1)?;
    let message = inbox.try_recv().ok();
    *ready = message.is_some();
    message
}

impl DirectorLoop {
    /// Answers the control thread.
    pub(super) fn messages(&mut self, now: Millis) -> ControlFlow<()> {
        self.answer_applied();
        let mut left = MESSAGES_A_TURN;
        while let Some(message) = next(&self.ends.inbox, &mut left, &mut self.messages_ready) {
            match message {
                DirectorMessage::Stop => return ControlFlow::Break(()),
                DirectorMessage::Report(answer) => {
                    self.balancer.collect_carried(now);
                    drop(answer.send(self.report(now)));
                }
                DirectorMessage::Services { from, listed, answer } => {
                    self.balancer.collect_carried(now);
                    drop(answer.send(self.piece(from, listed)));
                }
                DirectorMessage::Connections { from, most, which, answer } => {
                    drop(answer.send(self.balancer.selected(now, from, most, &which)));
                }
                DirectorMessage::Apply { changes, answer } => {
                    // Pinned flows of probes are in no listing, so positions stay valid.
                    let pins = |one: &Change| {
                        matches!(one, Change::PinProbe { .. } | Change::UnpinProbe(_))
                    };
                    self.applied += u64::from(!changes.iter().all(pins));
                    let applied = self.apply(now, &changes);
                    let waits = self.balancer.follows_listens()
                        && changes.iter().any(Change::may_move_connections);
                    // The control thread frees the batch's memory.
                    match waits {
                        true => self.unanswered.push((answer, (changes, applied))),
                        false => drop(answer.send((changes, applied))),
                    }
                }
                DirectorMessage::Configure(LoopSettings { source_v4, gue, busy_poll }) => {
                    self.output.set_source_v4(source_v4);
                    self.output.set_gue_ports(&self.input, gue);
                    self.busy_poll = BusyPoll::new(busy_poll);
                }
                DirectorMessage::Explain { flow, answer } => {
                    drop(answer.send(self.balancer.explain(now, &flow)));
                }
                DirectorMessage::Trace { trace, answer } => {
                    drop(answer.send(self.trace(now, trace)));
                }
                DirectorMessage::Recorded { from, answer } => {
                    drop(answer.send(recorder::piece(now, from, RECORDED_A_PIECE)));
                }
                DirectorMessage::TraceEnds => self.tracing.end_closed(),
                DirectorMessage::Flush { which, from, answer } => {
                    let _ = answer.send(self.balancer.flush(&which, from));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Answers batches whose connections have followed their listens. So the control thread sees
    /// the counts after its change, and makes the next one when they are right.
    fn answer_applied(&mut self) {
        if !self.balancer.follows_listens() {
            for (answer, applied) in self.unanswered.drain(..) {
                drop(answer.send(applied));
            }
        }
    }

    fn report(&mut self, now: Millis) -> DirectorReport {
        DirectorReport {
            not_carried: self.balancer.not_carried(),
            snapshot: self.balancer.figures(),
            sent: self.output.sent().clone(),
            gue_ports_taken: self.output.gue_ports_taken(),
            loop_counters: self.loop_counters,
            fast_path: self.balancer.carries(),
            next_timer: self.balancer.next_deadline().map(|deadline| now.until(deadline)),
        }
    }

    fn piece(&self, from: ListCursor, listed: ListFilter) -> ServicePage {
        let most = match listed {
            ListFilter::All => REALS_A_PIECE,
            ListFilter::Signalled => LOOKED_AT_A_PIECE,
        };
        let (services, next) = self.balancer.list(from, most, listed);
        ServicePage { services, next, applied: self.applied }
    }

    /// Sends notices about changes that the balancer has made by itself.
    pub(super) fn notices(&mut self) {
        let outages = self.balancer.outage_notices();
        if !outages.is_empty() {
            // In one message: a batch may change all services.
            self.notice(Notice::Outages(outages));
        }
        while let Some(memory) = self.balancer.take_emptied() {
            self.notice(Notice::Emptied(memory));
        }
        let floods = self.balancer.flood_notices();
        floods.iter().for_each(logs::flood);
        let deadlines = self.balancer.deadline_notices().into_iter().map(Notice::Deadline);
        for notice in deadlines.chain(floods.into_iter().map(Notice::Flood)) {
            self.notice(notice);
        }
    }

    /// Brings the checks of suspicious real servers forward. Reports an event if it lasts.
    pub(super) fn suspicions(&mut self, now: Millis) {
        while let Some(suspicion) = self.balancer.suspicion(now) {
            self.ends.checks.hurry(suspicion.address, Doubt::Handshakes);
            if suspicion.lasting >= EVENT_AFTER
                && self.tunnel_log.is_news(Instant::now(), suspicion.address, "unanswered SYNs")
            {
                self.notice(Notice::Suspicion(suspicion));
            }
        }
    }

    fn notice(&self, notice: Notice) {
        if let Err(error) = self.ends.notices.try_send(notice) {
            log::warn!("an event is lost: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::iter;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_turn_takes_no_more_messages_than_its_budget() {
        let (sender, inbox) = mpsc::channel();
        let sent = 2 * MESSAGES_A_TURN + 1;
        (0..sent).for_each(|number| sender.send(number).unwrap());
        let mut taken = Vec::new();
        let mut turn = || {
            let (mut left, mut ready) = (MESSAGES_A_TURN, true);
            let before = taken.len();
            taken.extend(iter::from_fn(|| next(&inbox, &mut left, &mut ready)));
            (taken.len() - before, ready)
        };
        assert_eq!(turn(), (MESSAGES_A_TURN, true));
        assert_eq!(turn(), (MESSAGES_A_TURN, true), "the loop does not sleep while some are left");
        assert_eq!(turn().0, 1);
        assert_eq!(turn(), (0, false), "all are taken");
        assert_eq!(taken, (0..sent).collect::<Vec<_>>(), "in their order");
    }
}
