//! The real server's packet thread: raw socket → gate → TUN, one mio loop.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Receiver as Inbox;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::app::quiet::Quiet;
use crate::decap::{self, Gate, Outcome, Refusal};
use crate::sys::raw::{Datagrams, Receiver};
use crate::sys::tun::{Tun, VIRTIO_HEADER_LEN};

use super::messages::{Message, Next, Report};

const RAW: Token = Token(0);
/// The control thread's waker.
pub(super) const WAKER: Token = Token(1);

/// Datagrams in one `recvmmsg`. Each may be 64 KB of merged segments, so more would only cool the caches.
const BATCH: usize = 16;

/// Batches in one turn before messages have theirs.
const TURN: usize = 16;

/// What writing to the TUN came to, beside what the gate counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Frames that the kernel did not take.
    pub(super) failed: u64,
    /// Bytes of the inner packets that it took.
    pub(super) bytes: u64,
    /// Calls of `recvmmsg` that brought something.
    pub(super) batches: u64,
}

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct Packets {
    poll: Poll,
    receiver: Receiver,
    tun: Tun,
    gate: Gate,
    datagrams: Datagrams,
    inbox: Inbox<Message>,
    written: Written,
    ready: bool,
    merged_udp: Quiet,
    write_failed: Quiet,
}

impl Packets {
    /// Registers the raw socket with `poll`, on which the control thread's waker has [`WAKER`].
    pub(super) fn new(
        poll: Poll,
        receiver: Receiver,
        tun: Tun,
        gate: Gate,
        inbox: Inbox<Message>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut SourceFd(&receiver.as_raw_fd()), RAW, Interest::READABLE)?;
        Ok(Self {
            poll,
            receiver,
            tun,
            gate,
            datagrams: Datagrams::new(BATCH),
            inbox,
            written: Written::default(),
            ready: true,
            merged_udp: Quiet::default(),
            write_failed: Quiet::default(),
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
                Message::SetMss(mss) => self.gate.set_mss(mss),
                Message::Report(answer) => {
                    let gate: decap::Counters = self.gate.counters().clone();
                    drop(answer.send(Report { gate, written: self.written }));
                }
            }
        }
        Next::GoOn
    }

    /// Receives one batch and lets in what may come in.
    fn batch(&mut self) -> anyhow::Result<()> {
        match self.datagrams.receive(&self.receiver) {
            Ok(_) => self.written.batches += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ready = false;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("receiving tunnelled packets failed"),
        }
        let Self { datagrams, gate, tun, written, merged_udp, write_failed, .. } = self;
        for datagram in datagrams.iter_mut() {
            match gate.open(datagram) {
                Outcome::Deliver(frame) => {
                    let frame = datagram.get(frame).unwrap_or_default();
                    match tun.write(frame) {
                        Ok(_) => written.bytes += (frame.len() - VIRTIO_HEADER_LEN) as u64,
                        Err(error) => {
                            written.failed += 1;
                            write_error(error, write_failed)?;
                        }
                    }
                }
                Outcome::Drop(Refusal::UdpSuperPacket) => explain_merged_udp(merged_udp),
                Outcome::Drop(_) => {}
            }
        }
        Ok(())
    }
}

/// A frame that the kernel refuses is lost, and no more than that; a TUN that is gone ends the program.
#[cold]
fn write_error(error: io::Error, quiet: &mut Quiet) -> anyhow::Result<()> {
    if error.raw_os_error() == Some(libc::EBADFD) {
        return Err(error).context("the TUN device is gone");
    }
    if let Some(count) = quiet.note(Instant::now()) {
        log::warn!("the TUN did not take a packet: {error} ({count} times)");
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
