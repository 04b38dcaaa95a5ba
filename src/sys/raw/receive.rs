//! Many packets by one `recvmmsg`. Each buffer holds the longest possible packet, since NICs merge
//! received packets (GRO).
//!
//! A raw IPv4 socket delivers the outer header with each datagram. A raw IPv6 socket delivers only
//! the payload after the header and its extension headers, a UDP socket only the payload after the
//! UDP header. There the source is the message's address, and the traffic class is a control
//! message (RFC 3542 sections 3 and 6.5, ip(7)).
//!
//! The kernel merges datagrams of one sender to a UDP socket with `UDP_GRO` (udp(7)). Up to 64 of
//! one length come as one, with that length beside it; the last of them may be shorter.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, SockFilter, Socket, Type};

use super::{GRE, IPV4_INSIDE, IPV6_INSIDE, force_buffer, if_there, open, set_option};

/// Bytes before each datagram that the caller may write to.
pub const HEADROOM: usize = 64;

/// Bytes reserved for a packet: the most that an IP length field can count, in whole cache lines.
const SLOT: usize = HEADROOM + 65_536;

/// Bytes for the control messages of a datagram: more than two ints, each with its header.
const CONTROL: usize = 64;

/// What follows the outer IP header of a socket's packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inside {
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
    /// GRE.
    Gre,
    /// UDP datagrams to one port.
    Gue,
}

/// A receiving socket of a real server: it receives every packet of one protocol and family to any
/// address of the host.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    domain: Domain,
    inside: Inside,
    /// Whether the kernel merges datagrams for it.
    merges: bool,
}

impl Receiver {
    /// Opens a raw socket for each sort of tunnel: protocols 4, 41 and 47 over IPv4 and, if the
    /// kernel has it, IPv6. While they are open the kernel sends no ICMP protocol-unreachable or
    /// ICMPv6 unrecognized-next-header for tunnelled packets.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open_each() -> io::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(8);
        for (inside, protocol) in
            [(Inside::Ipv4, IPV4_INSIDE), (Inside::Ipv6, IPV6_INSIDE), (Inside::Gre, GRE)]
        {
            let of = |domain| Self::prepared(open(domain, protocol)?, domain, inside);
            all.push(of(Domain::IPV4)?);
            all.extend(if_there(of(Domain::IPV6))?);
        }
        Ok(all)
    }

    /// Opens a UDP socket of each family for GUE on that port. The kernel merges datagrams for it
    /// (`UDP_GRO`, Linux 5.0) if it can.
    ///
    /// # Errors
    /// `EADDRINUSE` if another program has the port.
    pub fn open_gue(port: u16) -> io::Result<Vec<Self>> {
        let of = |domain, any: IpAddr| {
            let socket = Socket::new(domain, Type::DGRAM, None)?;
            socket.set_nonblocking(true)?;
            if domain == Domain::IPV6 {
                socket.set_only_v6(true)?;
            } else {
                set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            }
            let mut receiver = Self::prepared(socket, domain, Inside::Gue)?;
            // Before the first datagram arrives: the kernel checks the option when it could merge.
            receiver.merges = set_option(&receiver.socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
            receiver.socket.bind(&SocketAddr::new(any, port).into())?;
            Ok(receiver)
        };
        let v4 = of(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())?;
        let v6 = if_there(of(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()))?;
        Ok(std::iter::once(v4).chain(v6).collect())
    }

    fn prepared(socket: Socket, domain: Domain, inside: Inside) -> io::Result<Self> {
        force_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
        if domain == Domain::IPV6 {
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
        }
        Ok(Self { socket, domain, inside, merges: false })
    }

    /// The receive buffer obtained, in bytes.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }

    /// Packets dropped because the receive buffer was full, since the socket was opened
    /// (`SK_MEMINFO_DROPS`), modulo 2^32. Linux from 6.7 on answers each with "protocol
    /// unreachable", as if no socket were open.
    ///
    /// # Errors
    /// That of `getsockopt`.
    pub fn dropped(&self) -> io::Result<u32> {
        /// The number of values, `SK_MEMINFO_VARS`, of which the drops are the last.
        const VALUES: usize = 9;
        let mut values = [0_u32; VALUES];
        let mut len = libc::socklen_t::try_from(size_of_val(&values)).unwrap_or_default();
        // SAFETY: `values` has room for `len` bytes, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                values.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(values[VALUES - 1]) }
    }

    /// Makes the kernel run this program of classic BPF for each packet before it queues it, in the
    /// place of an earlier one. An instruction is its code, two jumps and an operand.
    ///
    /// # Errors
    /// `EINVAL` for an invalid program; `ENOMEM` above `net.core.optmem_max`.
    pub fn attach_filter(
        &self,
        program: impl Iterator<Item = (u16, u8, u8, u32)>,
    ) -> io::Result<()> {
        let one = |(code, jt, jf, k)| SockFilter::new(code, jt, jf, k);
        self.socket.attach_filter(&program.map(one).collect::<Vec<_>>())
    }

    /// Removes the program.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    pub fn detach_filter(&self) -> io::Result<()> {
        self.socket.detach_filter()
    }

    /// The version of the outer header, 4 or 6.
    #[must_use]
    pub fn outer_version(&self) -> u8 {
        if self.domain == Domain::IPV6 { 6 } else { 4 }
    }

    /// The version of the inner packets, 4 or 6, if the socket's protocol determines it (IP in IP).
    #[must_use]
    pub fn inner_version(&self) -> Option<u8> {
        match self.inside {
            Inside::Ipv4 => Some(4),
            Inside::Ipv6 => Some(6),
            Inside::Gre | Inside::Gue => None,
        }
    }

    /// What follows the outer IP header of its packets.
    #[must_use]
    pub fn inside(&self) -> Inside {
        self.inside
    }

    /// Whether the kernel merges UDP datagrams for it.
    #[must_use]
    pub fn merges(&self) -> bool {
        self.merges
    }

    /// Whether its datagrams come without the outer header.
    fn is_bare(&self) -> bool {
        self.domain == Domain::IPV6 || self.inside == Inside::Gue
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A received datagram.
#[derive(Debug, Eq, PartialEq)]
pub enum Received<'a> {
    /// An IPv4 datagram, which starts with its header.
    Whole(&'a mut [u8]),
    /// A datagram without its headers.
    Payload {
        /// The source address.
        source: IpAddr,
        /// The source port of a UDP datagram.
        port: u16,
        /// DSCP and ECN.
        traffic_class: u8,
        /// If the kernel has merged several UDP datagrams: the length of each payload but the last,
        /// not zero.
        piece: Option<usize>,
        /// [`HEADROOM`] bytes to write to, then the payload after the IPv6 or UDP header.
        bytes: &'a mut [u8],
    },
}

/// Buffers for the packets of one `recvmmsg`; allocated once.
#[derive(Debug)]
pub struct ReceiveBuffers {
    room: Vec<u8>,
    received: usize,
    domain: Domain,
    /// Whether the datagrams come without the outer header.
    bare: bool,
    /// Addresses of either family.
    names: Vec<libc::sockaddr_in6>,
    /// Control messages start with a size_t, and must be aligned for it.
    controls: Vec<[u64; CONTROL / 8]>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `parts` and `headers` point into this value's own vectors, are
// written anew by each `receive`, and are used by no one else; so the value can be used from any
// one thread.
unsafe impl Send for ReceiveBuffers {}

impl ReceiveBuffers {
    /// Allocates buffers for `count` packets.
    #[must_use]
    pub fn new(count: usize) -> Self {
        // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
        let (name, part, header) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            room: vec![0; count * SLOT],
            received: 0,
            domain: Domain::IPV4,
            bare: false,
            names: vec![name; count],
            controls: vec![[0; CONTROL / 8]; count],
            parts: vec![part; count],
            headers: vec![header; count],
        }
    }

    /// Receives up to `most` packets, at most as many as there are buffers, without waiting.
    /// Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when no packet is there.
    pub fn receive(&mut self, receiver: &Receiver, most: usize) -> io::Result<usize> {
        self.received = 0;
        self.domain = receiver.domain;
        self.bare = receiver.is_bare();
        let most = most.min(self.headers.len());
        self.prepare(most);
        let count = libc::c_uint::try_from(most).unwrap_or_default();
        // SAFETY: `headers` holds at least `count` headers, and `prepare` has set that many. Each
        // points at one part, which names the bytes of a slot behind its headroom. Where the kernel
        // delivers no outer header, it also points at an address and a control buffer of this
        // value. Nothing else uses these during the call, and no timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                receiver.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    fn prepare(&mut self, most: usize) {
        let bare = self.bare;
        let name_len = libc::socklen_t::try_from(size_of::<libc::sockaddr_in6>());
        let slots = self.room.chunks_exact_mut(SLOT).zip(&mut self.parts).zip(&mut self.headers);
        let extras = self.names.iter_mut().zip(&mut self.controls);
        for (((slot, part), header), (name, control)) in slots.zip(extras).take(most) {
            let room = slot.get_mut(HEADROOM..).unwrap_or_default();
            *part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            let header = &mut header.msg_hdr;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            // An outer header contains address and traffic class.
            header.msg_name = if bare { (&raw mut *name).cast() } else { std::ptr::null_mut() };
            header.msg_namelen = if bare { name_len.unwrap_or_default() } else { 0 };
            header.msg_control =
                if bare { control.as_mut_ptr().cast() } else { std::ptr::null_mut() };
            header.msg_controllen = if bare { CONTROL } else { 0 };
        }
    }

    /// The packets of the last [`Self::receive`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = Received<'_>> {
        let (bare, domain) = (self.bare, self.domain);
        let slots = self.room.chunks_exact_mut(SLOT).zip(&self.headers).zip(&self.names);
        slots.take(self.received).map(move |((slot, header), name)| {
            let len = usize::try_from(header.msg_len).unwrap_or_default();
            let end = HEADROOM + len.min(SLOT - HEADROOM);
            if bare {
                Received::Payload {
                    source: source(name, domain),
                    port: u16::from_be(name.sin6_port),
                    traffic_class: traffic_class(&header.msg_hdr),
                    piece: piece(&header.msg_hdr),
                    bytes: &mut slot[..end],
                }
            } else {
                Received::Whole(&mut slot[HEADROOM..end])
            }
        })
    }
}

/// The address that the kernel has written for a socket of that family.
fn source(name: &libc::sockaddr_in6, domain: Domain) -> IpAddr {
    match domain {
        Domain::IPV6 => Ipv6Addr::from(name.sin6_addr.s6_addr).into(),
        // `sin_addr` of a `sockaddr_in` is where a `sockaddr_in6` has its flow label.
        _ => Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes()).into(),
    }
}

/// The length of each merged UDP datagram's payload from the control messages.
fn piece(header: &libc::msghdr) -> Option<usize> {
    let size = super::control::find::<libc::c_int>(header, libc::SOL_UDP, libc::UDP_GRO)?;
    usize::try_from(size).ok().filter(|size| *size > 0)
}

/// The traffic class from the control messages that `recvmmsg` has filled in; 0 if there is none.
fn traffic_class(header: &libc::msghdr) -> u8 {
    let class = super::control::find::<libc::c_int>(header, libc::IPPROTO_IPV6, libc::IPV6_TCLASS);
    // IPv4's message has one byte (`ip_cmsg_recv_tos`).
    let tos = || super::control::find::<u8>(header, libc::IPPROTO_IP, libc::IP_TOS);
    class.and_then(|class| u8::try_from(class).ok()).or_else(tos).unwrap_or_default()
}
