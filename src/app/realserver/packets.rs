//! The real server's packet thread: raw socket → gate → TUN, one mio loop.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Receiver as Inbox;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::app::quiet::Quiet;
use crate::decap::{Gate, Outcome, Refusal};
use crate::sys::raw::{Datagrams, Receiver};

use super::delivery::Delivery;
use super::messages::{Message, Next, Report};

const RAW: Token = Token(0);
/// The control thread's waker.
pub(super) const WAKER: Token = Token(1);

/// Datagrams in one `recvmmsg`. Each may be 64 KB of merged segments, so more would only cool the caches.
const BATCH: usize = 16;

/// Batches in one turn before messages have theirs.
const TURN: usize = 16;

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct Packets {
    poll: Poll,
    receiver: Receiver,
    delivery: Delivery,
    gate: Gate,
    datagrams: Datagrams,
    inbox: Inbox<Message>,
    /// Calls of `recvmmsg` that brought something.
    batches: u64,
    ready: bool,
    merged_udp: Quiet,
}

impl Packets {
    /// Registers the raw socket with `poll`, on which the control thread's waker has [`WAKER`].
    pub(super) fn new(
        poll: Poll,
        receiver: Receiver,
        delivery: Delivery,
        gate: Gate,
        inbox: Inbox<Message>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut SourceFd(&receiver.as_raw_fd()), RAW, Interest::READABLE)?;
        Ok(Self {
            poll,
            receiver,
            delivery,
            gate,
            datagrams: Datagrams::new(BATCH),
            inbox,
            batches: 0,
            ready: true,
            merged_udp: Quiet::default(),
        })
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
            for _ in 0..TURN {
                if !self.ready {
                    break;
                }
                self.batch()?;
            }
            let timeout = self.ready.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("waiting for packets failed");
                }
                _ => self.ready |= events.iter().any(|event| event.token() == RAW),
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

    /// Receives one batch and lets in what may come in.
    fn batch(&mut self) -> anyhow::Result<()> {
        match self.datagrams.receive(&self.receiver) {
            Ok(_) => self.batches += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ready = false;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("receiving tunnelled packets failed"),
        }
        let Self { datagrams, gate, delivery, merged_udp, .. } = self;
        for datagram in datagrams.iter_mut() {
            match gate.open(datagram) {
                Outcome::Deliver(frame) => {
                    delivery.deliver(datagram.get_mut(frame).unwrap_or_default())?;
                }
                Outcome::Drop(Refusal::UdpSuperPacket) => explain_merged_udp(merged_udp),
                Outcome::Drop(_) => {}
            }
        }
        Ok(())
    }
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
