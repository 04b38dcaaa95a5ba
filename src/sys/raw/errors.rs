//! The sockets that receive ICMP errors about tunnelled packets.
//!
//! They are raw ICMP sockets, not the error queues (`IP_RECVERR`) of sockets of the quoted
//! protocol. With error queues the kernel would lower the path MTU of its own routes by every error
//! (`raw_err`, `rawv6_err`), also a forged one, before vstun could check the quoted packet.

use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, SockFilter, Socket};

use super::{if_there, open};

/// Bytes read of an error. Routers quote up to 576 bytes in all over IPv4 (RFC 1812 section
/// 4.3.2.3), up to 1280 over IPv6 (RFC 4443 section 2.4); the rest is cut off.
pub const MAX_ERROR: usize = 2_048;

const ICMP: i32 = 1;
const ICMPV6: i32 = 58;

/// A received ICMP error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RawError<'a> {
    /// A whole IPv4 packet; its ICMP checksum has not been verified.
    V4(&'a [u8]),
    /// An ICMPv6 message, whose checksum the kernel has verified, and the address it came from.
    V6(Ipv6Addr, &'a [u8]),
}

/// One socket for each family. Kernel filters pass only errors that quote what may be a tunnel, so
/// that most other ICMP to this host costs nothing here.
#[derive(Debug)]
pub struct ErrorQueue {
    sockets: Vec<(Socket, Domain)>,
}

impl ErrorQueue {
    /// Opens the sockets.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let v4 = open(Domain::IPV4, ICMP)?;
        v4.attach_filter(&FILTER_V4)?;
        let mut sockets = vec![(v4, Domain::IPV4)];
        if let Some(v6) = if_there(open(Domain::IPV6, ICMPV6))? {
            v6.attach_filter(&FILTER_V6)?;
            sockets.push((v6, Domain::IPV6));
        }
        Ok(Self { sockets })
    }

    /// The descriptors to poll.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(|(socket, _)| socket.as_raw_fd())
    }

    /// Reads the next error into `room`.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `Interrupted`.
    pub fn next<'a>(&self, room: &'a mut [u8; MAX_ERROR]) -> io::Result<RawError<'a>> {
        for (socket, domain) in &self.sockets {
            match socket.recv_from(uninit(room)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                // Nothing to read, or an error of the socket itself, which reading has cleared.
                Err(_) => {}
                Ok((len, sender)) => {
                    let bytes = room.get(..len).unwrap_or_default();
                    let sender = sender.as_socket_ipv6().map(|sender| *sender.ip());
                    return Ok(match *domain {
                        Domain::IPV6 => {
                            RawError::V6(sender.unwrap_or(Ipv6Addr::UNSPECIFIED), bytes)
                        }
                        _ => RawError::V4(bytes),
                    });
                }
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// The buffer in the form that `recv_from` takes.
fn uninit(room: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: both types have the same layout, and `recv_from` writes received bytes only, never
    // uninitialised ones.
    unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<u8>]) }
}

// Classic BPF (`linux/filter.h`).
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_FROM_X: u16 = 0x50;
const HEADER_LEN_TO_X: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

/// The packet starts with an IPv4 header, whose first byte gives its length. ICMP types 3
/// (unreachable), 4 (source quench), 11 (time exceeded) and 12 (parameter problem) quote a packet
/// after eight bytes; the tenth byte of the quoted packet is its protocol.
const FILTER_V4: [SockFilter; 13] = [
    SockFilter::new(HEADER_LEN_TO_X, 0, 0, 0),
    SockFilter::new(LOAD_BYTE_FROM_X, 0, 0, 0),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 3),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 4),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 11),
    SockFilter::new(JUMP_IF_EQUAL, 0, 5, 12),
    SockFilter::new(LOAD_BYTE_FROM_X, 0, 0, 8 + 9),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 4),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 41),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 47),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 17),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];

/// The message starts with its ICMPv6 header. Types 1 to 4 are errors; the quoted packet's next
/// header is its seventh byte: IP in IP, GRE, UDP, or a fragment.
const FILTER_V6: [SockFilter; 10] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 0),
    SockFilter::new(JUMP_IF_GREATER, 6, 0, 4),
    SockFilter::new(LOAD_BYTE, 0, 0, 8 + 6),
    SockFilter::new(JUMP_IF_EQUAL, 5, 0, 4),
    SockFilter::new(JUMP_IF_EQUAL, 4, 0, 41),
    SockFilter::new(JUMP_IF_EQUAL, 3, 0, 44),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 47),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 17),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
