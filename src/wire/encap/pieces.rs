//! An outer IPv6 packet in fragments (RFC 8200 section 4.5), where the path takes no whole one and
//! what is inside can be no smaller (RFC 2473 section 7.1).

use std::net::IpAddr;
use std::ops::Range;

use super::{Outer, ipip};
use crate::wire::packet::IPV6_HEADER_LEN;
use crate::wire::protocol;

/// Length of a fragment header, in bytes.
const FRAGMENT_HEADER_LEN: usize = 8;
/// Length in bytes of the headers of each piece.
pub const PIECE_HEADER_LEN: usize = IPV6_HEADER_LEN + FRAGMENT_HEADER_LEN;
/// Offsets count in so many bytes.
const UNIT: usize = 8;

/// How an inner packet is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pieces {
    len: usize,
    /// Bytes of the inner packet in each piece but the last.
    step: usize,
}

impl Pieces {
    /// Of an inner packet of `len` bytes. `limit` is how many would fit behind an outer header
    /// alone.
    #[must_use]
    pub fn new(len: usize, limit: usize) -> Self {
        let step = limit.saturating_sub(FRAGMENT_HEADER_LEN) / UNIT * UNIT;
        Self { len, step: step.max(UNIT) }
    }

    /// Where each piece lies in the inner packet, in order.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.len).step_by(self.step).map(move |at| at..self.len.min(at + self.step))
    }

    /// Writes the headers of the piece at `range` into the last bytes of `room`. All pieces of a
    /// packet have one `identification`. Returns the headers' length; `None` where [`ipip::write`]
    /// has none, the tunnel is not IPv6, or the packet is longer than IP allows.
    #[must_use]
    pub fn write(
        self,
        outer: &Outer,
        inner_version: u8,
        identification: u32,
        range: &Range<usize>,
        room: &mut [u8],
    ) -> Option<usize> {
        let IpAddr::V6(_) = outer.destination else { return None };
        u16::try_from(self.len).ok()?;
        let (before, header) = room.split_last_chunk_mut::<FRAGMENT_HEADER_LEN>()?;
        ipip::write(outer, inner_version, FRAGMENT_HEADER_LEN + range.len(), before)?;
        let next = before.len().checked_sub(IPV6_HEADER_LEN - 6)?;
        let inside = std::mem::replace(before.get_mut(next)?, protocol::IPV6_FRAGMENT);
        // The lowest three bits are no part of the offset; the last one says that more follow.
        let more = u16::from(range.end < self.len);
        let offset = u16::try_from(range.start).ok()? | more;
        *header = [inside, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&offset.to_be_bytes());
        header[4..8].copy_from_slice(&identification.to_be_bytes());
        Some(PIECE_HEADER_LEN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use etherparse::{IpNumber, Ipv6FragmentHeader, Ipv6HeaderSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::build::Family;

    fn outer(family: Family) -> Outer {
        Outer {
            source: family.director(),
            destination: family.real(11),
            traffic_class: 0xb9,
            ttl: 63,
            dont_fragment: true,
            identification: 0,
            flow_label: 0xabcde,
        }
    }

    /// At the limit of the smallest MTU, and around it.
    #[test]
    fn a_packet_of_1280_bytes_takes_two_pieces_of_a_path_of_1280() {
        let ranges = |len, limit| Pieces::new(len, limit).ranges().collect::<Vec<_>>();
        assert_eq!(ranges(1_280, 1_240), [0..1_232, 1_232..1_280]);
        assert_eq!(ranges(1_241, 1_240), [0..1_232, 1_232..1_241]);
        assert_eq!(ranges(1_280, 1_279), [0..1_264, 1_264..1_280]);
        assert_eq!(ranges(3_000, 1_240), [0..1_232, 1_232..2_464, 2_464..3_000]);
        assert!(ranges(0, 1_240).is_empty());
        assert_eq!(ranges(9, 0), [0..8, 8..9], "no limit is too small to end");
    }

    #[test]
    fn headers_are_what_etherparse_reads() {
        let pieces = Pieces::new(1_280, 1_240);
        for (range, more) in [(0..1_232, true), (1_232..1_280, false)] {
            let mut room = [0xee; 50];
            let len = pieces.write(&outer(Family::V6), 4, 0x1234_5678, &range, &mut room);
            assert_eq!(len, Some(PIECE_HEADER_LEN));
            assert_eq!(room[..2], [0xee; 2], "bytes before the headers stay");
            let header = Ipv6HeaderSlice::from_slice(&room[2..]).unwrap();
            assert_eq!(usize::from(header.payload_length()), 8 + range.len());
            assert_eq!(header.next_header(), IpNumber::IPV6_FRAGMENTATION_HEADER);
            assert_eq!((header.hop_limit(), header.flow_label().value()), (63, 0xabcde));
            let (fragment, _) = Ipv6FragmentHeader::from_slice(&room[42..]).unwrap();
            assert_eq!(fragment.next_header, IpNumber::IPV4);
            assert_eq!(usize::from(fragment.fragment_offset.value()) * 8, range.start);
            assert_eq!((fragment.more_fragments, fragment.identification), (more, 0x1234_5678));
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let write = |family, len, version, room: usize| {
            let pieces = Pieces::new(len, 1_240);
            let range = pieces.ranges().last().unwrap();
            pieces.write(&outer(family), version, 7, &range, &mut vec![0; room])
        };
        assert_eq!(write(Family::V6, 65_535, 6, 48), Some(48), "the longest payload");
        assert_eq!(write(Family::V6, 65_536, 6, 48), None, "one byte too long");
        assert_eq!(write(Family::V6, 1_280, 6, 47), None, "no room");
        assert_eq!(write(Family::V6, 1_280, 5, 48), None, "no such version");
        assert_eq!(write(Family::V4, 1_280, 6, 48), None, "IPv4 is cut by routers");
    }

    proptest! {
        /// Each byte once, each piece within the path, offsets in units.
        #[test]
        fn pieces_are_whole_and_fit(len in 1_usize..65_536, limit in 1_240_usize..65_536) {
            let mut end = 0;
            for range in Pieces::new(len, limit).ranges() {
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty() && range.start.is_multiple_of(UNIT));
                prop_assert!(FRAGMENT_HEADER_LEN + range.len() <= limit);
                end = range.end;
            }
            prop_assert_eq!(end, len);
        }
    }
}
