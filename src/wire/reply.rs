//! Packets that the director originates: echo replies, ICMP errors, TCP resets. They are not on the
//! hot path and are built with etherparse.
//!
//! Every builder clears `out` and writes one packet to it, so a caller's buffer of
//! [`MAX_PACKET_LEN`] bytes never grows. `None`: no answer is allowed, and `out` is empty. IPv4
//! identification is zero: the kernel chooses one where DF is off (RFC 6864 section 4.1).
//!
//! [`MAX_PACKET_LEN`]: super::packet::MAX_PACKET_LEN

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber,
    Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader,
};

use super::packet::{ICMP_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use super::{Fragment, Packet, Transport, is_host, tcp};

/// The longest ICMP error, in bytes, its own IP header included (RFC 1812 section 4.3.2.3).
const MAX_ERROR_LEN_V4: usize = 576;
/// The same for ICMPv6: what every link carries (RFC 4443 section 2.4).
const MAX_ERROR_LEN_V6: usize = 1280;

/// The longest reset, in bytes: an IPv6 header and a TCP header without options.
pub const MAX_RESET_LEN: usize = IPV6_HEADER_LEN + tcp::MIN_HEADER_LEN;

const TTL: u8 = 64;
/// The bits of an IPv6 flow label.
const LABEL: u32 = 0xf_ffff;
/// DSCP of ICMP errors: precedence 6, internetwork control (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// The traffic class's bits for congestion notification.
const ECN: u8 = 0b11;

/// An answer's ICMP message in either family.
enum IcmpMessage {
    EchoReply(IcmpEchoHeader),
    PortUnreachable,
    PacketTooBig(u16),
}

/// The answer to an ICMP echo request: same identifier, sequence number, data and DSCP; IP options
/// and extension headers are dropped.
///
/// The caller has verified the request's checksum ([`super::icmp::checksum_ok`]).
pub fn echo_reply(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let request = if packet.source.is_ipv4() { 8 } else { 128 };
    match (packet.transport, packet.fragment) {
        (Transport::Icmp { kind, code: 0 }, Fragment::Whole) if kind == request => {}
        _ => return None,
    }
    let (header, data) = packet.payload().split_first_chunk::<ICMP_HEADER_LEN>()?;
    let id = u16::from_be_bytes([header[4], header[5]]);
    let seq = u16::from_be_bytes([header[6], header[7]]);
    let message = IcmpMessage::EchoReply(IcmpEchoHeader { id, seq });
    icmp(packet, &message, data, packet.traffic_class, out)
}

/// ICMP port unreachable, from the packet's destination: no service listens there.
pub fn port_unreachable(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    error(packet, &IcmpMessage::PortUnreachable, out)
}

/// ICMP fragmentation needed and DF set (RFC 1191 section 4), or ICMPv6 packet too big (RFC 8201),
/// from the packet's destination; `mtu` is the next hop's.
pub fn packet_too_big(packet: &Packet<'_>, mtu: u16, out: &mut Vec<u8>) -> Option<()> {
    error(packet, &IcmpMessage::PacketTooBig(mtu), out)
}

/// A packet that tests whether its size fits the path: an echo reply without a request, which hosts
/// accept without an answer (RFC 1122 section 3.2.2.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SizeProbe {
    /// Its source and its destination.
    pub ends: (IpAddr, IpAddr),
    /// See [`QuotedPacket::label`](super::icmp::QuotedPacket::label).
    pub label: u32,
    /// Identifier and sequence number.
    pub echo: (u16, u16),
}

impl SizeProbe {
    /// Writes a packet of `len` bytes.
    pub fn write(&self, len: usize, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        let v4 = self.ends.0.is_ipv4();
        let (number, ip_len) = match v4 {
            true => (IpNumber::ICMP, IPV4_HEADER_LEN),
            false => (IpNumber::IPV6_ICMP, IPV6_HEADER_LEN),
        };
        let payload_len = len.checked_sub(ip_len)?;
        let data_len = payload_len.checked_sub(ICMP_HEADER_LEN)?;
        let mut ip = IpHead::new(self.ends, number, payload_len, 0)?;
        let (id, seq) = self.echo;
        let message = IcmpMessage::EchoReply(IcmpEchoHeader { id, seq });
        ip.label(self.label);
        out.resize(data_len, 0);
        let header = icmp_header(&ip, &message, out)?;
        out.clear();
        ip.append(out);
        out.extend_from_slice(&header);
        out.resize(len, 0);
        Some(())
    }
}

/// The RST that answers a segment for which there is no connection (RFC 9293 section 3.10.7.1).
///
/// `None` for a segment that is an RST itself. `packet` may be a super-frame: it is acknowledged
/// whole. If a segment is in fragments, the first one suffices for the answer to an ACK. The answer
/// to a segment without ACK needs the length, which only the last fragment shows.
pub fn reset(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let Transport::Tcp(segment) = packet.transport else { return None };
    if packet.fragment != Fragment::Whole && !segment.flags.ack() {
        return None;
    }
    if segment.flags.rst() || !is_host(packet.source) {
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
    let ip = IpHead::answer(packet, IpNumber::TCP, tcp::MIN_HEADER_LEN, packet.traffic_class)?;
    append_reset(ip, header, out)
}

/// The RST that ends the connection for a segment's receiver, with the segment's sender as its
/// source. It has the segment's own sequence number, which is the next one that the receiver
/// expects if nothing was lost (RFC 9293 section 3.10.7.4), and is no longer than the segment.
///
/// `None` for a segment that is an RST itself. `packet` may be a super-frame, or the first fragment
/// of a segment.
pub fn reset_receiver(packet: &Packet<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let Transport::Tcp(segment) = packet.transport else { return None };
    if segment.flags.rst() {
        return None;
    }
    let (source, destination) = (segment.source_port, segment.destination_port);
    let mut header = TcpHeader::new(source, destination, segment.sequence, 0);
    header.rst = true;
    let ends = (packet.source, packet.destination);
    let ip = IpHead::new(ends, IpNumber::TCP, tcp::MIN_HEADER_LEN, packet.traffic_class)?;
    append_reset(ip, header, out)
}

fn append_reset(mut ip: IpHead, mut header: TcpHeader, out: &mut Vec<u8>) -> Option<()> {
    header.checksum = match &mut ip {
        IpHead::V4(ip) => {
            ip.dont_fragment = true;
            header.calc_checksum_ipv4_raw(ip.source, ip.destination, &[])
        }
        IpHead::V6(ip) => header.calc_checksum_ipv6_raw(ip.source, ip.destination, &[]),
    }
    .ok()?;
    ip.append(out);
    out.extend_from_slice(&header.to_bytes());
    Some(())
}

/// An ICMP error, where RFC 1122 section 3.2.2 and RFC 4443 section 2.4 allow it: not about ICMP,
/// later fragments or multicast. (They allow errors about ICMP queries; the director answers
/// those.)
fn error(packet: &Packet<'_>, message: &IcmpMessage, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    if packet.fragment == Fragment::Later
        || matches!(packet.transport, Transport::Icmp { .. })
        || packet.destination.is_multicast()
        || !is_host(packet.source)
    {
        return None;
    }
    let room = match packet.source {
        IpAddr::V4(_) => MAX_ERROR_LEN_V4 - IPV4_HEADER_LEN - ICMP_HEADER_LEN,
        IpAddr::V6(_) => MAX_ERROR_LEN_V6 - IPV6_HEADER_LEN - ICMP_HEADER_LEN,
    };
    let quote = packet.bytes().get(..room).unwrap_or_else(|| packet.bytes());
    icmp(packet, message, quote, INTERNETWORK_CONTROL, out)
}

/// An ICMP message of the packet's own family to its sender, with `data` after its header.
fn icmp(
    packet: &Packet<'_>,
    message: &IcmpMessage,
    data: &[u8],
    traffic_class: u8,
    out: &mut Vec<u8>,
) -> Option<()> {
    let number = if packet.source.is_ipv4() { IpNumber::ICMP } else { IpNumber::IPV6_ICMP };
    let ip = IpHead::answer(packet, number, ICMP_HEADER_LEN + data.len(), traffic_class)?;
    let header = icmp_header(&ip, message, data)?;
    ip.append(out);
    out.extend_from_slice(&header);
    out.extend_from_slice(data);
    Some(())
}

fn icmp_header(ip: &IpHead, message: &IcmpMessage, data: &[u8]) -> Option<[u8; ICMP_HEADER_LEN]> {
    match ip {
        IpHead::V4(_) => {
            let header = Icmpv4Header::with_checksum(message.v4(), data).to_bytes();
            header.first_chunk().copied()
        }
        IpHead::V6(ip) => {
            let header = Icmpv6Header::with_checksum(message.v6(), ip.source, ip.destination, data);
            header.ok()?.to_bytes().first_chunk().copied()
        }
    }
}

impl IcmpMessage {
    fn v4(&self) -> Icmpv4Type {
        match self {
            Self::EchoReply(echo) => Icmpv4Type::EchoReply(*echo),
            Self::PortUnreachable => {
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port)
            }
            Self::PacketTooBig(mtu) => {
                let code = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: *mtu };
                Icmpv4Type::DestinationUnreachable(code)
            }
        }
    }

    fn v6(&self) -> Icmpv6Type {
        match self {
            Self::EchoReply(echo) => Icmpv6Type::EchoReply(*echo),
            Self::PortUnreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
            Self::PacketTooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: u32::from(*mtu) },
        }
    }
}

/// An answer's IP header.
enum IpHead {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

impl IpHead {
    /// The header of an answer to `packet`: addresses swapped.
    fn answer(
        packet: &Packet<'_>,
        protocol: IpNumber,
        payload_len: usize,
        traffic_class: u8,
    ) -> Option<Self> {
        Self::new((packet.destination, packet.source), protocol, payload_len, traffic_class)
    }

    /// A header from one end to the other with the DSCP of `traffic_class`, without DF and
    /// extension headers. Without ECN, since no sender reacts to marks on these packets.
    fn new(
        ends: (IpAddr, IpAddr),
        protocol: IpNumber,
        payload_len: usize,
        traffic_class: u8,
    ) -> Option<Self> {
        let payload_length = u16::try_from(payload_len).ok()?;
        match ends {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let ip = Ipv4Header::new(payload_length, TTL, protocol, source, destination);
                let mut ip = ip.ok()?;
                ip.dscp = IpDscp::try_new(traffic_class >> 2).ok()?;
                ip.dont_fragment = false;
                Some(Self::V4(ip))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(Ipv6Header {
                traffic_class: traffic_class & !ECN,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length,
                next_header: protocol,
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
            })),
            _ => None,
        }
    }

    /// Sets IPv4's identification and DF, or IPv6's flow label.
    fn label(&mut self, label: u32) {
        match self {
            Self::V4(ip) => {
                ip.identification = u16::try_from(label & u32::from(u16::MAX)).unwrap_or_default();
                ip.dont_fragment = true;
            }
            Self::V6(ip) => {
                ip.flow_label = Ipv6FlowLabel::try_new(label & LABEL).unwrap_or_default();
            }
        }
    }

    fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::V4(mut ip) => {
                ip.header_checksum = ip.calc_header_checksum();
                out.extend_from_slice(&ip.to_bytes());
            }
            Self::V6(ip) => out.extend_from_slice(&ip.to_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
