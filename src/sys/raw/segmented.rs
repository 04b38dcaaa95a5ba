//! A UDP socket that sends many datagrams of one size in one call (`UDP_SEGMENT`): one pass through
//! the kernel for all of them, where a raw socket needs one for each packet.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, MsgHdr, Protocol, SockAddr, Socket, Type};

use super::{DROP_ALL, force_buffer, set_option};

/// `linux/udp.h`; Linux 4.18 has it.
const UDP_SEGMENT: i32 = 103;

/// The most datagrams in a call.
pub const MAX_SEGMENTS: usize = 64;

/// The most zeros behind a datagram that is shorter than the others.
pub const MAX_PADDING: usize = 4_096;
static ZEROS: [u8; MAX_PADDING] = [0; MAX_PADDING];

/// The outer headers of all datagrams of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Headers {
    /// 0.0.0.0: the kernel picks it by its routing table.
    pub source: IpAddr,
    /// The destination, with its port.
    pub destination: SocketAddr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// 20 bits; without meaning for IPv4.
    pub flow_label: u32,
}

/// A UDP socket for one source port that only sends.
#[derive(Debug)]
pub struct SegmentedSender {
    socket: Socket,
}

impl SegmentedSender {
    /// Opens a socket of that family. Its packets have this TTL or hop limit, and DF over IPv4.
    ///
    /// It is connected to a port of this host that nothing uses, while each call names its
    /// destination. So no ICMP error about a packet belongs to it: none fails a send, and none, not
    /// even a forged one, lowers a path MTU of the kernel's routes. It receives nothing. Path MTUs
    /// that the kernel has learnt otherwise are ignored (`IP_PMTUDISC_PROBE`), as by the raw
    /// sockets.
    ///
    /// # Errors
    /// `EADDRINUSE`: another program has the port. `EAFNOSUPPORT`: a kernel without the family.
    /// `ENOPROTOOPT`: one without `UDP_SEGMENT`.
    pub fn open(ipv6: bool, source_port: u16, ttl: u8) -> io::Result<Self> {
        let (domain, any, own): (_, IpAddr, IpAddr) = match ipv6 {
            false => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
            true => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        set_option(&socket, libc::SOL_UDP, UDP_SEGMENT, 0)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&DROP_ALL)?;
        if ipv6 {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(ttl.into())?;
            let probe = libc::IPV6_PMTUDISC_PROBE;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        } else {
            socket.set_ttl_v4(ttl.into())?;
            let probe = libc::IP_PMTUDISC_PROBE;
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        }
        // As with raw sockets, the source need not be an address of this host.
        let (level, transparent) = match ipv6 {
            false => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
            true => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
        };
        let _ = set_option(&socket, level, transparent, 1);
        force_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
        socket.bind(&SocketAddr::new(any, source_port).into())?;
        // Without a loopback interface that is up it stays unconnected. Then the kernel's routes
        // may learn from errors, and these sends ignore that.
        let _ = socket.connect(&SocketAddr::new(own, DISCARD).into());
        Ok(Self { socket })
    }

    /// Sends the datagrams in `bytes`, at most [`MAX_SEGMENTS`], each but the last padded with
    /// zeros to `size` bytes. `ends` says where each of them ends.
    ///
    /// # Errors
    /// Nothing was sent. `EMSGSIZE`, or `EINVAL` on older kernels: the interface takes no datagrams
    /// of that size. `EIO`: it cannot compute their checksums (IPsec, old kernels).
    /// [`io::ErrorKind::InvalidInput`]: too many datagrams, or more padding than [`MAX_PADDING`].
    /// Others as for any UDP socket.
    pub fn send(
        &self,
        headers: &Headers,
        bytes: &[u8],
        ends: &[usize],
        size: usize,
    ) -> io::Result<()> {
        let mut parts = [IoSlice::new(&[]); 2 * MAX_SEGMENTS];
        let used = gather(bytes, ends, size, &mut parts).ok_or(io::ErrorKind::InvalidInput)?;
        let mut control = ControlData::default();
        control.headers(headers);
        if ends.len() > 1 {
            let size = u16::try_from(size).unwrap_or_default();
            control.push(libc::SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
        }
        let destination = SockAddr::from(headers.destination);
        let message = MsgHdr::new()
            .with_addr(&destination)
            .with_buffers(parts.get(..used).unwrap_or_default())
            .with_control(control.bytes());
        self.socket.sendmsg(&message, 0).map(|_| ())
    }
}

/// The parts of a call's payload, and how many there are. Datagrams without zeros between them are
/// one part: each part costs the kernel a copy of its own.
fn gather<'a>(
    bytes: &'a [u8],
    ends: &[usize],
    size: usize,
    parts: &mut [IoSlice<'a>; 2 * MAX_SEGMENTS],
) -> Option<usize> {
    if ends.len() > MAX_SEGMENTS {
        return None;
    }
    let (mut used, mut begin, mut start) = (0, 0, 0);
    for (index, &end) in ends.iter().enumerate() {
        let last = index + 1 == ends.len();
        let len = end.checked_sub(start)?;
        let missing = if last { 0 } else { size.saturating_sub(len) };
        start = end;
        if missing > 0 || last {
            for part in [bytes.get(begin..end)?, ZEROS.get(..missing)?] {
                if !part.is_empty() {
                    *parts.get_mut(used)? = IoSlice::new(part);
                    used += 1;
                }
            }
            begin = end;
        }
    }
    Some(used)
}

/// RFC 863; nothing is sent there.
const DISCARD: u16 = 9;

/// What a message has beside its bytes (`cmsg(3)`).
struct ControlData {
    bytes: [u8; Self::ROOM],
    used: usize,
}

impl Default for ControlData {
    fn default() -> Self {
        Self { bytes: [0; Self::ROOM], used: 0 }
    }
}

impl ControlData {
    /// A header and up to 24 bytes for each of four.
    const ROOM: usize = 4 * (Self::HEADER + 24);
    /// `struct cmsghdr` and its alignment, on 64 bits and on 32.
    const HEADER: usize = size_of::<libc::cmsghdr>();

    fn push(&mut self, level: i32, kind: i32, value: &[u8]) {
        let len = Self::HEADER + value.len();
        let Some(room) = self.bytes.get_mut(self.used..self.used + len) else { return };
        let (header, room) = room.split_at_mut(Self::HEADER);
        let (size, names) = header.split_at_mut(size_of::<usize>());
        size.copy_from_slice(&len.to_ne_bytes());
        let (names, _) = names.as_chunks_mut();
        if let [first, second, ..] = names {
            (*first, *second) = (level.to_ne_bytes(), kind.to_ne_bytes());
        }
        room.copy_from_slice(value);
        self.used += len.next_multiple_of(size_of::<usize>());
    }

    fn headers(&mut self, headers: &Headers) {
        let class = i32::from(headers.traffic_class).to_ne_bytes();
        match headers.source {
            IpAddr::V4(source) => {
                // `struct in_pktinfo`: interface, source, nothing.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&source.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
                if headers.traffic_class != 0 {
                    self.push(libc::IPPROTO_IP, libc::IP_TOS, &class);
                }
            }
            IpAddr::V6(source) => {
                // `struct in6_pktinfo`: source, interface.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&source.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
                self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
                let label = (headers.flow_label & 0x000f_ffff).to_be_bytes();
                self.push(libc::IPPROTO_IPV6, libc::IPV6_FLOWINFO, &label);
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of datagrams one behind the other, and their ends.
    fn joined(datagrams: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for datagram in datagrams {
            bytes.extend_from_slice(datagram);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Over loopback: what is sent in one call arrives as datagrams with zeros behind the shorter
    /// ones, from one port, and the last one as short as it is.
    #[test]
    fn a_call_is_as_many_datagrams_as_it_has_parts() {
        for any in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            let Ok(end) = std::net::UdpSocket::bind((any, 0)) else { continue };
            end.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a timeout");
            let sender = SegmentedSender::open(any.is_ipv6(), 0, 64).expect("a socket");
            let destination = end.local_addr().expect("an address");
            let headers = Headers { source: any, destination, traffic_class: 0xb9, flow_label: 7 };
            let datagrams: [&[u8]; 4] = [&[1; 60], &[2; 100], &[3; 7], &[4; 3]];
            let (bytes, ends) = joined(&datagrams);
            sender.send(&headers, &bytes, &ends, 100).expect("a send");
            sender.send(&headers, &[5; 900], &[900], 900).expect("a lone send");
            let mut ports = std::collections::BTreeSet::new();
            for (len, byte, of_it) in
                [(100, 1, 60), (100, 2, 100), (100, 3, 7), (3, 4, 3), (900, 5, 900)]
            {
                let mut room = [0xee; 1_000];
                let (got, from) = end.recv_from(&mut room).expect("a datagram");
                let mut expected = vec![byte; of_it];
                expected.resize(len, 0);
                assert_eq!(room.get(..got), Some(&expected[..]));
                ports.insert(from);
            }
            assert_eq!(ports.len(), 1);
        }
    }

    #[test]
    fn what_a_call_cannot_carry_is_refused() {
        let sender = SegmentedSender::open(false, 0, 64).expect("a socket");
        let end = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("an end");
        let destination = end.local_addr().expect("an address");
        let source = Ipv4Addr::LOCALHOST.into();
        let headers = Headers { source, destination, traffic_class: 0, flow_label: 0 };
        let sent = |datagrams: &[&[u8]], size| {
            let (bytes, ends) = joined(datagrams);
            sender.send(&headers, &bytes, &ends, size).map_err(|error| error.kind())
        };
        let invalid = Err(io::ErrorKind::InvalidInput);
        assert_eq!(sent(&[&[1], &[2; MAX_PADDING + 1]], MAX_PADDING + 1), Ok(()));
        assert_eq!(sent(&[&[1], &[2; MAX_PADDING + 2]], MAX_PADDING + 2), invalid);
        assert_eq!(sent(&[&[1_u8][..]; MAX_SEGMENTS], 1), Ok(()));
        assert_eq!(sent(&[&[1_u8][..]; MAX_SEGMENTS + 1], 1), invalid);
        // The longest list of parts: zeros behind each of them.
        assert_eq!(sent(&[&[1_u8][..]; MAX_SEGMENTS], 2), Ok(()));
        assert_eq!(sender.send(&headers, &[1, 2], &[2, 1], 2).map_err(|e| e.kind()), invalid);
        assert_eq!(sender.send(&headers, &[1, 2], &[3], 3).map_err(|e| e.kind()), invalid);
    }

    #[test]
    fn datagrams_without_zeros_between_them_are_one_part() {
        let parts_of = |lengths: &[usize], size| {
            let datagrams: Vec<Vec<u8>> = lengths.iter().map(|len| vec![7; *len]).collect();
            let datagrams: Vec<&[u8]> = datagrams.iter().map(Vec::as_slice).collect();
            let (bytes, ends) = joined(&datagrams);
            let mut parts = [IoSlice::new(&[]); 2 * MAX_SEGMENTS];
            let used = gather(&bytes, &ends, size, &mut parts).expect("parts");
            parts.get(..used).map(|parts| parts.iter().map(|part| part.len()).collect::<Vec<_>>())
        };
        assert_eq!(parts_of(&[10; 44], 10), Some(vec![440]));
        assert_eq!(parts_of(&[10, 10, 4], 10), Some(vec![24]));
        assert_eq!(parts_of(&[10, 7, 10, 10, 2], 10), Some(vec![17, 3, 22]));
        assert_eq!(parts_of(&[7, 10], 10), Some(vec![7, 3, 10]));
        assert_eq!(parts_of(&[], 0), Some(Vec::new()));
    }

    /// As `CMSG_LEN` and `CMSG_SPACE` have it.
    #[test]
    fn the_control_bytes_are_those_of_the_kernel_s_structs() {
        let mut control = ControlData::default();
        control.push(libc::SOL_UDP, UDP_SEGMENT, &1_400_u16.to_ne_bytes());
        control.push(libc::IPPROTO_IP, libc::IP_TOS, &3_i32.to_ne_bytes());
        // SAFETY: both only compute with their argument.
        let (len, space) = unsafe { (libc::CMSG_LEN(2), libc::CMSG_SPACE(2)) };
        let (first, second) = control.bytes().split_at(space as usize);
        assert_eq!(first[..size_of::<usize>()], (len as usize).to_ne_bytes());
        assert_eq!(first[len as usize - 2..len as usize], 1_400_u16.to_ne_bytes());
        assert_eq!(second.len(), ControlData::HEADER + 8);
        assert_eq!(
            second[ControlData::HEADER - 4..ControlData::HEADER],
            libc::IP_TOS.to_ne_bytes()
        );
    }

    #[test]
    fn all_that_a_call_may_have_fits() {
        for source in [IpAddr::from([10, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            let mut control = ControlData::default();
            let destination = SocketAddr::new(source, 6080);
            control.headers(&Headers { source, destination, traffic_class: 3, flow_label: 7 });
            let before = control.used;
            control.push(libc::SOL_UDP, UDP_SEGMENT, &[0; 2]);
            assert!(control.used > before && control.used <= ControlData::ROOM);
        }
    }
}
