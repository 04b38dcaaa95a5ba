//! The bare loop with batches: TUN with offload, `sendmmsg`, no tables, no logic.
//!
//! The cost of a program with the director's structure before it decides anything: the minimum of
//! the figures. It does only the work that offload leaves to it, checksums and the splitting of
//! super-frames.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use vstun::sys::raw::{BatchMessage, SendBatch, Sender};
use vstun::sys::tun::{MAX_FRAME_LEN, Tun, VIRTIO_HEADER_LEN};
use vstun::wire::Packet;
use vstun::wire::segment::{self, MAX_HEADER_LEN, SplitPlan};
use vstun::wire::virtio::{self, Offload};

use super::{OUTER, outer_header, ready};

/// Packets per batch, and bytes for each; a super-frame uses the space of later ones.
const BATCH: usize = 64;
const ROOM: usize = 2_048;
/// The offset of a frame in its space, so that the outer header ends where the packet starts.
const FRAME: usize = OUTER - VIRTIO_HEADER_LEN;
/// Room for a segment's headers.
const SLOT: usize = OUTER + MAX_HEADER_LEN;

/// Sends every packet that arrives at `tun` to the real server `to`, from the tunnel address
/// `from`.
pub(super) fn run(tun: &str, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let device = Tun::create(tun, 1480, true).with_context(|| format!("create {tun}"))?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4);
    let mut source = SourceFd(&device.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
    let mut queue = Queue {
        sender: Sender::open()?,
        batch: SendBatch::new(BATCH),
        frames: vec![0; BATCH * ROOM + MAX_FRAME_LEN],
        headers: vec![0; BATCH * SLOT],
        outer: outer_header(from, to),
        to,
    };
    ready()?;
    loop {
        while let Ok(length) = device.read(queue.room()) {
            queue.add(length);
        }
        queue.flush();
        poll.poll(&mut events, None)?;
    }
}

struct Queue {
    sender: Sender,
    batch: SendBatch,
    frames: Vec<u8>,
    headers: Vec<u8>,
    outer: [u8; OUTER],
    to: Ipv4Addr,
}

impl Queue {
    /// The space for the next frame.
    fn room(&mut self) -> &mut [u8] {
        let start = self.batch.len() * ROOM + FRAME;
        &mut self.frames[start..start + MAX_FRAME_LEN]
    }

    fn add(&mut self, length: usize) {
        let start = self.batch.len() * ROOM;
        let frame = &mut self.frames[start + FRAME..start + FRAME + length];
        match virtio::split_frame(frame) {
            Ok((Offload::Checksum { start, offset }, _)) => {
                let packet = &mut frame[VIRTIO_HEADER_LEN..];
                let _ = segment::complete_checksum(packet, start, offset);
            }
            Ok((offload @ Offload::Tcp { .. }, _)) => {
                return self.split(start + OUTER, length, offload);
            }
            _ => {}
        }
        self.frames[start..start + OUTER].copy_from_slice(&self.outer);
        let payload = start..start + FRAME + length;
        self.push(BatchMessage {
            destination: self.to.into(),
            header: 0..0,
            payload,
            fragment_of: 0,
        });
    }

    fn split(&mut self, start: usize, length: usize, offload: Offload) {
        let end = start + length - VIRTIO_HEADER_LEN;
        let plan = Packet::parse(&self.frames[start..end]).ok();
        let Some(plan) = plan.and_then(|packet| SplitPlan::new(&packet, offload).ok()) else {
            return;
        };
        for index in 0..plan.count() {
            let slot = self.batch.len() * SLOT;
            let header = &mut self.headers[slot..slot + SLOT];
            header[..OUTER].copy_from_slice(&self.outer);
            let packet = &self.frames[start..end];
            let Some(payload) = plan.write(index, packet, &mut header[OUTER..]) else { return };
            self.push(BatchMessage {
                destination: self.to.into(),
                header: slot..slot + OUTER + plan.header_len(),
                payload: start + payload.start..start + payload.end,
                fragment_of: 0,
            });
        }
        self.flush();
    }

    fn push(&mut self, message: BatchMessage) {
        self.batch.push(message);
        if self.batch.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.batch.flush(&self.sender, &self.headers, &self.frames, |_, _| {});
    }
}
