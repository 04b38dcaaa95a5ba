//! Many packets by one `recvmmsg`, each buffer as long as the longest: NICs merge (GRO) what they receive.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

use super::{force_buffer, open};

/// Bytes reserved for a packet: an IPv4 packet's most, in whole cache lines.
const SLOT: usize = 65_536;

/// The receiving socket of a real server: every packet of protocol 4 to any address of the host.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
}

impl Receiver {
    /// Opens the socket. While it is open the kernel sends no ICMP protocol-unreachable for tunnelled packets.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        force_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
        Ok(Self { socket })
    }

    /// The receive buffer obtained, in bytes.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Room for the packets of one `recvmmsg`; made once.
#[derive(Debug)]
pub struct Datagrams {
    room: Vec<u8>,
    lens: Vec<usize>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `parts` and `headers` point into this value's own vectors, are written anew by
// each `receive`, and are used by no one else; so the value can be used from any one thread.
unsafe impl Send for Datagrams {}

impl Datagrams {
    /// Room for `count` packets.
    #[must_use]
    pub fn new(count: usize) -> Self {
        // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
        let (part, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            room: vec![0; count * SLOT],
            lens: Vec::with_capacity(count),
            parts: vec![part; count],
            headers: vec![header; count],
        }
    }

    /// Receives what is there, up to the room. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing.
    pub fn receive(&mut self, receiver: &Receiver) -> io::Result<usize> {
        self.lens.clear();
        let slots = self.room.chunks_exact_mut(SLOT).zip(&mut self.parts).zip(&mut self.headers);
        for ((room, part), header) in slots {
            *part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: SLOT };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let count = libc::c_uint::try_from(self.headers.len()).unwrap_or_default();
        // SAFETY: `headers` holds `count` headers, each pointing at one part that names SLOT bytes of `room`,
        // which nothing else uses during the call; no timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                receiver.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let len = |header: &libc::mmsghdr| usize::try_from(header.msg_len).unwrap_or_default();
        self.lens.extend(self.headers.iter().take(received).map(len));
        Ok(received)
    }

    /// The packets of the last [`Self::receive`], with their outer IPv4 headers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let packet = |(room, &len): (_, &usize)| -> &mut [u8] { cut(room, len) };
        self.room.chunks_exact_mut(SLOT).zip(&self.lens).map(packet)
    }
}

fn cut(room: &mut [u8], len: usize) -> &mut [u8] {
    let len = len.min(room.len());
    &mut room[..len]
}
