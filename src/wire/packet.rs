//! One IP packet, parsed once at the edge.
//!
//! The view has what the balancer needs: addresses, protocol, fragment or not, ports and TCP flags.
//! Nothing later indexes raw header bytes.

mod error;
pub mod extension;
mod part;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{protocol, tcp};
pub use error::ParseError;
use extension::Piece;
pub use part::Part;

/// Length of an IPv4 header without options (RFC 791 section 3.1).
pub const IPV4_HEADER_LEN: usize = 20;
/// Length of an IPv6 header without extension headers (RFC 8200 section 3).
pub const IPV6_HEADER_LEN: usize = 40;
/// The longest packet that vstun handles: an IPv6 header and all that its length field can count.
/// Jumbograms (RFC 2675) are longer; links do not carry them.
pub const MAX_PACKET_LEN: usize = IPV6_HEADER_LEN + 65_535;
/// Length of a UDP header (RFC 768).
pub const UDP_HEADER_LEN: usize = 8;
/// Length of an ICMP header of either family (RFC 792, RFC 4443 section 2.1).
pub const ICMP_HEADER_LEN: usize = 8;

/// [`IPV6_HEADER_LEN`] as [`Packet::header_len`] has it.
const FIXED_V6: u8 = 40;
/// IPv4 flags and fragment offset (RFC 791 section 3.1). The reserved bit is ignored, as Linux
/// does.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Fragment offsets count in units of eight bytes.
const FRAGMENT_UNIT: usize = 8;
/// The longest datagram: with its header for IPv4, without the fixed header for IPv6.
pub const MAX_DATAGRAM_LEN: usize = 65_535;

/// Whether the packet is a fragment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fragment {
    /// A whole packet.
    Whole,
    /// The first fragment of a datagram: it has the transport header.
    First,
    /// A later fragment: no transport header.
    Later,
}

/// The fields of the transport header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// TCP.
    Tcp(tcp::Header),
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// ICMP of the packet's family.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Another protocol, or a fragment that is not the first.
    Other,
}

/// What a packet is on the wire: itself, or if it is a super-frame its segments with their headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OnWire {
    /// How many packets.
    pub packets: usize,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Bytes of the longest one.
    pub longest: usize,
}

/// An IP packet whose header and transport header have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    on_wire: OnWire,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The transport's protocol number.
    pub protocol: u8,
    /// Length of the IP header with options or extension headers, in bytes; the transport header
    /// starts here.
    pub header_len: u8,
    /// DSCP and ECN: the IPv4 TOS byte or the IPv6 traffic class.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 DF; always true for IPv6.
    pub dont_fragment: bool,
    /// Fragment or not.
    pub fragment: Fragment,
    /// The transport header.
    pub transport: Transport,
}

impl<'a> Packet<'a> {
    /// Parses `bytes`, which start with the IP header. Bytes after the packet's own length are cut
    /// off.
    ///
    /// # Errors
    /// See [`ParseError`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            _ => Err(ParseError::NotIp),
        }
    }

    /// The packet: exactly as many bytes as its header says.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The IP version, 4 or 6.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.source.is_ipv4() { 4 } else { 6 }
    }

    /// The length in bytes of the longest packet on the wire: its own, or a super-frame's longest
    /// segment.
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.on_wire.longest
    }

    /// How many packets it is on the wire: one, or a super-frame's segments.
    #[inline]
    #[must_use]
    pub fn wire_packets(&self) -> u64 {
        self.on_wire.packets as u64
    }

    /// The length in bytes of all its packets on the wire.
    #[inline]
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.on_wire.bytes as u64
    }

    /// The same packet as a super-frame.
    #[inline]
    #[must_use]
    pub fn split_into(self, on_wire: OnWire) -> Self {
        Self { on_wire, ..self }
    }

    /// What follows the IP header and its extension headers.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(usize::from(self.header_len)..).unwrap_or_default()
    }

    #[inline]
    fn parse_v4(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, _) =
            bytes.split_first_chunk::<IPV4_HEADER_LEN>().ok_or(ParseError::Truncated)?;
        let header_len = (fixed[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if usize::from(header_len) < IPV4_HEADER_LEN || total_len < usize::from(header_len) {
            return Err(ParseError::Malformed);
        }
        let bytes = bytes.get(..total_len).ok_or(ParseError::Truncated)?;
        let payload = bytes.get(usize::from(header_len)..).ok_or(ParseError::Truncated)?;
        if usize::from(header_len) > IPV4_HEADER_LEN {
            let options = bytes.get(IPV4_HEADER_LEN..usize::from(header_len)).unwrap_or_default();
            check_options(options)?;
        }
        let protocol = fixed[9];
        let flags_and_offset = u16::from_be_bytes([fixed[6], fixed[7]]);
        let fragment = match flags_and_offset & (MORE_FRAGMENTS | OFFSET) {
            0 => Fragment::Whole,
            _ => {
                fragment(piece(flags_and_offset), usize::from(header_len), payload.len(), protocol)?
            }
        };
        Ok(Self {
            bytes,
            on_wire: OnWire { packets: 1, bytes: bytes.len(), longest: bytes.len() },
            source: IpAddr::V4(Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15])),
            destination: IpAddr::V4(Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19])),
            protocol,
            header_len,
            traffic_class: fixed[1],
            ttl: fixed[8],
            dont_fragment: flags_and_offset & DONT_FRAGMENT != 0,
            fragment,
            transport: if fragment == Fragment::Later {
                Transport::Other
            } else {
                parse_transport(protocol, protocol::ICMP, payload, fragment)?
            },
        })
    }

    #[inline]
    fn parse_v6(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, rest) =
            bytes.split_first_chunk::<IPV6_HEADER_LEN>().ok_or(ParseError::Truncated)?;
        let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let upper = rest.get(..payload_len).ok_or(ParseError::Truncated)?;
        let bytes = bytes.get(..IPV6_HEADER_LEN + payload_len).ok_or(ParseError::Truncated)?;
        let (protocol, header_len, fragment) = match fixed[6] {
            next if extension::is_extension(next) => chain(next, upper)?,
            next => (next, FIXED_V6, Fragment::Whole),
        };
        let payload = bytes.get(usize::from(header_len)..).ok_or(ParseError::Malformed)?;
        Ok(Self {
            bytes,
            on_wire: OnWire { packets: 1, bytes: bytes.len(), longest: bytes.len() },
            source: address_v6(fixed, 8),
            destination: address_v6(fixed, 24),
            protocol,
            header_len,
            traffic_class: fixed[0] << 4 | fixed[1] >> 4,
            ttl: fixed[7],
            dont_fragment: true,
            fragment,
            transport: if fragment == Fragment::Later {
                Transport::Other
            } else {
                parse_transport(protocol, protocol::ICMPV6, payload, fragment)?
            },
        })
    }
}

/// Whether a host on another link can have this address, so that an answer may be sent to it (RFC
/// 1122 section 3.2.1.3, RFC 4443 section 2.4). Routers forward nothing from an IPv6 link-local
/// address (RFC 4291 section 2.5.6), and no packet may carry an IPv4-mapped one.
#[inline]
#[must_use]
pub fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some())
        }
    }
}

/// The IPv6 address at `at` of the fixed header.
#[inline]
fn address_v6(header: &[u8; IPV6_HEADER_LEN], at: usize) -> IpAddr {
    let octets = header[at..].first_chunk::<16>().copied().unwrap_or_default();
    IpAddr::V6(Ipv6Addr::from(octets))
}

/// The transport's protocol, the length of all headers before it, and which fragment the packet is.
#[cold]
fn chain(next: u8, upper: &[u8]) -> Result<(u8, u8, Fragment), ParseError> {
    let chain = extension::walk(next, upper)?;
    let header_len =
        u8::try_from(IPV6_HEADER_LEN + chain.len).map_err(|_| ParseError::ExtensionHeader)?;
    let fragment = match chain.piece {
        None => Fragment::Whole,
        // The length field of the whole datagram does not count the fixed header (RFC 8200 section
        // 4.5).
        Some((piece, at)) => {
            let len = upper.len().saturating_sub(at + extension::FRAGMENT_LEN);
            fragment(piece, at, len, chain.protocol)?
        }
    };
    Ok((chain.protocol, header_len, fragment))
}

/// The piece that IPv4's flags and fragment offset describe.
fn piece(flags_and_offset: u16) -> Piece {
    Piece {
        offset: usize::from(flags_and_offset & OFFSET) * FRAGMENT_UNIT,
        more: flags_and_offset & MORE_FRAGMENTS != 0,
    }
}

/// Which fragment it is. Refuses malformed fragments, and those whose datagram would be too long:
/// [CVE-1999-0128], RFC 791 section 3.2, RFC 8200 section 4.5 and, for TCP flags outside the first
/// fragment, RFC 1858 section 3.2.
///
/// `before` is how many bytes of headers the whole datagram's length counts before the data that is
/// cut up.
///
/// [CVE-1999-0128]: https://www.cve.org/CVERecord?id=CVE-1999-0128
#[cold]
fn fragment(
    piece: Piece,
    before: usize,
    payload_len: usize,
    protocol: u8,
) -> Result<Fragment, ParseError> {
    let Piece { offset, more } = piece;
    let uneven = more && !payload_len.is_multiple_of(FRAGMENT_UNIT);
    let too_long = before + offset + payload_len > MAX_DATAGRAM_LEN;
    let rewrites_tcp = protocol == protocol::TCP && offset == FRAGMENT_UNIT;
    if payload_len == 0 || uneven || too_long || rewrites_tcp {
        return Err(ParseError::Malformed);
    }
    Ok(match (offset, more) {
        // An atomic fragment is a whole packet (RFC 6946): some translators make them.
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    })
}

/// Walks IPv4 options (RFC 791 section 3.1): refuses source routes and lengths that run out of the
/// header.
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            END => return Ok(()),
            NO_OPERATION => options = rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(ParseError::SourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(ParseError::Malformed)?);
                if len < 2 {
                    return Err(ParseError::Malformed);
                }
                options = options.get(len..).ok_or(ParseError::Malformed)?;
            }
        }
    }
    Ok(())
}

#[inline]
fn parse_transport(
    number: u8,
    icmp: u8,
    payload: &[u8],
    fragment: Fragment,
) -> Result<Transport, ParseError> {
    match number {
        protocol::TCP => {
            tcp::Header::parse(payload).map(Transport::Tcp).ok_or(ParseError::Malformed)
        }
        protocol::UDP => {
            let (header, _) =
                payload.split_first_chunk::<UDP_HEADER_LEN>().ok_or(ParseError::Malformed)?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            // The first fragment's UDP length is that of the whole datagram, longer than this
            // fragment.
            if length < UDP_HEADER_LEN || (fragment == Fragment::Whole && length > payload.len()) {
                return Err(ParseError::Malformed);
            }
            Ok(Transport::Udp {
                source_port: u16::from_be_bytes([header[0], header[1]]),
                destination_port: u16::from_be_bytes([header[2], header[3]]),
            })
        }
        // Each family has its own ICMP; hosts ignore the other family's.
        _ if number == icmp => {
            let (header, _) =
                payload.split_first_chunk::<ICMP_HEADER_LEN>().ok_or(ParseError::Malformed)?;
            Ok(Transport::Icmp { kind: header[0], code: header[1] })
        }
        _ => Ok(Transport::Other),
    }
}

#[cfg(test)]
mod tests;
