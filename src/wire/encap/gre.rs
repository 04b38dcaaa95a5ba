//! Generic Routing Encapsulation (RFC 2784), as IPVS sends it: four bytes between the outer IP
//! header and the inner packet, and four more with a checksum (`--tun-csum`).
//!
//! ```text
//!  | C | reserved, version: 0 | Ethernet type: 0x0800 (IPv4), 0x86dd (IPv6) |
//!  | checksum, if C           | reserved, if C                              |
//! ```
//!
//! It is written without a checksum. One that is read is not verified: of datagrams that GRO has
//! merged it is the first one's, and the inner packet has its own.

use super::error::ShimError;

/// Length of the header without a checksum, in bytes.
pub const HEADER_LEN: usize = 4;

/// Bytes of the checksum and the reserved field after it.
const CHECKSUM_LEN: usize = 4;

const ETHERNET_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERNET_IPV6: [u8; 2] = [0x86, 0xdd];

/// The flag for a checksum.
const CHECKSUM: u16 = 0x8000;

/// RFC 1701's flags (key, sequence number, routing), and the version. The other bits are reserved
/// and ignored (RFC 2784 section 2.3).
const NOT_SUPPORTED: u16 = 0x7c07;

/// The header before a packet of IP version 4 or 6; `None` for another version.
#[inline]
#[must_use]
pub fn header(inner_version: u8) -> Option<[u8; HEADER_LEN]> {
    let [a, b] = match inner_version {
        4 => ETHERNET_IPV4,
        6 => ETHERNET_IPV6,
        _ => return None,
    };
    Some([0, 0, a, b])
}

/// The IP version of the inner packet, and where it starts.
///
/// # Errors
/// The header is too short, has an option or another version, or its type is not IP.
#[inline]
pub fn open(payload: &[u8]) -> Result<(u8, usize), ShimError> {
    let [a, b, kind @ ..] = *payload.first_chunk::<HEADER_LEN>().ok_or(ShimError::Truncated)?;
    let flags = u16::from_be_bytes([a, b]);
    if flags & NOT_SUPPORTED != 0 {
        return Err(ShimError::Header);
    }
    let len = HEADER_LEN + if flags & CHECKSUM == 0 { 0 } else { CHECKSUM_LEN };
    if payload.len() < len {
        return Err(ShimError::Truncated);
    }
    match kind {
        ETHERNET_IPV4 => Ok((4, len)),
        ETHERNET_IPV6 => Ok((6, len)),
        _ => Err(ShimError::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ip link add … type gre` and IPVS's `--tun-type gre` write it.
    #[test]
    fn the_bytes_are_those_of_rfc_2784() {
        assert_eq!(header(4), Some([0x00, 0x00, 0x08, 0x00]));
        assert_eq!(header(6), Some([0x00, 0x00, 0x86, 0xdd]));
        assert_eq!(header(5), None);
        assert_eq!(open(&[0, 0, 0x08, 0x00]), Ok((4, 4)));
        assert_eq!(open(&[0, 0, 0x86, 0xdd, 0x60]), Ok((6, 4)));
        assert_eq!(open(&[0x80, 0, 0x08, 0x00, 1, 2, 0, 0]), Ok((4, 8)));
    }

    #[test]
    fn each_flag_alone_is_refused_or_ignored() {
        for bit in 0..16 {
            let [a, b] = (1_u16 << bit).to_be_bytes();
            let expected = match bit {
                3..=9 => Ok((4, 4)),
                15 => Ok((4, 8)),
                _ => Err(ShimError::Header),
            };
            assert_eq!(open(&[a, b, 0x08, 0x00, 0, 0, 0, 0]), expected, "bit {bit}");
        }
    }

    #[test]
    fn what_is_not_ip_or_cut_is_refused() {
        assert_eq!(open(&[0, 0, 0x65, 0x58]), Err(ShimError::Protocol), "Ethernet");
        assert_eq!(open(&[0, 0, 0x08]), Err(ShimError::Truncated));
        assert_eq!(open(&[0x80, 0, 0x08, 0, 1, 2, 0]), Err(ShimError::Truncated));
        assert_eq!(open(&[]), Err(ShimError::Truncated));
    }
}
