#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, Family, Ip};
use crate::wire::encap::{Encap, GuePorts, Shim, SourcePorts};
use crate::wire::tcp::Flags;

const KEY: u64 = 0x0123_4567_89ab_cdef;
const GUE_PORTS: GuePorts = GuePorts { sources: SourcePorts::DEFAULT, destination: 6080 };

fn inner(packet: Ip, key: u64) -> Inner {
    Inner::of(&Packet::parse(&packet.bytes()).unwrap(), key)
}

fn label(packet: Ip) -> u32 {
    inner(packet, KEY).flow_label
}

fn tunnel(outer: Family, sequence: u64) -> Tunnel {
    let source = Some(outer.director());
    Tunnel {
        real: outer.real(11),
        encap: Encap::Ipip,
        source,
        sequence,
        limit: usize::MAX,
        link: usize::MAX,
    }
}

fn hop_limit(packet: &Ip, outer: Family, sequence: u64, index: usize) -> u8 {
    let inner = inner(packet.clone(), KEY);
    inner.outer(&tunnel(outer, sequence), index, outer.director()).ttl
}

/// RFC 6437 section 3: one label for a flow's packets.
#[test]
fn a_flow_s_packets_have_one_label_whatever_is_in_them() {
    for family in FAMILIES {
        let syn = label(family.tcp(Flags::SYN));
        assert_eq!(label(family.tcp(Flags::ACK).data(&[7; 900]).ttl(3).traffic_class(3)), syn);
        let query = label(family.udp(53));
        assert_eq!(label(family.udp(53).data(b"another")), query);
        assert_ne!(query, label(family.tcp(Flags::SYN).destination_port(53)), "the transport");
    }
    let dressed = Family::V6.tcp(Flags::ACK).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    assert_eq!(label(dressed), label(Family::V6.tcp(Flags::ACK)));
    let labelled = Family::V6.tcp(Flags::ACK).flow_label(0x5_5555);
    assert_eq!(label(labelled), label(Family::V6.tcp(Flags::ACK)), "its own label has no effect");
}

#[test]
fn each_field_of_a_flow_and_the_key_move_the_label() {
    for family in FAMILIES {
        let base = || family.udp(53);
        let others = [
            label(base().source_port(40_001)),
            label(base().destination_port(54)),
            label(base().from(family.router())),
            label(base().to(family.router())),
            label(base().backwards()),
            inner(base(), KEY + 1).flow_label,
            inner(base(), 0).flow_label,
        ];
        for (field, other) in others.into_iter().enumerate() {
            assert_ne!(other, label(base()), "{field}");
        }
    }
}

/// A fragment without ports must take the same path as the others of its datagram.
#[test]
fn all_fragments_of_a_datagram_have_one_label() {
    for family in FAMILIES {
        let of = |offset, more| label(family.udp(53).data(&[0; 16]).fragment(offset, more));
        assert_eq!(of(0, true), of(24, true));
        assert_eq!(of(0, true), of(1_480, false));
        assert_ne!(of(0, true), label(family.udp(53)));
    }
    // The first one's headers lead to the transport; the later one's name the next header.
    let of = |offset, more| Family::V6.udp(53).data(&[0; 16]).fragment(offset, more);
    let first = of(0, true).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    assert_eq!(label(first), label(of(24, false).protocol(DESTINATION_OPTIONS)));
}

/// GRO merges two packets without DF if the second one's identification is larger by one, from
/// Linux 6.18 on also if both are equal. Random numbers were that once in 32,768 pairs, and a raw
/// socket loses both datagrams.
#[test]
fn identifications_of_datagrams_are_neither_equal_nor_do_they_follow_each_other() {
    let datagram = inner(Family::V4.udp(53).data(&[0; 12]), KEY);
    let of = |sequence, index| {
        let header = datagram.outer(&tunnel(Family::V4, sequence), index, Family::V4.director());
        assert!(!header.dont_fragment);
        header.identification
    };
    let all: Vec<u16> = (0..16_384).map(|sequence| of(sequence, 0)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert!(all.iter().all(|number| number % 4 == 2), "others are carried by the eBPF program");
    assert_eq!(of(16_384, 0), all[0]);
    assert_eq!(of(u64::MAX, 0), all[16_383]);
    assert_eq!(of(5, 3), all[8], "the fourth packet of those sent together");
    let other = inner(Family::V4.udp(54).data(&[0; 12]), KEY);
    let other = other.outer(&tunnel(Family::V4, 0), 0, Family::V4.director());
    assert_ne!(other.identification, all[0], "nobody can tell them from another flow's");
}

/// TCP fragments too: they are never merged, so a router may fragment them.
#[test]
fn fragments_are_sent_like_udp() {
    for family in FAMILIES {
        let piece = inner(family.tcp(Flags::ACK).data(&[0; 12]).fragment(0, true), KEY);
        let over_v4 = piece.outer(&tunnel(Family::V4, 0), 0, Family::V4.director());
        assert!(!over_v4.dont_fragment && over_v4.identification != 0);
        let hop_limits = [0, 1].map(|sequence| {
            piece.outer(&tunnel(Family::V6, sequence), 0, Family::V6.director()).ttl
        });
        assert_ne!(hop_limits[0], hop_limits[1]);
    }
}

/// Labels of similar flows, in 64 buckets by their upper and by their lower bits: chi-square with
/// 63 degrees of freedom, whose 99.9999th percentile is 131. The keys are fixed, so the test is
/// deterministic.
#[test]
fn labels_are_never_zero_and_spread_over_all_twenty_bits() {
    const FLOWS: u32 = 16_384;
    const BUCKETS: usize = 64;
    for (family, key) in
        FAMILIES.into_iter().flat_map(|family| [0, KEY, u64::MAX].map(|key| (family, key)))
    {
        for flows in ["ports", "addresses"] {
            let flow = |number: u32| match (flows, family.client()) {
                ("ports", _) => family.tcp(Flags::ACK).source_port(u16::try_from(number).unwrap()),
                (_, IpAddr::V4(client)) => {
                    let client = Ipv4Addr::from(client.to_bits() + number);
                    family.tcp(Flags::ACK).from(client)
                }
                (_, IpAddr::V6(client)) => {
                    let client = std::net::Ipv6Addr::from(client.to_bits() + u128::from(number));
                    family.tcp(Flags::ACK).from(client)
                }
            };
            let label = |number| inner(flow(number), key).flow_label;
            let labels: Vec<u32> = (0..FLOWS).map(label).collect();
            assert!(labels.iter().all(|label| (1..1 << 20).contains(label)));
            for shift in [0, 7, 14] {
                let mut counts = [0_u32; BUCKETS];
                labels.iter().for_each(|label| counts[(label >> shift) as usize % BUCKETS] += 1);
                let mean = f64::from(FLOWS) / BUCKETS as f64;
                let squares = counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean);
                let chi_square: f64 = squares.sum();
                assert!(chi_square < 131.0, "{family:?} by {flows}, bits {shift}: {chi_square}");
            }
            let distinct: BTreeSet<_> = labels.iter().collect();
            // As many random draws from 2^20 give 16,256 distinct ones, with a deviation of eleven.
            assert!(distinct.len() > 16_190, "{family:?} by {flows}: {}", distinct.len());
        }
    }
}

#[test]
fn packets_that_must_merge_have_one_hop_limit() {
    for family in FAMILIES {
        for outer in FAMILIES {
            let segment = family.tcp(Flags::ACK);
            let limits: BTreeSet<_> = (0..300)
                .flat_map(|sequence| [(sequence, 0), (sequence, 44)])
                .map(|(sequence, index)| hop_limit(&segment, outer, sequence, index))
                .collect();
            assert_eq!(limits, [TTL].into());
        }
        let datagrams: BTreeSet<_> =
            (0..300).map(|sequence| hop_limit(&family.udp(53), Family::V4, sequence, 0)).collect();
        assert_eq!(datagrams, [TTL].into(), "IPv4 has ids for that");
    }
}

/// No two of the 64 packets that a NIC holds for merging.
#[test]
fn datagrams_over_ipv6_have_hop_limits_that_differ() {
    for family in FAMILIES {
        let datagram = family.udp(53).data(b"query");
        for start in [0, 1, 100, 127, 128, u64::MAX - 10] {
            let limits: BTreeSet<_> = (0..u64::from(HOP_LIMITS))
                .map(|number| hop_limit(&datagram, Family::V6, start.wrapping_add(number), 0))
                .collect();
            assert_eq!(limits.len(), usize::from(HOP_LIMITS));
            assert_eq!((limits.first(), limits.last()), (Some(&64), Some(&191)));
            // A super-frame's datagrams, and the ones after them.
            let frame = (0..44).map(|index| hop_limit(&datagram, Family::V6, start, index));
            let next =
                (0..20).map(|n| hop_limit(&datagram, Family::V6, start.wrapping_add(44 + n), 0));
            assert_eq!(frame.chain(next).collect::<BTreeSet<_>>().len(), 64);
        }
    }
}

#[test]
fn the_tunnel_s_source_or_the_fallback() {
    for outer in FAMILIES {
        let known = tunnel(outer, 0);
        let unknown = Tunnel { source: None, ..known };
        let of = |tunnel| inner(Family::V4.udp(53), KEY).outer(tunnel, 0, outer.router()).source;
        assert_eq!((of(&known), of(&unknown)), (outer.director(), outer.router()));
    }
}

/// RFC 2473 section 7.1: over IPv6 only the sender can cut. Over IPv4 a router can, behind the
/// director's own link.
#[test]
fn a_packet_that_does_not_fit_is_cut_unless_a_router_can() {
    for family in FAMILIES {
        let real = family.real(11);
        let far = Tunnel { limit: 1_240, link: 1_400, ..tunnel(family, 0) };
        let near = Tunnel { link: 1_240, ..far };
        for narrow in [near, far] {
            assert_eq!(pieces(&narrow, 1_240), None);
            let cut = pieces(&narrow, 1_241);
            let expected = Pieces::new(real, 1_241, 1_240);
            assert_eq!(cut, (family == Family::V6 || narrow == near).then_some(expected));
        }
        let fits_a_link = if family == Family::V6 { 1_240 } else { 1_400 };
        assert_eq!(pieces(&far, 1_401), Some(Pieces::new(real, 1_401, fits_a_link)));
        assert_eq!(pieces(&tunnel(family, 0), 65_535), None, "nothing is known of the path");
    }
}

/// Nothing in GUE is merged into a packet, so all that goes together has the same header.
#[test]
fn in_gue_the_source_port_decides_the_label_and_datagrams_have_one_hop_limit() {
    for (family, outer) in FAMILIES.into_iter().flat_map(|one| FAMILIES.map(|of| (one, of))) {
        let mut ports = [BTreeSet::new(), BTreeSet::new()];
        for (number, sequence) in (40_000..40_200).zip(0..) {
            let gue = Tunnel { encap: Encap::Gue, ..tunnel(outer, sequence) };
            for (packet, ports) in
                [family.udp(53), family.tcp(Flags::ACK)].into_iter().zip(&mut ports)
            {
                let inner = inner(packet.source_port(number), KEY);
                let (header, shim) = inner.headers(&gue, 3, outer.director(), GUE_PORTS);
                assert_eq!((header.ttl, header.dont_fragment), (TTL, true));
                let Shim::Gue { source_port, port: 6080 } = shim else { panic!() };
                assert!(GUE_PORTS.sources.contains(source_port));
                assert_eq!(header.flow_label, u32::from(source_port));
                ports.insert(source_port);
            }
        }
        assert_eq!(ports.map(|ports| ports.len()), [4, 16]);
    }
}

/// RFC 2003 section 3.1: what the client lets routers cut, they may cut in the tunnel too. Nobody
/// has to cut what fits the smallest path.
#[test]
fn in_gue_only_large_datagrams_without_df_go_without() {
    let outer = |packet: Ip, limit| {
        let gue = Tunnel { encap: Encap::Gue, limit, ..tunnel(Family::V4, 0) };
        let header = inner(packet, KEY).outer(&gue, 0, Family::V4.director());
        assert_eq!(header.identification == 0, header.dont_fragment);
        header.dont_fragment
    };
    let datagram = |len| Family::V4.udp(53).data(&vec![0; len]).dont_fragment(false);
    assert!(outer(datagram(520 - 28), usize::MAX));
    assert!(!outer(datagram(521 - 28), usize::MAX));
    assert!(outer(datagram(1_000).dont_fragment(true), usize::MAX));
    assert!(!outer(datagram(1_000).dont_fragment(true), 1_027), "it has to be cut");
    assert!(outer(Family::V6.udp(53).data(&[0; 1_000]), usize::MAX));
}
