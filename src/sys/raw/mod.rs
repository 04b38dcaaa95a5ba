//! Sockets of both families: raw ones send tunnelled packets, raw ones receive ICMP errors about
//! them, and raw ones (protocols 4, 41 and 47) and UDP ones receive them; UDP ones also send them.
//! On a kernel without IPv6 there are only the IPv4 ones.

mod batch;
mod control;
mod errors;
mod receive;
pub mod segmented;

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, SockFilter, Socket, Type};

pub use batch::{BatchMessage, SendBatch};
pub use errors::{ErrorQueue, MAX_ERROR, RawError};
pub use receive::{HEADROOM, Inside, ReceiveBuffers, Received, Receiver};

/// The protocol number of an IPv4 packet in an IP packet.
const IPV4_INSIDE: i32 = 4;
/// The protocol number of an IPv6 packet in an IP packet.
const IPV6_INSIDE: i32 = 41;
/// The protocol number of Generic Routing Encapsulation.
const GRE: i32 = 47;

/// `linux/in6.h`; libc names it for other systems only.
const IPV6_HDRINCL: i32 = 36;

/// Buffer requested for a socket, in bytes: about ten milliseconds at 10 Gbit/s.
const BUFFER: usize = 8 << 20;

/// The sending sockets: whole packets with their IP header.
#[derive(Debug)]
pub struct Sender {
    v4: Socket,
    /// `None` on a kernel without IPv6.
    v6: Option<Socket>,
}

impl Sender {
    /// Opens the sockets. The kernel attributes no ICMP error to a socket of `IPPROTO_RAW`. So no
    /// error about a tunnelled packet lowers a path MTU of the kernel's routes or fails a send. The
    /// balancer verifies the errors. An error that quotes an echo reply does lower a path MTU, even
    /// a forged one, and the kernel would refuse larger packets with `EMSGSIZE`. So these sockets
    /// send everything that fits the interface. They receive nothing.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let v4 = open(Domain::IPV4, libc::IPPROTO_RAW)?;
        v4.set_header_included_v4(true)?;
        set_option(&v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        let v6 = if_there(open(Domain::IPV6, libc::IPPROTO_RAW))?;
        if let Some(v6) = &v6 {
            set_option(v6, libc::IPPROTO_IPV6, IPV6_HDRINCL, 1)?;
            let probe = libc::IPV6_PMTUDISC_PROBE;
            set_option(v6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        }
        for socket in std::iter::once(&v4).chain(&v6) {
            socket.attach_filter(&DROP_ALL)?;
            force_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
        }
        Ok(Self { v4, v6 })
    }

    /// Binds the source address of all IPv6 packets. With `None`, or an address that this host does
    /// not have, the kernel chooses a source among all addresses of all interfaces to look up each
    /// packet's route (`ip6_dst_lookup_tail`). That takes a fifth of the time to send. The packet's
    /// own header is sent unchanged in either case.
    pub fn set_source_v6(&self, source: Option<Ipv6Addr>) {
        let Some(socket) = &self.v6 else { return };
        let bind = |address| socket.bind(&SocketAddrV6::new(address, 0, 0, 0).into());
        // If the bind below fails, the previous address does not stay bound.
        let _ = bind(Ipv6Addr::UNSPECIFIED);
        if let Some(source) = source {
            let _ = bind(source);
        }
    }

    /// The send buffer obtained for each family, in bytes.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn buffer(&self) -> io::Result<usize> {
        self.v4.send_buffer_size()
    }
}

/// A filter program that drops every packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(BPF_RET_K, 0, 0, 0)];
const BPF_RET_K: u16 = 0x06;

fn open(domain: Domain, protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol.into()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `None` for a family that the kernel was built or started without.
fn if_there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
        other => other.map(Some),
    }
}

/// Asks for a large buffer: beyond the system's limit if permitted, else up to it (user
/// namespaces).
pub(super) fn force_buffer(socket: &impl AsFd, force: i32, plain: i32) -> io::Result<()> {
    let size = i32::try_from(BUFFER).unwrap_or(i32::MAX);
    set_option(socket, libc::SOL_SOCKET, force, size)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, plain, size))
}

fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    // SAFETY: `value` is an i32 that outlives the call, and `len` is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
