//! A built packet's bytes: headers by etherparse, then the modifications.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
};

use super::{Bend, Ip, Transport};

impl Ip {
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
