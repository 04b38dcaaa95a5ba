#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

use super::*;
use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, Family, HOP_BY_HOP, Ip};
use crate::wire::packet::MAX_PACKET_LEN;

const MSS: u16 = 1000;
const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn tcp_frame(family: Family, data_len: usize) -> Ip {
    let data: Vec<u8> = (0..=250).cycle().take(data_len).collect();
    let flags = Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR;
    family.tcp(flags).sequence(u32::MAX - 999).identification(0xfffe).data(&data)
}

fn udp_frame(family: Family, data: &[u8]) -> Ip {
    family.udp(53).data(data)
}

/// The kernel's description of the frame.
fn tcp(packet: &Ip) -> Offload {
    Offload::Tcp { segment: MSS, start: u16::try_from(packet.header_len()).unwrap() }
}

fn udp(packet: &Ip) -> Offload {
    Offload::Udp { segment: MSS, start: u16::try_from(packet.header_len()).unwrap() }
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

fn refusal(frame: Ip, offload: Offload) -> OffloadError {
    SplitPlan::new(&Packet::parse(&frame.bytes()).unwrap(), offload).unwrap_err()
}

/// The transport header of a segment whose lengths and checksums are right.
fn checked(segment: &[u8]) -> &[u8] {
    let packet = Packet::parse(segment).unwrap();
    assert_eq!(packet.bytes().len(), segment.len());
    let transport = packet.payload();
    if packet.source.is_ipv4() {
        let ip = Ipv4HeaderSlice::from_slice(segment).unwrap();
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    }
    let (found, right) = if packet.protocol == 6 {
        let tcp = TcpHeaderSlice::from_slice(transport).unwrap();
        let (header, data) = (tcp.to_header(), &transport[tcp.slice().len()..]);
        (
            header.checksum,
            match (packet.source, packet.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
                }
                mixed => panic!("{mixed:?}"),
            },
        )
    } else {
        let header = UdpHeaderSlice::from_slice(transport).unwrap().to_header();
        assert_eq!(usize::from(header.length), transport.len());
        (
            header.checksum,
            match (packet.source, packet.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &transport[8..])
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &transport[8..])
                }
                mixed => panic!("{mixed:?}"),
            },
        )
    };
    assert_eq!(found, right.unwrap());
    transport
}

#[test]
fn tcp_headers_follow_their_position() {
    for family in FAMILIES {
        let frame = tcp_frame(family, 2500);
        let (offload, headers) = (tcp(&frame), family.header_len() + 20);
        let bytes = frame.bytes();
        let segments = split(&bytes, offload);
        let expected = [
            (0xfffe, u32::MAX - 999, (true, false, false), 1000),
            (0xffff, 0, (false, false, false), 1000),
            (0, 1000, (false, true, true), 500),
        ];
        assert_eq!(segments.len(), expected.len());
        for (segment, (identification, sequence, (cwr, psh, fin), data_len)) in
            segments.iter().zip(expected)
        {
            assert_eq!(segment.len(), headers + data_len);
            let tcp = TcpHeaderSlice::from_slice(checked(segment)).unwrap();
            assert_eq!(tcp.sequence_number(), sequence);
            assert_eq!((tcp.cwr(), tcp.psh(), tcp.fin(), tcp.ack()), (cwr, psh, fin, true));
            if family == Family::V4 {
                let ip = Ipv4HeaderSlice::from_slice(segment).unwrap();
                assert_eq!(ip.identification(), identification);
            }
        }
        let joined: Vec<u8> =
            segments.iter().flat_map(|segment| &segment[headers..]).copied().collect();
        assert_eq!(joined, &bytes[headers..]);
    }
}

/// RFC 8200 section 4: each segment has the extension headers of the packet, unchanged.
#[test]
fn extension_headers_go_with_every_segment() {
    let dress = |packet: Ip| {
        packet
            .flow_label(0xf_1234)
            .traffic_class(0xb9)
            .extension(HOP_BY_HOP, &PADDED)
            .extension(DESTINATION_OPTIONS, &[[1, 12].as_slice(), &[0xee; 12]].concat())
    };
    let (stream, datagrams) =
        (dress(tcp_frame(Family::V6, 2500)), dress(udp_frame(Family::V6, &[7; 2500])));
    for (offload, bytes) in [(tcp(&stream), stream.bytes()), (udp(&datagrams), datagrams.bytes())] {
        let segments = split(&bytes, offload);
        assert_eq!(segments.len(), 3);
        for segment in &segments {
            checked(segment);
            assert_eq!(segment[..4], bytes[..4], "version, traffic class, flow label");
            assert_eq!(segment[6..64], bytes[6..64], "all but the length");
        }
    }
}

#[test]
fn one_segment_or_less_is_the_packet_itself() {
    for family in FAMILIES {
        for data_len in [0, 1, 999, 1000] {
            let frame = tcp_frame(family, data_len);
            let offload = tcp(&frame);
            let bytes = frame.bytes();
            assert_eq!(split(&bytes, offload), [bytes], "{data_len} bytes");
        }
        let frame = tcp_frame(family, 1001);
        assert_eq!(split(&frame.clone().bytes(), tcp(&frame)).len(), 2);
    }
}

#[test]
fn what_is_on_the_wire_is_known_beforehand() {
    for family in FAMILIES {
        for (data_len, longest) in [(0, 0), (999, 999), (1000, 1000), (2500, 1000)] {
            let frame = tcp_frame(family, data_len);
            let (offload, headers) = (tcp(&frame), family.header_len() + 20);
            let bytes = frame.bytes();
            let plan = SplitPlan::new(&Packet::parse(&bytes).unwrap(), offload).unwrap();
            let on_wire = plan.on_wire();
            assert_eq!(on_wire.longest, headers + longest, "{data_len} bytes");
            let segments = split(&bytes, offload);
            let lens = || segments.iter().map(Vec::len);
            let (packets, bytes) = (segments.len(), lens().sum());
            let longest = lens().max().unwrap();
            assert_eq!(on_wire, OnWire { packets, bytes, longest }, "{data_len} bytes");
        }
    }
}

#[test]
fn udp_datagrams_have_their_own_length_and_checksum() {
    for family in FAMILIES {
        let frame = udp_frame(family, &[7; 2001]);
        let headers = family.header_len() + 8;
        let datagrams = split(&frame.clone().bytes(), udp(&frame));
        let expected = [headers + 1000, headers + 1000, headers + 1];
        assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        for datagram in &datagrams {
            checked(datagram);
        }
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    for family in FAMILIES {
        let at = family.header_len() + 6;
        let of = |datagram: &[u8]| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        // The checksum falls as the salt rises, so a salt of that value makes the checksum zero.
        let salt = of(&udp_frame(family, &[0, 0]).bytes());
        let frame = udp_frame(family, &salt.to_be_bytes());
        assert_eq!(of(&split(&frame.clone().bytes(), udp(&frame))[0]), 0xffff);
    }
}

#[test]
fn segments_of_one_byte_are_as_many_as_there_are_bytes() {
    for (family, len) in [(Family::V4, 65_535), (Family::V6, MAX_PACKET_LEN)] {
        let data_len = len - family.header_len() - 20;
        let frame = tcp_frame(family, data_len);
        let start = u16::try_from(family.header_len()).unwrap();
        let bytes = frame.bytes();
        let one = Offload::Tcp { segment: 1, start };
        let plan = SplitPlan::new(&Packet::parse(&bytes).unwrap(), one).unwrap();
        assert_eq!(plan.count(), data_len);
        let mut header = [0; MAX_HEADER_LEN];
        assert_eq!(plan.write(data_len - 1, &bytes, &mut header), Some(len - 1..len));
        assert_eq!(plan.write(data_len, &bytes, &mut header), None, "one past the last");
        assert_eq!(plan.write(usize::MAX, &bytes, &mut header), None);
    }
}

/// IPv6's length field does not count the fixed header: the longest packet has more bytes than a
/// field can say.
#[test]
fn the_longest_packet_in_one_segment_is_itself() {
    for (family, len) in [(Family::V4, 65_535), (Family::V6, MAX_PACKET_LEN)] {
        let start = u16::try_from(family.header_len()).unwrap();
        let stream = tcp_frame(family, len - family.header_len() - 20).bytes();
        let datagram = udp_frame(family, &vec![7; len - family.header_len() - 8]).bytes();
        let segment = u16::MAX;
        assert_eq!(split(&stream, Offload::Tcp { segment, start }), [stream]);
        assert_eq!(split(&datagram, Offload::Udp { segment, start }), [datagram]);
    }
}

#[test]
fn the_longest_headers_fit_and_no_shorter_room_does() {
    let chain = [&[1, 156][..], &[0; 156]].concat();
    let rows = [
        (tcp_frame(Family::V4, 3000).options(&[1; 40]), 120),
        (tcp_frame(Family::V6, 3000).extension(DESTINATION_OPTIONS, &chain), MAX_HEADER_LEN),
    ];
    for (frame, headers) in rows {
        let frame = frame.tcp_options(&[1; 40]);
        let offload = tcp(&frame);
        let bytes = frame.bytes();
        let plan = SplitPlan::new(&Packet::parse(&bytes).unwrap(), offload).unwrap();
        assert_eq!(plan.header_len(), headers);
        assert!(plan.write(0, &bytes, &mut vec![0; headers]).is_some());
        assert_eq!(plan.write(0, &bytes, &mut vec![0; headers - 1]), None);
        for segment in split(&bytes, offload) {
            checked(&segment);
        }
    }
}

#[test]
fn a_packet_shorter_than_the_planned_one_is_refused() {
    for family in FAMILIES {
        let frame = tcp_frame(family, 2000);
        let (offload, headers) = (tcp(&frame), family.header_len() + 20);
        let bytes = frame.bytes();
        let plan = SplitPlan::new(&Packet::parse(&bytes).unwrap(), offload).unwrap();
        let mut header = [0; MAX_HEADER_LEN];
        assert_eq!(plan.write(1, &bytes[..headers + 1999], &mut header), None);
        let second = headers + 1000..headers + 2000;
        assert_eq!(plan.write(1, &bytes, &mut header), Some(second));
    }
}

#[test]
fn an_offload_that_contradicts_the_packet_is_refused() {
    for family in FAMILIES {
        let stream = || tcp_frame(family, 2000);
        let datagrams = || udp_frame(family, &[0; 2000]);
        let at = u16::try_from(family.header_len()).unwrap();
        assert_eq!(refusal(stream(), udp(&stream())), OffloadError::Mismatch);
        assert_eq!(refusal(datagrams(), tcp(&datagrams())), OffloadError::Mismatch);
        assert_eq!(refusal(stream(), Offload::None), OffloadError::Mismatch);
        let checksum = Offload::Checksum { start: at, offset: 16 };
        assert_eq!(refusal(stream(), checksum), OffloadError::Mismatch);
        let zero = Offload::Tcp { segment: 0, start: at };
        assert_eq!(refusal(stream(), zero), OffloadError::ZeroSegment);
        for start in [1, at - 1, at + 1, at + 4, at + 8, u16::MAX] {
            let offload = Offload::Tcp { segment: MSS, start };
            assert_eq!(refusal(stream(), offload), OffloadError::Checksum, "start {start}");
        }
        let unsaid = Offload::Tcp { segment: MSS, start: 0 };
        let bytes = stream().bytes();
        assert_eq!(split(&bytes, unsaid), split(&bytes, tcp(&stream())), "the kernel may not say");
    }
    let behind = || tcp_frame(Family::V6, 2000).extension(HOP_BY_HOP, &PADDED);
    let before = Offload::Tcp { segment: MSS, start: 40 };
    assert_eq!(refusal(behind(), before), OffloadError::Checksum, "the extension header's place");
}

#[test]
fn fragments_syn_and_short_udp_lengths_are_no_super_frames() {
    for family in FAMILIES {
        let fragment = tcp_frame(family, 2004).fragment(0, true);
        let offload = tcp(&fragment);
        assert_eq!(refusal(fragment, offload), OffloadError::Fragment);
        let syn = tcp_frame(family, 2000).flags(Flags::ACK | Flags::SYN);
        let offload = tcp(&syn);
        assert_eq!(refusal(syn, offload), OffloadError::Mismatch);
        let short = udp_frame(family, &[0; 2000]).set_upper(4, 0x07).set_upper(5, 0xd7);
        let offload = udp(&short);
        assert_eq!(refusal(short, offload), OffloadError::Mismatch, "2,007 bytes");
    }
}

#[test]
fn a_partial_checksum_is_completed() {
    for family in FAMILIES {
        let whole = udp_frame(family, b"query").bytes();
        let mut partial = whole.clone();
        let sum = Sum::pseudo_header(family.client(), family.vip(), 17, 13).fold();
        let start = family.header_len();
        partial[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
        complete_checksum(&mut partial, u16::try_from(start).unwrap(), 6).unwrap();
        assert_eq!(partial, whole);
    }
}

#[test]
fn a_completed_checksum_is_never_zero() {
    let mut packet = [0xff, 0xff, 0, 0];
    complete_checksum(&mut packet, 0, 2).unwrap();
    assert_eq!(packet[2..], [0xff, 0xff]);
}

#[test]
fn a_checksum_field_outside_the_packet_is_refused() {
    let mut packet = [0; 40];
    assert_eq!(complete_checksum(&mut packet, 20, 18), Ok(()), "the last two bytes");
    for (start, offset) in [(20, 19), (20, 20), (40, 0), (41, 0), (0, u16::MAX), (u16::MAX, 0)] {
        assert_eq!(
            complete_checksum(&mut packet, start, offset),
            Err(OffloadError::Checksum),
            "{start} + {offset}"
        );
    }
}
