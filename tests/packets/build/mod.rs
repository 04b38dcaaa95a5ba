//! Packets of either family in one line each: built by etherparse, then modified if a test wants a
//! faulty one.
#![allow(clippy::unwrap_used)]

mod bytes;
mod family;

use std::net::IpAddr;

use etherparse::{TcpHeader, UdpHeader};

pub(crate) use family::{FAMILIES, Family, MIXES};

/// Extension headers by number (RFC 8200 section 4).
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

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
        let bit = |number: u8| flags & (1 << number) != 0;
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
}
