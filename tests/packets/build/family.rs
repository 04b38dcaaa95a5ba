//! The two IP versions: their addresses and numbers in tests, and the packets that begin a line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{TcpHeader, UdpHeader};

use super::{Ip, Transport};

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
