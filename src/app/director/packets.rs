//! The packet thread: one mio loop that owns the balancer, the TUN and the raw sockets.
//!
//! Each turn: messages from the control thread, tunnel errors, timers, then a budget of packets. mio is
//! edge-triggered: a source that was not drained stays ready, and the next poll does not wait.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::balancer::{Balancer, Millis, Reason, TunnelError, TunnelErrorKind, Verdict};
use crate::sys::raw::{self, ErrorQueue};
use crate::sys::tun::Tun;
use crate::wire::segment::{self, Plan};
use crate::wire::virtio::{self, Offload};
use crate::wire::Packet;

use super::input::Input;
use super::messages::{Message, Next, Report};
use super::output::Output;

const TUN: Token = Token(0);
const ERRORS: Token = Token(1);
/// The control thread's waker.
pub(super) const WAKER: Token = Token(2);

/// Frames read in one turn before timers and messages have theirs.
const TURN: usize = 256;

/// Tunnel errors read in one turn.
const ERRORS_A_TURN: usize = 64;

/// What the loop has read, beside what the balancer counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    /// Super-frames among the frames.
    pub(super) super_frames: u64,
    /// Turns of the loop that had something to do.
    pub(super) wakeups: u64,
}

/// The packet thread's state.
#[derive(Debug)]
pub(super) struct Packets {
    poll: Poll,
    tun: Tun,
    errors: ErrorQueue,
    input: Input,
    output: Output,
    balancer: Balancer,
    inbox: Receiver<Message>,
    started: Instant,
    reads: Reads,
    tun_ready: bool,
    errors_ready: bool,
}

impl Packets {
    /// Registers the sources with `poll`, on which the control thread's waker has [`WAKER`].
    pub(super) fn new(
        poll: Poll,
        tun: Tun,
        errors: ErrorQueue,
        output: Output,
        balancer: Balancer,
        inbox: Receiver<Message>,
    ) -> io::Result<Self> {
        let registry = poll.registry();
        registry.register(&mut SourceFd(&tun.as_raw_fd()), TUN, Interest::READABLE)?;
        // An error queue shows as EPOLLERR, which needs no interest of its own; mio wants one.
        registry.register(&mut SourceFd(&errors.as_raw_fd()), ERRORS, Interest::READABLE)?;
        Ok(Self {
            poll,
            tun,
            errors,
            input: Input::new(),
            output,
            balancer,
            inbox,
            started: Instant::now(),
            reads: Reads::default(),
            tun_ready: true,
            errors_ready: true,
        })
    }

    /// Runs until a message says stop.
    ///
    /// # Errors
    /// The TUN was deleted, or polling failed.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(16);
        loop {
            let now = self.now();
            if self.messages(now) == Next::Stop {
                return Ok(());
            }
            self.tunnel_errors(now);
            self.balancer.expire(now);
            self.frames(now)?;
            self.wait(&mut events)?;
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Answers the control thread.
    fn messages(&mut self, now: Millis) -> Next {
        while let Ok(message) = self.inbox.try_recv() {
            let report = || Report {
                snapshot: self.balancer.snapshot(),
                sent: self.output.sent().clone(),
                reads: self.reads,
            };
            match message {
                Message::Stop => return Next::Stop,
                Message::Report(answer) => drop(answer.send(report())),
                Message::Connections { from, most, answer } => {
                    drop(answer.send(self.balancer.connections(now, from, most)));
                }
                Message::Apply { changes, answer } => {
                    let applied = changes.iter().try_for_each(|change| self.balancer.apply(change));
                    drop(answer.send(applied));
                }
            }
        }
        Next::GoOn
    }

    fn tunnel_errors(&mut self, now: Millis) {
        for _ in 0..ERRORS_A_TURN {
            if !self.errors_ready {
                return;
            }
            match self.errors.next() {
                Ok(Some(error)) => self.tunnel_error(now, error),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whatever else the queue says is about itself and gone by being read.
                Err(_) => self.errors_ready = false,
            }
        }
    }

    fn tunnel_error(&mut self, now: Millis, error: raw::TunnelError) {
        let kind = match error.cause {
            raw::Cause::ProtocolUnreachable => TunnelErrorKind::ProtocolUnreachable,
            raw::Cause::PathMtu(mtu) => TunnelErrorKind::PathMtu(mtu),
            raw::Cause::Unreachable(_) | raw::Cause::TimeExceeded | raw::Cause::Other(_) => {
                TunnelErrorKind::Unreachable
            }
        };
        self.balancer.tunnel_error(now, TunnelError { real: error.real, kind });
        super::tunnel_log::note(error);
    }

    /// Reads frames until there are none or the budget is used up, and sends what became of them.
    fn frames(&mut self, now: Millis) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for _ in 0..TURN {
            if !self.tun_ready {
                break;
            }
            self.make_room();
            match self.tun.read(self.input.room()) {
                Ok(len) => self.frame(now, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.tun_ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    outcome = Err(error).context("the TUN device is gone or broken");
                    break;
                }
            }
        }
        self.flush();
        outcome
    }

    fn make_room(&mut self) {
        if self.output.is_full() || !self.input.has_room() {
            self.flush();
        } else if self.output.is_empty() {
            self.input.clear();
        }
    }

    fn flush(&mut self) {
        self.output.flush(&self.input);
        self.input.clear();
    }

    /// One frame: what the kernel left to do, its verdict, and the deed.
    fn frame(&mut self, now: Millis, len: usize) {
        self.input.filled(len);
        let offload = match virtio::split_frame(self.input.frame()) {
            Ok((offload, _)) => offload,
            Err(_) => return self.refuse(Reason::BadOffload),
        };
        if let Offload::Checksum { start, offset } = offload
            && segment::complete_checksum(self.input.packet_mut(), start, offset).is_err()
        {
            return self.refuse(Reason::BadOffload);
        }
        let packet = match Packet::parse(self.input.packet()) {
            Ok(packet) => packet,
            Err(error) => return self.refuse(error.into()),
        };
        let plan = match offload {
            Offload::None | Offload::Checksum { .. } => None,
            Offload::Tcp { .. } | Offload::Udp { .. } => match Plan::new(&packet, offload) {
                Ok(plan) => Some(plan),
                Err(_) => return self.refuse(Reason::BadOffload),
            },
        };
        let (source, len) = (packet.source, packet.bytes().len());
        match self.balancer.forward(now, &packet) {
            Verdict::Drop(_) => {}
            Verdict::Reply => {
                if let Some(place) = self.input.replace(self.balancer.reply()) {
                    self.output.plain(source, place);
                    self.input.keep();
                }
            }
            Verdict::Tunnel(real) => match plan {
                None => {
                    if let Some(real) = self.balancer.dispatch(real, 1, len as u64) {
                        self.output.whole(&mut self.input, real);
                        self.input.keep();
                    }
                }
                Some(plan) => {
                    self.reads.super_frames += 1;
                    let segments = plan.count() as u64;
                    let repeated = (segments - 1) * plan.header_len() as u64;
                    if let Some(real) = self.balancer.dispatch(real, segments, len as u64 + repeated) {
                        self.output.split(&self.input, &packet, &plan, real);
                        self.input.keep();
                    }
                }
            },
        }
    }

    fn refuse(&mut self, reason: Reason) {
        self.balancer.refuse(reason);
    }

    /// Waits for the next thing to do: at once when something is left to read, else until a deadline.
    fn wait(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let busy = self.tun_ready || self.errors_ready;
        let now = self.now();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            self.balancer.next_deadline().map(|deadline| now.until(deadline))
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("waiting for packets failed"),
        }
        self.reads.wakeups += u64::from(!busy);
        for event in events.iter() {
            match event.token() {
                TUN => self.tun_ready = true,
                ERRORS => self.errors_ready = true,
                _ => {}
            }
        }
        Ok(())
    }
}
