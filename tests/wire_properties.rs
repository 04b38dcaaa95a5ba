//! Properties of `wire` and `decap` over arbitrary packets, with etherparse as the judge.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv4HeaderSlice, NetSlice, PacketBuilder, SlicedPacket,
    TcpHeader, TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use vstun::decap::{Gate, MIN_MSS, Mss, Outcome, Refusal};
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{Outer, ipip};
use vstun::wire::segment::{MAX_HEADER_LEN, Plan};
use vstun::wire::virtio::{self, Offload};
use vstun::wire::{Fragment, Packet, Transport, ecn};

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];
const DIRECTOR: [u8; 4] = [10, 0, 0, 1];

/// What a TCP sender decides, but for the data.
#[derive(Clone, Debug)]
struct Stream {
    traffic_class: u8,
    identification: u16,
    ip_options: Vec<u8>,
    tcp: TcpHeader,
}

impl Stream {
    fn packet(&self, data: &[u8]) -> Vec<u8> {
        let ip = Ipv4Header {
            source: CLIENT,
            destination: VIP,
            time_to_live: 60,
            identification: self.identification,
            dscp: (self.traffic_class >> 2).try_into().unwrap(),
            ecn: (self.traffic_class & 3).try_into().unwrap(),
            options: self.ip_options[..].try_into().unwrap(),
            ..Ipv4Header::default()
        };
        let builder = PacketBuilder::ip(IpHeaders::Ipv4(ip, Default::default()));
        let builder = builder.tcp_header(self.tcp.clone());
        let mut packet = vec![0; builder.size(data.len())];
        builder.write_to_slice(&mut packet, data).unwrap();
        packet
    }

    fn header_len(&self) -> usize {
        20 + self.ip_options.len() + self.tcp.header_len()
    }

    /// The segment that `index` segments of `size` bytes precede, and whether others follow, as the sender itself would cut it.
    fn segment(&self, index: usize, size: usize, more: bool, data: &[u8]) -> Vec<u8> {
        let mut own = self.clone();
        own.identification = self.identification.wrapping_add(u16::try_from(index).unwrap());
        let sent = u32::try_from(index * size).unwrap();
        own.tcp.sequence_number = self.tcp.sequence_number.wrapping_add(sent);
        own.tcp.fin &= !more;
        own.tcp.psh &= !more;
        own.tcp.cwr &= index == 0;
        own.packet(data)
    }

    fn segments(&self, size: usize, data: &[u8]) -> Vec<Vec<u8>> {
        let count = data.len().div_ceil(size).max(1);
        (0..count)
            .map(|index| {
                let data = &data[index * size..data.len().min((index + 1) * size)];
                self.segment(index, size, index + 1 < count, data)
            })
            .collect()
    }
}

fn tcp_header() -> impl Strategy<Value = TcpHeader> {
    let words = (0_usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4));
    (any::<[u16; 4]>(), any::<[u32; 2]>(), any::<[bool; 7]>(), words).prop_map(
        |([source, destination, window, urgent], [sequence, acknowledgment], flags, options)| {
            let mut header = TcpHeader::new(source, destination, sequence, window);
            header.acknowledgment_number = acknowledgment;
            header.urgent_pointer = urgent;
            [header.fin, header.psh, header.ack, header.urg, header.ece, header.cwr, header.ns] =
                flags;
            header.set_options_raw(&options).unwrap();
            header
        },
    )
}

fn stream() -> impl Strategy<Value = Stream> {
    let ip_options = (0_usize..=10).prop_map(|words| vec![1; words * 4]);
    (any::<u8>(), any::<u16>(), ip_options, tcp_header()).prop_map(
        |(traffic_class, identification, ip_options, tcp)| Stream {
            traffic_class,
            identification,
            ip_options,
            tcp,
        },
    )
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..4000)]
}

fn segment_size() -> impl Strategy<Value = u16> {
    prop_oneof![1_u16..4, 1_u16..2000, Just(u16::MAX)]
}

fn udp_packet(source_port: u16, traffic_class: u8, data: &[u8]) -> Vec<u8> {
    let ip = Ipv4Header {
        source: CLIENT,
        destination: VIP,
        time_to_live: 60,
        dscp: (traffic_class >> 2).try_into().unwrap(),
        ecn: (traffic_class & 3).try_into().unwrap(),
        ..Ipv4Header::default()
    };
    let builder = PacketBuilder::ip(IpHeaders::Ipv4(ip, Default::default())).udp(source_port, 53);
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet
}

fn split(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let plan = Plan::new(&Packet::parse(frame).unwrap(), offload).unwrap();
    (0..plan.count())
        .map(|index| {
            let mut header = [0; MAX_HEADER_LEN];
            let payload = plan.write(index, frame, &mut header).unwrap();
            [&header[..plan.header_len()], &frame[payload]].concat()
        })
        .collect()
}

/// What GRO makes of `packet` when it merges: its checksum field holds the pseudo-header's sum.
fn make_partial(packet: &mut [u8], field: usize) {
    let parsed = Packet::parse(packet).unwrap();
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let at = usize::from(parsed.header_len) + field;
    let sum = Sum::pseudo_header(parsed.source, parsed.destination, parsed.protocol, length);
    packet[at..at + 2].copy_from_slice(&sum.fold().to_be_bytes());
}

fn tunnelled(traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        source: DIRECTOR.into(),
        destination: [10, 0, 0, 11].into(),
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0,
    };
    let mut datagram = vec![0; 20];
    ipip::write(&outer, 4, inner.len(), &mut datagram).unwrap();
    datagram.extend_from_slice(inner);
    datagram
}

fn gate(mss: u16) -> Gate {
    Gate::new(vec![IpAddr::from(DIRECTOR).into()], vec![VIP.into()], Mss { v4: mss, v6: mss })
}

/// IP and transport checksums, by etherparse.
fn checksums_are_right(bytes: &[u8]) -> bool {
    let packet = SlicedPacket::from_ip(bytes).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { return false };
    let header = ip.header().to_header();
    header.header_checksum == header.calc_header_checksum()
        && match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let check = tcp.calc_checksum_ipv4(header.source, header.destination);
                tcp.checksum() == check.unwrap()
            }
            Some(TransportSlice::Udp(udp)) => {
                let check = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                udp.checksum() == check.unwrap()
            }
            _ => false,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn split_tcp_is_what_the_sender_would_have_cut(
        stream in stream(), data in data(), size in segment_size(),
    ) {
        let frame = stream.packet(&data);
        let start = u16::try_from(20 + stream.ip_options.len()).unwrap();
        let segments = split(&frame, Offload::Tcp { segment: size, start });
        prop_assert!(segments.iter().all(|segment| checksums_are_right(segment)));
        let joined: Vec<u8> = segments.iter().flat_map(|s| &s[stream.header_len()..]).copied().collect();
        prop_assert_eq!(&joined, &data, "the byte stream is the same");
        prop_assert_eq!(segments, stream.segments(size.into(), &data));
    }

    #[test]
    fn split_udp_is_the_same_datagrams(
        port: u16, traffic_class: u8, data in data(), size in segment_size(),
    ) {
        let frame = udp_packet(port, traffic_class, &data);
        let datagrams = split(&frame, Offload::Udp { segment: size, start: 20 });
        let expected: Vec<&[u8]> = if data.is_empty() { vec![&[]] } else { data.chunks(size.into()).collect() };
        prop_assert_eq!(datagrams.iter().map(|d| &d[28..]).collect::<Vec<_>>(), expected);
        for datagram in &datagrams {
            prop_assert!(checksums_are_right(datagram));
            prop_assert_eq!(&datagram[12..24], &frame[12..24], "addresses and ports");
            prop_assert_eq!(datagram[1], traffic_class);
        }
    }

    #[test]
    fn decapsulation_undoes_encapsulation(stream in stream(), data in data()) {
        let inner = stream.packet(&data);
        let mut datagram = tunnelled(ecn::encapsulate(stream.traffic_class), &inner);
        let Outcome::Deliver(range) = gate(1460).open(&mut datagram) else {
            return Err(TestCaseError::fail("refused"));
        };
        let (_, packet) = virtio::split_frame(&datagram[range]).unwrap();
        prop_assert_eq!(packet, inner);
    }

    #[test]
    fn a_mark_on_the_way_changes_ecn_alone(stream in stream(), data in data()) {
        let inner = stream.packet(&data);
        let mut datagram = tunnelled(stream.traffic_class | 3, &inner);
        match gate(1460).open(&mut datagram) {
            Outcome::Deliver(range) => {
                prop_assert_ne!(stream.traffic_class & 3, 0, "a sender without ECN loses it");
                let marked = Stream { traffic_class: stream.traffic_class | 3, ..stream };
                prop_assert_eq!(&datagram[range][virtio::HEADER_LEN..], marked.packet(&data));
            }
            Outcome::Drop(refusal) => {
                prop_assert_eq!((refusal, stream.traffic_class & 3), (Refusal::Ecn, 0));
            }
        }
    }

    #[test]
    fn merged_segments_come_apart_as_they_were(
        stream in stream(), data in vec(any::<u8>(), 200..4000), size in MIN_MSS - 40..1000,
    ) {
        let mut merged = stream.packet(&data);
        make_partial(&mut merged, 16);
        let mut datagram = tunnelled(stream.traffic_class, &merged);
        let mut gate = gate(size + u16::try_from(stream.tcp.options.len()).unwrap());
        let Outcome::Deliver(range) = gate.open(&mut datagram) else {
            return Err(TestCaseError::fail("refused"));
        };
        let (offload, packet) = virtio::split_frame(&datagram[range]).unwrap();
        match offload {
            Offload::Tcp { segment, .. } => {
                let mss = size.max(MIN_MSS - u16::try_from(stream.tcp.options.len()).unwrap());
                prop_assert_eq!(segment, mss);
                prop_assert_eq!(split(packet, offload), stream.segments(mss.into(), &data));
                prop_assert_eq!(gate.counters().super_packets, 1);
            }
            other => {
                prop_assert!(data.len() <= size.into(), "not split: {:?}", other);
            }
        }
    }

    #[test]
    fn what_we_accept_etherparse_reads_the_same(bytes in packet_like()) {
        let Ok(ours) = Packet::parse(&bytes) else { return Ok(()) };
        let header = Ipv4HeaderSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!(ours.source, IpAddr::V4(header.source_addr()));
        prop_assert_eq!(ours.destination, IpAddr::V4(header.destination_addr()));
        prop_assert_eq!(ours.protocol, header.protocol().0);
        prop_assert_eq!(usize::from(ours.header_len), header.slice().len());
        prop_assert_eq!(ours.traffic_class, header.dcp().value() << 2 | header.ecn().value());
        prop_assert_eq!((ours.ttl, ours.dont_fragment), (header.ttl(), header.dont_fragment()));
        prop_assert_eq!(ours.bytes().len(), usize::from(header.total_len()));
        prop_assert_eq!(ours.fragment != Fragment::Whole, header.is_fragmenting_payload());
        prop_assert_eq!(ours.fragment == Fragment::Later, header.fragments_offset().value() != 0);
        if !only_etherparse_refuses(&ours) {
            same_transport(&ours, &SlicedPacket::from_ip(&bytes).unwrap())?;
        }
    }

    #[test]
    fn what_etherparse_accepts_we_accept(bytes in packet_like()) {
        let Ok(theirs) = SlicedPacket::from_ip(&bytes) else { return Ok(()) };
        let Some(NetSlice::Ipv4(ip)) = &theirs.net else { return Ok(()) };
        let ours = Packet::parse(&bytes);
        if !only_we_refuse(ip.header(), &theirs) {
            prop_assert!(ours.is_ok(), "{:?}", ours);
        }
    }
}

/// Bytes that often are an IPv4 packet, and otherwise nearly one.
fn packet_like() -> impl Strategy<Value = Vec<u8>> {
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
            let payload_len = bytes.len().saturating_sub(header_len);
            if let Some(field) = bytes.get_mut(header_len + 4..header_len + 6)
                && protocol == 17
            {
                let length = u16::try_from(payload_len).unwrap().wrapping_sub(udp_slack);
                field.copy_from_slice(&length.to_be_bytes());
            }
            bytes
        },
    )
}

/// Headers inside the packet that etherparse checks and we do not, for nothing depends on them:
/// AH, IGMP, ICMPv6 over IPv4, and the length of ICMP timestamps.
fn only_etherparse_refuses(packet: &Packet<'_>) -> bool {
    matches!(packet.protocol, 2 | 51 | 58)
        || matches!(packet.transport, Transport::Icmp { kind: 13 | 14, .. })
}

/// What etherparse lets pass and we refuse on purpose: bad options and source routes (it does not walk
/// options), fragments that no sender cuts or without their ports (it does not look into fragments), and a
/// UDP length of zero (it takes that for "the rest", which is IPv6's jumbograms' alone: RFC 2675).
fn only_we_refuse(header: Ipv4HeaderSlice<'_>, packet: &SlicedPacket<'_>) -> bool {
    let udp_without_length =
        matches!(&packet.transport, Some(TransportSlice::Udp(udp)) if udp.length() == 0);
    let hidden_transport = header.protocol() == IpNumber::AUTHENTICATION_HEADER;
    header.options().iter().any(|&option| option != 1)
        || header.is_fragmenting_payload()
        || udp_without_length
        || hidden_transport
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
        // etherparse reads no transport out of fragments; we do out of the first.
        (_, None) => {
            let hidden = ours.fragment != Fragment::Whole || ours.transport == Transport::Other;
            prop_assert!(hidden, "{:?}", ours.transport);
        }
        (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
    }
    Ok(())
}

/// Whatever is cut off, each stage answers, and only with packets that are wholly there.
#[test]
fn no_truncation_panics() {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).tcp(40_000, 80, 7, 500);
    let mut packet = vec![0; builder.size(300)];
    builder.write_to_slice(&mut packet, &[7; 300]).unwrap();
    make_partial(&mut packet, 16);
    let header = virtio::Header {
        flags: 1,
        gso_type: virtio::GSO_TCPV4,
        gso_size: 100,
        csum_start: 20,
        csum_offset: 16,
        ..virtio::Header::default()
    };
    let frame = [&header.encode()[..], &packet].concat();
    for len in 0..frame.len() {
        let parsed = virtio::split_frame(&frame[..len]).map(|(_, packet)| Packet::parse(packet));
        assert!(!matches!(parsed, Ok(Ok(_))), "{len} bytes of a frame");
    }
    let datagram = tunnelled(0, &packet);
    for len in 0..datagram.len() {
        let outcome = gate(1460).open(&mut datagram[..len].to_vec());
        assert!(matches!(outcome, Outcome::Drop(_)), "{len} bytes of a datagram");
        let inner = &packet[..len.min(packet.len() - 1)];
        let outcome = gate(1460).open(&mut tunnelled(0, inner));
        assert!(matches!(outcome, Outcome::Drop(_)), "{} bytes inside", inner.len());
    }
}
