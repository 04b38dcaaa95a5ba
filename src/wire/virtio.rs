//! The virtio-net header in front of each frame of a TUN device with `IFF_VNET_HDR`.
//!
//! ```text
//! 0      1         2          4           6             8               10
//! +------+---------+----------+-----------+-------------+---------------+
//! | flags| gso_type| hdr_len  | gso_size  | csum_start  | csum_offset   |   then the IP packet
//! +------+---------+----------+-----------+-------------+---------------+
//! ```
//!
//! Numbers are in the host's byte order: the device's default, unless `TUNSETVNETLE` or
//! `TUNSETVNETBE` says otherwise (Virtual I/O Device specification 1.2, section 5.1.6; legacy
//! layout).

/// Length of the header in bytes, without the mergeable-buffers field.
pub const HEADER_LEN: usize = 10;

/// `flags`: the checksum field at `csum_start + csum_offset` holds only the pseudo-header's sum.
pub const NEEDS_CSUM: u8 = 1;
/// `gso_type`: a single packet.
pub const GSO_NONE: u8 = 0;
/// `gso_type`: a TCP over IPv4 super-frame.
pub const GSO_TCPV4: u8 = 1;
/// `gso_type`: a TCP over IPv6 super-frame.
pub const GSO_TCPV6: u8 = 4;
/// `gso_type`: a super-frame of UDP datagrams, either family.
pub const GSO_UDP_L4: u8 = 5;
/// `gso_type`, or-ed in: the TCP super-frame carries CWR.
pub const GSO_ECN: u8 = 0x80;

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// [`NEEDS_CSUM`], or 2 for a checksum already verified.
    pub flags: u8,
    /// Kind of super-frame, perhaps with [`GSO_ECN`].
    pub gso_type: u8,
    /// A hint of how many bytes of headers there are. The kernel writes the length of its
    /// buffer's linear part: never trust it.
    pub hdr_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksummed part starts, counted from the IP header.
    pub csum_start: u16,
    /// Where the checksum field lies, counted from `csum_start`.
    pub csum_offset: u16,
}

impl Header {
    /// Splits `frame` into its header and the packet; `None` when it is shorter than a header.
    #[inline]
    #[must_use]
    pub fn decode(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (h, packet) = frame.split_first_chunk::<HEADER_LEN>()?;
        let field = |at: usize| u16::from_ne_bytes([h[at], h[at + 1]]);
        let header = Self {
            flags: h[0],
            gso_type: h[1],
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        };
        Some((header, packet))
    }

    /// The header's bytes.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [l0, l1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, l0, l1, g0, g1, s0, s1, o0, o1]
    }

    /// What is left to do with the packet.
    ///
    /// # Errors
    /// As [`split_frame`].
    #[inline]
    pub fn offload(&self) -> Result<Offload, OffloadError> {
        let needs_checksum = self.flags & NEEDS_CSUM != 0;
        let start = if needs_checksum { self.csum_start } else { 0 };
        let segment = self.gso_size;
        let offload = match self.gso_type & !GSO_ECN {
            GSO_NONE if needs_checksum => Offload::Checksum { start, offset: self.csum_offset },
            GSO_NONE => Offload::None,
            GSO_TCPV4 | GSO_TCPV6 => Offload::Tcp { segment, start },
            GSO_UDP_L4 => Offload::Udp { segment, start },
            _ => return Err(OffloadError::UnknownGso),
        };
        match offload {
            Offload::Tcp { segment: 0, .. } | Offload::Udp { segment: 0, .. } => {
                Err(OffloadError::ZeroSegment)
            }
            _ => Ok(offload),
        }
    }
}

/// What the kernel left to user space to do with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offload {
    /// Nothing: a packet as on the wire.
    None,
    /// Complete the checksum: [`super::segment::complete_checksum`].
    Checksum {
        /// Where the checksummed part starts, from the IP header.
        start: u16,
        /// Where the field lies, from `start`.
        offset: u16,
    },
    /// Split into TCP segments: [`super::segment::SplitPlan`].
    Tcp {
        /// Payload bytes of each segment but the last; not zero.
        segment: u16,
        /// Where the TCP header starts; zero if the kernel did not set it because the checksum was
        /// already verified (by hardware that merges).
        start: u16,
    },
    /// Split into UDP datagrams: [`super::segment::SplitPlan`].
    Udp {
        /// Payload bytes of each datagram but the last; not zero.
        segment: u16,
        /// Where the UDP header starts; zero as in [`Offload::Tcp`].
        start: u16,
    },
}

/// Why a frame's offload header cannot be honoured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OffloadError {
    /// Shorter than the virtio-net header.
    #[error("frame shorter than its virtio-net header")]
    Truncated,
    /// A kind of super-frame that was not enabled by `TUNSETOFFLOAD`.
    #[error("unknown kind of super-frame")]
    UnknownGso,
    /// A super-frame with a segment size of zero.
    #[error("super-frame with a segment size of zero")]
    ZeroSegment,
    /// The checksum field is outside the packet, or not where the transport has it.
    #[error("checksum position contradicts the packet")]
    Checksum,
    /// The super-frame's kind and its packet contradict each other.
    #[error("super-frame kind contradicts the packet")]
    Mismatch,
    /// A fragment cannot be a super-frame.
    #[error("super-frame that is a fragment")]
    Fragment,
}

/// Splits a frame read from the TUN into the offload that remains to be done and the IP packet.
///
/// # Errors
/// See [`OffloadError`]. [`super::segment`] checks whether the values fit the packet.
#[inline]
pub fn split_frame(frame: &[u8]) -> Result<(Offload, &[u8]), OffloadError> {
    let (header, packet) = Header::decode(frame).ok_or(OffloadError::Truncated)?;
    Ok((header.offload()?, packet))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn split(header: Header) -> Result<Offload, OffloadError> {
        let frame = [&header.encode()[..], b"packet"].concat();
        split_frame(&frame).map(|(offload, packet)| {
            assert_eq!(packet, b"packet");
            offload
        })
    }

    #[test]
    fn decode_undoes_encode() {
        let header = Header {
            flags: 1,
            gso_type: 0x81,
            hdr_len: 0x0203,
            gso_size: 0x0405,
            csum_start: 0x0607,
            csum_offset: 0x0809,
        };
        assert_eq!(Header::decode(&header.encode()).unwrap(), (header, &[][..]));
        assert_eq!(header.encode()[4..6], 0x0405_u16.to_ne_bytes());
    }

    #[test]
    fn a_frame_shorter_than_the_header_is_truncated() {
        assert_eq!(split_frame(&[0; HEADER_LEN - 1]), Err(OffloadError::Truncated));
        assert_eq!(split_frame(&[0; HEADER_LEN]), Ok((Offload::None, &[][..])));
    }

    #[test]
    fn a_verified_checksum_is_nothing_to_do() {
        assert_eq!(split(Header { flags: 2, ..Header::default() }), Ok(Offload::None));
    }

    #[test]
    fn a_partial_checksum_is_named() {
        let header = Header { flags: 1, csum_start: 20, csum_offset: 16, ..Header::default() };
        assert_eq!(split(header), Ok(Offload::Checksum { start: 20, offset: 16 }));
    }

    #[test]
    fn super_frames_of_either_kind() {
        let tcp = Header {
            flags: 1,
            gso_type: GSO_TCPV4 | GSO_ECN,
            hdr_len: u16::MAX,
            gso_size: 1448,
            csum_start: 20,
            csum_offset: 16,
        };
        assert_eq!(split(tcp), Ok(Offload::Tcp { segment: 1448, start: 20 }));
        let verified = Header { flags: 2, ..tcp };
        assert_eq!(split(verified), Ok(Offload::Tcp { segment: 1448, start: 0 }));
        let udp = Header { gso_type: GSO_UDP_L4, ..tcp };
        assert_eq!(split(udp), Ok(Offload::Udp { segment: 1448, start: 20 }));
        assert_eq!(split(Header { gso_size: 0, ..tcp }), Err(OffloadError::ZeroSegment));
        assert_eq!(split(Header { gso_size: 0, ..udp }), Err(OffloadError::ZeroSegment));
    }

    #[test]
    fn other_kinds_are_unknown() {
        for gso_type in (0..0x80).filter(|kind| ![0, 1, 4, 5].contains(kind)) {
            let header = Header { gso_type, gso_size: 1, ..Header::default() };
            assert_eq!(split(header), Err(OffloadError::UnknownGso), "{gso_type}");
        }
    }
}
