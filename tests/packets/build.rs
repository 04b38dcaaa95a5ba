//! Packets of either family in one line each: built by etherparse, then modified if a test wants a
//! faulty one.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    TcpHeader, UdpHeader,
};

/// Extension headers by number (RFC 8200 section 4).
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// A packet's IP version. Tables apply to both families unless they ask.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The four combinations of families: the client's packet, and the outer packet.
pub(crate) const MIXES: [(Family, Family); 4] = [
    (Family::V4, Family::V4),
    (Family::V6, Family::V6),
    (Family::V6, Family::V4),
    (Family::V4, Family::V6),
];

impl Family {
    pub(crate) fn version(self) -> u8 {
        self.pick(4, 6)
    }

    pub(crate) fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    fn address(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        self.pick(Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into())
    }

    pub(crate) fn client(self) -> IpAddr {
        self.address([198, 51, 100, 7], [0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7])
    }

    pub(crate) fn vip(self) -> IpAddr {
        self.address([192, 0, 2, 10], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10])
    }

    pub(crate) fn router(self) -> IpAddr {
        self.address([203, 0, 113, 1], [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1])
    }

    pub(crate) fn director(self) -> IpAddr {
        self.address([10, 0, 0, 1], [0xfd00, 0, 0, 0, 0, 0, 0, 1])
    }

    /// The real server with that number.
    pub(crate) fn real(self, number: u8) -> IpAddr {
        self.address([10, 0, 0, number], [0xfd00, 0, 0, 0, 0, 0, 0, number.into()])
    }

    /// Length of the IP header without options or extension headers.
    pub(crate) fn header_len(self) -> usize {
        self.pick(20, 40)
    }

    /// The protocol number of the family's ICMP.
    pub(crate) fn icmp(self) -> u8 {
        self.pick(1, 58)
    }

    pub(crate) fn echo_request(self) -> u8 {
        self.pick(8, 128)
    }

    pub(crate) fn echo_reply(self) -> u8 {
        self.pick(0, 129)
    }

    /// Type and code of the error that says "port unreachable".
    pub(crate) fn port_unreachable(self) -> (u8, u8) {
        self.pick((3, 3), (1, 4))
    }

    /// Type and code of the error that says "too big".
    pub(crate) fn too_big(self) -> (u8, u8) {
        self.pick((3, 4), (2, 0))
    }

    /// A segment from port 40,000 to port 80.
    pub(crate) fn tcp(self, flags: u8) -> Ip {
        let mut header = TcpHeader::new(40_000, 80, 1_000, 64_000);
        header.acknowledgment_number = 2_000;
        self.ip(6, Transport::Tcp(header)).flags(flags)
    }

    /// A datagram from port 40,000.
    pub(crate) fn udp(self, port: u16) -> Ip {
        let header =
            UdpHeader { source_port: 40_000, destination_port: port, length: 0, checksum: 0 };
        self.ip(17, Transport::Udp(header))
    }

    /// An echo request with identifier 0x1234 and sequence number 5.
    pub(crate) fn icmp_echo(self, data: &[u8]) -> Ip {
        let transport = Transport::Icmp(self.echo_request(), 0, [0x12, 0x34, 0, 5]);
        self.ip(self.icmp(), transport).data(data)
    }

    /// An ICMP error about the packet that begins with `quote`.
    pub(crate) fn icmp_error(self, (kind, code): (u8, u8), quote: &[u8]) -> Ip {
        self.ip(self.icmp(), Transport::Icmp(kind, code, [0, 0, 5, 0])).data(quote)
    }

    fn ip(self, protocol: u8, transport: Transport) -> Ip {
        Ip {
            family: self,
            source: self.client(),
            destination: self.vip(),
            protocol,
            ttl: 60,
            traffic_class: 0,
            flow_label: 0,
            identification: 0,
            dont_fragment: true,
            piece: (0, false),
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            data: Vec::new(),
            bends: Vec::new(),
        }
    }
}

/// A packet under construction.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    family: Family,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    traffic_class: u8,
    flow_label: u32,
    identification: u16,
    dont_fragment: bool,
    /// IPv4's fragment offset in bytes, and whether more follow.
    piece: (u16, bool),
    options: Vec<u8>,
    /// Number, and the header without the byte that names the next one.
    extensions: Vec<(u8, Vec<u8>)>,
    transport: Transport,
    data: Vec<u8>,
    bends: Vec<Bend>,
}

#[derive(Clone, Debug)]
enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
    /// Type, code, and the four bytes after the checksum.
    Icmp(u8, u8, [u8; 4]),
}

/// A modification of the finished bytes.
#[derive(Clone, Debug)]
enum Bend {
    Set(usize, u8),
    SetUpper(usize, u8),
    FlipUpper(usize),
    Claim(i32),
    Cut(usize),
    DropEnd(usize),
    Append(Vec<u8>),
}

impl Ip {
    pub(crate) fn from(mut self, source: impl Into<IpAddr>) -> Self {
        self.source = source.into();
        self
    }

    pub(crate) fn to(mut self, destination: impl Into<IpAddr>) -> Self {
        self.destination = destination.into();
        self
    }

    /// Sets the protocol number, whatever follows.
    pub(crate) fn protocol(mut self, number: u8) -> Self {
        self.protocol = number;
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn traffic_class(mut self, byte: u8) -> Self {
        self.traffic_class = byte;
        self
    }

    pub(crate) fn flow_label(mut self, label: u32) -> Self {
        self.flow_label = label;
        self
    }

    pub(crate) fn identification(mut self, number: u16) -> Self {
        self.identification = number;
        self
    }

    pub(crate) fn dont_fragment(mut self, bit: bool) -> Self {
        self.dont_fragment = bit;
        self
    }

    /// IPv4 options, a multiple of four bytes.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        assert_eq!(self.family, Family::V4);
        self.options = options.to_vec();
        self
    }

    /// Adds an IPv6 extension header: the bytes after its first two; six bytes plus a multiple of
    /// eight.
    pub(crate) fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        assert_eq!(self.family, Family::V6);
        assert_eq!(body.len() % 8, 6, "whole units");
        let len = if kind == FRAGMENT { 0 } else { u8::try_from(body.len() / 8).unwrap() };
        self.extensions.push((kind, [&[len], body].concat()));
        self
    }

    /// Makes it a fragment, at a multiple of eight bytes.
    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        match self.family {
            Family::V4 => {
                (self.piece, self.dont_fragment) = ((offset, more), false);
                self
            }
            Family::V6 => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                self.extension(FRAGMENT, &[high, low, 0, 0, 0, 9])
            }
        }
    }

    pub(crate) fn source_port(mut self, port: u16) -> Self {
        *self.ports().0 = port;
        self
    }

    pub(crate) fn destination_port(mut self, port: u16) -> Self {
        *self.ports().1 = port;
        self
    }

    fn ports(&mut self) -> (&mut u16, &mut u16) {
        match &mut self.transport {
            Transport::Tcp(header) => (&mut header.source_port, &mut header.destination_port),
            Transport::Udp(header) => (&mut header.source_port, &mut header.destination_port),
            Transport::Icmp(..) => panic!("ICMP has no ports"),
        }
    }

    /// As in the real server's answer: addresses and ports swapped.
    pub(crate) fn backwards(mut self) -> Self {
        std::mem::swap(&mut self.source, &mut self.destination);
        if !matches!(self.transport, Transport::Icmp(..)) {
            let (source, destination) = self.ports();
            std::mem::swap(source, destination);
        }
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        let header = self.tcp();
        let bit = |place: u8| flags & (1 << place) != 0;
        (header.fin, header.syn, header.rst, header.psh) = (bit(0), bit(1), bit(2), bit(3));
        (header.ack, header.urg, header.ece, header.cwr) = (bit(4), bit(5), bit(6), bit(7));
        self
    }

    pub(crate) fn sequence(mut self, number: u32) -> Self {
        self.tcp().sequence_number = number;
        self
    }

    pub(crate) fn acknowledgement(mut self, number: u32) -> Self {
        self.tcp().acknowledgment_number = number;
        self
    }

    /// TCP options, a multiple of four bytes.
    pub(crate) fn tcp_options(mut self, options: &[u8]) -> Self {
        self.tcp().set_options_raw(options).unwrap();
        self
    }

    /// Replaces the TCP header.
    pub(crate) fn tcp_header(mut self, header: TcpHeader) -> Self {
        *self.tcp() = header;
        self
    }

    fn tcp(&mut self) -> &mut TcpHeader {
        let Transport::Tcp(header) = &mut self.transport else { panic!("not TCP") };
        header
    }

    pub(crate) fn icmp_type(mut self, number: u8) -> Self {
        let Transport::Icmp(kind, ..) = &mut self.transport else { panic!("not ICMP") };
        *kind = number;
        self
    }

    pub(crate) fn icmp_code(mut self, number: u8) -> Self {
        let Transport::Icmp(_, code, _) = &mut self.transport else { panic!("not ICMP") };
        *code = number;
        self
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// Sets a byte of the finished packet; checksums stay as they are.
    pub(crate) fn set(self, at: usize, byte: u8) -> Self {
        self.bend(Bend::Set(at, byte))
    }

    /// As [`Self::set`], counted from the transport header.
    pub(crate) fn set_upper(self, at: usize, byte: u8) -> Self {
        self.bend(Bend::SetUpper(at, byte))
    }

    /// Flips a bit of a byte, counted from the transport header.
    pub(crate) fn flip_upper(self, at: usize) -> Self {
        self.bend(Bend::FlipUpper(at))
    }

    /// Changes the length in the IP header by this many bytes.
    pub(crate) fn claim(self, difference: i32) -> Self {
        self.bend(Bend::Claim(difference))
    }

    /// Truncates the finished packet to this length.
    pub(crate) fn cut(self, len: usize) -> Self {
        self.bend(Bend::Cut(len))
    }

    /// Removes the last bytes.
    pub(crate) fn drop_end(self, count: usize) -> Self {
        self.bend(Bend::DropEnd(count))
    }

    /// Appends bytes that are not part of the packet.
    pub(crate) fn append(self, bytes: &[u8]) -> Self {
        self.bend(Bend::Append(bytes.to_vec()))
    }

    fn bend(mut self, bend: Bend) -> Self {
        self.bends.push(bend);
        self
    }

    /// Length of the IP header with options or extension headers.
    pub(crate) fn header_len(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, body)| 1 + body.len()).sum();
        self.family.header_len() + self.options.len() + extensions
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let header = self.header_bytes(transport.len() + self.data.len());
        let mut bytes = [&header[..], &transport, &self.data].concat();
        for bend in self.bends {
            match bend {
                Bend::Set(at, byte) => bytes[at] = byte,
                Bend::SetUpper(at, byte) => bytes[header.len() + at] = byte,
                Bend::FlipUpper(at) => bytes[header.len() + at] ^= 1,
                Bend::Claim(difference) => claim(&mut bytes, difference),
                Bend::Cut(len) => bytes.truncate(len),
                Bend::DropEnd(count) => bytes.truncate(bytes.len() - count),
                Bend::Append(more) => bytes.extend(more),
            }
        }
        bytes
    }

    fn header_bytes(&self, payload_len: usize) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header {
                    dscp: (self.traffic_class >> 2).try_into().unwrap(),
                    ecn: (self.traffic_class & 3).try_into().unwrap(),
                    identification: self.identification,
                    dont_fragment: self.dont_fragment,
                    more_fragments: self.piece.1,
                    fragment_offset: IpFragOffset::try_new(self.piece.0 / 8).unwrap(),
                    time_to_live: self.ttl,
                    protocol: IpNumber(self.protocol),
                    source: source.octets(),
                    destination: destination.octets(),
                    options: self.options[..].try_into().unwrap(),
                    ..Ipv4Header::default()
                };
                header.set_payload_len(payload_len).unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut kinds = self.extensions.iter().map(|(kind, _)| *kind);
                let first = kinds.next().unwrap_or(self.protocol);
                let chain: Vec<u8> = self
                    .extensions
                    .iter()
                    .zip(kinds.chain([self.protocol]))
                    .flat_map(|((_, body), next)| [&[next], &body[..]].concat())
                    .collect();
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(self.flow_label).unwrap(),
                    payload_length: u16::try_from(chain.len() + payload_len).unwrap(),
                    next_header: IpNumber(first),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                [&header.to_bytes()[..], &chain].concat()
            }
            mixed => panic!("{mixed:?}"),
        }
    }

    fn transport_bytes(&self) -> Vec<u8> {
        match &self.transport {
            Transport::Tcp(header) => {
                let mut header = header.clone();
                header.checksum = match (self.source, self.destination) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.data)
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &self.data)
                    }
                    mixed => panic!("{mixed:?}"),
                }
                .unwrap();
                header.to_bytes().to_vec()
            }
            Transport::Udp(header) => {
                let mut header = header.clone();
                header.length = u16::try_from(8 + self.data.len()).unwrap();
                header.checksum = match (self.source, self.destination) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.data)
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &self.data)
                    }
                    mixed => panic!("{mixed:?}"),
                }
                .unwrap();
                header.to_bytes().to_vec()
            }
            &Transport::Icmp(type_u8, code_u8, bytes5to8) => {
                let check = match (self.source, self.destination) {
                    (IpAddr::V4(_), _) => Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }
                        .calc_checksum(&self.data),
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 }
                            .calc_checksum(from.octets(), to.octets(), &self.data)
                            .unwrap()
                    }
                    mixed => panic!("{mixed:?}"),
                };
                [&[type_u8, code_u8], &check.to_be_bytes()[..], &bytes5to8].concat()
            }
        }
    }
}

/// Adds to the length field: for IPv4 that of the whole packet, for IPv6 that without the fixed
/// header.
fn claim(bytes: &mut [u8], difference: i32) {
    let at = if bytes[0] >> 4 == 4 { 2 } else { 4 };
    let length = i32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])) + difference;
    bytes[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
}
