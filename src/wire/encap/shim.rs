//! The shim: the header between the outer IP header and the inner packet. Also writes both headers
//! together.

use std::net::IpAddr;

use super::kind::Encap;
use super::outer::Outer;
use super::{gre, gue, ipip};
use crate::wire::checksum::Sum;
use crate::wire::packet::UDP_HEADER_LEN;
use crate::wire::protocol;

/// The header between the outer IP header and the inner packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shim {
    /// None: IP in IP.
    #[default]
    None,
    /// A GRE header.
    Gre,
    /// A UDP header and a GUE header.
    Gue {
        /// The UDP source port.
        source_port: u16,
        /// The UDP destination port.
        port: u16,
    },
}

impl Shim {
    /// The shim of a packet that has this source port if it is in GUE, towards real servers that
    /// receive GUE on `gue_port`.
    #[inline]
    #[must_use]
    pub fn new(encap: Encap, source_port: u16, gue_port: u16) -> Self {
        match encap {
            Encap::Ipip => Self::None,
            Encap::Gre => Self::Gre,
            Encap::Gue => Self::Gue { source_port, port: gue_port },
        }
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Gre => gre::HEADER_LEN,
            Self::Gue { .. } => UDP_HEADER_LEN + gue::HEADER_LEN,
        }
    }

    /// Whether nothing stands between the outer IP header and the packet.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::None
    }

    /// The outer IP header's protocol number.
    #[inline]
    #[must_use]
    pub fn protocol(self, inner_version: u8) -> Option<u8> {
        match self {
            Self::None => ipip::protocol_of(inner_version),
            Self::Gre => Some(protocol::GRE),
            Self::Gue { .. } => Some(protocol::UDP),
        }
    }

    /// Writes it into the last bytes of `room`, before the inner packet. The inner packet is the
    /// two slices; the first one's length is even. Returns the shim's length. `None` if `room` or
    /// UDP's length field is too small, or the inner version is neither 4 nor 6.
    #[inline]
    #[must_use]
    pub fn write(
        self,
        outer: &Outer,
        inner_version: u8,
        inner: [&[u8]; 2],
        room: &mut [u8],
    ) -> Option<usize> {
        match self {
            Self::None => {}
            Self::Gre => *room.last_chunk_mut()? = gre::header(inner_version)?,
            Self::Gue { source_port, port } => {
                let gue = gue::header(inner_version)?;
                let udp = udp_header(outer, [source_port, port], gue, inner)?;
                let (before, last) = room.split_last_chunk_mut()?;
                *last = gue;
                *before.last_chunk_mut()? = udp;
            }
        }
        Some(self.len())
    }
}

/// The datagram has a checksum: IPv6 forbids zero with few exceptions (RFC 6935), and NICs do not
/// merge datagrams without one. It has none only where the kernel fills in the IPv4 source, so that
/// the sum is not known here.
#[inline]
fn udp_header(
    outer: &Outer,
    [source_port, port]: [u16; 2],
    gue: [u8; gue::HEADER_LEN],
    [first, rest]: [&[u8]; 2],
) -> Option<[u8; UDP_HEADER_LEN]> {
    let len = UDP_HEADER_LEN + gue::HEADER_LEN + first.len() + rest.len();
    let len = u16::try_from(len).ok()?;
    let check = match outer.source {
        IpAddr::V4(source) if source.is_unspecified() => 0,
        source => {
            let sum = Sum::pseudo_header(source, outer.destination, protocol::UDP, u32::from(len))
                .add_u16(source_port)
                .add_u16(port)
                .add_u16(len)
                .add_bytes(&gue)
                .add_bytes(first)
                .add_bytes(rest);
            // A sum of zero is written as its other form, since zero means "none" (RFC 768).
            match sum.checksum() {
                0 => 0xffff,
                check => check,
            }
        }
    };
    let mut header = [0; UDP_HEADER_LEN];
    for (field, value) in header.as_chunks_mut().0.iter_mut().zip([source_port, port, len, check]) {
        *field = value.to_be_bytes();
    }
    Some(header)
}

/// Writes the outer header and the shim into the last bytes of `room`, before the inner packet, as
/// [`Shim::write`] does. Returns the length of both. `None` where [`Shim::write`] returns `None`,
/// if the outer addresses are of two families, or if the datagram would be too long.
#[inline]
#[must_use]
pub fn write(
    shim: Shim,
    outer: &Outer,
    inner_version: u8,
    inner: [&[u8]; 2],
    room: &mut [u8],
) -> Option<usize> {
    let shim_len = shim.write(outer, inner_version, inner, room)?;
    let (before, _) = room.split_at_mut_checked(room.len().checked_sub(shim_len)?)?;
    let len = shim_len + inner[0].len() + inner[1].len();
    Some(shim_len + ipip::write_next(outer, shim.protocol(inner_version)?, len, before)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use etherparse::{Ipv4HeaderSlice, UdpHeaderSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::build::{FAMILIES, Family, MIXES};
    use crate::wire::encap::{MAX_OUTER_LEN, MAX_SHIM_LEN, open};
    use crate::wire::tcp::Flags;

    const GUE: Shim = Shim::Gue { source_port: 61_441, port: 6080 };

    fn outer(family: Family) -> Outer {
        Outer {
            source: family.director(),
            destination: family.real(11),
            traffic_class: 0xb9,
            ttl: 64,
            dont_fragment: true,
            identification: 0,
            flow_label: 0xabcde,
        }
    }

    /// A whole datagram, whose inner packet is given in two parts.
    fn datagram(shim: Shim, family: Family, version: u8, inner: &[u8], cut: usize) -> Vec<u8> {
        let (first, rest) = inner.split_at(cut);
        let mut room = [0; MAX_OUTER_LEN];
        let len = write(shim, &outer(family), version, [first, rest], &mut room).unwrap();
        [&room[MAX_OUTER_LEN - len..], inner].concat()
    }

    #[test]
    fn a_gue_datagram_is_one_that_etherparse_reads_and_its_checksum_is_right() {
        for (inside, family) in MIXES {
            let inner = inside.tcp(Flags::ACK).data(&[7; 101]).bytes();
            let version = inside.pick(4, 6);
            let bytes = datagram(GUE, family, version, &inner, 40);
            let at = family.header_len();
            let udp = UdpHeaderSlice::from_slice(&bytes[at..]).unwrap();
            assert_eq!((udp.source_port(), udp.destination_port()), (61_441, 6080));
            assert_eq!(usize::from(udp.length()), bytes.len() - at);
            assert_eq!(bytes[at + 8..at + 12], [0, inside.pick(4, 41), 0, 0]);
            let length = u32::from(udp.length());
            let outer = outer(family);
            let sum = Sum::pseudo_header(outer.source, outer.destination, 17, length)
                .add_bytes(&bytes[at..]);
            assert_eq!(sum.checksum(), 0);
            assert_ne!(udp.checksum(), 0);
        }
    }

    /// Zero would mean that there is none.
    #[test]
    fn a_checksum_of_zero_is_written_as_all_ones() {
        for family in FAMILIES {
            let check = |filling: u16| {
                let inner = [&[0x45; 20][..], &filling.to_be_bytes()].concat();
                let bytes = datagram(GUE, family, 4, &inner, 0);
                u16::from_be_bytes([bytes[family.header_len() + 6], bytes[family.header_len() + 7]])
            };
            // The sum grows with the filling, so this one makes it zero.
            let filling = check(0);
            assert_eq!((check(filling), check(filling - 1)), (0xffff, 1));
        }
    }

    /// A datagram that is sent in fragments has no outer header that would limit it.
    #[test]
    fn a_udp_length_that_its_field_cannot_hold_is_refused() {
        let longest = vec![0; 65_535 - MAX_SHIM_LEN];
        let mut room = [0; MAX_SHIM_LEN];
        let outer = outer(Family::V6);
        assert_eq!(GUE.write(&outer, 6, [&[], &longest], &mut room), Some(MAX_SHIM_LEN));
        assert_eq!(room[4..6], [0xff, 0xff]);
        assert_eq!(GUE.write(&outer, 6, [&[0, 0], &longest[1..]], &mut room), None);
    }

    #[test]
    fn where_the_kernel_picks_the_source_there_is_no_checksum() {
        let outer = Outer { source: IpAddr::from([0; 4]), ..outer(Family::V4) };
        let mut room = [0; MAX_OUTER_LEN];
        let len = write(GUE, &outer, 4, [&[], &[0x45; 20]], &mut room).unwrap();
        let header = &room[MAX_OUTER_LEN - len..];
        assert_eq!((len, &header[26..28]), (32, &[0, 0][..]));
    }

    #[test]
    fn a_gre_datagram_is_opened_again() {
        for (inside, family) in MIXES {
            let inner = inside.tcp(Flags::ACK).data(&[7; 101]).bytes();
            let version = inside.pick(4, 6);
            let bytes = datagram(Shim::Gre, family, version, &inner, 0);
            let opened = open(&bytes).unwrap();
            assert_eq!((opened.encap, opened.inner_version), (Encap::Gre, version));
            assert_eq!(bytes[opened.inner], inner);
        }
    }

    #[test]
    fn the_longest_datagram_is_written_and_one_past_it_is_not() {
        for (shim, overhead) in [(Shim::None, 20), (Shim::Gre, 24), (GUE, 32)] {
            let longest = vec![0; 65_535 - overhead];
            let outer = outer(Family::V4);
            let mut room = [0; MAX_OUTER_LEN];
            assert_eq!(write(shim, &outer, 4, [&[], &longest], &mut room), Some(overhead));
            let header = Ipv4HeaderSlice::from_slice(&room[MAX_OUTER_LEN - overhead..]).unwrap();
            assert_eq!(header.total_len(), 65_535);
            assert_eq!(write(shim, &outer, 4, [&[0], &longest], &mut room), None);
            assert_eq!(write(shim, &outer, 5, [&[], &[0; 20]], &mut room), None);
            let short = &mut room[..overhead - 1];
            assert_eq!(write(shim, &outer, 4, [&[], &[0; 20]], short), None);
        }
    }

    #[test]
    fn overheads_are_those_that_are_written() {
        for (encap, family) in Encap::ALL.into_iter().flat_map(|one| FAMILIES.map(|of| (one, of))) {
            let (mut room, shim) = ([0; MAX_OUTER_LEN], Shim::new(encap, 3, 6080));
            let len = write(shim, &outer(family), 4, [&[], &[0x45; 20]], &mut room);
            assert_eq!(len, Some(encap.outer_len(family.real(11))));
            assert!(encap.outer_len(family.real(11)) <= MAX_OUTER_LEN);
        }
    }

    proptest! {
        /// The headers do not depend on where the inner packet is cut in two.
        #[test]
        fn the_parts_of_the_inner_packet_do_not_matter(
            inner in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..100,
        ) {
            let cut = (2 * cut).min(inner.len() / 2 * 2);
            for shim in [Shim::None, Shim::Gre, GUE] {
                let whole = datagram(shim, Family::V6, 4, &inner, 0);
                prop_assert_eq!(datagram(shim, Family::V6, 4, &inner, cut), whole);
            }
        }
    }
}
