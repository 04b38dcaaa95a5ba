//! The bare loop with batches: TUN with offload, `sendmmsg`, no tables, no logic.
//!
//! What a program of the director's shape costs before it decides anything: the floor of the small-packet figure. It
//! completes checksums, which offload leaves to it, and looks at nothing else; super-frames would not pass.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use vstun::sys::raw::{Batch, Message, Sender};
use vstun::sys::tun::{MAX_FRAME_LEN, Tun, VIRTIO_HEADER_LEN};
use vstun::wire::segment;
use vstun::wire::virtio::{self, Offload};

use super::{OUTER, outer_header, ready};

/// Packets a batch, and bytes for each: only small packets come here.
const BATCH: usize = 64;
const ROOM: usize = 2_048;
/// Where a frame goes in its room, so that the outer header ends where the packet starts.
const FRAME: usize = OUTER - VIRTIO_HEADER_LEN;

/// Sends every packet that arrives at `tun` to the real server `to`, from the tunnel address `from`.
pub(super) fn run(tun: &str, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let device = Tun::create(tun, 1480, true).with_context(|| format!("create {tun}"))?;
    let sender = Sender::open()?;
    let mut batch = Batch::new(BATCH);
    let mut buffer = vec![0; BATCH * ROOM + MAX_FRAME_LEN];
    let header = outer_header(from, to);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4);
    poll.registry().register(&mut SourceFd(&device.as_raw_fd()), Token(0), Interest::READABLE)?;
    ready()?;
    let destination = *SocketAddrV4::new(to, 0).ip();
    loop {
        while let Ok(length) = device.read(&mut buffer[batch.len() * ROOM + FRAME..]) {
            let start = batch.len() * ROOM;
            let frame = &mut buffer[start + FRAME..start + FRAME + length];
            if let Ok((Offload::Checksum { start, offset }, _)) = virtio::split_frame(frame) {
                let packet = &mut frame[VIRTIO_HEADER_LEN..];
                let _ = segment::complete_checksum(packet, start, offset);
            }
            buffer[start..start + OUTER].copy_from_slice(&header);
            let payload = start..start + FRAME + length;
            batch.push(Message { destination, header: 0..0, payload });
            if batch.is_full() {
                batch.flush(&sender, &[], &buffer, |_, _| {});
            }
        }
        batch.flush(&sender, &[], &buffer, |_, _| {});
        poll.poll(&mut events, None)?;
    }
}
