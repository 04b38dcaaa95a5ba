//! Completes what the kernel leaves to the receiver of a frame: partial checksums, and super-frames
//! that have to be split.
//!
//! Nothing is copied but headers. [`SplitPlan::new`] sums once what all segments of a super-frame
//! have in common; [`SplitPlan::write`] then writes one segment's headers and says where in the
//! super-frame its payload is:
//!
//! ```text
//! super-frame   [IP|TCP|  payload 0  |  payload 1  |  payload 2 ]
//!                  ╲ ╲       │             │             │
//! segments   [IP'|TCP'] + payload 0   [IP'|TCP'] + payload 1   …
//! ```

use std::ops::Range;

use super::checksum::Sum;
use super::packet::extension;
use super::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, OnWire, UDP_HEADER_LEN};
use super::tcp::{self, Flags};
use super::virtio::{Offload, OffloadError};
use super::{Fragment, Packet, Transport};

/// The longest header that [`SplitPlan::write`] writes: an IPv6 header with extension headers and a
/// TCP header with 40 bytes of options. (IPv4 with options is shorter.)
pub const MAX_HEADER_LEN: usize = IPV6_HEADER_LEN + extension::MAX_LEN + tcp::MIN_HEADER_LEN + 40;

/// Completes a checksum whose field, at `start + offset`, holds the pseudo-header's sum.
///
/// A zero becomes `0xffff`: UDP requires it (RFC 768), and both are the same number in one's
/// complement.
///
/// # Errors
/// [`OffloadError::Checksum`] when the field is not within `packet`.
#[inline]
pub fn complete_checksum(packet: &mut [u8], start: u16, offset: u16) -> Result<(), OffloadError> {
    let part = packet.get_mut(usize::from(start)..).ok_or(OffloadError::Checksum)?;
    let sum = Sum::of(part);
    let field = part
        .get_mut(usize::from(offset)..)
        .and_then(|rest| rest.first_chunk_mut())
        .ok_or(OffloadError::Checksum)?;
    *field = no_zero(sum.checksum()).to_be_bytes();
    Ok(())
}

/// How one super-frame is split.
#[derive(Clone, Copy, Debug)]
pub struct SplitPlan {
    network: Network,
    transport: SplitKind,
    /// Sum of the pseudo-header and the transport header without the fields that differ by segment.
    transport_sum: Sum,
    network_len: usize,
    header_len: usize,
    packet_len: usize,
    segment: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Network {
    V4 {
        identification: u16,
        /// Sum of the header without total length, identification and checksum.
        sum: Sum,
    },
    /// Only the payload length differs; there is no checksum. Extension headers go with every
    /// segment.
    V6,
}

#[derive(Clone, Copy, Debug)]
enum SplitKind {
    Tcp { sequence: u32, flags: u8 },
    Udp,
}

impl SplitPlan {
    /// Plans how to split `packet`, a super-frame with [`Offload::Tcp`] or [`Offload::Udp`].
    ///
    /// # Errors
    /// The offload is of another kind than the packet, or none; its checksum does not start where
    /// the transport header does; a fragment.
    #[inline]
    pub fn new(packet: &Packet<'_>, offload: Offload) -> Result<Self, OffloadError> {
        if packet.fragment != Fragment::Whole {
            return Err(OffloadError::Fragment);
        }
        let payload = packet.payload();
        let (segment, start, transport, transport_len) = match (offload, packet.transport) {
            // A SYN occupies a sequence number, which the arithmetic below does not count; no
            // sender makes such a super-frame.
            (Offload::Tcp { segment, start }, Transport::Tcp(header)) if !header.flags.syn() => {
                let kind = SplitKind::Tcp { sequence: header.sequence, flags: header.flags.0 };
                (segment, start, kind, usize::from(header.header_len))
            }
            (Offload::Udp { segment, start }, Transport::Udp { .. })
                if udp_length(payload) == Some(payload.len()) =>
            {
                (segment, start, SplitKind::Udp, UDP_HEADER_LEN)
            }
            _ => return Err(OffloadError::Mismatch),
        };
        if start != 0 && start != u16::from(packet.header_len) {
            return Err(OffloadError::Checksum);
        }
        if segment == 0 {
            return Err(OffloadError::ZeroSegment);
        }
        let (header, data) =
            payload.split_at_checked(transport_len).ok_or(OffloadError::Mismatch)?;
        let network_len = usize::from(packet.header_len);
        Ok(Self {
            network: Network::new(packet)?,
            transport,
            transport_sum: transport.sum(packet, header).ok_or(OffloadError::Mismatch)?,
            network_len,
            header_len: network_len + transport_len,
            packet_len: packet.bytes().len(),
            segment: usize::from(segment),
            count: data.len().div_ceil(usize::from(segment)).max(1),
        })
    }

    /// How many segments there are: at least one.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of each segment's IP and transport headers, at most [`MAX_HEADER_LEN`].
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// What the super-frame is on the wire.
    #[inline]
    #[must_use]
    pub fn on_wire(&self) -> OnWire {
        OnWire {
            packets: self.count,
            bytes: self.packet_len + self.header_len * (self.count - 1),
            longest: (self.header_len + self.segment).min(self.packet_len),
        }
    }

    /// Writes the headers of segment `index` to the first [`SplitPlan::header_len`] bytes of
    /// `header` and returns where in `packet`, the super-frame, the segment's payload is.
    ///
    /// `None` when there is no such segment, `header` is too short, or `packet` is shorter than the
    /// planned one.
    #[inline]
    #[must_use]
    pub fn write(&self, index: usize, packet: &[u8], header: &mut [u8]) -> Option<Range<usize>> {
        if index >= self.count {
            return None;
        }
        let done = index * self.segment;
        let start = self.header_len + done;
        let end = (start + self.segment).min(self.packet_len);
        let payload = packet.get(start..end)?;
        let header = header.get_mut(..self.header_len)?;
        header.copy_from_slice(packet.get(..self.header_len)?);
        let (network, transport) = header.split_at_mut_checked(self.network_len)?;
        let transport_len = u16::try_from(transport.len() + payload.len()).ok()?;
        self.network.write(network, index, self.header_len + payload.len())?;

        let sum = self.transport_sum.add_u16(transport_len).add_bytes(payload);
        match self.transport {
            SplitKind::Tcp { sequence, flags } => {
                let sequence = sequence.wrapping_add(u32::try_from(done).ok()?);
                let flags = segment_flags(flags, index == 0, index + 1 == self.count);
                write_tcp(transport, sequence, flags, sum)?;
            }
            SplitKind::Udp => write_udp(transport, transport_len, sum)?,
        }
        Some(start..end)
    }
}

impl Network {
    #[inline]
    fn new(packet: &Packet<'_>) -> Result<Self, OffloadError> {
        if packet.source.is_ipv6() {
            return Ok(Self::V6);
        }
        let header = packet
            .bytes()
            .get(..usize::from(packet.header_len))
            .and_then(|header| header.split_first_chunk::<IPV4_HEADER_LEN>());
        let (fixed, options) = header.ok_or(OffloadError::Mismatch)?;
        let sum = Sum::of(&fixed[..2])
            .add_bytes(&fixed[6..10])
            .add_bytes(&fixed[12..])
            .add_bytes(options);
        Ok(Self::V4 { identification: u16::from_be_bytes([fixed[4], fixed[5]]), sum })
    }

    #[inline]
    fn write(self, header: &mut [u8], index: usize, total_len: usize) -> Option<()> {
        let Self::V4 { identification, sum } = self else {
            let payload_len = u16::try_from(total_len.checked_sub(IPV6_HEADER_LEN)?).ok()?;
            header.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
            return Some(());
        };
        let total_len = u16::try_from(total_len).ok()?;
        let header = header.first_chunk_mut::<IPV4_HEADER_LEN>()?;
        let identification = identification.wrapping_add(u16::try_from(index).ok()?);
        let check = sum.add_u16(total_len).add_u16(identification).checksum();
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[10..12].copy_from_slice(&check.to_be_bytes());
        Some(())
    }
}

impl SplitKind {
    /// What all segments' transport checksums have in common; the length in the pseudo-header
    /// differs.
    #[inline]
    fn sum(self, packet: &Packet<'_>, header: &[u8]) -> Option<Sum> {
        let pseudo = Sum::pseudo_header(packet.source, packet.destination, packet.protocol, 0);
        match self {
            Self::Tcp { .. } => {
                let (fixed, options) = header.split_first_chunk::<{ tcp::MIN_HEADER_LEN }>()?;
                // All but sequence number, flags and checksum.
                let sum = pseudo.add_bytes(&fixed[..4]).add_bytes(&fixed[8..12]);
                Some(sum.add_bytes(&fixed[14..16]).add_bytes(&fixed[18..]).add_bytes(options))
            }
            // All but length and checksum.
            Self::Udp => Some(pseudo.add_bytes(header.get(..4)?)),
        }
    }
}

/// With more than one segment, FIN and PSH belong to the last one, CWR to the first (RFC 3168
/// section 6.1.2).
#[inline]
fn segment_flags(flags: u8, first: bool, last: bool) -> u8 {
    let early = if last { 0 } else { Flags::FIN | Flags::PSH };
    let late = if first { 0 } else { Flags::CWR };
    flags & !(early | late)
}

#[inline]
fn write_tcp(header: &mut [u8], sequence: u32, flags: u8, sum: Sum) -> Option<()> {
    let header = header.first_chunk_mut::<{ tcp::MIN_HEADER_LEN }>()?;
    header[13] = flags;
    let sum = sum.add_u32(sequence).add_u16(u16::from_be_bytes([header[12], flags]));
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    Some(())
}

#[inline]
fn write_udp(header: &mut [u8], length: u16, sum: Sum) -> Option<()> {
    let header = header.first_chunk_mut::<UDP_HEADER_LEN>()?;
    // The length counts twice: in the pseudo-header and here.
    let check = no_zero(sum.add_u16(length).checksum());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6..8].copy_from_slice(&check.to_be_bytes());
    Some(())
}

/// A computed checksum of zero is sent as all ones: a zero field means "no checksum" (RFC 768).
#[inline]
fn no_zero(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}

#[inline]
fn udp_length(datagram: &[u8]) -> Option<usize> {
    let (header, _) = datagram.split_first_chunk::<UDP_HEADER_LEN>()?;
    Some(usize::from(u16::from_be_bytes([header[4], header[5]])))
}

#[cfg(test)]
mod tests;
