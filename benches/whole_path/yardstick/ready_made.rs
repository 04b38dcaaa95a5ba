//! Ready-made `sendmmsg`: the kernel's cost of one 1,500-byte IPIP packet.
//!
//! A batch of 64 packets is written once, with checksums, and sent again and again: no packet is
//! read, parsed or changed. This is the minimum for every director that sends from user space
//! through a raw socket.

// The system call under test, `sendmmsg` over arrays made once, has no safe wrapper.
#![allow(unsafe_code)]
// Every length here is a constant that fits.
#![allow(clippy::cast_possible_truncation)]

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};
use std::{io, ptr};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use socket2::Domain;

use super::{OUTER, fold, obey, outer_header, sending_socket, sum};

/// Handles `send SECONDS`: packets from the tunnel address `from` to the real server `to`.
pub(super) fn run(from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let socket = sending_socket(Domain::IPV4)?;
    let mut batch = Batch::new(from, to);
    obey(|order| match *order {
        ["send", seconds] => send_for(&mut batch, socket.as_raw_fd(), seconds.parse()?),
        _ => bail!("no such order"),
    })
}

fn send_for(batch: &mut Batch, socket: RawFd, seconds: f64) -> Result<Value> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut packets = 0;
    while Instant::now() < end {
        packets += batch.send(socket).context("send a batch")?;
    }
    Ok(json!({"packets": packets, "seconds": begin.elapsed().as_secs_f64()}))
}

/// 64 packets and the arrays that `sendmmsg` wants, each pointing into the next.
struct Batch {
    messages: Vec<libc::mmsghdr>,
    _slices: Vec<libc::iovec>,
    _packets: Vec<[u8; WIRE]>,
    _destination: Box<libc::sockaddr_in>,
}

impl Batch {
    fn new(from: Ipv4Addr, to: Ipv4Addr) -> Self {
        let mut packets: Vec<_> = (0..BATCH).map(|index| packet(from, to, index)).collect();
        let mut slices: Vec<_> = packets
            .iter_mut()
            .map(|p| libc::iovec { iov_base: p.as_mut_ptr().cast(), iov_len: p.len() })
            .collect();
        let mut destination = Box::new(address(to));
        let messages = slices.iter_mut().map(|slice| message(slice, &mut destination)).collect();
        Self { messages, _slices: slices, _packets: packets, _destination: destination }
    }

    /// Sends the whole batch, waiting where the device is full.
    fn send(&mut self, socket: RawFd) -> io::Result<u64> {
        let mut sent = 0;
        while let Some(rest) = self.messages.get_mut(sent..).filter(|rest| !rest.is_empty()) {
            let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            // SAFETY: `rest` is an array of `count` headers; the addresses and slices they point to
            // are heap blocks owned by `self`, which are neither moved nor resized after `new`.
            let done = unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), count, 0) };
            sent += usize::try_from(done).map_err(|_| io::Error::last_os_error())?;
        }
        Ok(sent as u64)
    }
}

fn message(slice: &mut libc::iovec, to: &mut libc::sockaddr_in) -> libc::mmsghdr {
    // SAFETY: every field of `mmsghdr` is an integer or a raw pointer, for which all zeros is a
    // valid value.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = ptr::from_mut(to).cast();
    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_hdr.msg_iov = slice;
    message.msg_hdr.msg_iovlen = 1;
    message
}

fn address(to: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.octets()) },
        sin_zero: [0; 8],
    }
}

/// One tunnelled TCP segment of an upload, the `index`-th in order, with valid checksums: the
/// receiver's GRO merges it as it merges a director's, so that both leave the same work to the
/// receiver.
fn packet(from: Ipv4Addr, to: Ipv4Addr, index: usize) -> [u8; WIRE] {
    let mut packet = [b'.'; WIRE];
    packet[..OUTER].copy_from_slice(&outer_header(from, to));
    let inner = &mut packet[OUTER..];
    let total = inner.len() as u16;
    inner[..20].copy_from_slice(&outer_header(CLIENT, NOBODY));
    inner[2..4].copy_from_slice(&total.to_be_bytes());
    inner[9] = 6;
    let check = !fold(sum(&inner[..20]));
    inner[10..12].copy_from_slice(&check.to_be_bytes());
    inner[20..40].fill(0);
    inner[20..24].copy_from_slice(&[0x80, 0, 0x23, 0x29]);
    inner[24..28].copy_from_slice(&((index * (WIRE - 60)) as u32).to_be_bytes());
    inner[32..36].copy_from_slice(&[0x50, 0x10, 0xff, 0xff]);
    let check = !fold(sum(&inner[12..]) + 6 + u64::from(total - 20));
    inner[36..38].copy_from_slice(&check.to_be_bytes());
    packet
}

/// Packets a batch: the size past which larger batches gain nothing measurable.
const BATCH: usize = 64;
/// A full Ethernet payload: 20 bytes of outer header and a 1,480-byte inner packet.
const WIRE: usize = 1500;
/// Inner addresses from the documentation networks (RFC 5737) that no node owns: the real server
/// unwraps, then drops.
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
