//! The sockets that hear of ICMP errors about tunnelled packets, and do nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Socket};

use super::{DROP_ALL, control, each, open, set_option};

/// Room for the quoted packet. Nothing is read in it; what does not fit is cut off.
const QUOTE: usize = 64;

/// Room for control messages: one `sock_extended_err` with an address, and some to spare.
const CONTROL: usize = 256;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Nobody takes tunnelled packets there: protocol unreachable, or unrecognized next header.
    ProtocolUnreachable,
    /// The host does not answer its neighbours.
    HostUnreachable,
    /// A firewall or a policy on the way refuses it.
    Prohibited,
    /// Destination unreachable for another reason, by ICMP code.
    Unreachable(u8),
    /// Fragmentation needed, or packet too big: the next hop's MTU in bytes.
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

/// Drop-all sockets with `IP_RECVERR`, one for each protocol and family: all tunnel errors come to them, however many sockets
/// send. They never send, so a pending error fails nobody's packet.
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
        let sockets = each(|domain, protocol| {
            let socket = open(domain, protocol)?;
            socket.attach_filter(&DROP_ALL)?;
            let (level, option) = receive_errors(domain);
            set_option(&socket, level, option, 1)?;
            Ok((socket, domain))
        })?;
        Ok(Self { sockets })
    }

    /// What to poll: each shows an error as `EPOLLERR`.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(|(socket, _)| socket.as_raw_fd())
    }

    /// Takes the next error; `None` for one that was no ICMP error.
    ///
    /// # Errors
    /// `WouldBlock` when there is none in any queue; `Interrupted`.
    pub fn next(&self) -> io::Result<Option<TunnelError>> {
        for (socket, domain) in &self.sockets {
            match receive(socket, *domain) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                // Nothing there; or an error about the queue itself, gone by being read.
                Err(_) => {}
                taken => return taken,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// The level and the number of the option that asks for errors; the control messages that bring them have the same.
fn receive_errors(domain: Domain) -> (i32, i32) {
    if domain == Domain::IPV6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    }
}

fn receive(socket: &Socket, domain: Domain) -> io::Result<Option<TunnelError>> {
    let mut quote = [0u8; QUOTE];
    // Control messages start with a size_t, and must be aligned for it.
    let mut control = [0u64; CONTROL / 8];
    let mut part = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: QUOTE };
    // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
    let (mut name, mut header) =
        unsafe { (std::mem::zeroed::<libc::sockaddr_in6>(), std::mem::zeroed::<libc::msghdr>()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `header` names one part, one address and one control buffer, all alive and of the sizes given.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let (level, kind) = receive_errors(domain);
    let error = control::find::<libc::sock_extended_err>(&header, level, kind);
    let real = address(&name, domain);
    Ok(error.and_then(cause).map(|cause| TunnelError { real, cause }))
}

/// The address that the kernel has written: a `sockaddr_in`, which is shorter, or a `sockaddr_in6`.
fn address(name: &libc::sockaddr_in6, domain: Domain) -> IpAddr {
    if domain == Domain::IPV6 {
        return Ipv6Addr::from(name.sin6_addr.s6_addr).into();
    }
    // Family, port, address in both; what IPv6 calls the flow information is IPv4's address.
    Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes()).into()
}

/// Types and codes of RFC 792, RFC 1812 section 5.2.7.1 and RFC 4443. Errors that the kernel itself made for a send are not
/// about the path.
fn cause(error: libc::sock_extended_err) -> Option<Cause> {
    let mtu = || Cause::PathMtu(u16::try_from(error.ee_info).unwrap_or(u16::MAX));
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => Some(match (error.ee_type, error.ee_code) {
            (3, 1) => Cause::HostUnreachable,
            (3, 2) => Cause::ProtocolUnreachable,
            (3, 4) => mtu(),
            (3, 9 | 10 | 13) => Cause::Prohibited,
            (3, code) => Cause::Unreachable(code),
            (11, _) => Cause::TimeExceeded,
            (other, _) => Cause::Other(other),
        }),
        libc::SO_EE_ORIGIN_ICMP6 => Some(match (error.ee_type, error.ee_code) {
            (1, 1 | 5 | 6) => Cause::Prohibited,
            (1, 3) => Cause::HostUnreachable,
            (1, code) => Cause::Unreachable(code),
            (2, _) => mtu(),
            (3, _) => Cause::TimeExceeded,
            (4, 1) => Cause::ProtocolUnreachable,
            (other, _) => Cause::Other(other),
        }),
        _ => None,
    }
}
