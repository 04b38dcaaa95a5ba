//! The outer header of a client's packet, field by field, for the four combinations of families;
//! test names contain the sections of the RFCs.
//!
//! RFC 2003 is IPv4 in IPv4, RFC 2473 anything in IPv6, RFC 4213 IPv6 in IPv4, RFC 6040 congestion
//! marks in all of them.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use vstun::balancer::Tunnel;
use vstun::balancer::outer::{self, Inner};
use vstun::wire::Packet;
use vstun::wire::encap::Encap;
use vstun::wire::encap::ipip;
use vstun::wire::tcp::Flags;

use super::A;
use super::build::{Family, Ip, MIXES};

/// The key of flow labels.
const KEY: u64 = 7;

/// The fields of a header, by etherparse; zero if the family lacks the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Fields {
    version: u8,
    header_len: usize,
    traffic_class: u8,
    /// Bytes of the inner packet, according to the length field.
    inner_len: usize,
    identification: u16,
    dont_fragment: bool,
    ttl: u8,
    protocol: u8,
    flow_label: u32,
    source: IpAddr,
    destination: IpAddr,
}

fn tunnel(outer: Family) -> Tunnel {
    let source = Some(outer.director());
    Tunnel {
        real: outer.real(A),
        encap: Encap::Ipip,
        source,
        sequence: 5,
        limit: usize::MAX,
        link: usize::MAX,
    }
}

/// The header written before `packet`; checks that the packet behind it is unchanged.
fn around(packet: Ip, tunnel: &Tunnel) -> Fields {
    let packet = packet.bytes();
    let inner = Inner::of(&Packet::parse(&packet).unwrap(), KEY);
    let fallback = IpAddr::from([0; 4]);
    let header = inner.outer(tunnel, 0, fallback);
    let mut datagram = [&[0xaa; 48], &packet[..]].concat();
    let len = ipip::write(&header, inner.version, packet.len(), &mut datagram[..48]).unwrap();
    let before = 48 - len;
    assert_eq!(datagram[..before], vec![0xaa; before], "nothing before the header");
    assert_eq!(datagram[48..], packet, "the inner packet, untouched: RFC 2003 section 3.1");
    fields(&datagram[before..])
}

fn fields(datagram: &[u8]) -> Fields {
    if datagram[0] >> 4 == 6 {
        let header = Ipv6HeaderSlice::from_slice(datagram).unwrap();
        return Fields {
            version: header.version(),
            header_len: 40,
            traffic_class: header.traffic_class(),
            inner_len: header.payload_length().into(),
            identification: 0,
            dont_fragment: false,
            ttl: header.hop_limit(),
            protocol: header.next_header().0,
            flow_label: header.flow_label().value(),
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
        };
    }
    let header = Ipv4HeaderSlice::from_slice(datagram).unwrap();
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    assert!(!header.more_fragments() && header.fragments_offset().value() == 0);
    Fields {
        version: header.version(),
        header_len: header.slice().len(),
        traffic_class: datagram[1],
        inner_len: usize::from(header.total_len()) - header.slice().len(),
        identification: header.identification(),
        dont_fragment: header.dont_fragment(),
        ttl: header.ttl(),
        protocol: header.protocol().0,
        flow_label: 0,
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
    }
}

/// A segment and a datagram of the family.
fn packets(family: Family) -> [Ip; 2] {
    [family.tcp(Flags::ACK).data(&[7; 100]), family.udp(53).data(&[7; 100])]
}

fn is_tcp(packet: &Ip) -> bool {
    Packet::parse(&packet.clone().bytes()).unwrap().protocol == 6
}

/// Runs `check` with each combination and packet, and its outer header.
fn each(check: impl Fn(Family, Family, Ip, Fields)) {
    for (inner, outer) in MIXES {
        for packet in packets(inner) {
            let fields = around(packet.clone(), &tunnel(outer));
            check(inner, outer, packet, fields);
        }
    }
}

#[test]
fn rfc_2003_3_1_and_2473_3_1_and_4213_3_5_version_and_no_options() {
    each(|_, outer, _, fields| {
        assert_eq!((fields.version, fields.header_len), (outer.version(), outer.header_len()));
    });
}

#[test]
fn rfc_2003_3_1_and_2473_6_and_4213_3_5_the_protocol_is_the_inner_version_s() {
    each(|inner, _, _, fields| assert_eq!(fields.protocol, inner.pick(4, 41)));
}

#[test]
fn rfc_2003_3_1_and_2473_6_and_4213_3_5_addresses_are_the_tunnel_s_ends() {
    each(|_, outer, _, fields| {
        let ends = (outer.director(), outer.real(A));
        assert_eq!((fields.source, fields.destination), ends);
    });
    let sourceless = Tunnel { source: None, ..tunnel(Family::V4) };
    let fields = around(Family::V6.udp(53), &sourceless);
    assert_eq!(fields.source, IpAddr::from([0; 4]), "the kernel's choice (IP_HDRINCL)");
}

#[test]
fn rfc_2003_3_1_and_2473_6_the_length_is_the_inner_packet_s_and_the_header_s() {
    each(|_, _, packet, fields| assert_eq!(fields.inner_len, packet.bytes().len()));
}

/// RFC 2003 section 3.1 and RFC 2473 section 6.3: the tunnel's own hop limit, for the path through
/// it; the inner one is not copied. RFC 4213 section 3.3 requires the same of 6in4. The kernel that
/// forwards the packet into the tunnel decrements the inner one once.
#[test]
fn rfc_2003_3_1_and_2473_6_3_and_4213_3_3_the_hop_limit_is_the_tunnel_s_own() {
    for (inner, outer) in MIXES {
        for packet in packets(inner) {
            let at = |ttl, sequence| {
                let tunnel = Tunnel { sequence, ..tunnel(outer) };
                around(packet.clone().ttl(ttl), &tunnel).ttl
            };
            for sequence in 0..300 {
                assert!(at(1, sequence) >= outer::TTL);
                assert_eq!(at(1, sequence), at(255, sequence));
            }
            let merges = is_tcp(&packet) || outer == Family::V4;
            assert_eq!(at(60, 0) == at(60, 1), merges, "it keeps UDP over IPv6 from merging");
        }
    }
}

/// RFC 2983 section 3: the uniform model.
#[test]
fn rfc_2003_3_1_and_2473_6_4_and_4213_3_5_the_dscp_is_copied() {
    for (inner, outer) in MIXES {
        for packet in packets(inner) {
            for dscp in 0..64 {
                let fields = around(packet.clone().traffic_class(dscp << 2), &tunnel(outer));
                assert_eq!(fields.traffic_class >> 2, dscp);
            }
        }
    }
}

#[test]
fn rfc_6040_4_1_normal_mode_copies_the_ecn_field() {
    for (inner, outer) in MIXES {
        for packet in packets(inner) {
            for ecn in 0..4 {
                let fields = around(packet.clone().traffic_class(0xb8 | ecn), &tunnel(outer));
                assert_eq!(fields.traffic_class, 0xb8 | ecn);
            }
        }
    }
}

/// RFC 6864 section 4.1: a packet that cannot be fragmented needs no ID. GRO merges such packets,
/// as wanted for TCP.
#[test]
fn rfc_2003_3_1_and_4213_3_5_an_id_where_there_can_be_fragments() {
    each(|_, outer, packet, fields| {
        let cannot = is_tcp(&packet) || outer == Family::V6;
        assert_eq!(fields.identification == 0, cannot);
    });
}

/// RFC 2003 section 3.1 requires DF if the inner header has it. TCP always has it. UDP never has,
/// the one intended difference: with DF the receiver's GRO on older kernels ignores the ID, and
/// merges datagrams irreversibly. A datagram above the path MTU then arrives in fragments, which
/// the real server's kernel reassembles.
#[test]
fn rfc_2003_3_1_and_4213_3_5_dont_fragment_for_tcp_and_not_for_udp() {
    for (inner, outer) in MIXES {
        for packet in packets(inner) {
            for bit in [false, true] {
                let packet = packet.clone().dont_fragment(bit);
                let fields = around(packet.clone(), &tunnel(outer));
                assert_eq!(fields.dont_fragment, is_tcp(&packet) && outer == Family::V4);
            }
        }
    }
}

/// RFC 4213 section 3.2.2: "encapsulate but do not set the Don't Fragment flag" if the path MTU is
/// below IPv6's minimum; RFC 2003 section 5.1 likewise for packets without DF.
#[test]
fn rfc_4213_3_2_2_a_packet_that_is_sent_although_too_large_may_be_cut() {
    for inner in [Family::V4, Family::V6] {
        let packet = inner.tcp(Flags::ACK).data(&vec![7; 1_000 - inner.header_len() - 20]);
        let fits = Tunnel { limit: 1_000, ..tunnel(Family::V4) };
        let fields = around(packet.clone(), &fits);
        assert_eq!((fields.dont_fragment, fields.identification), (true, 0));
        let short = Tunnel { limit: 999, ..fits };
        let fields = around(packet, &short);
        assert!(!fields.dont_fragment && fields.identification != 0);
    }
}

/// RFC 6438 section 3: derived from the inner flow, so that routers which spread flows by it keep
/// each flow on one path.
#[test]
fn rfc_2473_6_5_and_6438_3_the_flow_label_is_the_flow_s() {
    each(|_, outer, packet, fields| {
        assert_eq!(fields.flow_label != 0, outer == Family::V6);
        let again = around(packet.clone().data(b"more").ttl(9), &tunnel(outer));
        assert_eq!(again.flow_label, fields.flow_label);
        let other = around(packet.source_port(40_001), &tunnel(outer));
        assert_eq!(other.flow_label != fields.flow_label, outer == Family::V6);
    });
}
