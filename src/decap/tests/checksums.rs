//! Merged packets, and checksums that are not complete.

use super::*;
use crate::wire::virtio::{GSO_TCPV4, GSO_TCPV6};

#[test]
fn merged_tcp_becomes_one_super_frame() {
    for (family, outer) in MIXES {
        for extra in [0, 16] {
            let mut packet = tcp_packet(family, 20_000);
            if extra > 0 {
                packet = match family {
                    Family::V4 => packet.options(&[1; 16]),
                    Family::V6 => packet.extension(HOP_BY_HOP, &[&[1, 12][..], &[0; 12]].concat()),
                };
            }
            let at = u16::try_from(packet.header_len()).unwrap();
            let (packet, mut gate) = (partial(packet), gate());
            let (header, inner) = delivered(&mut gate, &from_director(outer, &packet));
            let expected = virtio::Header {
                flags: NEEDS_CSUM,
                gso_type: family.pick(GSO_TCPV4, GSO_TCPV6),
                hdr_len: at + 32,
                gso_size: family.pick(MSS.v4, MSS.v6) - 12,
                csum_start: at,
                csum_offset: 16,
            };
            assert_eq!((header, inner), (expected, packet));
            assert_eq!(gate.counters().super_packets, 2);
        }
    }
}

#[test]
fn a_partial_checksum_of_one_segment_is_no_super_frame() {
    for (family, outer) in MIXES {
        let full = family.pick(MSS.v4, MSS.v6) - 12;
        let at = u16::try_from(family.header_len()).unwrap();
        for (len, merged) in [(0, false), (full, false), (full + 1, true)] {
            let packet = partial(tcp_packet(family, len.into()));
            let (header, _) = delivered(&mut gate(), &from_director(outer, &packet));
            assert_eq!(header.flags, NEEDS_CSUM, "{len} bytes");
            assert_eq!((header.csum_start, header.csum_offset), (at, 16), "{len} bytes");
            assert_eq!(header.gso_type != virtio::GSO_NONE, merged, "{len} bytes");
            assert_eq!(header.gso_size, if merged { full } else { 0 }, "{len} bytes");
        }
    }
}

#[test]
fn the_mss_of_the_family_decides_the_segment_size_and_has_a_floor() {
    for (family, outer) in MIXES {
        let packet = partial(tcp_packet(family, 5_000));
        for (mss, expected) in [(536, 524), (MIN_MSS, 76), (MIN_MSS - 1, 76), (0, 76)] {
            let both = Mss { v4: family.pick(mss, 999), v6: family.pick(999, mss) };
            let (header, _) = delivered(&mut gate_with(both), &from_director(outer, &packet));
            assert_eq!(header.gso_size, expected, "mss {mss}");
        }
    }
}

#[test]
fn merged_udp_is_refused_and_counted() {
    for (family, outer) in MIXES {
        let packet = partial(family.udp(53).data(&[b'x'; 3000]));
        refused(&from_director(outer, &packet), Refusal::UdpSuperPacket);
    }
}

/// IPVS, a container behind a veth or a guest leaves the checksum for a network card to complete,
/// but the packet passes no card.
#[test]
fn a_whole_datagram_with_an_unfinished_checksum_goes_on_as_such() {
    for (family, outer) in MIXES {
        let headers = outer.header_len() + family.header_len() + 8;
        for link_mtu in [1500, 9000] {
            let longest = usize::try_from(link_mtu).unwrap() - headers;
            let packet = |len: usize| partial(family.udp(53).data(&vec![b'x'; len]));
            for len in [0, 1, 512, longest] {
                let (packet, mut gate) = (packet(len), gate().with_link_mtu(link_mtu));
                let (header, inner) = delivered(&mut gate, &from_director(outer, &packet));
                let at = u16::try_from(family.header_len()).unwrap();
                let expected = virtio::Header {
                    flags: NEEDS_CSUM,
                    hdr_len: at + 8,
                    csum_start: at,
                    csum_offset: 6,
                    ..virtio::Header::default()
                };
                assert_eq!((header, inner), (expected, packet), "{len} bytes");
                assert_eq!((gate.counters().partial_checksums, gate.counters().read), (2, 2));
            }
            let mut gate = gate().with_link_mtu(link_mtu);
            let mut merged = from_director(outer, &packet(longest + 1));
            assert_eq!(gate.open(&mut merged), Admission::Drop(Refusal::UdpSuperPacket));
        }
    }
}

/// `NEEDS_CSUM` makes the kernel sum up all bytes that follow the header.
#[test]
fn an_unfinished_datagram_with_something_behind_it_is_refused() {
    for (family, outer) in MIXES {
        let mut packet = partial(family.udp(53).data(b"query and more"));
        let at = family.header_len();
        // Five bytes less, with the sum adjusted.
        let length = u16::from_be_bytes([packet[at + 4], packet[at + 5]]) - 5;
        packet[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        let parsed = Packet::parse(&packet).unwrap();
        let sum = pseudo_header(&parsed, length.into()).fold();
        packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
        refused(&from_director(outer, &packet), Refusal::UdpSuperPacket);
    }
}

#[test]
fn a_lone_syn_with_an_unfinished_checksum_goes_on_as_such() {
    for (family, outer) in MIXES {
        let packet = partial(family.tcp(0x02).tcp_options(&[2, 4, 5, 180]));
        let mut gate = gate();
        let (header, inner) = delivered(&mut gate, &from_director(outer, &packet));
        assert_eq!((header.flags, header.gso_type), (NEEDS_CSUM, virtio::GSO_NONE));
        assert_eq!((inner, gate.counters().partial_checksums), (packet, 2));
    }
}

#[test]
fn udp_whose_checksum_equals_the_pseudo_sum_by_chance_passes() {
    for family in FAMILIES {
        // A payload whose complete checksum equals the pseudo-header's sum.
        let packet = (0..=u16::MAX)
            .map(|salt| family.udp(53).data(&salt.to_be_bytes()))
            .find(|packet| partial(packet.clone()) == packet.clone().bytes())
            .unwrap()
            .bytes();
        assert_eq!(delivered(&mut gate(), &from_director(family, &packet)).1, packet);
    }
}

#[test]
fn udp_without_checksum_passes() {
    for (family, outer) in MIXES {
        let packet = udp_packet(family).set_upper(6, 0).set_upper(7, 0).bytes();
        assert_eq!(delivered(&mut gate(), &from_director(outer, &packet)).1, packet);
    }
}
