//! Generic UDP Encapsulation (draft-ietf-intarea-gue), as Linux's `fou` module has it.
//!
//! ```text
//!  variant 0: UDP | 0 0 | C | length: 0 | protocol: 4 or 41 | flags: 0 | inner packet
//!  variant 1: UDP | inner packet, whose version's first bits are 0 1
//! ```
//!
//! Variant 0 is written and both are read: katran writes variant 1. The inner packet's own length
//! says where it ends; what follows is padding.

use super::error::ShimError;
use crate::wire::protocol;

/// Length of variant 0's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// What Linux puts after variant 0's header for remote checksum offload: its private flags. Where
/// the checksum begins and where its field is follow them.
const REMOTE_CHECKSUM: [u8; 4] = [0x80, 0, 0, 0];

/// The UDP port that IANA has registered for GUE.
pub const PORT: u16 = 6080;

/// The header before a packet of IP version 4 or 6; `None` for another version.
#[inline]
#[must_use]
pub fn header(inner_version: u8) -> Option<[u8; HEADER_LEN]> {
    Some([0, super::ipip::protocol_of(inner_version)?, 0, 0])
}

/// The IP version of the inner packet in a UDP datagram's payload, and where it starts.
///
/// # Errors
/// The header is too short, has an unknown variant, flags or optional fields, is a control
/// message, or its protocol is not IP. Remote checksum offload has an error of its own.
#[inline]
pub fn open(payload: &[u8]) -> Result<(u8, usize), ShimError> {
    let first = *payload.first().ok_or(ShimError::Truncated)?;
    if let version @ (4 | 6) = first >> 4 {
        return Ok((version, 0));
    }
    match *payload.first_chunk::<HEADER_LEN>().ok_or(ShimError::Truncated)? {
        [0, protocol::IPIP, 0, 0] => Ok((4, HEADER_LEN)),
        [0, protocol::IPV6, 0, 0] => Ok((6, HEADER_LEN)),
        [0, _, 0, 0] => Err(ShimError::Protocol),
        // Two words of options, and the flag for private ones.
        [2, protocol::IPIP | protocol::IPV6, 0, 1]
            if payload.get(HEADER_LEN..).and_then(<[u8]>::first_chunk)
                == Some(&REMOTE_CHECKSUM) =>
        {
            Err(ShimError::RemoteChecksum)
        }
        _ => Err(ShimError::Header),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `ip link add … type ipip encap gue` (and `sit`) write it.
    #[test]
    fn the_bytes_are_those_of_linux() {
        assert_eq!(header(4), Some([0x00, 0x04, 0x00, 0x00]));
        assert_eq!(header(6), Some([0x00, 0x29, 0x00, 0x00]));
        assert_eq!(header(5), None);
    }

    #[test]
    fn both_variants_are_read() {
        assert_eq!(open(&[0x00, 0x04, 0, 0, 0x45]), Ok((4, 4)));
        assert_eq!(open(&[0x00, 0x29, 0, 0, 0x60]), Ok((6, 4)));
        assert_eq!(open(&[0x45, 0x00]), Ok((4, 0)), "katran's, IPv4 inside");
        assert_eq!(open(&[0x60, 0x00]), Ok((6, 0)), "katran's, IPv6 inside");
    }

    #[test]
    fn other_headers_are_refused() {
        for ip in [protocol::IPIP, protocol::IPV6] {
            for (header, error) in [
                (&[0x20, ip, 0, 0][..], ShimError::Header), // a control message
                (&[0x01, ip, 0, 0, 0, 0, 0, 0], ShimError::Header), // optional fields
                (&[0x1f, ip, 0, 0], ShimError::Header),
                (&[0x00, ip, 0x80, 0], ShimError::Header), // flags
                (&[0x00, ip, 0, 1], ShimError::Header),
                (&[0x80, ip, 0, 0], ShimError::Header), // variants 2 and 3
                (&[0xc0, ip, 0, 0], ShimError::Header),
                (&[0x50, ip, 0, 0], ShimError::Header), // variant 1, and no IP version
                (&[0x70, ip, 0, 0], ShimError::Header),
                (&[0x00, 0x11, 0, 0], ShimError::Protocol),
                (&[0x00, 0x11, 0, 1], ShimError::Header),
                (&[0x00, ip, 0], ShimError::Truncated),
                (&[], ShimError::Truncated),
            ] {
                assert_eq!(open(header), Err(error), "{header:x?}");
            }
        }
    }

    /// As `encap-remcsum` of `ip link` and IPVS's `--tun-remcsum` write it, and almost so.
    #[test]
    fn remote_checksum_offload_has_its_own_error() {
        let header = |protocol| [2, protocol, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36];
        assert_eq!(open(&header(4)), Err(ShimError::RemoteChecksum));
        assert_eq!(open(&header(41)), Err(ShimError::RemoteChecksum));
        for (at, other) in [(0, 1), (0, 3), (0, 0x22), (1, 17), (2, 1), (3, 0), (3, 3), (4, 0)] {
            let mut header = header(4);
            header[at] = other;
            assert_eq!(open(&header), Err(ShimError::Header), "byte {at}: {other}");
        }
        assert_eq!(open(&header(4)[..7]), Err(ShimError::Header));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(version in prop_oneof![Just(4), Just(6)]) {
            let header = header(version).unwrap_or_default();
            prop_assert_eq!(open(&header), Ok((version, HEADER_LEN)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok((version, start)) = open(&bytes) {
                prop_assert!(matches!(version, 4 | 6) && start <= bytes.len());
            }
        }
    }
}
