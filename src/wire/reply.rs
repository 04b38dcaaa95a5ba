//! What the director answers itself: echo replies, ICMP errors, TCP resets. The slow path, built with etherparse.
//!
//! Every builder clears `out` and writes one packet to it, so a caller's buffer of [`MAX_ERROR_LEN`]
//! bytes (or the request's length, for echo) never grows. `None`: no answer is allowed, and `out` is empty.
//! Identification is zero: the kernel chooses one where DF is off (RFC 6864 section 4.1).

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpDscp, IpNumber, Ipv4Header, TcpHeader,
    icmpv4::DestUnreachableHeader,
};

use super::packet::ICMP_HEADER_LEN;
use super::{Fragment, Packet, Transport, tcp};

/// The longest ICMP error, in bytes, outer header included (RFC 1812 section 4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;

const TTL: u8 = 64;
/// DSCP of ICMP errors: precedence 6, internetwork control (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// The answer to an ICMP echo request: same identifier, sequence number, data and DSCP; IP options are dropped.
///
/// The caller has verified the request's checksum ([`super::icmp::checksum_ok`]).
pub fn echo_reply(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let (Transport::Icmp { kind: 8, code: 0 }, Fragment::Whole) =
        (packet.transport, packet.fragment)
    else {
        return None;
    };
    let (header, data) = packet.payload().split_first_chunk::<ICMP_HEADER_LEN>()?;
    let id = u16::from_be_bytes([header[4], header[5]]);
    let seq = u16::from_be_bytes([header[6], header[7]]);
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::EchoReply(IcmpEchoHeader { id, seq }), data);
    let ip = answer(packet, IpNumber::ICMP, ICMP_HEADER_LEN + data.len(), packet.traffic_class)?;
    append(out, ip, &icmp.to_bytes(), data)
}

/// ICMP port unreachable, from the packet's destination: nobody listens there.
pub fn port_unreachable(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    unreachable(packet, DestUnreachableHeader::Port, out)
}

/// ICMP fragmentation needed and DF set, from the packet's destination; `mtu` is the next hop's (RFC 1191 section 4).
pub fn fragmentation_needed(packet: &Packet<'_>, mtu: u16, out: &mut Vec<u8>) -> Option<()> {
    let code = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    unreachable(packet, code, out)
}

/// The RST that answers a segment for which there is no connection (RFC 9293 section 3.10.7.1).
///
/// `None` for a segment that is an RST itself. `packet` may be a super-frame: it is acknowledged whole.
pub fn reset(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let (Transport::Tcp(segment), Fragment::Whole) = (packet.transport, packet.fragment) else {
        return None;
    };
    if segment.flags.rst() || !names_one_host(packet.source) {
        return None;
    }
    let mut header = TcpHeader::new(segment.destination_port, segment.source_port, 0, 0);
    header.rst = true;
    if segment.flags.ack() {
        header.sequence_number = segment.acknowledgement;
    } else {
        let data = packet.payload().len().checked_sub(usize::from(segment.header_len))?;
        let len = u32::try_from(data).ok()?
            + u32::from(segment.flags.syn())
            + u32::from(segment.flags.fin());
        header.ack = true;
        header.acknowledgment_number = segment.sequence.wrapping_add(len);
    }
    let mut ip = answer(packet, IpNumber::TCP, tcp::MIN_HEADER_LEN, packet.traffic_class)?;
    ip.dont_fragment = true;
    header.checksum = header.calc_checksum_ipv4_raw(ip.source, ip.destination, &[]).ok()?;
    append(out, ip, &header.to_bytes(), &[])
}

/// Destination unreachable, where RFC 1122 section 3.2.2 allows it: not about ICMP, later fragments, multicast.
fn unreachable(packet: &Packet<'_>, code: DestUnreachableHeader, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    if packet.fragment == Fragment::Later
        || matches!(packet.transport, Transport::Icmp { .. })
        || packet.destination.is_multicast()
        || !names_one_host(packet.source)
    {
        return None;
    }
    const ROOM: usize = MAX_ERROR_LEN - Ipv4Header::MIN_LEN - ICMP_HEADER_LEN;
    let quote = packet.bytes().get(..ROOM).unwrap_or_else(|| packet.bytes());
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(code), quote);
    let ip = answer(packet, IpNumber::ICMP, ICMP_HEADER_LEN + quote.len(), INTERNETWORK_CONTROL)?;
    append(out, ip, &icmp.to_bytes(), quote)
}

/// The header of an answer to `packet`: addresses swapped, the DSCP of `traffic_class`, no ECN
/// (an answer is not part of a flow whose sender heeds marks), no DF.
fn answer(
    packet: &Packet<'_>,
    protocol: IpNumber,
    payload_len: usize,
    traffic_class: u8,
) -> Option<Ipv4Header> {
    let (IpAddr::V4(client), IpAddr::V4(vip)) = (packet.source, packet.destination) else {
        return None;
    };
    let payload_len = u16::try_from(payload_len).ok()?;
    let mut ip = Ipv4Header::new(payload_len, TTL, protocol, vip.octets(), client.octets()).ok()?;
    ip.dscp = IpDscp::try_new(traffic_class >> 2).ok()?;
    ip.dont_fragment = false;
    Some(ip)
}

fn append(out: &mut Vec<u8>, mut ip: Ipv4Header, transport: &[u8], data: &[u8]) -> Option<()> {
    ip.header_checksum = ip.calc_header_checksum();
    out.extend_from_slice(&ip.to_bytes());
    out.extend_from_slice(transport);
    out.extend_from_slice(data);
    Some(())
}

/// Whether `source` names a single host, to which alone an answer may go (RFC 1122 section 3.2.2).
fn names_one_host(source: IpAddr) -> bool {
    const CLASS_E: u8 = 240;
    match source {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_multicast()
                || address.octets()[0] >= CLASS_E
                || address.octets()[0] == Ipv4Addr::UNSPECIFIED.octets()[0])
        }
        IpAddr::V6(address) => {
            !(address.is_loopback() || address.is_multicast() || address.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests;
