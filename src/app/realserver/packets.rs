//! The real server's packet thread: raw sockets → gate → TUN, one mio loop.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Receiver as Inbox;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::app::busy_poll::BusyPoll;
use crate::app::quiet::Quiet;
use crate::decap::{Gate, Outcome, Refusal};
use crate::sys::raw::{Datagrams, HEADROOM, Received, Receiver};
use crate::wire::encap::Opened;

use super::delivery::Delivery;
use super::messages::{Message, Next, Report};

/// The control thread's waker. The raw sockets' tokens are their places in the list.
pub(super) const WAKER: Token = Token(usize::MAX - 1);

/// Datagrams in one `recvmmsg`. Each may be 64 KB of merged segments, so more would only cool the caches.
const BATCH: usize = 16;

/// Batches of each socket in one turn before messages have theirs.
const TURN: usize = 16;

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct Packets {
    poll: Poll,
    sources: Vec<Source>,
    delivery: Delivery,
    gate: Gate,
    datagrams: Datagrams,
    inbox: Inbox<Message>,
    /// Calls of `recvmmsg` that brought something.
    batches: u64,
    busy_poll: BusyPoll,
    merged_udp: Quiet,
}

/// A raw socket, and whether there may be something to receive.
#[derive(Debug)]
struct Source {
    receiver: Receiver,
    ready: bool,
}

impl Packets {
    /// Registers the raw sockets with `poll`, on which the control thread's waker has [`WAKER`].
    pub(super) fn new(
        poll: Poll,
        receivers: Vec<Receiver>,
        delivery: Delivery,
        gate: Gate,
        inbox: Inbox<Message>,
    ) -> io::Result<Self> {
        for (place, receiver) in receivers.iter().enumerate() {
            let descriptor = receiver.as_raw_fd();
            poll.registry().register(
                &mut SourceFd(&descriptor),
                Token(place),
                Interest::READABLE,
            )?;
        }
        let ready = |receiver| Source { receiver, ready: true };
        Ok(Self {
            poll,
            sources: receivers.into_iter().map(ready).collect(),
            delivery,
            gate,
            datagrams: Datagrams::new(BATCH),
            inbox,
            batches: 0,
            busy_poll: BusyPoll::new(Duration::ZERO),
            merged_udp: Quiet::default(),
        })
    }

    /// Lets the loop look for more for so long before it sleeps.
    pub(super) fn busy_polling(mut self, length: Duration) -> Self {
        self.busy_poll = BusyPoll::new(length);
        self
    }

    /// Runs until a message says stop.
    ///
    /// # Errors
    /// The TUN was deleted, or polling or receiving failed.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(8);
        loop {
            if self.messages() == Next::Stop {
                return Ok(());
            }
            for place in 0..self.sources.len() {
                self.turn(place)?;
            }
            let ready = self.sources.iter().any(|source| source.ready);
            let busy = ready || self.busy_poll.goes_on(Instant::now());
            match self.poll.poll(&mut events, busy.then_some(Duration::ZERO)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("waiting for packets failed");
                }
                _ => {}
            }
            for event in &events {
                if let Some(source) = self.sources.get_mut(event.token().0) {
                    source.ready = true;
                    self.busy_poll.note(Instant::now);
                }
            }
        }
    }

    fn messages(&mut self) -> Next {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Stop => return Next::Stop,
                Message::Report(answer) => {
                    drop(answer.send(Report {
                        gate: self.gate.counters().clone(),
                        written: self.delivery.written(),
                        batches: self.batches,
                        offload: self.delivery.offload(),
                    }));
                }
            }
        }
        Next::GoOn
    }

    /// Lets in what one socket has received, up to its budget.
    fn turn(&mut self, place: usize) -> anyhow::Result<()> {
        let Self { sources, datagrams, batches, .. } = self;
        let Some(source) = sources.get_mut(place) else { return Ok(()) };
        let version = source.receiver.inner_version();
        let mut budget = TURN;
        while source.ready && budget > 0 {
            budget -= 1;
            match datagrams.receive(&source.receiver) {
                Ok(_) => *batches += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.ready = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("receiving tunnelled packets failed"),
            }
            for datagram in datagrams.iter_mut() {
                admit(&mut self.gate, &mut self.delivery, &mut self.merged_udp, datagram, version)?;
            }
        }
        Ok(())
    }
}

/// One datagram: past the gate, into the TUN.
fn admit(
    gate: &mut Gate,
    delivery: &mut Delivery,
    merged_udp: &mut Quiet,
    datagram: Received<'_>,
    inner_version: u8,
) -> anyhow::Result<()> {
    let (outcome, bytes) = match datagram {
        Received::V4(bytes) => (gate.open(bytes), bytes),
        Received::V6 { source, traffic_class, bytes } => {
            let inner = HEADROOM..bytes.len();
            let outer = Opened { source: source.into(), traffic_class, inner_version, inner };
            (gate.open_payload(&outer, bytes), bytes)
        }
    };
    match outcome {
        Outcome::Deliver(frame) => delivery.deliver(bytes.get_mut(frame).unwrap_or_default())?,
        Outcome::Drop(Refusal::UdpSuperPacket) => explain_merged_udp(merged_udp),
        Outcome::Drop(_) => {}
    }
    Ok(())
}

#[cold]
fn explain_merged_udp(quiet: &mut Quiet) {
    if let Some(count) = quiet.note(Instant::now()) {
        log::warn!(
            "dropped {count} UDP packets that the network card had merged and nobody can take apart: a program \
             here receives with UDP_GRO, or rx-udp-gro-forwarding is on; turn it off with `ethtool -K DEV \
             rx-udp-gro-forwarding off`, or use a director that sends UDP with ids that stop merging, as vstun does"
        );
    }
}
