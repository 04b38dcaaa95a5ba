#![allow(clippy::unwrap_used)]

use etherparse::{Ipv4HeaderSlice, PacketBuilder, TcpHeaderSlice, UdpHeaderSlice};

use super::*;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];
const MSS: u16 = 1000;
const TCP: Offload = Offload::Tcp { segment: MSS, start: 20 };
const UDP: Offload = Offload::Udp { segment: MSS, start: 20 };

fn tcp_frame(data_len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).tcp(40_000, 80, u32::MAX - 999, 500);
    let builder = builder.ack(9).psh().fin().cwr();
    let mut frame = vec![0; builder.size(data_len)];
    let data: Vec<u8> = (0..=250).cycle().take(data_len).collect();
    builder.write_to_slice(&mut frame, &data).unwrap();
    frame[4..6].copy_from_slice(&0xfffe_u16.to_be_bytes());
    let check = Ipv4HeaderSlice::from_slice(&frame).unwrap().to_header().calc_header_checksum();
    frame[10..12].copy_from_slice(&check.to_be_bytes());
    frame
}

fn udp_frame(data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, VIP, 60).udp(40_000, 53);
    let mut frame = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut frame, data).unwrap();
    frame
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

fn refusal(frame: &[u8], offload: Offload) -> OffloadError {
    Plan::new(&Packet::parse(frame).unwrap(), offload).unwrap_err()
}

#[test]
fn tcp_headers_follow_their_place() {
    let frame = tcp_frame(2500);
    let segments = split(&frame, TCP);
    let expected = [
        (0xfffe, u32::MAX - 999, (true, false, false), 1000),
        (0xffff, 0, (false, false, false), 1000),
        (0, 1000, (false, true, true), 500),
    ];
    assert_eq!(segments.len(), expected.len());
    for (segment, (identification, sequence, (cwr, psh, fin), data_len)) in
        segments.iter().zip(expected)
    {
        let ip = Ipv4HeaderSlice::from_slice(segment).unwrap();
        let tcp = TcpHeaderSlice::from_slice(&segment[20..]).unwrap();
        assert_eq!(usize::from(ip.total_len()), segment.len());
        assert_eq!(segment.len(), 40 + data_len);
        assert_eq!(ip.identification(), identification);
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        assert_eq!(tcp.sequence_number(), sequence);
        assert_eq!((tcp.cwr(), tcp.psh(), tcp.fin(), tcp.ack()), (cwr, psh, fin, true));
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(&ip, &segment[40..]).unwrap());
    }
    let joined: Vec<u8> = segments.iter().flat_map(|segment| &segment[40..]).copied().collect();
    assert_eq!(joined, &frame[40..]);
}

#[test]
fn one_segment_or_less_is_the_packet_itself() {
    for data_len in [0, 1, 999, 1000] {
        let frame = tcp_frame(data_len);
        assert_eq!(split(&frame, TCP), [frame], "{data_len} bytes");
    }
    assert_eq!(split(&tcp_frame(1001), TCP).len(), 2);
}

#[test]
fn udp_datagrams_have_their_own_length_and_checksum() {
    let frame = udp_frame(&[7; 2001]);
    let datagrams = split(&frame, UDP);
    assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), [1028, 1028, 29]);
    for datagram in datagrams {
        let ip = Ipv4HeaderSlice::from_slice(&datagram).unwrap();
        let udp = UdpHeaderSlice::from_slice(&datagram[20..]).unwrap().to_header();
        assert_eq!(usize::from(udp.length), datagram.len() - 20);
        let expected = udp.calc_checksum_ipv4(&ip.to_header(), &datagram[28..]).unwrap();
        assert_eq!(udp.checksum, expected);
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    let of = |datagram: &[u8]| u16::from_be_bytes([datagram[26], datagram[27]]);
    // The checksum falls as the salt rises: adding it to a salt of zero makes the sum complete.
    let salt = of(&udp_frame(&[0, 0]));
    let frame = udp_frame(&salt.to_be_bytes());
    assert_eq!(of(&split(&frame, UDP)[0]), 0xffff);
}

#[test]
fn segments_of_one_byte_are_as_many_as_there_are_bytes() {
    let frame = tcp_frame(65_535 - 40);
    let one = Offload::Tcp { segment: 1, start: 20 };
    let plan = Plan::new(&Packet::parse(&frame).unwrap(), one).unwrap();
    assert_eq!(plan.count(), 65_495);
    let mut header = [0; MAX_HEADER_LEN];
    assert_eq!(plan.write(65_494, &frame, &mut header), Some(65_534..65_535));
    assert_eq!(plan.write(65_495, &frame, &mut header), None, "one past the last");
    assert_eq!(plan.write(usize::MAX, &frame, &mut header), None);
}

#[test]
fn the_longest_headers_fit_and_no_shorter_room_does() {
    let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(
        etherparse::Ipv4Header {
            source: CLIENT,
            destination: VIP,
            options: [1; 40].into(),
            ..Default::default()
        },
        Default::default(),
    ))
    .tcp(1, 2, 3, 4)
    .options_raw(&[1; 40])
    .unwrap();
    let mut frame = vec![0; builder.size(3000)];
    builder.write_to_slice(&mut frame, &[7; 3000]).unwrap();
    let offload = Offload::Tcp { segment: MSS, start: 60 };
    let plan = Plan::new(&Packet::parse(&frame).unwrap(), offload).unwrap();
    assert_eq!(plan.header_len(), 120);
    assert!(plan.write(0, &frame, &mut [0; 120]).is_some());
    assert_eq!(plan.write(0, &frame, &mut [0; 119]), None);
    for segment in split(&frame, offload) {
        let ip = Ipv4HeaderSlice::from_slice(&segment).unwrap();
        let tcp = TcpHeaderSlice::from_slice(&segment[60..]).unwrap();
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(&ip, &segment[120..]).unwrap());
    }
}

#[test]
fn a_packet_shorter_than_the_planned_one_is_refused() {
    let frame = tcp_frame(2000);
    let plan = Plan::new(&Packet::parse(&frame).unwrap(), TCP).unwrap();
    let mut header = [0; MAX_HEADER_LEN];
    assert_eq!(plan.write(1, &frame[..2039], &mut header), None);
    assert_eq!(plan.write(1, &frame, &mut header), Some(1040..2040));
}

#[test]
fn an_offload_that_contradicts_the_packet_is_refused() {
    let (tcp, udp) = (tcp_frame(2000), udp_frame(&[0; 2000]));
    assert_eq!(refusal(&tcp, UDP), OffloadError::Mismatch);
    assert_eq!(refusal(&udp, TCP), OffloadError::Mismatch);
    assert_eq!(refusal(&tcp, Offload::None), OffloadError::Mismatch);
    assert_eq!(refusal(&tcp, Offload::Checksum { start: 20, offset: 16 }), OffloadError::Mismatch);
    let zero = Offload::Tcp { segment: 0, start: 20 };
    assert_eq!(refusal(&tcp, zero), OffloadError::ZeroSegment);
    for start in [1, 19, 21, 24, u16::MAX] {
        let offload = Offload::Tcp { segment: MSS, start };
        assert_eq!(refusal(&tcp, offload), OffloadError::Checksum, "start {start}");
    }
    let unsaid = Offload::Tcp { segment: MSS, start: 0 };
    assert_eq!(split(&tcp, unsaid), split(&tcp, TCP), "the kernel may not say");
}

#[test]
fn fragments_syn_and_short_udp_lengths_are_no_super_frames() {
    let mut fragment = tcp_frame(2004);
    fragment[6] = 0x20;
    assert_eq!(refusal(&fragment, TCP), OffloadError::Fragment);
    let mut syn = tcp_frame(2000);
    syn[33] |= Flags::SYN;
    assert_eq!(refusal(&syn, TCP), OffloadError::Mismatch);
    let mut short = udp_frame(&[0; 2000]);
    short[24..26].copy_from_slice(&2007_u16.to_be_bytes());
    assert_eq!(refusal(&short, UDP), OffloadError::Mismatch);
}

#[test]
fn a_partial_checksum_is_completed() {
    let whole = udp_frame(b"query");
    let mut partial = whole.clone();
    let sum = Sum::pseudo_header(CLIENT.into(), VIP.into(), 17, 13).fold();
    partial[26..28].copy_from_slice(&sum.to_be_bytes());
    complete_checksum(&mut partial, 20, 6).unwrap();
    assert_eq!(partial, whole);
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
