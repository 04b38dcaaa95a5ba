//! IP in IP: RFC 2003 (protocol 4) and RFC 2473 / RFC 4213 (protocol 41). No header but the outer
//! IP header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::outer::Outer;
use crate::wire::checksum::Sum;
use crate::wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::wire::protocol;

/// The flow label's 20 bits.
const FLOW_LABEL: u32 = 0x000f_ffff;
const DONT_FRAGMENT: u16 = 0x4000;

/// The protocol number of a packet of that IP version in an IP packet.
#[inline]
#[must_use]
pub fn protocol_of(inner_version: u8) -> Option<u8> {
    match inner_version {
        4 => Some(protocol::IPIP),
        6 => Some(protocol::IPV6),
        _ => None,
    }
}

/// Writes the outer header into the last bytes of `room`, so that it directly precedes an inner
/// packet of `inner_len` bytes which starts where `room` ends.
///
/// `inner_version` is the inner packet's IP version, 4 or 6. Returns the header's length; `None`
/// when the outer addresses are of two families, the datagram would be too long, or `room` is too
/// short.
#[inline]
#[must_use]
pub fn write(outer: &Outer, inner_version: u8, inner_len: usize, room: &mut [u8]) -> Option<usize> {
    write_next(outer, protocol_of(inner_version)?, inner_len, room)
}

/// As [`write()`], before `len` bytes of the protocol `next`.
#[inline]
#[must_use]
pub fn write_next(outer: &Outer, next: u8, len: usize, room: &mut [u8]) -> Option<usize> {
    match (outer.source, outer.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total_len = u16::try_from(len.checked_add(IPV4_HEADER_LEN)?).ok()?;
            *room.last_chunk_mut()? = header_v4(outer, source, destination, next, total_len);
            Some(IPV4_HEADER_LEN)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let payload_len = u16::try_from(len).ok()?;
            *room.last_chunk_mut()? = header_v6(outer, source, destination, next, payload_len);
            Some(IPV6_HEADER_LEN)
        }
        _ => None,
    }
}

#[inline]
fn header_v4(
    outer: &Outer,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    next: u8,
    total_len: u16,
) -> [u8; IPV4_HEADER_LEN] {
    let mut header = [0; IPV4_HEADER_LEN];
    header[0] = 0x45;
    header[1] = outer.traffic_class;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&outer.identification.to_be_bytes());
    let flags = if outer.dont_fragment { DONT_FRAGMENT } else { 0 };
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[8] = outer.ttl;
    header[9] = next;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    // The kernel overwrites length and checksum under IP_HDRINCL; other users need them.
    let check = Sum::of(&header).checksum();
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header
}

#[inline]
fn header_v6(
    outer: &Outer,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    payload_len: u16,
) -> [u8; IPV6_HEADER_LEN] {
    let mut header = [0; IPV6_HEADER_LEN];
    let first = 6 << 28 | u32::from(outer.traffic_class) << 20 | outer.flow_label & FLOW_LABEL;
    header[0..4].copy_from_slice(&first.to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = next;
    header[7] = outer.ttl;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

    use super::*;
    use crate::wire::ParseError;
    use crate::wire::encap::{OpenError, open};

    fn outer(source: &str, destination: &str) -> Outer {
        Outer {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            traffic_class: 0xb9,
            ttl: 63,
            dont_fragment: true,
            identification: 0x1234,
            flow_label: 0xfff_abcde,
        }
    }

    #[test]
    fn v4_header_is_what_etherparse_reads() {
        let mut room = [0xee; 30];
        let outer = outer("10.0.0.1", "10.0.0.11");
        assert_eq!(write(&outer, 4, 1480, &mut room), Some(20));
        assert_eq!(room[..10], [0xee; 10], "bytes before the header stay");
        let header = Ipv4HeaderSlice::from_slice(&room[10..]).unwrap();
        assert_eq!(header.total_len(), 1500);
        assert_eq!(header.identification(), 0x1234);
        assert!(header.dont_fragment() && !header.is_fragmenting_payload());
        assert_eq!(header.protocol(), IpNumber::IPV4);
        assert_eq!((header.ttl(), header.slice()[1]), (63, 0xb9));
        assert_eq!(IpAddr::V4(header.source_addr()), outer.source);
        assert_eq!(IpAddr::V4(header.destination_addr()), outer.destination);
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    }

    #[test]
    fn v6_header_is_what_etherparse_reads() {
        let mut room = [0; 40];
        let outer = outer("2001:db8::1", "2001:db8::11");
        assert_eq!(write(&outer, 6, 1440, &mut room), Some(40));
        let header = Ipv6HeaderSlice::from_slice(&room).unwrap();
        assert_eq!(header.payload_length(), 1440);
        assert_eq!(header.next_header(), IpNumber::IPV6);
        assert_eq!((header.hop_limit(), header.traffic_class()), (63, 0xb9));
        assert_eq!(header.flow_label().value(), 0xabcde, "20 bits, no more");
        assert_eq!(IpAddr::V6(header.source_addr()), outer.source);
        assert_eq!(IpAddr::V6(header.destination_addr()), outer.destination);
    }

    #[test]
    fn refuses_what_cannot_be_written() {
        let v4 = outer("10.0.0.1", "10.0.0.11");
        assert_eq!(write(&v4, 4, 65_515, &mut [0; 20]), Some(20), "the longest datagram");
        assert_eq!(write(&v4, 4, 65_516, &mut [0; 20]), None, "one byte too long");
        assert_eq!(write(&v4, 4, usize::MAX, &mut [0; 20]), None);
        assert_eq!(write(&v4, 4, 100, &mut [0; 19]), None, "no room");
        assert_eq!(write(&v4, 5, 100, &mut [0; 20]), None, "no such version");
        let v6 = outer("2001:db8::1", "2001:db8::11");
        assert_eq!(write(&v6, 4, 65_535, &mut [0; 40]), Some(40), "the longest payload");
        assert_eq!(write(&v6, 4, 65_536, &mut [0; 40]), None, "one byte too long");
        assert_eq!(write(&v6, 4, 100, &mut [0; 39]), None, "no room");
        assert_eq!(write(&outer("10.0.0.1", "2001:db8::1"), 4, 100, &mut [0; 40]), None);
    }

    #[test]
    fn open_finds_the_inner_packet_and_cuts_what_follows() {
        let mut datagram = [0; 30];
        write(&outer("10.0.0.1", "10.0.0.11"), 4, 5, &mut datagram[..20]).unwrap();
        let opened = open(&datagram).unwrap();
        assert_eq!(opened.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!((opened.traffic_class, opened.inner_version, opened.inner), (0xb9, 4, 20..25));
        assert_eq!(open(&datagram[..24]), Err(OpenError::Outer(ParseError::Truncated)));
    }

    #[test]
    fn open_refuses_other_protocols_and_fragments() {
        let mut datagram = [0; 40];
        write(&outer("10.0.0.1", "10.0.0.11"), 4, 20, &mut datagram[..20]).unwrap();
        let mut other = datagram;
        other[9] = 50; // ESP
        assert_eq!(open(&other), Err(OpenError::Outer(ParseError::Unsupported)));
        let mut fragment = datagram;
        fragment[7] = 1;
        assert_eq!(open(&fragment), Err(OpenError::Outer(ParseError::Malformed)));
    }
}
