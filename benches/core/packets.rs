//! The packets that the rows work on, of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, PacketBuilder,
    PacketBuilderStep,
};

/// An IP version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

use Family::{V4, V6};

/// Where the services listen.
pub(crate) const PORT: u16 = 80;
pub(crate) const CLIENT_PORT: u16 = 40_000;
const HOPS: u8 = 60;
/// Both families' networks: of the clients, which differ in their last 32 bits, of the VIP, and of
/// director and real servers.
const CLIENTS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 0, 0), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0x123, 0x4567, 0, 0));
const VIP: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 10), Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x10));
const HOSTS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 0), Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0));

impl Family {
    pub(crate) fn version(self) -> u8 {
        if self == V4 { 4 } else { 6 }
    }

    /// Length of an IP header without options.
    pub(crate) fn header_len(self) -> usize {
        if self == V4 { Ipv4Header::MIN_LEN } else { Ipv6Header::LEN }
    }

    pub(crate) fn vip(self) -> IpAddr {
        self.address(VIP, 0)
    }

    pub(crate) fn client(self, number: u32) -> IpAddr {
        self.address(CLIENTS, number)
    }

    /// The director's address towards the real servers.
    pub(crate) fn director(self) -> IpAddr {
        self.address(HOSTS, 1)
    }

    pub(crate) fn real(self, number: u32) -> IpAddr {
        self.address(HOSTS, 11 + number)
    }

    fn address(self, (v4, v6): (Ipv4Addr, Ipv6Addr), number: u32) -> IpAddr {
        match self {
            V4 => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(number)).into(),
            V6 => Ipv6Addr::from_bits(v6.to_bits() + u128::from(number)).into(),
        }
    }

    /// An acknowledgement of the `number`th client, with some data.
    pub(crate) fn segment(self, number: u32, data: &[u8]) -> Vec<u8> {
        segment(self.ip(number, Ipv6Extensions::default()), data)
    }

    /// The same at a position of its stream.
    pub(crate) fn stream(self, number: u32, sequence: u32, data: &[u8]) -> Vec<u8> {
        segment_at(self.ip(number, Ipv6Extensions::default()), sequence, data)
    }

    /// The smallest datagram that fills an Ethernet frame.
    pub(crate) fn datagram(self, number: u32) -> Vec<u8> {
        let builder = self.ip(number, Ipv6Extensions::default()).udp(CLIENT_PORT, PORT);
        let mut packet = vec![0; builder.size(18)];
        builder.write_to_slice(&mut packet, &[7; 18]).unwrap();
        packet
    }

    /// Puts another client's address into a packet. Checksums stay wrong, since nothing here checks
    /// them.
    pub(crate) fn set_client(self, packet: &mut [u8], number: u32) {
        match self.client(number) {
            IpAddr::V4(client) => packet[12..16].copy_from_slice(&client.octets()),
            IpAddr::V6(client) => packet[8..24].copy_from_slice(&client.octets()),
        }
    }

    fn ip(self, client: u32, extensions: Ipv6Extensions) -> PacketBuilderStep<IpHeaders> {
        PacketBuilder::ip(match (self.client(client), self.vip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => {
                let (from, to) = (client.octets(), vip.octets());
                let header = Ipv4Header::new(0, HOPS, IpNumber::TCP, from, to).unwrap();
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(client), IpAddr::V6(vip)) => {
                let header = Ipv6Header {
                    hop_limit: HOPS,
                    source: client.octets(),
                    destination: vip.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, extensions)
            }
            _ => unreachable!("both are of one family"),
        })
    }
}

/// An IPv6 segment with two extension headers of eight bytes each, hop-by-hop and destination
/// options.
pub(crate) fn segment_with_extensions() -> Vec<u8> {
    const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
    let options = Some(Ipv6RawExtHeader::new_raw(IpNumber::TCP, &PADDING).unwrap());
    let extensions = Ipv6Extensions {
        hop_by_hop_options: options.clone(),
        destination_options: options,
        ..Default::default()
    };
    segment(V6.ip(0, extensions), &[])
}

fn segment(ip: PacketBuilderStep<IpHeaders>, data: &[u8]) -> Vec<u8> {
    segment_at(ip, 7, data)
}

fn segment_at(ip: PacketBuilderStep<IpHeaders>, sequence: u32, data: &[u8]) -> Vec<u8> {
    let builder = ip.tcp(CLIENT_PORT, PORT, sequence, 1_000).ack(9);
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet
}
