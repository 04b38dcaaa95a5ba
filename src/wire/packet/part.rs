//! Which part of its datagram a fragment is.

use super::extension::{self, FRAGMENT_LEN};
use super::{Fragment, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Packet, piece};

/// A fragment's position in its datagram. The packet parser has checked that it is possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// The identification that all fragments of a datagram share: 16 bits for IPv4, 32 for IPv6.
    pub identification: u32,
    /// Where its data belongs in the datagram's data, in bytes.
    pub start: u16,
    /// Where its data ends there, in bytes; greater than `start`.
    pub end: u16,
    /// Whether more follows.
    pub more: bool,
    /// Header bytes that the whole datagram's length counts, if its headers are the same as this
    /// one's.
    pub before: u16,
}

impl Packet<'_> {
    /// Which part of a datagram it is; `None` for a whole packet.
    #[cold]
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        if self.fragment == Fragment::Whole {
            return None;
        }
        let (identification, piece, before, len) = match self.version() {
            4 => self.part_v4()?,
            _ => self.part_v6()?,
        };
        Some(Part {
            identification,
            start: u16::try_from(piece.offset).ok()?,
            end: u16::try_from(piece.offset + len).ok()?,
            more: piece.more,
            before: u16::try_from(before).ok()?,
        })
    }

    fn part_v4(&self) -> Option<(u32, extension::Piece, usize, usize)> {
        let header = self.bytes.first_chunk::<IPV4_HEADER_LEN>()?;
        let identification = u16::from_be_bytes([header[4], header[5]]);
        let piece = piece(u16::from_be_bytes([header[6], header[7]]));
        let before = usize::from(self.header_len);
        Some((identification.into(), piece, before, self.payload().len()))
    }

    /// A datagram's data starts after the fragment header and includes later extension headers.
    fn part_v6(&self) -> Option<(u32, extension::Piece, usize, usize)> {
        let (header, upper) = self.bytes.split_first_chunk::<IPV6_HEADER_LEN>()?;
        let (piece, at) = extension::walk(header[6], upper).ok()?.piece?;
        let (fragment, data) = upper.get(at..)?.split_first_chunk::<FRAGMENT_LEN>()?;
        let [_, _, _, _, identification @ ..] = *fragment;
        Some((u32::from_be_bytes(identification), piece, at, data.len()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, FRAGMENT, Family};

    fn part(bytes: &[u8]) -> Option<Part> {
        Packet::parse(bytes).unwrap().part()
    }

    #[test]
    fn whole_packets_and_atomic_fragments_are_no_part() {
        for family in FAMILIES {
            assert_eq!(part(&family.udp(53).bytes()), None);
            assert_eq!(part(&family.udp(53).fragment(0, false).bytes()), None);
        }
    }

    #[test]
    fn a_part_is_what_its_header_says() {
        for family in FAMILIES {
            let udp = |len| family.udp(53).data(&vec![7; len]).identification(9);
            let before = family.pick(20, 0);
            let first = Part { identification: 9, start: 0, end: 24, more: true, before };
            assert_eq!(part(&udp(16).fragment(0, true).bytes()), Some(first));
            let last = Part { start: 1_480, end: 1_491, more: false, ..first };
            assert_eq!(part(&udp(3).fragment(1_480, false).bytes()), Some(last));
            let furthest = Part { start: 65_504, end: 65_512, more: false, ..first };
            assert_eq!(part(&udp(0).fragment(65_504, false).bytes()), Some(furthest));
        }
    }

    #[test]
    fn headers_before_the_data_count_where_the_datagram_s_length_counts_them() {
        let options = Family::V4.udp(53).options(&[1; 8]).data(&[7; 8]).fragment(0, true);
        let part_v4 = part(&options.bytes()).unwrap();
        assert_eq!((part_v4.end, part_v4.before), (16, 28));
        let body = [1, 4, 0, 0, 0, 0];
        let dressed = Family::V6
            .udp(53)
            .extension(DESTINATION_OPTIONS, &body)
            .extension(FRAGMENT, &[0, 1, 1, 2, 3, 4])
            .extension(DESTINATION_OPTIONS, &body);
        let part_v6 = part(&dressed.data(&[7; 8]).bytes()).unwrap();
        assert_eq!((part_v6.end, part_v6.before), (8 + 16, 8), "one in the data, one before it");
        assert_eq!(part_v6.identification, 0x0102_0304);
    }
}
