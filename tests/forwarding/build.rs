//! Packets in one line each: built by etherparse, then bent where a row wants them bent.

use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, TcpHeader, UdpHeader};
use vstun::wire::checksum::Sum;

pub(crate) const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub(crate) const VIP: [u8; 4] = [192, 0, 2, 10];

/// An IPv4 packet in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    header: Ipv4Header,
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

/// A change to the finished bytes.
#[derive(Clone, Debug)]
enum Bend {
    Set(usize, u8),
    Flip(usize),
    Cut(usize),
    Append(Vec<u8>),
}

fn ip(protocol: IpNumber, transport: Transport, data: &[u8]) -> Ip {
    let header = Ipv4Header::new(0, 60, protocol, CLIENT, VIP).unwrap();
    Ip { header, transport, data: data.to_vec(), bends: Vec::new() }
}

/// A segment from port 40,000 to port 80.
pub(crate) fn tcp(flags: u8) -> Ip {
    let mut header = TcpHeader::new(40_000, 80, 1_000, 64_000);
    header.acknowledgment_number = 2_000;
    ip(IpNumber::TCP, Transport::Tcp(header), &[]).flags(flags)
}

/// A datagram from port 40,000.
pub(crate) fn udp(port: u16) -> Ip {
    let header = UdpHeader { source_port: 40_000, destination_port: port, length: 0, checksum: 0 };
    ip(IpNumber::UDP, Transport::Udp(header), &[])
}

/// An echo request with identifier 0x1234 and sequence number 5.
pub(crate) fn icmp_echo(data: &[u8]) -> Ip {
    ip(IpNumber::ICMP, Transport::Icmp(8, 0, [0x12, 0x34, 0, 5]), data)
}

/// An ICMP error about the packet that begins with `quote`.
pub(crate) fn icmp_error(kind: u8, code: u8, quote: &[u8]) -> Ip {
    ip(IpNumber::ICMP, Transport::Icmp(kind, code, [0, 0, 5, 0]), quote)
}

impl Ip {
    pub(crate) fn from(mut self, source: [u8; 4]) -> Self {
        self.header.source = source;
        self
    }

    pub(crate) fn to(mut self, destination: [u8; 4]) -> Self {
        self.header.destination = destination;
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.header.time_to_live = ttl;
        self
    }

    pub(crate) fn traffic_class(mut self, byte: u8) -> Self {
        self.header.dscp = (byte >> 2).try_into().unwrap();
        self.header.ecn = (byte & 3).try_into().unwrap();
        self
    }

    /// IP options, a multiple of four bytes.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.header.options = options.try_into().unwrap();
        self
    }

    pub(crate) fn source_port(mut self, port: u16) -> Self {
        match &mut self.transport {
            Transport::Tcp(header) => header.source_port = port,
            Transport::Udp(header) => header.source_port = port,
            Transport::Icmp(..) => panic!("ICMP has no ports"),
        }
        self
    }

    pub(crate) fn destination_port(mut self, port: u16) -> Self {
        match &mut self.transport {
            Transport::Tcp(header) => header.destination_port = port,
            Transport::Udp(header) => header.destination_port = port,
            Transport::Icmp(..) => panic!("ICMP has no ports"),
        }
        self
    }

    /// As the real server's answer goes: addresses and ports swapped.
    pub(crate) fn backwards(mut self) -> Self {
        std::mem::swap(&mut self.header.source, &mut self.header.destination);
        match &mut self.transport {
            Transport::Tcp(header) => {
                std::mem::swap(&mut header.source_port, &mut header.destination_port);
            }
            Transport::Udp(header) => {
                std::mem::swap(&mut header.source_port, &mut header.destination_port);
            }
            Transport::Icmp(..) => {}
        }
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        let Transport::Tcp(header) = &mut self.transport else { panic!("only TCP has flags") };
        let bit = |place: u8| flags & (1 << place) != 0;
        (header.fin, header.syn, header.rst, header.psh) = (bit(0), bit(1), bit(2), bit(3));
        (header.ack, header.urg, header.ece, header.cwr) = (bit(4), bit(5), bit(6), bit(7));
        self
    }

    pub(crate) fn sequence(mut self, number: u32) -> Self {
        let Transport::Tcp(header) = &mut self.transport else { panic!("only TCP has numbers") };
        header.sequence_number = number;
        self
    }

    pub(crate) fn acknowledgement(mut self, number: u32) -> Self {
        let Transport::Tcp(header) = &mut self.transport else { panic!("only TCP has numbers") };
        header.acknowledgment_number = number;
        self
    }

    pub(crate) fn icmp_type(mut self, kind: u8) -> Self {
        let Transport::Icmp(old, ..) = &mut self.transport else { panic!("only ICMP has a type") };
        *old = kind;
        self
    }

    pub(crate) fn icmp_code(mut self, code: u8) -> Self {
        let Transport::Icmp(_, old, _) = &mut self.transport else {
            panic!("only ICMP has a code")
        };
        *old = code;
        self
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// Sets a byte of the finished packet; checksums stay as they were.
    pub(crate) fn set(mut self, at: usize, byte: u8) -> Self {
        self.bends.push(Bend::Set(at, byte));
        self
    }

    /// Flips a bit of a byte of the finished packet.
    pub(crate) fn flip(mut self, at: usize) -> Self {
        self.bends.push(Bend::Flip(at));
        self
    }

    /// Leaves only so many bytes of the finished packet.
    pub(crate) fn cut(mut self, len: usize) -> Self {
        self.bends.push(Bend::Cut(len));
        self
    }

    /// Appends bytes that are not part of the packet.
    pub(crate) fn append(mut self, bytes: &[u8]) -> Self {
        self.bends.push(Bend::Append(bytes.to_vec()));
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let (source, destination) = (self.header.source, self.header.destination);
        let transport = match &mut self.transport {
            Transport::Tcp(header) => {
                header.checksum =
                    header.calc_checksum_ipv4_raw(source, destination, &self.data).unwrap();
                header.to_bytes().to_vec()
            }
            Transport::Udp(header) => {
                header.length = u16::try_from(8 + self.data.len()).unwrap();
                header.checksum =
                    header.calc_checksum_ipv4_raw(source, destination, &self.data).unwrap();
                header.to_bytes().to_vec()
            }
            Transport::Icmp(kind, code, rest) => icmp(*kind, *code, *rest, &self.data),
        };
        self.header.set_payload_len(transport.len() + self.data.len()).unwrap();
        self.header.header_checksum = self.header.calc_header_checksum();
        let mut bytes = [&self.header.to_bytes()[..], &transport, &self.data].concat();
        for bend in self.bends {
            match bend {
                Bend::Set(at, byte) => bytes[at] = byte,
                Bend::Flip(at) => bytes[at] ^= 1,
                Bend::Cut(len) => bytes.truncate(len),
                Bend::Append(more) => bytes.extend(more),
            }
        }
        bytes
    }
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let unknown = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest };
    let mut header = Icmpv4Header::with_checksum(unknown, data).to_bytes().to_vec();
    header[2..4].fill(0);
    let sum = Sum::of(&header).add_bytes(data).checksum();
    header[2..4].copy_from_slice(&sum.to_be_bytes());
    header
}
