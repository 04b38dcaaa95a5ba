//! A bounded number of clients. If there is one too many, the one that is the least use is closed:
//! no client can keep others out by holding connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A client has this long to send its request before others can take its slot. An honest one needs
/// a few milliseconds on a busy host. With 64 slots a flood gets at most 1,280 connections a
/// second.
const TIME_TO_ASK: Duration = Duration::from_millis(50);

/// The clients that are served now.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    last: u64,
    all: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    id: u64,
    /// Whether it has sent a whole request, and when it sent the latest one or else connected: the
    /// smallest is closed first.
    rank: (bool, Instant),
    /// Dropped to close it.
    _open: oneshot::Sender<()>,
}

/// A client's slot, free again when this is dropped.
#[derive(Debug)]
pub(super) struct HttpSlot {
    slots: Arc<Slots>,
    id: u64,
}

impl Slots {
    /// Slots for `most` clients.
    pub(super) fn new(most: usize) -> Self {
        Self { most, clients: Mutex::default() }
    }

    /// Gives a slot to another client, and a channel that ends when it must be closed. If all slots
    /// are taken, closes the client without a request that has been connected longest; if each has
    /// sent one, the client whose latest request is the oldest.
    pub(super) fn enter(self: &Arc<Self>) -> (HttpSlot, oneshot::Receiver<()>) {
        let (open, closed) = oneshot::channel();
        let mut clients = self.clients();
        if clients.all.len() >= self.most {
            let ranks = clients.all.iter().enumerate();
            let first = ranks.min_by_key(|(_, client)| client.rank).map(|(index, _)| index);
            first.map(|index| clients.all.swap_remove(index));
        }
        clients.last += 1;
        let id = clients.last;
        clients.all.push(Client { id, rank: (false, Instant::now()), _open: open });
        (HttpSlot { slots: Arc::clone(self), id }, closed)
    }

    /// How long to wait, at `now`, before another client takes a slot: until the one that would be
    /// closed for it has had its time to send a request. Zero if a slot is free.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let clients = self.clients();
        if clients.all.len() < self.most {
            return Duration::ZERO;
        }
        match clients.all.iter().map(|client| client.rank).min() {
            Some((false, connected)) => TIME_TO_ASK.saturating_sub(now.duration_since(connected)),
            _ => Duration::ZERO,
        }
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpSlot {
    /// The client has sent a whole request.
    pub(super) fn note_request(&self) {
        let mut clients = self.slots.clients();
        if let Some(client) = clients.all.iter_mut().find(|client| client.id == self.id) {
            client.rank = (true, Instant::now());
        }
    }
}

impl Drop for HttpSlot {
    fn drop(&mut self) {
        self.slots.clients().all.retain(|client| client.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_slot_until_it_could_send_a_request() {
        let slots = Arc::new(Slots::new(2));
        let (first, _open) = slots.enter();
        let now = Instant::now();
        assert_eq!(slots.wait(now), Duration::ZERO, "a slot is free");
        let (second, _open) = slots.enter();
        let wait = slots.wait(now);
        assert!(wait > Duration::ZERO && wait <= TIME_TO_ASK, "{wait:?}");
        assert_eq!(slots.wait(now + TIME_TO_ASK), Duration::ZERO, "it has had its time");
        first.note_request();
        assert!(slots.wait(now) > Duration::ZERO, "the second one has not asked");
        second.note_request();
        assert_eq!(slots.wait(now), Duration::ZERO, "each has asked");
    }

    #[test]
    fn the_least_useful_client_is_closed() {
        let slots = Arc::new(Slots::new(3));
        let mut clients: Vec<_> = (0..3).map(|_| slots.enter()).collect();
        let closed = |clients: &mut Vec<(HttpSlot, oneshot::Receiver<()>)>| {
            let is_closed = |(_, closed): &mut (HttpSlot, oneshot::Receiver<()>)| {
                closed.try_recv() == Err(oneshot::error::TryRecvError::Closed)
            };
            clients.iter_mut().map(is_closed).collect::<Vec<_>>()
        };
        assert_eq!(closed(&mut clients), [false; 3]);
        clients[0].0.note_request();
        clients.push(slots.enter());
        assert_eq!(closed(&mut clients), [false, true, false, false], "the oldest without one");
        clients[2].0.note_request();
        clients[3].0.note_request();
        clients[0].0.note_request();
        clients.push(slots.enter());
        assert_eq!(closed(&mut clients), [false, true, true, false, false], "the oldest request");
        drop(clients.remove(0));
        clients.push(slots.enter());
        assert_eq!(closed(&mut clients), [true, true, false, false, false], "there was a free one");
    }
}
