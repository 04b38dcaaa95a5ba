//! Parsing: our parser and etherparse agree, except for short lists of intended differences.

use std::net::IpAddr;

use etherparse::{
    IpNumber, Ipv4HeaderSlice, Ipv6ExtensionSlice, Ipv6HeaderSlice, Ipv6Slice, NetSlice,
    SlicedPacket, TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use vstun::wire::{Fragment, Packet, Transport};

use super::build::Family;
use super::family;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_we_accept_etherparse_reads_the_same(bytes in packet_like()) {
        let Ok(ours) = Packet::parse(&bytes) else { return Ok(()) };
        match ours.version() {
            4 => same_header_v4(&ours, &bytes)?,
            _ => same_header_v6(&ours, &bytes)?,
        }
        if !only_etherparse_refuses(&ours, &bytes) {
            same_transport(&ours, &SlicedPacket::from_ip(&bytes).unwrap())?;
        }
    }

    #[test]
    fn what_etherparse_accepts_we_accept(bytes in packet_like()) {
        let Ok(theirs) = SlicedPacket::from_ip(&bytes) else { return Ok(()) };
        let only_we_refuse = match &theirs.net {
            Some(NetSlice::Ipv4(ip)) => only_we_refuse_v4(ip.header(), &theirs),
            Some(NetSlice::Ipv6(ip)) => only_we_refuse_v6(ip, &theirs),
            _ => return Ok(()),
        };
        if !only_we_refuse {
            let ours = Packet::parse(&bytes);
            prop_assert!(ours.is_ok(), "{:?}", ours);
        }
    }
}

/// Bytes that often are a packet, and otherwise almost one.
fn packet_like() -> impl Strategy<Value = Vec<u8>> {
    family().prop_flat_map(|family| match family {
        Family::V4 => packet_like_v4().boxed(),
        Family::V6 => packet_like_v6().boxed(),
    })
}

/// Sets the UDP length of the datagram at `at`, smaller than its bytes by `slack`.
fn set_udp_length(bytes: &mut [u8], at: usize, slack: u16) {
    let payload_len = bytes.len().saturating_sub(at);
    if let Some(field) = bytes.get_mut(at + 4..at + 6) {
        let length = u16::try_from(payload_len).unwrap().wrapping_sub(slack);
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn packet_like_v4() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![8 => Just(0x45_u8), 4 => 0x45_u8..=0x4f, 1 => any::<u8>()];
    let fragment = prop_oneof![6 => Just(0_u16), 2 => Just(0x4000), 1 => any::<u16>()];
    let protocol = prop_oneof![2 => Just(1_u8), 4 => Just(6), 4 => Just(17), 1 => any::<u8>()];
    let slack = prop_oneof![6 => Just(0_i32), 1 => -40..40];
    let udp_slack = prop_oneof![4 => Just(0_u16), 1 => 0_u16..20, 1 => any::<u16>()];
    let options = prop_oneof![3 => Just(1_u8), 1 => any::<u8>()];
    (first, fragment, protocol, slack, udp_slack, options, vec(any::<u8>(), 12..120)).prop_map(
        |(first, fragment, protocol, slack, udp_slack, option, rest)| {
            let mut bytes = [&[0; 8][..], &rest].concat();
            let len = i32::try_from(bytes.len()).unwrap();
            let header_len = usize::from(first & 15) * 4;
            bytes[0] = first;
            bytes[2..4].copy_from_slice(&u16::try_from(len + slack).unwrap_or(0).to_be_bytes());
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            bytes[9] = protocol;
            let end = bytes.len().min(header_len.max(20));
            bytes[20..end].fill(option);
            if protocol == 17 {
                set_udp_length(&mut bytes, header_len, udp_slack);
            }
            bytes
        },
    )
}

/// An extension header: its number, its length in units of eight bytes beyond the first, and its
/// content.
type Header = (u8, u8, u8);

fn header() -> impl Strategy<Value = Header> {
    let kind = prop_oneof![
        1 => Just(0_u8),
        3 => Just(60),
        2 => Just(43),
        2 => Just(44),
        1 => prop::sample::select(vec![51, 135, 139, 140]),
    ];
    let units = prop_oneof![8 => 0_u8..3, 1 => 0_u8..25];
    let fill = prop_oneof![6 => Just(0_u8), 1 => any::<u8>()];
    (kind, units, fill)
}

fn packet_like_v6() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![16 => 0x60_u8..=0x6f, 1 => any::<u8>()];
    let chain =
        prop_oneof![2 => Just(Vec::new()), 5 => vec(header(), 1..4), 1 => vec(header(), 7..11)];
    let last = prop_oneof![2 => Just(58_u8), 4 => Just(6), 4 => Just(17), 1 => any::<u8>()];
    let slack = prop_oneof![8 => Just(0_i32), 1 => -40..40];
    let udp_slack = prop_oneof![4 => Just(0_u16), 1 => 0_u16..20, 1 => any::<u16>()];
    (first, vec(any::<u8>(), 36), chain, last, slack, udp_slack, vec(any::<u8>(), 0..80)).prop_map(
        |(first, fixed, chain, last, slack, udp_slack, rest)| {
            let kinds: Vec<u8> = chain.iter().map(|(kind, ..)| *kind).chain([last]).collect();
            let mut bytes =
                [&[first, fixed[0], fixed[1], fixed[2], 0, 0, kinds[0]], &fixed[3..]].concat();
            for ((kind, units, fill), next) in chain.iter().zip(&kinds[1..]) {
                let len = if *kind == 44 { 8 } else { (usize::from(*units) + 1) * 8 };
                let start = bytes.len();
                bytes.resize(start + len, *fill);
                bytes[start..start + 2]
                    .copy_from_slice(&[*next, if *kind == 44 { 0 } else { *units }]);
                if *kind == 43 && *fill == 0 {
                    bytes[start + 2] = 2;
                }
            }
            let upper = bytes.len();
            bytes.extend(rest);
            let payload_len = i32::try_from(bytes.len() - 40).unwrap() + slack;
            bytes[4..6].copy_from_slice(&u16::try_from(payload_len).unwrap_or(0).to_be_bytes());
            if last == 17 {
                set_udp_length(&mut bytes, upper, udp_slack);
            }
            bytes
        },
    )
}

fn same_header_v4(ours: &Packet<'_>, bytes: &[u8]) -> Result<(), TestCaseError> {
    let header = Ipv4HeaderSlice::from_slice(bytes).unwrap();
    prop_assert_eq!(ours.source, IpAddr::V4(header.source_addr()));
    prop_assert_eq!(ours.destination, IpAddr::V4(header.destination_addr()));
    prop_assert_eq!(ours.protocol, header.protocol().0);
    prop_assert_eq!(usize::from(ours.header_len), header.slice().len());
    prop_assert_eq!(ours.traffic_class, header.dcp().value() << 2 | header.ecn().value());
    prop_assert_eq!((ours.ttl, ours.dont_fragment), (header.ttl(), header.dont_fragment()));
    prop_assert_eq!(ours.bytes().len(), usize::from(header.total_len()));
    prop_assert_eq!(ours.fragment != Fragment::Whole, header.is_fragmenting_payload());
    prop_assert_eq!(ours.fragment == Fragment::Later, header.fragments_offset().value() != 0);
    Ok(())
}

fn same_header_v6(ours: &Packet<'_>, bytes: &[u8]) -> Result<(), TestCaseError> {
    let header = Ipv6HeaderSlice::from_slice(bytes).unwrap();
    prop_assert_eq!(ours.source, IpAddr::V6(header.source_addr()));
    prop_assert_eq!(ours.destination, IpAddr::V6(header.destination_addr()));
    prop_assert_eq!((ours.traffic_class, ours.ttl), (header.traffic_class(), header.hop_limit()));
    prop_assert_eq!(ours.bytes().len(), 40 + usize::from(header.payload_length()));
    prop_assert!(ours.dont_fragment);
    // After a later fragment's header etherparse continues into arbitrary data.
    if ours.fragment == Fragment::Later || header.payload_length() == 0 {
        return Ok(());
    }
    let packet = Ipv6Slice::from_slice(bytes).unwrap();
    prop_assert_eq!(ours.protocol, packet.payload().ip_number.0);
    prop_assert_eq!(usize::from(ours.header_len), 40 + packet.extensions().slice().len());
    prop_assert_eq!(ours.payload(), packet.payload().payload);
    prop_assert_eq!(ours.fragment == Fragment::First, packet.is_payload_fragmented());
    Ok(())
}

/// Headers inside the packet that etherparse checks and we do not, since nothing depends on them:
/// AH, IGMP, the other family's ICMP, the length of ICMP timestamps; data behind the header of a
/// later fragment; and a payload length of zero, which it takes for "the rest".
fn only_etherparse_refuses(packet: &Packet<'_>, bytes: &[u8]) -> bool {
    let other_icmp = if packet.version() == 4 { 58 } else { 1 };
    matches!(packet.protocol, 2 | 51)
        || packet.protocol == other_icmp
        || matches!(packet.transport, Transport::Icmp { kind: 13 | 14, .. })
        || packet.version() == 6 && (packet.fragment == Fragment::Later || bytes[4..6] == [0, 0])
}

/// A UDP length of zero: etherparse takes it for "the rest", which only IPv6 jumbograms mean by it
/// (RFC 2675).
fn udp_without_length(packet: &SlicedPacket<'_>) -> bool {
    matches!(&packet.transport, Some(TransportSlice::Udp(udp)) if udp.length() == 0)
}

/// Packets that etherparse accepts and we refuse on purpose: bad options and source routes (it does
/// not parse options), impossible fragments or ones without their ports (it does not parse
/// fragments), data behind AH.
fn only_we_refuse_v4(header: Ipv4HeaderSlice<'_>, packet: &SlicedPacket<'_>) -> bool {
    let hidden_transport = header.protocol() == IpNumber::AUTHENTICATION_HEADER;
    header.options().iter().any(|&option| option != 1)
        || header.is_fragmenting_payload()
        || udp_without_length(packet)
        || hidden_transport
}

/// The same for IPv6: options, routing headers of type 0 or with segments left, fragments,
/// unsupported headers, more than eight headers or 160 bytes of them, a payload length of zero.
fn only_we_refuse_v6(ip: &Ipv6Slice<'_>, packet: &SlicedPacket<'_>) -> bool {
    let headers: Vec<_> = ip.extensions().clone().into_iter().collect();
    let refused = |header: &Ipv6ExtensionSlice<'_>| match header {
        Ipv6ExtensionSlice::HopByHop(options) | Ipv6ExtensionSlice::DestinationOptions(options) => {
            options.payload().iter().any(|&byte| byte != 0)
        }
        Ipv6ExtensionSlice::Routing(route) => route.payload()[0] == 0 || route.payload()[1] != 0,
        Ipv6ExtensionSlice::Fragment(_) => ip.payload().payload.is_empty(),
        Ipv6ExtensionSlice::Authentication(_) => true,
    };
    let fragment =
        |header: &&Ipv6ExtensionSlice<'_>| matches!(header, Ipv6ExtensionSlice::Fragment(_));
    headers.iter().any(refused)
        || headers.iter().filter(fragment).count() > 1
        || headers.len() > 8
        || ip.extensions().slice().len() > 160
        || ip.is_payload_fragmented()
        || matches!(ip.payload().ip_number.0, 135 | 139 | 140)
        || ip.header().payload_length() == 0
        || udp_without_length(packet)
}

fn same_transport(ours: &Packet<'_>, theirs: &SlicedPacket<'_>) -> Result<(), TestCaseError> {
    match (ours.transport, &theirs.transport) {
        (Transport::Tcp(header), Some(TransportSlice::Tcp(tcp))) => {
            prop_assert_eq!(header.source_port, tcp.source_port());
            prop_assert_eq!(header.destination_port, tcp.destination_port());
            prop_assert_eq!(header.sequence, tcp.sequence_number());
            prop_assert_eq!(header.acknowledgement, tcp.acknowledgment_number());
            prop_assert_eq!(usize::from(header.header_len), tcp.header_len());
            let flags =
                (header.flags.fin(), header.flags.syn(), header.flags.rst(), header.flags.ack());
            prop_assert_eq!(flags, (tcp.fin(), tcp.syn(), tcp.rst(), tcp.ack()));
        }
        (Transport::Udp { source_port, destination_port }, Some(TransportSlice::Udp(udp))) => {
            prop_assert_eq!(source_port, udp.source_port());
            prop_assert_eq!(destination_port, udp.destination_port());
        }
        (Transport::Icmp { kind, code }, Some(TransportSlice::Icmpv4(icmp))) => {
            prop_assert_eq!((kind, code), (icmp.type_u8(), icmp.code_u8()));
        }
        (Transport::Icmp { kind, code }, Some(TransportSlice::Icmpv6(icmp))) => {
            prop_assert_eq!((kind, code), (icmp.type_u8(), icmp.code_u8()));
        }
        // etherparse parses no transport in fragments; we do in the first.
        (_, None) => {
            let hidden = ours.fragment != Fragment::Whole || ours.transport == Transport::Other;
            prop_assert!(hidden, "{:?}", ours.transport);
        }
        (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
    }
    Ok(())
}
