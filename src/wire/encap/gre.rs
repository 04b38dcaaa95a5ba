//! Generic Routing Encapsulation (RFC 2784) without options, as IPVS sends it: four bytes between
//! the outer IP header and the inner packet.
//!
//! ```text
//!  | C | reserved, version: 0 | Ethernet type: 0x0800 (IPv4), 0x86dd (IPv6) |
//! ```

use super::error::ShimError;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 4;

const ETHERNET_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERNET_IPV6: [u8; 2] = [0x86, 0xdd];

/// The flag for a checksum, RFC 1701's flags (key, sequence number, routing), and the version. The
/// other bits are reserved and ignored (RFC 2784 section 2.3).
const NOT_SUPPORTED: u16 = 0xfc07;

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

/// The IP version of the packet that follows the [`HEADER_LEN`] bytes of the header.
///
/// # Errors The header is too short, has an option or another version, or its type is not IP.
#[inline]
pub fn open(payload: &[u8]) -> Result<u8, ShimError> {
    let [a, b, kind @ ..] = *payload.first_chunk::<HEADER_LEN>().ok_or(ShimError::Truncated)?;
    if u16::from_be_bytes([a, b]) & NOT_SUPPORTED != 0 {
        return Err(ShimError::Header);
    }
    match kind {
        ETHERNET_IPV4 => Ok(4),
        ETHERNET_IPV6 => Ok(6),
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
        assert_eq!(open(&[0, 0, 0x08, 0x00]), Ok(4));
        assert_eq!(open(&[0, 0, 0x86, 0xdd, 0x60]), Ok(6));
    }

    #[test]
    fn each_flag_alone_is_refused_or_ignored() {
        for bit in 0..16 {
            let [a, b] = (1_u16 << bit).to_be_bytes();
            let expected = if (3..=9).contains(&bit) { Ok(4) } else { Err(ShimError::Header) };
            assert_eq!(open(&[a, b, 0x08, 0x00]), expected, "bit {bit}");
        }
    }

    #[test]
    fn what_is_not_ip_or_cut_is_refused() {
        assert_eq!(open(&[0, 0, 0x65, 0x58]), Err(ShimError::Protocol), "Ethernet");
        assert_eq!(open(&[0, 0, 0x08]), Err(ShimError::Truncated));
        assert_eq!(open(&[]), Err(ShimError::Truncated));
    }
}
