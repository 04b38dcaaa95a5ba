//! Slots for the clients of a server: a bounded number. When all are taken, the client that the
//! server has waited for longest loses its slot to the next one. A client that may make changes
//! waits up to [`WAITING`] until the server has waited for another client for [`TURN`]. If the
//! server works for all clients, those that have had a slot for that time leave after their
//! request. So clients that do not read, do not send, or send all the time lock no other out, and
//! each client has time for its request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// How long a client keeps its slot at least, while one that may make changes waits for a slot.
const TURN: Duration = Duration::from_millis(200);

/// How long a client that may make changes waits for a slot.
const WAITING: Duration = Duration::from_secs(2);

/// How many clients there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLimits {
    /// All clients.
    pub(super) all: usize,
    /// How many of them may be clients that may only read. Such a client never takes the slot of
    /// one that may make changes.
    pub(super) readers: usize,
}

/// The slots of one server.
#[derive(Clone, Debug)]
pub(super) struct ClientSlots {
    limits: SlotLimits,
    table: Arc<SlotTable>,
}

#[derive(Debug, Default)]
struct SlotTable {
    taken: Mutex<TakenSlots>,
    /// A client waits for a slot, and one has become free, or the server waits for its client.
    available: Notify,
}

#[derive(Debug, Default)]
struct TakenSlots {
    clients: HashMap<u64, SlotHolder>,
    next: u64,
    /// Whether a client waits for a slot.
    wanted: bool,
}

/// A client with a slot.
#[derive(Debug)]
struct SlotHolder {
    reader: bool,
    /// Since when the server waits for this client to send or to read; `None` while the server
    /// works for it.
    waits_since: Option<Instant>,
    /// The task that serves it.
    task: Option<AbortHandle>,
}

/// A client's slot, freed when dropped.
#[derive(Debug)]
pub(super) struct ClientSlot {
    number: u64,
    since: Instant,
    table: Arc<SlotTable>,
}

/// What became of a client that asked for a slot.
#[derive(Debug)]
pub(super) enum SlotAnswer {
    /// A slot was free.
    Free(ClientSlot),
    /// Another client has lost its slot: the server had waited for it for this time.
    Instead(ClientSlot, Duration),
    /// All slots for such clients are taken, this many, and the server works for each of them.
    Full(usize),
}

impl ClientSlots {
    pub(super) fn new(limits: SlotLimits) -> Self {
        Self { limits, table: Arc::default() }
    }

    /// Gives a slot to one more client, and disconnects another one if there is no other way. Waits
    /// for [`WAITING`] at most, and for a reader not at all.
    pub(super) async fn admit(&self, reader: bool) -> SlotAnswer {
        self.admit_within(reader, WAITING).await
    }

    async fn admit_within(&self, reader: bool, waiting: Duration) -> SlotAnswer {
        let limit = tokio::time::Instant::now() + waiting;
        let admission = loop {
            let available = self.table.available.notified();
            let now = tokio::time::Instant::now();
            if reader || now >= limit {
                break self.admit_now(reader, Instant::now(), Duration::ZERO);
            }
            let admission = self.admit_now(reader, Instant::now(), TURN);
            if !matches!(admission, SlotAnswer::Full(_)) {
                break admission;
            }
            self.table.lock().wanted = true;
            let _ = timeout_at(limit.min(now + TURN), available).await;
        };
        self.table.lock().wanted = false;
        admission
    }

    /// A client that the server has waited for during `least` may lose its slot.
    fn admit_now(&self, reader: bool, now: Instant, least: Duration) -> SlotAnswer {
        let mut taken = self.table.lock();
        let readers = taken.clients.values().filter(|client| client.reader).count();
        let full = match () {
            () if reader && readers >= self.limits.readers => Some(self.limits.readers),
            () if taken.clients.len() >= self.limits.all => Some(self.limits.all),
            () => None,
        };
        let Some(many) = full else { return SlotAnswer::Free(self.slot(&mut taken, reader, now)) };
        let slowest = taken.slowest(reader);
        let slowest = slowest.filter(|(_, since)| now.saturating_duration_since(*since) >= least);
        let Some((slowest, since)) = slowest else { return SlotAnswer::Full(many) };
        if let Some(task) = taken.clients.remove(&slowest).and_then(|client| client.task) {
            task.abort();
        }
        let waited = now.saturating_duration_since(since);
        SlotAnswer::Instead(self.slot(&mut taken, reader, now), waited)
    }

    /// Serves a client in a task of its own, which ends when another client gets the slot.
    pub(super) fn serve<F>(&self, slot: ClientSlot, client: impl FnOnce(ClientSlot) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = slot.number;
        let task = tokio::spawn(client(slot)).abort_handle();
        match self.table.lock().clients.get_mut(&number) {
            Some(client) => client.task = Some(task),
            // The slot is another client's already, or the client has ended.
            None => task.abort(),
        }
    }

    /// The server waits for a new client, which has sent nothing yet.
    fn slot(&self, taken: &mut TakenSlots, reader: bool, now: Instant) -> ClientSlot {
        let number = taken.next;
        taken.next += 1;
        let client = SlotHolder { reader, waits_since: Some(now), task: None };
        taken.clients.insert(number, client);
        ClientSlot { number, since: now, table: Arc::clone(&self.table) }
    }
}

impl TakenSlots {
    /// The client that the server has waited for longest. A reader takes the slots of readers only.
    fn slowest(&self, of_readers: bool) -> Option<(u64, Instant)> {
        let may_lose = self.clients.iter().filter(|(_, client)| client.reader || !of_readers);
        let waited = may_lose.filter_map(|(number, client)| Some((*number, client.waits_since?)));
        waited.min_by_key(|(number, since)| (*since, *number))
    }
}

impl ClientSlot {
    /// Runs a future that waits for the client.
    pub(super) async fn waits<T>(&self, client: impl Future<Output = T>) -> T {
        self.set_waits(Some(Instant::now()));
        let done = client.await;
        self.set_waits(None);
        done
    }

    /// Whether this client, whose request was answered, is to leave for one that waits.
    pub(super) fn is_over(&self) -> bool {
        self.table.lock().wanted && self.since.elapsed() >= TURN
    }

    /// Sets since when the server waits for the client.
    fn set_waits(&self, since: Option<Instant>) {
        let mut taken = self.table.lock();
        if let Some(client) = taken.clients.get_mut(&self.number) {
            client.waits_since = since;
        }
        if taken.wanted && since.is_some() {
            self.table.available.notify_waiters();
        }
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.table.lock().clients.remove(&self.number);
        self.table.available.notify_waiters();
    }
}

impl SlotTable {
    /// A poisoned lock is not a problem: each change of the table is one call.
    fn lock(&self) -> MutexGuard<'_, TakenSlots> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    const LIMITS: SlotLimits = SlotLimits { all: 4, readers: 2 };

    /// A client that the server works for.
    fn served(slots: &ClientSlots, reader: bool) -> ClientSlot {
        let SlotAnswer::Free(slot) = slots.admit_now(reader, Instant::now(), Duration::ZERO) else {
            panic!()
        };
        slot.set_waits(None);
        slot
    }

    fn full(slots: &ClientSlots, reader: bool) -> Option<usize> {
        match slots.admit_now(reader, Instant::now(), Duration::ZERO) {
            SlotAnswer::Full(many) => Some(many),
            _ => None,
        }
    }

    /// Readers have a limited number of slots, and one too many is refused; the others get the
    /// rest, and one too many of them is refused as well.
    #[test]
    fn readers_cannot_take_the_last_slots() {
        let slots = ClientSlots::new(LIMITS);
        let mut readers = vec![served(&slots, true), served(&slots, true)];
        assert_eq!(full(&slots, true), Some(LIMITS.readers));
        let _others = [served(&slots, false), served(&slots, false)];
        assert_eq!(full(&slots, false), Some(LIMITS.all));
        readers.pop();
        let _one = served(&slots, false);
        assert_eq!(full(&slots, true), Some(LIMITS.all));
    }

    #[test]
    fn who_keeps_the_server_waiting_longest_loses_the_slot() {
        let slots = ClientSlots::new(LIMITS);
        let taken: Vec<_> = (0..LIMITS.all).map(|_| served(&slots, false)).collect();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        taken[1].set_waits(Some(after(2)));
        taken[2].set_waits(Some(after(1)));
        taken[3].set_waits(Some(after(0)));
        taken[3].set_waits(None);
        let SlotAnswer::Instead(first, waited) = slots.admit_now(false, after(5), Duration::ZERO)
        else {
            panic!()
        };
        first.set_waits(None);
        assert_eq!(waited, Duration::from_secs(4), "the third client's");
        let SlotAnswer::Instead(second, waited) = slots.admit_now(false, after(5), Duration::ZERO)
        else {
            panic!()
        };
        second.set_waits(None);
        assert_eq!(waited, Duration::from_secs(3), "the second client's");
        assert_eq!(full(&slots, false), Some(LIMITS.all), "the server works for all others");
        drop(taken);
        assert_eq!(slots.table.lock().clients.len(), 2, "the losers' slots are not freed twice");
    }

    #[test]
    fn a_reader_never_takes_the_slot_of_a_writer() {
        let slots = ClientSlots::new(LIMITS);
        let now = Instant::now();
        let writers: Vec<_> = (0..3).map(|_| served(&slots, false)).collect();
        writers.iter().for_each(|writer| writer.set_waits(Some(now)));
        let reader = served(&slots, true);
        assert_eq!(full(&slots, true), Some(LIMITS.all));
        reader.set_waits(Some(now + Duration::from_secs(1)));
        let SlotAnswer::Instead(next, _) = slots.admit_now(true, now, Duration::ZERO) else {
            panic!("the reader's")
        };
        next.set_waits(None);
        assert_eq!(slots.table.lock().clients.values().filter(|client| client.reader).count(), 1);
        let SlotAnswer::Instead(..) = slots.admit_now(false, now, Duration::ZERO) else {
            panic!("a writer's")
        };
    }

    /// A client that gets its slot has not waited for all of this.
    const HOUR: Duration = Duration::from_secs(3_600);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), test).await.unwrap();
        });
    }

    /// The server works for all clients all the time: one that has had its turn leaves after its
    /// request, and the one that waits gets its slot.
    #[test]
    fn a_client_that_waits_gets_a_slot_after_the_turn_of_another() {
        run(async {
            let slots = ClientSlots::new(LIMITS);
            let mut taken: Vec<_> = (0..LIMITS.all).map(|_| served(&slots, false)).collect();
            assert!(!taken[0].is_over(), "nobody waits");
            let leaving = async {
                while !taken[0].is_over() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert!(taken[0].since.elapsed() >= TURN);
                drop(taken.pop());
            };
            let (admission, ()) = tokio::join!(slots.admit_within(false, HOUR), leaving);
            assert!(matches!(admission, SlotAnswer::Free(_)), "{admission:?}");
        });
    }

    #[test]
    fn a_client_that_waits_gets_the_slot_of_one_that_stops() {
        run(async {
            let slots = ClientSlots::new(LIMITS);
            let taken: Vec<_> = (0..LIMITS.all).map(|_| served(&slots, false)).collect();
            let stops = async {
                tokio::task::yield_now().await;
                taken[1].set_waits(Some(Instant::now()));
            };
            let (admission, ()) = tokio::join!(slots.admit_within(false, HOUR), stops);
            assert!(matches!(admission, SlotAnswer::Instead(..)), "{admission:?}");
        });
    }

    /// New clients have sent nothing yet, so the server waits for each of them.
    #[test]
    fn a_new_client_keeps_its_slot_for_a_turn() {
        run(async {
            let slots = ClientSlots::new(LIMITS);
            let now = Instant::now();
            let _taken: Vec<_> = (0..LIMITS.all)
                .map(|_| match slots.admit_now(false, now, Duration::ZERO) {
                    SlotAnswer::Free(slot) => slot,
                    other => panic!("{other:?}"),
                })
                .collect();
            let SlotAnswer::Instead(_, waited) = slots.admit(false).await else { panic!() };
            assert!((TURN..WAITING).contains(&waited), "{waited:?}");
        });
    }

    #[test]
    fn a_client_waits_for_a_bounded_time_and_a_reader_not_at_all() {
        run(async {
            let slots = ClientSlots::new(LIMITS);
            let _taken: Vec<_> = (0..LIMITS.all).map(|_| served(&slots, false)).collect();
            let begun = Instant::now();
            assert!(matches!(slots.admit(true).await, SlotAnswer::Full(_)));
            assert!(begun.elapsed() < WAITING / 2);
            assert!(matches!(slots.admit(false).await, SlotAnswer::Full(_)));
            assert!(begun.elapsed() >= WAITING);
            assert!(!slots.table.lock().wanted);
        });
    }
}
