//! ICMP errors about tunnelled packets: their cause, and what they quote of the inner packet.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{Parts, Quote, quote_of, transport_v4, transport_v6};
use crate::wire::encap::{ShimError, gre, gue, ipip};
use crate::wire::packet::{ICMP_HEADER_LEN, IPV6_HEADER_LEN, UDP_HEADER_LEN, extension};
use crate::wire::{Packet, protocol};

/// The cause that an ICMP error names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelCause {
    /// No program receives tunnelled packets there: protocol unreachable, or unrecognized next
    /// header.
    ProtocolUnreachable,
    /// Port unreachable about a packet in GUE: no program receives UDP there.
    PortUnreachable,
    /// Port unreachable about a packet in IP in IP or GRE: the kernel's own tunnels (`ipip`, `sit`,
    /// `ip6_tunnel`, `ip_gre`, `ip6_gre`) are loaded and none is for it. A daemon's raw socket gets
    /// the packet all the same.
    NoTunnel,
    /// The host does not answer ARP or neighbour discovery.
    HostUnreachable,
    /// A firewall or a policy on the path refuses the packet.
    Prohibited,
    /// Destination unreachable for another reason, by ICMP code.
    Unreachable(u8),
    /// Fragmentation needed, or packet too big: the next hop's MTU in bytes.
    PathMtu(u16),
    /// Time exceeded.
    TimeExceeded,
    /// Another type.
    Other(u8),
}

impl TunnelCause {
    /// The cause as text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProtocolUnreachable => "protocol unreachable",
            Self::PortUnreachable | Self::NoTunnel => "port unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::Prohibited => "refused by a firewall",
            Self::Unreachable(_) => "unreachable",
            Self::PathMtu(_) => "packet too big",
            Self::TimeExceeded => "time exceeded",
            Self::Other(_) => "an ICMP error",
        }
    }

    /// Whether the packet was lost for a reason that concerns other packets too. A path MTU
    /// concerns only larger packets; the meaning of another type is unknown.
    #[must_use]
    pub fn refuses(self) -> bool {
        !matches!(self, Self::PathMtu(_) | Self::Other(_))
    }

    /// Whether the host at the tunnel's end refuses the packet, not a router on the path.
    #[must_use]
    pub fn is_of_the_end(self) -> bool {
        matches!(self, Self::ProtocolUnreachable | Self::PortUnreachable | Self::NoTunnel)
    }

    /// Whether the packet was lost, and not also received by a program.
    #[must_use]
    pub fn is_certain(self) -> bool {
        self != Self::NoTunnel
    }

    /// The cause of an error about a packet of that IP protocol.
    fn about(self, protocol: u8) -> Self {
        match self {
            Self::PortUnreachable if protocol != protocol::UDP => Self::NoTunnel,
            other => other,
        }
    }
}

/// What an error quotes of the inner packet: values that only the packet's sender and the path
/// know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuotedPacket {
    /// Its flow. An echo request's identifier takes the place of the source port.
    pub flow: Quote,
    /// TCP: the sequence number. UDP: length and checksum. Echo request: the sequence number.
    pub number: u32,
    /// The identification of the IPv4 header, the flow label of the IPv6 header.
    pub label: u32,
}

impl QuotedPacket {
    /// What an error about this packet quotes. `None` if it is neither TCP, UDP nor an echo
    /// request, or has no ports.
    #[must_use]
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        match Quoted::of(packet) {
            Quoted::Packet(quoted) => Some(quoted),
            _ => None,
        }
    }
}

/// What an ICMP error quotes of the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quoted {
    /// Enough to name its flow.
    Packet(QuotedPacket),
    /// An echo reply's flow and numbers, as those of an echo request: the director's own probe of a
    /// path MTU, which the real server's kernel accepts without an answer.
    EchoReply(QuotedPacket),
    /// Too little to name a flow. RFC 792 requires only eight bytes after the outer IPv4 header.
    TooShort,
    /// Something else: a fragment, or another protocol.
    Other,
}

impl Quoted {
    /// The quote in an error about this packet, if it is complete.
    #[must_use]
    pub fn of(packet: &Packet<'_>) -> Self {
        let version = if packet.version() == 4 { protocol::IPIP } else { protocol::IPV6 };
        inside(version, packet.bytes(), |_| false).unwrap_or(Self::Other)
    }
}

/// An ICMP error about a tunnelled packet, not verified: any host can send one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelReport {
    /// The error's source address, which can be forged.
    pub sender: IpAddr,
    /// The destination of the quoted outer packet: a real server.
    pub real: IpAddr,
    /// The cause that the error names.
    pub cause: TunnelCause,
    /// What the error quotes of the inner packet.
    pub quoted: Quoted,
}

/// The error in an IPv4 packet. `None` if it is not about a tunnelled packet, or its checksum is
/// wrong. A datagram is a packet in GUE only if `sends_from` is true for its source port.
#[must_use]
pub fn report_v4(bytes: &[u8], sends_from: impl Fn(u16) -> bool) -> Option<TunnelReport> {
    let packet = Packet::parse(bytes).ok()?;
    if packet.version() != 4 || !super::checksum_ok(&packet) {
        return None;
    }
    let (header, quoted) = packet.payload().split_first_chunk::<ICMP_HEADER_LEN>()?;
    let cause = cause_v4(*header)?;
    let outer = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let inner = quoted.get(outer.slice().len()..)?;
    if outer.fragments_offset().value() != 0 {
        return None;
    }
    let real = outer.destination_addr().into();
    let protocol = outer.protocol().0;
    let quoted = inside(protocol, inner, sends_from)?;
    Some(TunnelReport { sender: packet.source, real, cause: cause.about(protocol), quoted })
}

/// The error in an ICMPv6 message from `sender` whose checksum has been verified. `sends_from` as
/// for [`report_v4`].
#[must_use]
pub fn report_v6(
    sender: Ipv6Addr,
    message: &[u8],
    sends_from: impl Fn(u16) -> bool,
) -> Option<TunnelReport> {
    let (header, quoted) = message.split_first_chunk::<ICMP_HEADER_LEN>()?;
    let cause = cause_v6(*header)?;
    let outer = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let upper = quoted.get(IPV6_HEADER_LEN..)?;
    // A packet larger than the path MTU is sent in fragments; the first one shows the inner packet.
    let chain = extension::walk(outer.next_header().0, upper).ok()?;
    if chain.piece.is_some_and(|(piece, _)| piece.offset > 0) {
        return None;
    }
    let real = outer.destination_addr().into();
    let quoted = inside(chain.protocol, upper.get(chain.len..)?, sends_from)?;
    let cause = cause.about(chain.protocol);
    Some(TunnelReport { sender: sender.into(), real, cause, quoted })
}

/// What is quoted of the inner packet.
fn inside(protocol: u8, inner: &[u8], sends_from: impl Fn(u16) -> bool) -> Option<Quoted> {
    match protocol {
        protocol::GRE => {
            let (version, start) = gre::open(inner).ok()?;
            inside_ip(ipip::protocol_of(version)?, inner.get(start..)?)
        }
        protocol::UDP => inside_udp(inner, sends_from),
        _ => inside_ip(protocol, inner),
    }
}

/// RFC 792 requires no more of the datagram than the UDP header.
fn inside_udp(datagram: &[u8], sends_from: impl Fn(u16) -> bool) -> Option<Quoted> {
    let (header, payload) = datagram.split_first_chunk::<UDP_HEADER_LEN>()?;
    let source_port = u16::from_be_bytes([header[0], header[1]]);
    if !sends_from(source_port) {
        return None;
    }
    match gue::open(payload) {
        Ok((version, start)) => inside_ip(ipip::protocol_of(version)?, payload.get(start..)?),
        Err(ShimError::Truncated) => Some(Quoted::TooShort),
        Err(_) => None,
    }
}

fn inside_ip(protocol: u8, inner: &[u8]) -> Option<Quoted> {
    let parts = match protocol {
        protocol::IPIP => transport_v4(inner),
        protocol::IPV6 => transport_v6(inner),
        _ => return None,
    };
    Some(match parts {
        Some(parts) => {
            let label = label(protocol, inner);
            let packet = |(flow, number)| QuotedPacket { flow, number, label };
            let echo = || match echo_of(parts)? {
                (Echo::Request, echo) => Some(Quoted::Packet(packet(echo))),
                (Echo::Reply, echo) => Some(Quoted::EchoReply(packet(echo))),
            };
            let known = quote_of(parts).map(|quote| Quoted::Packet(packet(quote))).or_else(echo);
            let short = parts.3.len() < 8;
            known.unwrap_or(if short { Quoted::TooShort } else { Quoted::Other })
        }
        None if inner.len() < IPV6_HEADER_LEN => Quoted::TooShort,
        None => Quoted::Other,
    })
}

enum Echo {
    Request,
    Reply,
}

/// The flow of an echo request or reply, and its sequence number (RFC 792, RFC 4443 section 4).
fn echo_of((source, destination, protocol, transport): Parts<'_>) -> Option<(Echo, (Quote, u32))> {
    let ([kind, 0, _, _, identifier @ .., c, d], _) = transport.split_first_chunk::<8>()? else {
        return None;
    };
    let echo = match (protocol, kind) {
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => Echo::Request,
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => Echo::Reply,
        _ => return None,
    };
    let source_port = u16::from_be_bytes(*identifier);
    let flow = Quote { source, destination, protocol, source_port, destination_port: 0 };
    let sequence = u16::from_be_bytes([*c, *d]);
    Some((echo, (flow, sequence.into())))
}

/// See [`QuotedPacket::label`].
fn label(protocol: u8, inner: &[u8]) -> u32 {
    match (protocol, inner) {
        (protocol::IPIP, [_, _, _, _, a, b, ..]) => u16::from_be_bytes([*a, *b]).into(),
        (protocol::IPV6, [_, a, b, c, ..]) => u32::from_be_bytes([0, a & 15, *b, *c]),
        _ => 0,
    }
}

/// RFC 792, RFC 1812 section 5.2.7.1.
fn cause_v4([kind, code, .., high, low]: [u8; ICMP_HEADER_LEN]) -> Option<TunnelCause> {
    Some(match (kind, code) {
        (3, 1) => TunnelCause::HostUnreachable,
        (3, 2) => TunnelCause::ProtocolUnreachable,
        (3, 3) => TunnelCause::PortUnreachable,
        // RFC 1191 section 4.
        (3, 4) => TunnelCause::PathMtu(u16::from_be_bytes([high, low])),
        (3, 9 | 10 | 13) => TunnelCause::Prohibited,
        (3, code) => TunnelCause::Unreachable(code),
        (11, _) => TunnelCause::TimeExceeded,
        (4 | 12, _) => TunnelCause::Other(kind),
        _ => return None,
    })
}

/// RFC 4443 section 3.
fn cause_v6([kind, code, _, _, mtu @ ..]: [u8; ICMP_HEADER_LEN]) -> Option<TunnelCause> {
    Some(match (kind, code) {
        (1, 1 | 5 | 6) => TunnelCause::Prohibited,
        (1, 3) => TunnelCause::HostUnreachable,
        (1, 4) => TunnelCause::PortUnreachable,
        (1, code) => TunnelCause::Unreachable(code),
        (2, _) => TunnelCause::PathMtu(u16::try_from(u32::from_be_bytes(mtu)).unwrap_or(u16::MAX)),
        (3, _) => TunnelCause::TimeExceeded,
        (4, 1) => TunnelCause::ProtocolUnreachable,
        (4, _) => TunnelCause::Other(kind),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wire::build::{Family, MIXES};
    use crate::wire::encap::{self, Encap, MAX_OUTER_LEN, Outer, Shim};
    use crate::wire::tcp::Flags;

    /// The source port of packets in GUE.
    const PORT: u16 = 61_455;

    /// An error about a tunnelled segment that quotes `quoted` bytes of the inner packet.
    fn error(inner: Family, outer: Family, quoted: usize) -> Vec<u8> {
        error_of(Encap::Ipip, inner, outer, quoted)
    }

    fn error_of(encap: Encap, inner: Family, outer: Family, quoted: usize) -> Vec<u8> {
        let (datagram, len) = tunnelled(encap, inner, outer);
        error_that_quotes(outer, &datagram[..len + quoted])
    }

    fn error_that_quotes(outer: Family, quote: &[u8]) -> Vec<u8> {
        outer.icmp_error(outer.pick((3, 4), (2, 0)), quote).from(outer.router()).bytes()
    }

    /// A tunnelled segment, and the length of the headers before it.
    fn tunnelled(encap: Encap, inner: Family, outer: Family) -> (Vec<u8>, usize) {
        let packet = inner.tcp(Flags::ACK).sequence(77).data(&[7; 600]).bytes();
        let header = Outer {
            source: outer.director(),
            destination: outer.real(11),
            traffic_class: 0,
            ttl: 64,
            dont_fragment: true,
            identification: 0,
            flow_label: 5,
        };
        let (mut room, shim) = ([0; MAX_OUTER_LEN], Shim::new(encap, PORT, 6080));
        let len = encap::write(shim, &header, inner.pick(4, 6), [&[], &packet], &mut room).unwrap();
        ([&room[MAX_OUTER_LEN - len..], &packet].concat(), len)
    }

    fn report(outer: Family, packet: &[u8]) -> Option<TunnelReport> {
        report_if(outer, packet, |port| port == PORT)
    }

    fn report_if(
        outer: Family,
        packet: &[u8],
        sends_from: impl Fn(u16) -> bool,
    ) -> Option<TunnelReport> {
        match outer {
            Family::V4 => report_v4(packet, sends_from),
            Family::V6 => {
                let IpAddr::V6(sender) = outer.router() else { panic!() };
                report_v6(sender, &packet[40..], sends_from)
            }
        }
    }

    #[test]
    fn a_datagram_from_a_port_that_is_not_the_director_s_is_not_gue() {
        for (inner, outer) in MIXES {
            for encap in Encap::ALL {
                let error = error_of(encap, inner, outer, inner.header_len() + 8);
                let found = report_if(outer, &error, |port| port == PORT + 1);
                assert_eq!(found.is_some(), encap != Encap::Gue, "{encap:?}");
            }
        }
    }

    #[test]
    fn a_quote_names_its_flow_from_eight_bytes_of_transport_on() {
        let mixes = Encap::ALL.into_iter().flat_map(|encap| MIXES.map(|mix| (encap, mix)));
        for (encap, (inner, outer)) in mixes {
            let enough = inner.header_len() + 8;
            for quoted in [0, 8, inner.header_len(), enough - 1, enough, enough + 100] {
                let found = report(outer, &error_of(encap, inner, outer, quoted)).unwrap();
                assert_eq!((found.sender, found.real), (outer.router(), outer.real(11)));
                assert!(matches!(found.cause, TunnelCause::PathMtu(_)), "{found:?}");
                match found.quoted {
                    Quoted::Packet(packet) => {
                        assert!(quoted >= enough);
                        assert_eq!((packet.flow.source, packet.number), (inner.client(), 77));
                    }
                    kind => assert!(quoted < enough && kind == Quoted::TooShort, "{kind:?}"),
                }
            }
        }
    }

    /// RFC 792 requires no more than the UDP header.
    #[test]
    fn a_quote_that_ends_within_a_gue_header_is_too_short_to_name_a_flow() {
        for (inner, outer) in MIXES {
            let (datagram, len) = tunnelled(Encap::Gue, inner, outer);
            for missing in 1..=4 {
                let error = error_that_quotes(outer, &datagram[..len - missing]);
                assert_eq!(report(outer, &error).map(|one| one.quoted), Some(Quoted::TooShort));
            }
        }
    }

    /// Health checks believe the end at once, and routers after more failures.
    #[test]
    fn protocol_and_port_unreachable_are_of_the_tunnels_end_and_others_of_the_path() {
        let of_the_end = [(3, 2), (3, 3)].map(|one| (Family::V4, one, true));
        let of_the_end =
            of_the_end.into_iter().chain([(4, 1), (1, 4)].map(|one| (Family::V6, one, true)));
        let v4 = [(3, 1), (3, 4), (3, 13), (11, 0)].map(|one| (Family::V4, one, false));
        let v6 = [(1, 1), (1, 3), (2, 0), (3, 0)].map(|one| (Family::V6, one, false));
        for (outer, kind, expected) in of_the_end.chain(v4).chain(v6) {
            let (quote, _) = tunnelled(Encap::Gue, Family::V4, outer);
            let error = outer.icmp_error(kind, &quote[..100]).from(outer.router()).bytes();
            let cause = report(outer, &error).unwrap().cause;
            assert_eq!(cause.is_of_the_end(), expected, "{kind:?}: {cause:?}");
        }
    }

    /// Where a daemon's raw socket gets the packet, kernel tunnels refuse it nevertheless.
    #[test]
    fn port_unreachable_is_certain_of_gue_alone() {
        for (inner, outer) in MIXES {
            for encap in Encap::ALL {
                let (quote, _) = tunnelled(encap, inner, outer);
                let kinds = [((3, 3), (1, 4)), ((3, 2), (4, 1)), ((3, 1), (1, 3))];
                for (kind, always) in kinds.into_iter().zip([false, true, true]) {
                    let kind = outer.pick(kind.0, kind.1);
                    let error = outer.icmp_error(kind, &quote[..100]).from(outer.router()).bytes();
                    let cause = report(outer, &error).unwrap().cause;
                    let certain = always || encap == Encap::Gue;
                    assert_eq!(cause.is_certain(), certain, "{encap:?} {kind:?}: {cause:?}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_and_another_protocol_are_no_report() {
        let mut packet = error(Family::V4, Family::V4, 28);
        assert!(report_v4(&packet, |_| true).is_some());
        packet[30] ^= 1;
        assert_eq!(report_v4(&packet, |_| true), None);
        let plain = Family::V4.tcp(Flags::ACK).bytes();
        assert_eq!(report_v4(&Family::V4.icmp_error((3, 4), &plain).bytes(), |_| true), None);
        assert_eq!(report_v4(&[], |_| true), None);
        assert_eq!(report_v6(Ipv6Addr::LOCALHOST, &[], |_| true), None);
    }
}
