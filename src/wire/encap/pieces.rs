//! An outer packet in fragments (RFC 791, RFC 8200 section 4.5). They are needed if the path's MTU
//! is too small for the whole packet, and the inner packet may be fragmented or cannot be smaller
//! (RFC 2473 section 7.1, RFC 4213 section 3.2.2).

use std::net::IpAddr;
use std::ops::Range;

use super::ipip;
use super::outer::Outer;
use crate::wire::checksum::Sum;
use crate::wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::wire::protocol;

/// Length of an IPv6 fragment header, in bytes.
const FRAGMENT_HEADER_LEN: usize = 8;
/// The longest headers of a piece, in bytes.
pub const MAX_PIECE_HEADER_LEN: usize = IPV6_HEADER_LEN + FRAGMENT_HEADER_LEN;
/// The unit of fragment offsets, in bytes.
const UNIT: usize = 8;
/// IPv4's flag that all pieces but the last have.
const MORE_FRAGMENTS: u16 = 0x2000;

/// The fewest bytes of the inner packet in a piece that is not the last. So the first piece holds
/// the shim and all headers of a wire segment. The kernel refuses pieces that exceed a link's MTU.
pub const SMALLEST: usize = 280;

/// How an inner packet is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pieces {
    len: usize,
    /// Bytes of the inner packet in each piece but the last.
    step: usize,
}

impl Pieces {
    /// The pieces of `len` bytes towards that real server: the shim and the inner packet. `limit`
    /// is how many bytes would fit after the outer IP header.
    #[must_use]
    pub fn new(real: IpAddr, len: usize, limit: usize) -> Self {
        let own = if real.is_ipv6() { FRAGMENT_HEADER_LEN } else { 0 };
        let step = limit.saturating_sub(own) / UNIT * UNIT;
        Self { len, step: step.max(SMALLEST) }
    }

    /// Where each piece lies in the inner packet, in order.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.len).step_by(self.step).map(move |at| at..self.len.min(at + self.step))
    }

    /// Writes the headers of the piece at `range` into the last bytes of `room`; `next` is the
    /// protocol of the packet that is cut. All pieces of a packet have one identification: over
    /// IPv4 that of `outer`, over IPv6 `identification`. Returns the headers' length; `None` where
    /// [`ipip::write_next`] returns `None`, or the packet is longer than IP allows.
    #[must_use]
    pub fn write(
        self,
        outer: &Outer,
        next: u8,
        identification: u32,
        range: &Range<usize>,
        room: &mut [u8],
    ) -> Option<usize> {
        if outer.destination.is_ipv4() {
            return self.write_v4(outer, next, range, room);
        }
        u16::try_from(self.len).ok()?;
        let (before, header) = room.split_last_chunk_mut::<FRAGMENT_HEADER_LEN>()?;
        let len = FRAGMENT_HEADER_LEN + range.len();
        ipip::write_next(outer, protocol::IPV6_FRAGMENT, len, before)?;
        // The lowest three bits are not part of the offset. The last bit is set if more pieces
        // follow.
        let more = u16::from(range.end < self.len);
        let offset = u16::try_from(range.start).ok()? | more;
        *header = [next, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&offset.to_be_bytes());
        header[4..8].copy_from_slice(&identification.to_be_bytes());
        Some(MAX_PIECE_HEADER_LEN)
    }

    fn write_v4(
        self,
        outer: &Outer,
        next: u8,
        range: &Range<usize>,
        room: &mut [u8],
    ) -> Option<usize> {
        u16::try_from(self.len.checked_add(IPV4_HEADER_LEN)?).ok()?;
        let outer = Outer { dont_fragment: false, ..*outer };
        ipip::write_next(&outer, next, range.len(), room)?;
        let header = room.last_chunk_mut::<IPV4_HEADER_LEN>()?;
        let more = if range.end < self.len { MORE_FRAGMENTS } else { 0 };
        let field = u16::try_from(range.start / UNIT).ok()? | more;
        header[6..8].copy_from_slice(&field.to_be_bytes());
        header[10..12].fill(0);
        let check = Sum::of(header).checksum();
        header[10..12].copy_from_slice(&check.to_be_bytes());
        Some(IPV4_HEADER_LEN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeader, Ipv6HeaderSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::build::{FAMILIES, Family};

    fn outer(family: Family) -> Outer {
        Outer {
            source: family.director(),
            destination: family.real(11),
            traffic_class: 0xb9,
            ttl: 63,
            dont_fragment: true,
            identification: 0x9abc,
            flow_label: 0xabcde,
        }
    }

    fn of(family: Family, len: usize, limit: usize) -> Pieces {
        Pieces::new(family.real(11), len, limit)
    }

    /// At the smallest MTU, one byte below and one above.
    #[test]
    fn a_packet_of_1280_bytes_takes_two_pieces_of_a_path_of_1280() {
        let v6 = |len, limit| of(Family::V6, len, limit).ranges().collect::<Vec<_>>();
        assert_eq!(v6(1_280, 1_240), [0..1_232, 1_232..1_280]);
        assert_eq!(v6(1_241, 1_240), [0..1_232, 1_232..1_241]);
        assert_eq!(v6(1_280, 1_279), [0..1_264, 1_264..1_280]);
        assert_eq!(v6(3_000, 1_240), [0..1_232, 1_232..2_464, 2_464..3_000]);
        assert!(v6(0, 1_240).is_empty());
        let v4 = |len, limit| of(Family::V4, len, limit).ranges().collect::<Vec<_>>();
        assert_eq!(v4(1_280, 1_260), [0..1_256, 1_256..1_280]);
        assert_eq!(v4(1_280, 1_279), [0..1_272, 1_272..1_280]);
        assert_eq!(v4(1_280, 640), [0..640, 640..1_280]);
    }

    /// The first piece has all headers of a segment, also where the MTU is smaller.
    #[test]
    fn no_piece_but_the_last_is_smaller_than_280_bytes() {
        let v4 = |limit| of(Family::V4, 600, limit).ranges().collect::<Vec<_>>();
        assert_eq!(v4(288), [0..288, 288..576, 576..600]);
        for limit in [280, 279, 1, 0] {
            assert_eq!(v4(limit), [0..280, 280..560, 560..600], "{limit}");
        }
    }

    #[test]
    fn ipv6_headers_are_what_etherparse_reads() {
        let pieces = of(Family::V6, 1_280, 1_240);
        for (range, more) in [(0..1_232, true), (1_232..1_280, false)] {
            let mut room = [0xee; 50];
            let len =
                pieces.write(&outer(Family::V6), protocol::IPIP, 0x1234_5678, &range, &mut room);
            assert_eq!(len, Some(48));
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
    fn ipv4_headers_are_what_etherparse_reads() {
        let pieces = of(Family::V4, 1_280, 1_260);
        for (range, more) in [(0..1_256, true), (1_256..1_280, false)] {
            let mut room = [0xee; 48];
            let len = pieces.write(&outer(Family::V4), protocol::IPV6, 7, &range, &mut room);
            assert_eq!(len, Some(20));
            assert_eq!(room[..28], [0xee; 28], "bytes before the header stay");
            let header = Ipv4HeaderSlice::from_slice(&room[28..]).unwrap();
            assert_eq!(usize::from(header.total_len()), 20 + range.len());
            assert_eq!((header.protocol(), header.ttl()), (IpNumber::IPV6, 63));
            assert_eq!(usize::from(header.fragments_offset().value()) * 8, range.start);
            assert_eq!((header.more_fragments(), header.dont_fragment()), (more, false));
            assert_eq!(header.identification(), 0x9abc);
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let write = |family, len, next, room: usize| {
            let pieces = of(family, len, 1_240);
            let range = pieces.ranges().last().unwrap();
            pieces.write(&outer(family), next, 7, &range, &mut vec![0; room])
        };
        let sizes = [(Family::V4, 65_515, 20), (Family::V6, 65_535, 48)];
        for (family, longest, header) in sizes {
            assert_eq!(
                write(family, longest, protocol::IPV6, header),
                Some(header),
                "the longest payload"
            );
            assert_eq!(
                write(family, longest + 1, protocol::IPV6, header),
                None,
                "one byte too long"
            );
            assert_eq!(write(family, 1_280, protocol::IPV6, header - 1), None, "no room");
        }
    }

    proptest! {
        /// Each byte once, each piece within the path, offsets in units.
        #[test]
        fn pieces_are_whole_and_fit(
            family in prop::sample::select(FAMILIES.to_vec()),
            len in 1_usize..65_536,
            limit in SMALLEST + FRAGMENT_HEADER_LEN..65_536,
        ) {
            let mut end = 0;
            let own = if family == Family::V6 { 8 } else { 0 };
            for range in of(family, len, limit).ranges() {
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty() && range.start.is_multiple_of(UNIT));
                prop_assert!(own + range.len() <= limit);
                end = range.end;
            }
            prop_assert_eq!(end, len);
        }
    }
}
