//! Events: published to the listeners of `vstun events`, and logged.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::{self, Alteration, Event, Missed};

/// Events queued for a slow listener. Older ones are dropped, and the listener learns how many.
pub(super) const QUEUE: usize = 1024;

/// The most listeners: fewer than the clients of the control socket, so that they cannot lock the
/// operator out.
pub(super) const LISTENERS: usize = 16;

/// How many events of one command are logged one by one.
const LOGGED: usize = 50;

/// Events after which the task yields to the listeners.
const TURN: usize = 64;

/// Publishes events.
#[derive(Clone, Debug)]
pub(super) struct Events {
    lines: Sender<Arc<str>>,
    slots: Arc<Semaphore>,
}

/// A client of `vstun events`.
#[derive(Debug)]
pub(super) struct Listener {
    lines: Receiver<Arc<str>>,
    _slot: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { lines: broadcast::channel(QUEUE).0, slots: Arc::new(Semaphore::new(LISTENERS)) }
    }

    /// Subscribes to the events from now on.
    ///
    /// # Errors
    /// There are [`LISTENERS`] already.
    pub(super) fn listen(&self) -> anyhow::Result<Listener> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.ok().with_context(|| {
            format!("busy: {LISTENERS} clients listen to events; end one of them first")
        })?;
        Ok(Listener { lines: self.lines.subscribe(), _slot: slot })
    }

    /// Publishes changes on the host, which are in the log already.
    pub(super) fn tell_of_host(&self, changes: Vec<Alteration>) {
        let time = format!("{:.3}", jiff::Timestamp::now());
        for change in changes {
            let (who, verb) = ("host".to_owned(), "follow".to_owned());
            let event = Event { time: time.clone(), who, verb, change, ..Event::default() };
            // Sending fails if there is no listener, which is fine.
            let _ = self.lines.send(control::encode(&event).into());
        }
    }

    /// Publishes events and logs them.
    pub(super) async fn tell(&self, events: Vec<Event>) {
        for event in events.iter().take(LOGGED) {
            log::info!("{event}");
        }
        if events.len() > LOGGED {
            log::info!("and {} changes more, which `vstun events` shows", events.len() - LOGGED);
        }
        for (number, event) in events.iter().enumerate() {
            // Sending fails if there is no listener, which is fine.
            let _ = self.lines.send(control::encode(event).into());
            if number % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Listener {
    /// The next line; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Arc<str>> {
        match self.lines.recv().await {
            Ok(line) => Some(line),
            Err(RecvError::Lagged(missed)) => Some(control::encode(&Missed { missed }).into()),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn block_on(future: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
    }

    fn event(number: usize) -> Event {
        Event { verb: number.to_string(), ..Event::default() }
    }

    #[test]
    fn every_listener_hears_every_event_in_order() {
        block_on(async {
            let events = Events::new();
            let mut listeners = [events.listen().unwrap(), events.listen().unwrap()];
            events.tell((0..QUEUE).map(event).collect()).await;
            for listener in &mut listeners {
                for number in 0..QUEUE {
                    let line = listener.next().await.unwrap();
                    let heard: Event = control::decode(line.as_bytes()).unwrap();
                    assert_eq!(heard, event(number));
                }
            }
        });
    }

    #[test]
    fn a_listener_that_is_one_event_too_slow_learns_how_many_it_has_missed() {
        block_on(async {
            let events = Events::new();
            let mut listener = events.listen().unwrap();
            events.tell((0..=QUEUE).map(event).collect()).await;
            let line = listener.next().await.unwrap();
            assert_eq!(control::decode::<Missed>(line.as_bytes()).unwrap(), Missed { missed: 1 });
            let line = listener.next().await.unwrap();
            assert_eq!(control::decode::<Event>(line.as_bytes()).unwrap(), event(1));
        });
    }

    #[test]
    fn one_listener_more_than_there_is_room_for_is_refused_until_one_ends() {
        let events = Events::new();
        let mut listeners: Vec<_> = (0..LISTENERS).map(|_| events.listen().unwrap()).collect();
        assert!(events.listen().unwrap_err().to_string().starts_with("busy: 16 clients"));
        listeners.pop();
        assert!(events.listen().is_ok());
    }
}
