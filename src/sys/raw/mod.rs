//! Raw IPv4 sockets of protocol 4 (IPIP): one that sends, one that hears of errors, one that receives.
//!
//! Three sockets because of how Linux reports ICMP errors (`raw_err`): with `IP_RECVERR` on the sending
//! socket one real server's error would fail the next send to another.

mod batch;
mod errors;
mod receive;

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, SockFilter, Socket, Type};

pub use batch::{Batch, Message};
pub use errors::{Cause, ErrorQueue, TunnelError};
pub use receive::{Datagrams, Receiver};

const IPPROTO_IPIP: i32 = 4;

/// Buffer wanted for a socket, in bytes: some ten milliseconds at 10 Gbit/s.
const BUFFER: usize = 8 << 20;

/// The sending socket: whole packets with their IP header.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
}

impl Sender {
    /// Opens the socket. Protocol 4 and not `IPPROTO_RAW`: only so does the kernel learn path MTUs from ICMP
    /// errors. It receives nothing, though every raw socket is offered a copy of each packet.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        socket.attach_filter(&DROP_ALL)?;
        socket.set_header_included_v4(true)?;
        force_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
        Ok(Self { socket })
    }

    /// The send buffer obtained, in bytes.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn buffer(&self) -> io::Result<usize> {
        self.socket.send_buffer_size()
    }
}

/// A filter program of one instruction, "accept 0 bytes".
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(BPF_RET_K, 0, 0, 0)];
const BPF_RET_K: u16 = 0x06;

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(IPPROTO_IPIP.into()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks for a large buffer: past the system's limit where we may, up to it otherwise (user namespaces).
fn force_buffer(socket: &Socket, force: i32, plain: i32) -> io::Result<()> {
    let size = i32::try_from(BUFFER).unwrap_or(i32::MAX);
    set_option(socket, libc::SOL_SOCKET, force, size)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, plain, size))
}

fn set_option(socket: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    // SAFETY: `value` is an i32 that outlives the call, and `len` is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl AsRawFd for Sender {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}
