//! Seats of a server's clients: a bounded number. When all are taken, the client that has kept the
//! server waiting longest gives its seat to the next one. The next client that may make changes
//! waits for a short time until one has done so for [`TURN`], and where the server works for all of
//! them, those that have had a seat for as long leave after their request. So clients that do not
//! read, do not send, or send all the time lock no other out, and each has time for its request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// How long a client keeps its seat at least, while one that may make changes waits for a seat.
const TURN: Duration = Duration::from_millis(200);

/// How long a client that may make changes waits for a seat.
const WAITING: Duration = Duration::from_secs(2);

/// How many clients there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatLimits {
    /// All clients.
    pub(super) all: usize,
    /// How many of them may be clients that may only read. Such a client never takes the seat of
    /// one that may make changes.
    pub(super) readers: usize,
}

/// The seats of one server.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    limits: SeatLimits,
    table: Arc<SeatTable>,
}

#[derive(Debug, Default)]
struct SeatTable {
    taken: Mutex<TakenSeats>,
    /// A client waits for a seat, and one has become free, or the server waits for its client.
    available: Notify,
}

#[derive(Debug, Default)]
struct TakenSeats {
    clients: HashMap<u64, Seated>,
    next: u64,
    /// Whether a client waits for a seat.
    wanted: bool,
}

/// A client with a seat.
#[derive(Debug)]
struct Seated {
    reader: bool,
    /// Since when the server waits for this client to send or to read; `None` while the server
    /// works for it.
    waits_since: Option<Instant>,
    /// The task that serves it.
    task: Option<AbortHandle>,
}

/// A client's seat, freed when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    since: Instant,
    table: Arc<SeatTable>,
}

/// What became of a client that asked for a seat.
#[derive(Debug)]
pub(super) enum SeatAnswer {
    /// A seat was free.
    Free(Seat),
    /// Another client has lost its seat: the server had waited for it for this time.
    Instead(Seat, Duration),
    /// All seats for such clients are taken, this many, and the server works for each of them.
    Full(usize),
}

impl Seats {
    pub(super) fn new(limits: SeatLimits) -> Self {
        Self { limits, table: Arc::default() }
    }

    /// Gives a seat to one more client, and disconnects another one if there is no other way. Waits
    /// for [`WAITING`] at most, and for a reader not at all.
    pub(super) async fn admit(&self, reader: bool) -> SeatAnswer {
        let limit = tokio::time::Instant::now() + WAITING;
        let admission = loop {
            let available = self.table.available.notified();
            let now = tokio::time::Instant::now();
            if reader || now >= limit {
                break self.admit_now(reader, Instant::now(), Duration::ZERO);
            }
            let admission = self.admit_now(reader, Instant::now(), TURN);
            if !matches!(admission, SeatAnswer::Full(_)) {
                break admission;
            }
            self.table.lock().wanted = true;
            let _ = timeout_at(limit.min(now + TURN), available).await;
        };
        self.table.lock().wanted = false;
        admission
    }

    /// A client that the server has waited for during `least` may lose its seat.
    fn admit_now(&self, reader: bool, now: Instant, least: Duration) -> SeatAnswer {
        let mut taken = self.table.lock();
        let readers = taken.clients.values().filter(|client| client.reader).count();
        let full = match () {
            () if reader && readers >= self.limits.readers => Some(self.limits.readers),
            () if taken.clients.len() >= self.limits.all => Some(self.limits.all),
            () => None,
        };
        let Some(many) = full else { return SeatAnswer::Free(self.seat(&mut taken, reader, now)) };
        let slowest = taken.slowest(reader);
        let slowest = slowest.filter(|(_, since)| now.saturating_duration_since(*since) >= least);
        let Some((slowest, since)) = slowest else { return SeatAnswer::Full(many) };
        if let Some(task) = taken.clients.remove(&slowest).and_then(|client| client.task) {
            task.abort();
        }
        let waited = now.saturating_duration_since(since);
        SeatAnswer::Instead(self.seat(&mut taken, reader, now), waited)
    }

    /// Serves a client in a task of its own, which ends when another client gets the seat.
    pub(super) fn serve<F>(&self, seat: Seat, client: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = seat.number;
        let task = tokio::spawn(client(seat)).abort_handle();
        match self.table.lock().clients.get_mut(&number) {
            Some(client) => client.task = Some(task),
            // The seat is another client's already, or the client has ended.
            None => task.abort(),
        }
    }

    /// The server waits for a new client, which has sent nothing yet.
    fn seat(&self, taken: &mut TakenSeats, reader: bool, now: Instant) -> Seat {
        let number = taken.next;
        taken.next += 1;
        let client = Seated { reader, waits_since: Some(now), task: None };
        taken.clients.insert(number, client);
        Seat { number, since: now, table: Arc::clone(&self.table) }
    }
}

impl TakenSeats {
    /// The client that the server has waited for longest. A reader takes the seats of readers only.
    fn slowest(&self, of_readers: bool) -> Option<(u64, Instant)> {
        let may_lose = self.clients.iter().filter(|(_, client)| client.reader || !of_readers);
        let waited = may_lose.filter_map(|(number, client)| Some((*number, client.waits_since?)));
        waited.min_by_key(|(number, since)| (*since, *number))
    }
}

impl Seat {
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.lock().clients.remove(&self.number);
        self.table.available.notify_waiters();
    }
}

impl SeatTable {
    /// A poisoned lock is not a problem: each change of the table is one call.
    fn lock(&self) -> MutexGuard<'_, TakenSeats> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    const LIMITS: SeatLimits = SeatLimits { all: 4, readers: 2 };

    /// A client that the server works for.
    fn served(seats: &Seats, reader: bool) -> Seat {
        let SeatAnswer::Free(seat) = seats.admit_now(reader, Instant::now(), Duration::ZERO) else {
            panic!()
        };
        seat.set_waits(None);
        seat
    }

    fn full(seats: &Seats, reader: bool) -> Option<usize> {
        match seats.admit_now(reader, Instant::now(), Duration::ZERO) {
            SeatAnswer::Full(many) => Some(many),
            _ => None,
        }
    }

    /// Readers have a limited number of seats, and one too many is refused; the others get the
    /// rest, and one too many of them is refused as well.
    #[test]
    fn readers_cannot_take_the_last_seats() {
        let seats = Seats::new(LIMITS);
        let mut readers = vec![served(&seats, true), served(&seats, true)];
        assert_eq!(full(&seats, true), Some(LIMITS.readers));
        let _others = [served(&seats, false), served(&seats, false)];
        assert_eq!(full(&seats, false), Some(LIMITS.all));
        readers.pop();
        let _one = served(&seats, false);
        assert_eq!(full(&seats, true), Some(LIMITS.all));
    }

    #[test]
    fn who_keeps_the_server_waiting_longest_loses_the_seat() {
        let seats = Seats::new(LIMITS);
        let taken: Vec<_> = (0..LIMITS.all).map(|_| served(&seats, false)).collect();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        taken[1].set_waits(Some(after(2)));
        taken[2].set_waits(Some(after(1)));
        taken[3].set_waits(Some(after(0)));
        taken[3].set_waits(None);
        let SeatAnswer::Instead(first, waited) = seats.admit_now(false, after(5), Duration::ZERO)
        else {
            panic!()
        };
        first.set_waits(None);
        assert_eq!(waited, Duration::from_secs(4), "the third client's");
        let SeatAnswer::Instead(second, waited) = seats.admit_now(false, after(5), Duration::ZERO)
        else {
            panic!()
        };
        second.set_waits(None);
        assert_eq!(waited, Duration::from_secs(3), "the second client's");
        assert_eq!(full(&seats, false), Some(LIMITS.all), "the server works for all others");
        drop(taken);
        assert_eq!(seats.table.lock().clients.len(), 2, "the losers' seats are not freed twice");
    }

    #[test]
    fn a_reader_never_takes_the_seat_of_a_writer() {
        let seats = Seats::new(LIMITS);
        let now = Instant::now();
        let writers: Vec<_> = (0..3).map(|_| served(&seats, false)).collect();
        writers.iter().for_each(|writer| writer.set_waits(Some(now)));
        let reader = served(&seats, true);
        assert_eq!(full(&seats, true), Some(LIMITS.all));
        reader.set_waits(Some(now + Duration::from_secs(1)));
        let SeatAnswer::Instead(next, _) = seats.admit_now(true, now, Duration::ZERO) else {
            panic!("the reader's")
        };
        next.set_waits(None);
        assert_eq!(seats.table.lock().clients.values().filter(|client| client.reader).count(), 1);
        let SeatAnswer::Instead(..) = seats.admit_now(false, now, Duration::ZERO) else {
            panic!("a writer's")
        };
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(test);
    }

    /// The server works for all clients all the time: one that has had its turn leaves after its
    /// request, and the one that waits gets its seat.
    #[test]
    fn a_client_that_waits_gets_a_seat_after_the_turn_of_another() {
        run(async {
            let seats = Seats::new(LIMITS);
            let mut taken: Vec<_> = (0..LIMITS.all).map(|_| served(&seats, false)).collect();
            assert!(!taken[0].is_over(), "nobody waits");
            let leaving = async {
                let begun = Instant::now();
                while !taken[0].is_over() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert!(taken[0].since.elapsed() >= TURN);
                drop(taken.pop());
                begun
            };
            let (admission, begun) = tokio::join!(seats.admit(false), leaving);
            assert!(matches!(admission, SeatAnswer::Free(_)), "{admission:?}");
            assert!(begun.elapsed() < WAITING, "it does not wait for its whole time");
        });
    }

    #[test]
    fn a_client_that_waits_gets_the_seat_of_one_that_stops() {
        run(async {
            let seats = Seats::new(LIMITS);
            let taken: Vec<_> = (0..LIMITS.all).map(|_| served(&seats, false)).collect();
            let stops = async {
                tokio::task::yield_now().await;
                taken[1].set_waits(Some(Instant::now()));
            };
            let (admission, ()) = tokio::join!(seats.admit(false), stops);
            assert!(matches!(admission, SeatAnswer::Instead(..)), "{admission:?}");
        });
    }

    /// New clients have sent nothing yet, so the server waits for each of them.
    #[test]
    fn a_new_client_keeps_its_seat_for_a_turn() {
        run(async {
            let seats = Seats::new(LIMITS);
            let now = Instant::now();
            let _taken: Vec<_> = (0..LIMITS.all)
                .map(|_| match seats.admit_now(false, now, Duration::ZERO) {
                    SeatAnswer::Free(seat) => seat,
                    other => panic!("{other:?}"),
                })
                .collect();
            let SeatAnswer::Instead(_, waited) = seats.admit(false).await else { panic!() };
            assert!((TURN..WAITING).contains(&waited), "{waited:?}");
        });
    }

    #[test]
    fn a_client_waits_for_a_bounded_time_and_a_reader_not_at_all() {
        run(async {
            let seats = Seats::new(LIMITS);
            let _taken: Vec<_> = (0..LIMITS.all).map(|_| served(&seats, false)).collect();
            let begun = Instant::now();
            assert!(matches!(seats.admit(true).await, SeatAnswer::Full(_)));
            assert!(begun.elapsed() < WAITING / 2);
            assert!(matches!(seats.admit(false).await, SeatAnswer::Full(_)));
            assert!(begun.elapsed() >= WAITING);
            assert!(!seats.table.lock().wanted);
        });
    }
}
