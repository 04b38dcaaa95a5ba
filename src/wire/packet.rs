//! One IP packet, parsed once at the edge.
//!
//! The view answers what the balancer asks: addresses, protocol, fragment or not, ports and TCP flags.
//! Nothing later indexes raw header bytes. IPv6 is recognised and refused until it is supported.

use std::net::{IpAddr, Ipv4Addr};

use super::{protocol, tcp};

/// Length of an IPv4 header without options (RFC 791 section 3.1).
pub const IPV4_HEADER_LEN: usize = 20;
/// Length of a UDP header (RFC 768).
pub const UDP_HEADER_LEN: usize = 8;
/// Length of an ICMP header (RFC 792).
pub const ICMP_HEADER_LEN: usize = 8;

/// IPv4 flags and fragment offset (RFC 791 section 3.1). The reserved bit is ignored, as Linux does.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Fragment offsets count in units of eight bytes.
const FRAGMENT_UNIT: usize = 8;
/// The longest datagram, header included.
const MAX_DATAGRAM_LEN: usize = 65_535;

/// Why bytes are not a packet that vstun can handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Neither version 4 nor version 6, or no bytes at all.
    #[error("not an IP packet")]
    NotIp,
    /// Shorter than its headers say.
    #[error("truncated")]
    Truncated,
    /// Lengths or offsets that contradict each other.
    #[error("malformed")]
    Malformed,
    /// A source route option (RFC 791 section 3.1; refused as RFC 7126 section 4.3 advises).
    #[error("source route option")]
    SourceRoute,
    /// A family or header that is not supported yet.
    #[error("unsupported")]
    Unsupported,
}

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

/// What the transport header says.
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

/// An IP packet whose header and transport header have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The transport's protocol number.
    pub protocol: u8,
    /// Length of the IP header with options, in bytes; the transport header starts here.
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
    /// Parses `bytes`, which start with the IP header. Bytes after the packet's own length are cut off.
    ///
    /// # Errors
    /// See [`ParseError`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Err(ParseError::Unsupported),
            _ => Err(ParseError::NotIp),
        }
    }

    /// The packet: exactly as many bytes as its header says.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the IP header.
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
            _ => fragment(flags_and_offset, header_len, payload.len(), protocol)?,
        };
        Ok(Self {
            bytes,
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
                parse_transport(protocol, payload, fragment)?
            },
        })
    }
}

/// Which fragment it is. Refuses what no sender cuts and what would not fit once put together:
/// [CVE-1999-0128], RFC 791 section 3.2 and, for TCP flags out of the first fragment, RFC 1858 section 3.2.
///
/// [CVE-1999-0128]: https://www.cve.org/CVERecord?id=CVE-1999-0128
#[cold]
fn fragment(
    flags_and_offset: u16,
    header_len: u8,
    payload_len: usize,
    protocol: u8,
) -> Result<Fragment, ParseError> {
    let more = flags_and_offset & MORE_FRAGMENTS != 0;
    let offset = usize::from(flags_and_offset & OFFSET) * FRAGMENT_UNIT;
    let end = usize::from(header_len) + offset + payload_len;
    let uneven = more && !payload_len.is_multiple_of(FRAGMENT_UNIT);
    let rewrites_tcp = protocol == protocol::TCP && offset == FRAGMENT_UNIT;
    if payload_len == 0 || uneven || end > MAX_DATAGRAM_LEN || rewrites_tcp {
        return Err(ParseError::Malformed);
    }
    Ok(if offset == 0 { Fragment::First } else { Fragment::Later })
}

/// Walks IPv4 options (RFC 791 section 3.1): refuses source routes and lengths that run out of the header.
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
            // The first fragment's UDP length is the whole datagram's, longer than what is here.
            if length < UDP_HEADER_LEN || (fragment == Fragment::Whole && length > payload.len()) {
                return Err(ParseError::Malformed);
            }
            Ok(Transport::Udp {
                source_port: u16::from_be_bytes([header[0], header[1]]),
                destination_port: u16::from_be_bytes([header[2], header[3]]),
            })
        }
        protocol::ICMP => {
            let (header, _) =
                payload.split_first_chunk::<ICMP_HEADER_LEN>().ok_or(ParseError::Malformed)?;
            Ok(Transport::Icmp { kind: header[0], code: header[1] })
        }
        _ => Ok(Transport::Other),
    }
}

#[cfg(test)]
mod tests;
