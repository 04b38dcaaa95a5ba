//! Properties of `wire` and `decap` over arbitrary packets of both families, with etherparse as the
//! reference.

use etherparse::{NetSlice, SlicedPacket, TcpHeader, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use vstun::decap::{Admission, Gate, MIN_MSS, Mss, Refusal};
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{Outer, ipip};
use vstun::wire::segment::{MAX_HEADER_LEN, SplitPlan};
use vstun::wire::virtio::{self, Offload};
use vstun::wire::{Packet, ecn};

mod coalescing;
mod parsing;

use crate::build::{self, DESTINATION_OPTIONS, FAMILIES, Family, HOP_BY_HOP, Ip, MIXES, ROUTING};

/// The fields that a TCP sender chooses, except the data.
#[derive(Clone, Debug)]
struct Stream {
    family: Family,
    traffic_class: u8,
    flow_label: u32,
    identification: u16,
    /// Words of IPv4 options, or extension headers with so many units of padding.
    extras: Vec<u8>,
    tcp: TcpHeader,
}

impl Stream {
    fn ip(&self) -> Ip {
        let ip = self.family.tcp(0).tcp_header(self.tcp.clone()).traffic_class(self.traffic_class);
        let ip = ip.flow_label(self.flow_label).identification(self.identification);
        match self.family {
            Family::V4 => ip.options(&vec![1; self.extras.len() * 4]),
            Family::V6 => {
                let kinds = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, DESTINATION_OPTIONS];
                self.extras.iter().zip(kinds).fold(ip, |ip, (units, kind)| {
                    let mut body = vec![0; 6 + usize::from(units % 4) * 8];
                    body[0] = if kind == ROUTING { 2 } else { 0 };
                    ip.extension(kind, &body)
                })
            }
        }
    }

    fn packet(&self, data: &[u8]) -> Vec<u8> {
        self.ip().data(data).bytes()
    }

    fn header_len(&self) -> usize {
        self.ip().header_len() + self.tcp.header_len()
    }

    /// The segment after `index` segments of `size` bytes, and whether others follow, as the sender
    /// itself would send it.
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

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(&FAMILIES[..])
}

fn stream() -> impl Strategy<Value = Stream> {
    let extras = prop_oneof![Just(Vec::new()), vec(any::<u8>(), 0..=10)];
    (family(), any::<u8>(), 0_u32..1 << 20, any::<u16>(), extras, tcp_header()).prop_map(
        |(family, traffic_class, flow_label, identification, extras, tcp)| {
            let flow_label = family.pick(0, flow_label);
            Stream { family, traffic_class, flow_label, identification, extras, tcp }
        },
    )
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..4000)]
}

fn segment_size() -> impl Strategy<Value = u16> {
    prop_oneof![1_u16..4, 1_u16..2000, Just(u16::MAX)]
}

fn split(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let plan = SplitPlan::new(&Packet::parse(frame).unwrap(), offload).unwrap();
    (0..plan.count())
        .map(|index| {
            let mut header = [0; MAX_HEADER_LEN];
            let payload = plan.write(index, frame, &mut header).unwrap();
            [&header[..plan.header_len()], &frame[payload]].concat()
        })
        .collect()
}

/// Makes `packet` look merged by GRO: its checksum field holds the pseudo-header's sum.
fn make_partial(packet: &mut [u8], field: usize) {
    let parsed = Packet::parse(packet).unwrap();
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let at = usize::from(parsed.header_len) + field;
    let sum = Sum::pseudo_header(parsed.source, parsed.destination, parsed.protocol, length);
    packet[at..at + 2].copy_from_slice(&sum.fold().to_be_bytes());
}

fn tunnelled(outer: Family, traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let header = Outer {
        source: outer.director(),
        destination: outer.real(11),
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0x1_2345,
    };
    let mut datagram = vec![0; outer.header_len()];
    let version = inner.first().map_or(4, |first| first >> 4);
    ipip::write(&header, version, inner.len(), &mut datagram).unwrap();
    datagram.extend_from_slice(inner);
    datagram
}

fn gate(mss: u16) -> Gate {
    let directors = FAMILIES.map(|family| family.director().into()).to_vec();
    Gate::new(directors, FAMILIES.map(Family::vip).to_vec(), Mss { v4: mss, v6: mss })
}

/// IP and transport checksums, by etherparse.
fn checksums_are_right(bytes: &[u8]) -> bool {
    let packet = SlicedPacket::from_ip(bytes).unwrap();
    let (tcp, udp) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (Some(tcp), None),
        Some(TransportSlice::Udp(udp)) => (None, Some(udp)),
        _ => return false,
    };
    let (found, right) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            if header.header_checksum != header.calc_header_checksum() {
                return false;
            }
            let tcp = tcp.map(|tcp| {
                (tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination))
            });
            let udp = udp.map(|udp| {
                let check = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                (udp.checksum(), check)
            });
            tcp.or(udp).unwrap()
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            let tcp = tcp.map(|tcp| {
                (tcp.checksum(), tcp.calc_checksum_ipv6(header.source, header.destination))
            });
            let udp = udp.map(|udp| {
                let check = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
                (udp.checksum(), check)
            });
            tcp.or(udp).unwrap()
        }
        _ => return false,
    };
    found == right.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn split_tcp_is_what_the_sender_would_have_cut(
        stream in stream(), data in data(), size in segment_size(),
    ) {
        let frame = stream.packet(&data);
        let start = u16::try_from(stream.ip().header_len()).unwrap();
        let segments = split(&frame, Offload::Tcp { segment: size, start });
        prop_assert!(segments.iter().all(|segment| checksums_are_right(segment)));
        let data_of = |segment: &Vec<u8>| segment[stream.header_len()..].to_vec();
        let joined: Vec<u8> = segments.iter().flat_map(data_of).collect();
        prop_assert_eq!(&joined, &data, "the byte stream is the same");
        prop_assert_eq!(segments, stream.segments(size.into(), &data));
    }

    #[test]
    fn split_udp_is_the_same_datagrams(
        family in family(), port: u16, traffic_class: u8, data in data(), size in segment_size(),
    ) {
        let of = |data: &[u8]| {
            family.udp(53).source_port(port).traffic_class(traffic_class).data(data)
        };
        let frame = of(&data).bytes();
        let start = u16::try_from(family.header_len()).unwrap();
        let datagrams = split(&frame, Offload::Udp { segment: size, start });
        let mut pieces: Vec<&[u8]> = data.chunks(size.into()).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        prop_assert!(datagrams.iter().all(|datagram| checksums_are_right(datagram)));
        let expected: Vec<_> = pieces
            .iter()
            .enumerate()
            .map(|(index, data)| of(data).identification(u16::try_from(index).unwrap()).bytes())
            .collect();
        prop_assert_eq!(datagrams, expected);
    }

    #[test]
    fn decapsulation_undoes_encapsulation(stream in stream(), outer in family(), data in data()) {
        let inner = stream.packet(&data);
        let mut datagram = tunnelled(outer, ecn::encapsulate(stream.traffic_class), &inner);
        let Admission::Deliver(range) = gate(1460).open(&mut datagram) else {
            return Err(TestCaseError::fail("refused"));
        };
        let (_, packet) = virtio::split_frame(&datagram[range]).unwrap();
        prop_assert_eq!(packet, inner);
    }

    #[test]
    fn a_mark_on_the_way_changes_ecn_alone(stream in stream(), outer in family(), data in data()) {
        let inner = stream.packet(&data);
        let mut datagram = tunnelled(outer, stream.traffic_class | 3, &inner);
        match gate(1460).open(&mut datagram) {
            Admission::Deliver(range) => {
                prop_assert_ne!(stream.traffic_class & 3, 0, "a sender without ECN loses it");
                let marked = Stream { traffic_class: stream.traffic_class | 3, ..stream };
                prop_assert_eq!(&datagram[range][virtio::HEADER_LEN..], marked.packet(&data));
            }
            Admission::Drop(refusal) => {
                prop_assert_eq!((refusal, stream.traffic_class & 3), (Refusal::Ecn, 0));
            }
            Admission::Inquiry(_) => panic!("no TCP segment is a question"),
            Admission::DeliverPiece(..) => panic!("it is whole"),
        }
    }

    #[test]
    fn merged_segments_come_apart_as_they_were(
        stream in stream(),
        outer in family(),
        data in vec(any::<u8>(), 200..4000),
        size in MIN_MSS - 40..1000,
    ) {
        let mut merged = stream.packet(&data);
        make_partial(&mut merged, 16);
        let mut datagram = tunnelled(outer, stream.traffic_class, &merged);
        let mut gate = gate(size + u16::try_from(stream.tcp.options.len()).unwrap());
        let Admission::Deliver(range) = gate.open(&mut datagram) else {
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
}

/// Wherever a packet is truncated, each stage answers, and accepts only complete packets.
#[test]
fn no_truncation_panics() {
    for (family, outer) in MIXES {
        let mut packet = family.tcp(0x10).data(&[7; 300]).bytes();
        make_partial(&mut packet, 16);
        let header = virtio::Header {
            flags: 1,
            gso_type: family.pick(virtio::GSO_TCPV4, virtio::GSO_TCPV6),
            gso_size: 100,
            csum_start: u16::try_from(family.header_len()).unwrap(),
            csum_offset: 16,
            ..virtio::Header::default()
        };
        let frame = [&header.encode()[..], &packet].concat();
        for len in 0..frame.len() {
            let parsed =
                virtio::split_frame(&frame[..len]).map(|(_, packet)| Packet::parse(packet));
            assert!(!matches!(parsed, Ok(Ok(_))), "{len} bytes of a frame");
        }
        let datagram = tunnelled(outer, 0, &packet);
        for len in 0..datagram.len() {
            let outcome = gate(1460).open(&mut datagram[..len].to_vec());
            assert!(matches!(outcome, Admission::Drop(_)), "{len} bytes of a datagram");
            let inner = &packet[..len.min(packet.len() - 1)];
            let outcome = gate(1460).open(&mut tunnelled(outer, 0, inner));
            assert!(matches!(outcome, Admission::Drop(_)), "{} bytes inside", inner.len());
        }
    }
}
