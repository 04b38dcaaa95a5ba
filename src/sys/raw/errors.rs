//! The socket that hears of ICMP errors about tunnelled packets, and does nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

use super::{DROP_ALL, open, set_option};

/// Room for the quoted packet: what RFC 1812 section 4.3.2.3 lets an error quote.
const QUOTE: usize = 576;

/// Room for control messages: one `sock_extended_err` with an address, and some to spare.
const CONTROL: usize = 256;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Destination unreachable, protocol unreachable: nobody takes IPIP there.
    ProtocolUnreachable,
    /// Destination unreachable for another reason, by ICMP code.
    Unreachable(u8),
    /// Fragmentation needed: the next hop's MTU in bytes.
    PathMtu(u16),
    /// Time exceeded.
    TimeExceeded,
    /// Another type.
    Other(u8),
}

/// An ICMP error about a tunnelled packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelError {
    /// Where the packet had been sent: the real server.
    pub real: IpAddr,
    /// What the error says.
    pub cause: Cause,
}

/// The socket for errors. It never sends, so that a pending error fails nobody's packet.
#[derive(Debug)]
pub struct ErrorQueue {
    socket: Socket,
}

impl ErrorQueue {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        socket.attach_filter(&DROP_ALL)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        Ok(Self { socket })
    }

    /// Takes the next error; `None` for one that was not an ICMP error about an IPv4 destination.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn next(&self) -> io::Result<Option<TunnelError>> {
        let mut quote = [0u8; QUOTE];
        // Control messages start with a size_t, and must be aligned for it.
        let mut control = [0u64; CONTROL / 8];
        let mut part = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: QUOTE };
        // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
        let (mut name, mut header) = unsafe {
            (std::mem::zeroed::<libc::sockaddr_in>(), std::mem::zeroed::<libc::msghdr>())
        };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: `header` names one part, one address and one control buffer, all alive and of the sizes given.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, flags) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let real = IpAddr::V4(Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes()));
        Ok(extended_error(&header).and_then(cause).map(|cause| TunnelError { real, cause }))
    }
}

impl AsRawFd for ErrorQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The extended error among the control messages that `recvmsg` has filled in.
fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: `header` is as `recvmsg` left it: its control buffer holds `msg_controllen` bytes of messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header within the control buffer.
        let (level, kind, len) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        // SAFETY: the macro only computes.
        let wanted = unsafe {
            libc::CMSG_LEN(u32::try_from(size_of::<libc::sock_extended_err>()).unwrap_or_default())
        };
        let enough = u32::try_from(len).is_ok_and(|len| len >= wanted);
        if level == libc::IPPROTO_IP && kind == libc::IP_RECVERR && enough {
            // SAFETY: the message is long enough for the struct, which has no invalid values; it may lie at
            // any alignment.
            return Some(unsafe {
                libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned()
            });
        }
        // SAFETY: as for CMSG_FIRSTHDR; `message` lies in that buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// Types and codes of RFC 792. Errors that the kernel itself made for a send are not about the path.
fn cause(error: libc::sock_extended_err) -> Option<Cause> {
    if error.ee_origin != libc::SO_EE_ORIGIN_ICMP {
        return None;
    }
    Some(match (error.ee_type, error.ee_code) {
        (3, 2) => Cause::ProtocolUnreachable,
        (3, 4) => Cause::PathMtu(u16::try_from(error.ee_info).unwrap_or(u16::MAX)),
        (3, code) => Cause::Unreachable(code),
        (11, _) => Cause::TimeExceeded,
        (other, _) => Cause::Other(other),
    })
}
