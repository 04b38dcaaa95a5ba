//! The real server's packet thread: raw sockets → gate → TUN, one mio loop.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Receiver as Inbox;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc;

use crate::app::budgets::realserver::{BATCH, LONG_BATCH, MESSAGES_A_TURN, TURN};
use crate::app::busy_poll::BusyPoll;
use crate::app::log_throttle::LogThrottle;
use crate::app::turns::TurnLengths;
use crate::decap::{Gate, Payload, Refusal};
use crate::sys::raw::{Inside, ReceiveBuffers, Receiver};
use crate::wire::coalesce::Coalescer;

use super::admission::{Admitter, WaitingFrames};
use super::answers::Asked;
use super::delivery::Delivery;
use super::last_sources::SourceWatch;
use super::messages::{RealServerLoopSettings, RealServerMessage, RealServerReport};
use super::overflow::SocketLosses;
use super::stranger_filter::{FilterState, Programs, StrangerFilter};

/// The token of the control thread's waker. The raw sockets' tokens are their indexes in the list.
pub(super) const WAKER: Token = Token(usize::MAX - 1);

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct RealServerLoop {
    poll: Poll,
    sources: Vec<Source>,
    strangers: StrangerFilter,
    delivery: Delivery,
    gate: Gate,
    datagrams: ReceiveBuffers,
    coalescer: Coalescer,
    /// The size of the next `recvmmsg` batch.
    most: usize,
    inbox: Inbox<RealServerMessage>,
    messages_ready: bool,
    /// Calls of `recvmmsg` that received something.
    batches: u64,
    busy_poll: BusyPoll,
    turns: TurnLengths,
    merged_udp: LogThrottle,
    remote_checksum: LogThrottle,
    /// To the task that answers inquiries of `vstun doctor`.
    questions: mpsc::Sender<Asked>,
    last: SourceWatch,
}

/// A raw socket, and whether it may have something to receive.
#[derive(Debug)]
struct Source {
    receiver: Receiver,
    ready: bool,
    overflow: SocketLosses,
    filter: FilterState,
}

impl RealServerLoop {
    /// Registers the raw sockets with `poll`; the control thread's waker has the token [`WAKER`]
    /// there.
    pub(super) fn new(
        poll: Poll,
        receivers: Vec<Receiver>,
        delivery: Delivery,
        gate: Gate,
        (inbox, questions): (Inbox<RealServerMessage>, mpsc::Sender<Asked>),
    ) -> io::Result<Self> {
        let mut sources = Vec::with_capacity(receivers.len());
        add(receivers, &mut sources, &poll)?;
        Ok(Self {
            poll,
            sources,
            strangers: StrangerFilter::new(Programs::of(&gate)),
            delivery,
            gate,
            datagrams: ReceiveBuffers::new(LONG_BATCH),
            coalescer: Coalescer::default(),
            most: BATCH,
            inbox,
            messages_ready: true,
            batches: 0,
            busy_poll: BusyPoll::new(Duration::ZERO),
            turns: TurnLengths::default(),
            merged_udp: LogThrottle::default(),
            remote_checksum: LogThrottle::default(),
            questions,
            last: SourceWatch::new(Instant::now()),
        })
    }

    /// Makes an idle loop poll for this long before it sleeps.
    pub(super) fn busy_polling(mut self, length: Duration) -> Self {
        self.busy_poll = BusyPoll::new(length);
        self
    }

    /// Runs until a stop message.
    ///
    /// # Errors
    /// The TUN was deleted, or polling or receiving failed.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(8);
        loop {
            let began = Instant::now();
            self.last.turn(began, self.gate.counters().delivered);
            if self.messages().is_break() {
                return Ok(());
            }
            let received = self.batches;
            for index in 0..self.sources.len() {
                self.turn(index)?;
            }
            // The time runs from the end of a turn, however long the turn was.
            if self.batches != received {
                self.busy_poll.note(Instant::now);
            }
            let ready = self.messages_ready || self.sources.iter().any(|source| source.ready);
            let moment = Instant::now();
            self.turns.note(moment - began);
            let strangers = self.gate.counters().dropped(Refusal::Source);
            self.strangers.watch(moment, strangers, sockets(&mut self.sources));
            let busy = ready || self.busy_poll.goes_on(moment);
            let wait = if busy { Some(Duration::ZERO) } else { self.strangers.wait(moment) };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("waiting for packets failed");
                }
                _ => {}
            }
            for event in &events {
                match self.sources.get_mut(event.token().0) {
                    Some(source) => source.ready = true,
                    None => self.messages_ready = true,
                }
            }
        }
    }

    fn messages(&mut self) -> ControlFlow<()> {
        for _ in 0..MESSAGES_A_TURN {
            let Ok(message) = self.inbox.try_recv() else {
                self.messages_ready = false;
                return ControlFlow::Continue(());
            };
            match message {
                RealServerMessage::Stop => return ControlFlow::Break(()),
                RealServerMessage::Configure(settings, answer) => {
                    let RealServerLoopSettings { gate, programs, busy_poll, coalesce } = *settings;
                    self.gate = self.gate.clone().succeeded_by(gate);
                    self.strangers.replace(programs, sockets(&mut self.sources));
                    self.busy_poll = BusyPoll::new(busy_poll);
                    self.delivery.set_coalesce(coalesce);
                    let _ = answer.send(());
                }
                RealServerMessage::Receive(receivers, answer) => {
                    let _ = answer.send(add(receivers, &mut self.sources, &self.poll));
                }
                RealServerMessage::Report(answer) => {
                    let now = Instant::now();
                    for Source { receiver, overflow, filter, .. } in &mut self.sources {
                        overflow.read(receiver, filter.refuses(), now);
                    }
                    let lost = self.sources.iter().map(|source| source.overflow.total());
                    let socket_dropped = lost.sum();
                    drop(answer.send(RealServerReport {
                        gate: self.gate.counters().clone(),
                        written: self.delivery.written(),
                        batches: self.batches,
                        turns: self.turns,
                        offload: self.delivery.offload(),
                        coalesce: self.delivery.coalesces(),
                        socket_dropped,
                        filtering: self.strangers.flood(),
                        last: self.last.clone(),
                    }));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Processes what one socket has received, up to its budget.
    fn turn(&mut self, index: usize) -> anyhow::Result<()> {
        let mut budget = TURN;
        let batches = self.batches;
        while budget > 0 {
            let Some(source) = self.sources.get_mut(index).filter(|source| source.ready) else {
                break;
            };
            budget -= 1;
            let payload = payload_of(source.receiver.inside());
            self.gate.set_filtered(source.filter.sampled);
            match self.datagrams.receive(&source.receiver, self.most) {
                Ok(count) => {
                    self.batches += 1;
                    self.batch(count, payload)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.ready = false;
                    source.filter.drained();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("receiving tunnelled packets failed"),
            }
        }
        if self.batches != batches
            && let Some(Source { receiver, overflow, filter, .. }) = self.sources.get_mut(index)
        {
            overflow.watch(receiver, filter.refuses());
        }
        Ok(())
    }

    /// Processes the `count` datagrams of one `recvmmsg`.
    fn batch(&mut self, count: usize, payload: Payload) -> anyhow::Result<()> {
        let Self { delivery, gate, datagrams, coalescer, merged_udp, .. } = self;
        let Self { remote_checksum, questions, last: sources, .. } = self;
        let merged = |gate: &Gate| gate.counters().super_packets + gate.counters().gue_merged;
        let before = merged(gate);
        let mut admission =
            Admitter { gate, payload, merged_udp, remote_checksum, questions, sources };
        let mut frames = WaitingFrames::new(delivery, coalescer, count);
        for datagram in datagrams.iter_mut() {
            admission.admit(datagram, &mut frames)?;
        }
        frames.flush()?;
        // If the NIC merges, a long batch would leave the cache.
        let long = count >= BATCH && self.delivery.coalesces() && merged(&self.gate) == before;
        self.most = if long { LONG_BATCH } else { BATCH };
        Ok(())
    }
}

/// Adds sockets to those that are read; the token of each is its index.
fn add(receivers: Vec<Receiver>, sources: &mut Vec<Source>, poll: &Poll) -> io::Result<()> {
    for receiver in receivers {
        let (descriptor, token) = (receiver.as_raw_fd(), Token(sources.len()));
        poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        let (overflow, filter) = (SocketLosses::default(), FilterState::default());
        sources.push(Source { receiver, ready: true, overflow, filter });
    }
    Ok(())
}

/// The sockets with their filters.
fn sockets(sources: &mut [Source]) -> impl Iterator<Item = (&Receiver, &mut FilterState)> {
    sources.iter_mut().map(|source| (&source.receiver, &mut source.filter))
}

/// The start of the payloads of such a socket.
fn payload_of(inside: Inside) -> Payload {
    match inside {
        Inside::Ipv4 => Payload::Packet(4),
        Inside::Ipv6 => Payload::Packet(6),
        Inside::Gre => Payload::Gre,
        Inside::Gue => Payload::Gue,
    }
}
