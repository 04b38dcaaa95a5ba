//! Events: published to the listeners of `vstun events`, kept for a while, and logged.

mod ring;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use jiff::Timestamp;
use log::Level;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::{self, Event, Forgotten, Missed, counted};
use crate::model::duration;

use super::log_lines;
use ring::{EventRing, Past};

/// Events queued for a slow listener. Older ones are dropped, and the listener learns how many.
pub(super) const QUEUE: usize = 1024;

/// The most listeners: fewer than the clients of the control socket, so that they cannot lock the
/// operator out.
pub(super) const LISTENERS: usize = 16;

/// How many events of one command are logged one by one.
const LOGGED: usize = 50;

/// Events after which the task yields to the listeners.
const TURN: usize = 64;

/// How many characters of a client's text an error shows.
const SHOWN: usize = 64;

/// Publishes events.
#[derive(Clone, Debug)]
pub(super) struct EventPublisher {
    lines: Sender<Arc<str>>,
    slots: Arc<Semaphore>,
    kept: Arc<Mutex<EventRing>>,
}

/// A client of `vstun events`.
#[derive(Debug)]
pub(super) struct Listener {
    past: VecDeque<Arc<str>>,
    /// `None`: the client requested past events only.
    lines: Option<Receiver<Arc<str>>>,
    _slot: OwnedSemaphorePermit,
}

/// Which events a client wants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    /// From this moment on; `None`: from now on.
    since: Option<Timestamp>,
    /// Only past events.
    until_now: bool,
}

impl Span {
    /// Parses a client's request.
    ///
    /// # Errors
    /// `since` is neither a duration nor a time.
    pub(super) fn parse(since: Option<&str>, until_now: bool) -> anyhow::Result<Self> {
        Ok(Self { since: since.map(moment).transpose()?, until_now })
    }
}

/// The moment that a text names: a time by RFC 3339, or a duration before now.
///
/// # Errors
/// It is neither; the message says what to write.
pub(super) fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let Some(ago) = duration::parse(text) else {
        let shown: String = text.chars().take(SHOWN).collect();
        bail!("{shown:?} is neither a duration nor a time; write 10m or 2026-11-25T22:40:00Z");
    };
    // There are no events before the earliest moment.
    Ok(Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN))
}

impl EventPublisher {
    pub(super) fn new() -> Self {
        Self {
            lines: broadcast::channel(QUEUE).0,
            slots: Arc::new(Semaphore::new(LISTENERS)),
            kept: Arc::default(),
        }
    }

    /// Subscribes to the events of that span; none is left out or sent twice.
    ///
    /// # Errors
    /// There are [`LISTENERS`] already.
    pub(super) fn listen(&self, span: Span) -> anyhow::Result<Listener> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.ok().with_context(|| {
            format!("busy: {LISTENERS} clients listen to events; end one of them first")
        })?;
        // An event is kept and published under the same lock.
        let kept = self.kept();
        let lines = (!span.until_now).then(|| self.lines.subscribe());
        let past = span.since.map(|moment| kept.since(moment)).unwrap_or_default();
        Ok(Listener { past: past_lines(past), lines, _slot: slot })
    }

    /// Publishes events that are in the log already.
    pub(super) fn publish(&self, events: &[Event]) {
        let mut kept = self.kept();
        for event in events {
            let line: Arc<str> = control::encode(event).into();
            kept.push(event.time, Arc::clone(&line));
            // Sending fails if there is no listener, which is fine.
            let _ = self.lines.send(line);
        }
    }

    /// Publishes events and logs them.
    pub(super) async fn publish_and_log(&self, events: Vec<Event>) {
        for event in events.iter().take(LOGGED) {
            log_lines::event(Level::Info, event, event);
        }
        if events.len() > LOGGED {
            let more = counted((events.len() - LOGGED) as u64, "more change");
            log::info!("and {more}, which `vstun events` shows");
        }
        for turn in events.chunks(TURN) {
            self.publish(turn);
            tokio::task::yield_now().await;
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, EventRing> {
        // A poisoned lock is not a problem: at worst an event is missing.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of past events. If some are no longer kept, the first line reports that.
fn past_lines(past: Past) -> VecDeque<Arc<str>> {
    let Past { mut lines, forgotten } = past;
    if let Some(time) = forgotten {
        let forgotten = Forgotten { forgotten_until: format!("{time:.3}") };
        lines.push_front(control::encode(&forgotten).into());
    }
    lines
}

impl Listener {
    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Arc<str>> {
        if let Some(line) = self.past.pop_front() {
            return Some(line);
        }
        match self.lines.as_mut()?.recv().await {
            Ok(line) => Some(line),
            Err(RecvError::Lagged(missed)) => Some(control::encode(&Missed { missed }).into()),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests;
