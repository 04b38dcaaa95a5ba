#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::Packet;
use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, Family, Ip};
use crate::wire::segment::{self as split, SplitPlan};
use crate::wire::virtio::{Offload, split_frame};

const SIZE: usize = 1_000;
const ACK: u8 = Flags::ACK;
const PSH: u8 = Flags::ACK | Flags::PSH;
/// A timestamp (RFC 7323), as most segments have it.
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];

fn of_size(family: Family, index: usize, size: usize, len: usize) -> Ip {
    let data: Vec<u8> = (0..=250).cycle().skip(index).take(len).collect();
    // The sequence number wraps within three segments.
    let sequence = (u32::MAX - 1_500).wrapping_add(u32::try_from(index * size).unwrap());
    let identification = 0xfffe_u16.wrapping_add(u16::try_from(index).unwrap());
    family
        .tcp(ACK)
        .sequence(sequence)
        .identification(identification)
        .tcp_options(&OPTIONS)
        .data(&data)
}

/// Segment `index` of a stream.
fn nth(family: Family, index: usize) -> Ip {
    of_size(family, index, SIZE, SIZE)
}

fn frame(packet: impl Into<Vec<u8>>) -> Vec<u8> {
    [&[0; HEADER_LEN][..], &packet.into()].concat()
}

impl From<Ip> for Vec<u8> {
    fn from(packet: Ip) -> Self {
        packet.bytes()
    }
}

/// A frame is a plain one with the packet.
fn frames(packets: impl IntoIterator<Item = Ip>) -> Vec<Vec<u8>> {
    packets.into_iter().map(frame).collect()
}

/// The indexes of each group's frames, in the order of writing.
fn sorted(frames: &[Vec<u8>]) -> Vec<Vec<usize>> {
    let mut coalescer = Coalescer::default();
    coalescer.sort(frames);
    coalescer.groups().map(|group| coalescer.frame_indexes(group).collect()).collect()
}

/// The merged frame of the only group.
fn merged(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut coalescer = Coalescer::default();
    coalescer.sort(frames);
    let mut groups = coalescer.groups();
    let (group, None) = (groups.next().unwrap(), groups.next()) else { panic!("several groups") };
    let mut room = [0; MAX_HEADER_LEN];
    let len = Coalescer::header(group, &frames[group.first()], &mut room).unwrap();
    let payloads =
        coalescer.frame_indexes(group).flat_map(|index| group.payload(&frames[index]).to_vec());
    let frame: Vec<u8> = room[..len].iter().copied().chain(payloads).collect();
    assert_eq!(frame.len(), HEADER_LEN + group.packet_len());
    frame
}

fn split_up(frame: &[u8]) -> Vec<Vec<u8>> {
    let (offload, packet) = split_frame(frame).unwrap();
    let plan = SplitPlan::new(&Packet::parse(packet).unwrap(), offload).unwrap();
    let segment = |index| {
        let mut header = [0; split::MAX_HEADER_LEN];
        let payload = plan.write(index, packet, &mut header).unwrap();
        [&header[..plan.header_len()], &packet[payload]].concat()
    };
    (0..plan.count()).map(|index| self::frame(segment(index))).collect()
}

#[test]
fn segments_in_order_become_one_frame_and_come_apart_as_they_were() {
    for family in FAMILIES {
        let last = of_size(family, 3, SIZE, 7).flags(PSH);
        let before = frames([nth(family, 0), nth(family, 1), nth(family, 2), last]);
        let after = merged(&before);
        let (offload, packet) = split_frame(&after).unwrap();
        let start = u16::try_from(family.header_len()).unwrap();
        assert_eq!(offload, Offload::Tcp { segment: 1_000, start });
        let (header, _) = Header::decode(&after).unwrap();
        assert_eq!(header.gso_type, family.pick(GSO_TCPV4, GSO_TCPV6));
        assert_eq!((header.flags, header.hdr_len), (NEEDS_CSUM, start + 32));
        assert_eq!((header.csum_start, header.csum_offset), (start, 16));
        assert_eq!(packet.len(), family.header_len() + 32 + 3_007);
        assert_eq!(split_up(&after), before);
    }
}

/// The kernel replaces the field by the complement of the whole sum, which must be a whole packet's
/// checksum.
#[test]
fn the_merged_frames_checksums_are_those_of_a_large_packet() {
    for family in FAMILIES {
        let after = merged(&frames([nth(family, 0), nth(family, 1)]));
        let mut packet = after[HEADER_LEN..].to_vec();
        let start = u16::try_from(family.header_len()).unwrap();
        split::complete_checksum(&mut packet, start, 16).unwrap();
        let data: Vec<u8> = [&nth(family, 0), &nth(family, 1)]
            .into_iter()
            .flat_map(|part| part.clone().bytes()[family.header_len() + 32..].to_vec())
            .collect();
        assert_eq!(packet, nth(family, 0).data(&data).bytes());
    }
}

/// Each of these differs from the second segment in one thing.
#[test]
fn any_difference_ends_the_frame() {
    for family in FAMILIES {
        let second = || nth(family, 1);
        let mut other_options = OPTIONS;
        other_options[7] += 1;
        let mut rows = vec![
            ("another client", second().from(family.router())),
            ("another virtual IP", second().to(family.real(3))),
            ("another source port", second().source_port(40_001)),
            ("another destination port", second().destination_port(81)),
            ("the same again", nth(family, 0)),
            ("a gap", nth(family, 2)),
            ("another acknowledgement", second().acknowledgement(2_001)),
            ("another window", window(&second())),
            ("an urgent pointer", urgent(&second())),
            ("other options", second().tcp_options(&other_options)),
            ("fewer options", second().tcp_options(&[])),
            ("another TTL", second().ttl(61)),
            ("another traffic class", second().traffic_class(4)),
            ("another ECN field", second().traffic_class(1)),
            ("a longer one", of_size(family, 1, SIZE, SIZE + 1)),
            ("an empty one", second().data(&[])),
        ];
        for flag in [Flags::FIN, Flags::SYN, Flags::RST, 0x20, 0x40, Flags::CWR] {
            rows.push(("another flag", second().flags(ACK | flag)));
        }
        rows.push(("no acknowledgement", second().flags(0)));
        rows.push(match family {
            Family::V4 => ("no DF", second().dont_fragment(false)),
            Family::V6 => ("another flow label", second().flow_label(1)),
        });
        for (name, other) in rows {
            let flow = sorted(&frames([nth(family, 0), other.clone()]));
            assert_eq!(flow, [[0], [1]], "{name}, {family:?}");
        }
    }
}

/// Not even if all segments have them.
#[test]
fn flags_but_ack_and_push_are_never_merged() {
    for (family, flags) in
        FAMILIES.into_iter().flat_map(|family| (0..=255).map(move |flags| (family, flags)))
    {
        let both = sorted(&frames([nth(family, 0).flags(flags), nth(family, 1).flags(flags)]));
        assert_eq!(both.len(), if flags == ACK { 1 } else { 2 }, "{flags:#x}, {family:?}");
    }
}

fn window(packet: &Ip) -> Ip {
    with_header(packet, |header| header.window_size += 1)
}

fn urgent(packet: &Ip) -> Ip {
    with_header(packet, |header| header.urgent_pointer = 1)
}

fn with_header(packet: &Ip, change: impl Fn(&mut etherparse::TcpHeader)) -> Ip {
    let bytes = packet.clone().bytes();
    let upper = Packet::parse(&bytes).unwrap().payload().to_vec();
    let (mut header, _) = etherparse::TcpHeader::from_slice(&upper).unwrap();
    change(&mut header);
    packet.clone().tcp_header(header)
}

#[test]
fn reserved_bits_are_never_merged() {
    for family in FAMILIES {
        let with = |index| with_header(&nth(family, index), |header| header.ns = true);
        assert_eq!(sorted(&frames([with(0), with(1)])), [[0], [1]]);
    }
}

#[test]
fn a_push_or_a_shorter_segment_is_the_last() {
    for family in FAMILIES {
        let push =
            frames([nth(family, 0), nth(family, 1).flags(PSH), nth(family, 2), nth(family, 3)]);
        assert_eq!(sorted(&push), [vec![0, 1], vec![2, 3]]);
        let first = frames([nth(family, 0).flags(PSH), nth(family, 1), nth(family, 2)]);
        assert_eq!(sorted(&first), [vec![0], vec![1, 2]]);
        let short = |index, len| of_size(family, index, SIZE - 1, len);
        let shorter = frames([short(0, SIZE - 1), short(1, SIZE - 2), short(2, SIZE - 1)]);
        assert_eq!(sorted(&shorter), [vec![0, 1], vec![2]]);
    }
}

#[test]
fn a_segment_with_a_wrong_checksum_is_not_merged() {
    for family in FAMILIES {
        let wrong = |index| nth(family, index).flip_upper(40);
        let of =
            |second, first: Ip| sorted(&frames([first, second, nth(family, 2), nth(family, 3)]));
        assert_eq!(of(wrong(1), nth(family, 0)), [vec![0], vec![1], vec![2, 3]]);
        assert_eq!(of(nth(family, 1), wrong(0)), [vec![0], vec![1, 2, 3]]);
        assert_eq!(of(wrong(1), wrong(0)), [vec![0], vec![1], vec![2, 3]]);
    }
    let wrong = |index: usize| nth(Family::V4, index).set(10, 0).set(11, 0);
    let wrong = frames([nth(Family::V4, 0), wrong(1), nth(Family::V4, 2)]);
    assert_eq!(sorted(&wrong), [[0], [1], [2]], "the IPv4 header's");
}

/// Their checksum fields hold only the pseudo-header's sum, as their virtio-net header says.
#[test]
fn what_the_nic_has_merged_is_left_alone() {
    for family in FAMILIES {
        let mut two = frames([nth(family, 0), nth(family, 1), nth(family, 2)]);
        two[1][0] = NEEDS_CSUM;
        assert_eq!(sorted(&two), [[0], [1], [2]]);
    }
}

#[test]
fn identifications_count_up_or_stay_with_df() {
    let ids = |df: bool, ids: [u16; 4]| {
        let packet = |(index, id)| nth(Family::V4, index).identification(id).dont_fragment(df);
        sorted(&frames(ids.into_iter().enumerate().map(packet)))
    };
    for df in [false, true] {
        assert_eq!(ids(df, [0xfffe, 0xffff, 0, 1]), [[0, 1, 2, 3]], "DF {df}");
        assert_eq!(ids(df, [5, 7, 9, 11]), [[0], [1], [2], [3]], "DF {df}");
        assert_eq!(ids(df, [5, 6, 6, 7]), [[0, 1], [2, 3]], "DF {df}");
        assert_eq!(ids(df, [7, 6, 5, 4]), [[0], [1], [2], [3]], "DF {df}");
    }
    assert_eq!(ids(true, [0, 0, 0, 0]), [[0, 1, 2, 3]]);
    assert_eq!(ids(true, [0, 0, 1, 2]), [[0, 1], [2, 3]]);
    assert_eq!(ids(false, [9, 9, 9, 9]), [[0], [1], [2], [3]]);
}

fn of_flow(number: u16, index: usize) -> Ip {
    let family = FAMILIES[usize::from(number % 2)];
    nth(family, index).source_port(40_000 + number)
}

#[test]
fn at_most_eight_flows_are_open_at_a_time() {
    let flows = |count: u16| {
        let packets = (0..2).flat_map(|index| (0..count).map(move |flow| of_flow(flow, index)));
        sorted(&frames(packets))
    };
    let side_by_side: Vec<_> = (0..MAX_OPEN).map(|flow| vec![flow, flow + MAX_OPEN]).collect();
    assert_eq!(flows(u16::try_from(MAX_OPEN).unwrap()), side_by_side);
    // The ninth ends the first, whose next ends the second, and so on.
    assert_eq!(flows(u16::try_from(MAX_OPEN + 1).unwrap()).len(), 2 * (MAX_OPEN + 1));
    let one_more = (0..=8).map(|flow| of_flow(flow, 0)).chain((1..=8).map(|flow| of_flow(flow, 1)));
    assert_eq!(sorted(&frames(one_more)).len(), MAX_OPEN + 1, "only the oldest ended");
}

#[test]
fn a_flows_packets_stay_in_order() {
    for family in FAMILIES {
        let ends = |end: Ip| {
            let other = || of_flow(family.pick(7, 8), 0);
            sorted(&frames([
                nth(family, 0),
                other(),
                nth(family, 1),
                end,
                nth(family, 2),
                nth(family, 3),
            ]))
        };
        let apart = [vec![0, 2], vec![1], vec![3], vec![4, 5]];
        let of_the_flow = nth(family, 9).flags(Flags::RST);
        assert_eq!(ends(of_the_flow), apart);
        // Its flow is unknown.
        assert_eq!(ends(nth(family, 1).fragment(8 * 100, true)), apart);
        match family {
            Family::V4 => assert_eq!(ends(nth(family, 2).options(&[1; 4])), apart),
            Family::V6 => {
                let behind = nth(family, 2).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                assert_eq!(ends(behind), apart);
            }
        }
        let through = [vec![0, 2, 4, 5], vec![1], vec![3]];
        assert_eq!(ends(family.udp(80).data(&[1; 8])), through);
        assert_eq!(ends(family.icmp_echo(b"ping")), through);
    }
}

#[test]
fn udp_is_never_merged() {
    for family in FAMILIES {
        let datagrams = (0..4).map(|_| family.udp(80).data(&[7; 1_200]));
        assert_eq!(sorted(&frames(datagrams)).len(), 4);
    }
}

#[test]
fn the_longest_frame_and_one_byte_more() {
    for family in FAMILIES {
        let data = MAX_MERGED_LEN - family.header_len() - 32;
        let size = data / 5 + 4;
        let of = |last| {
            sorted(&frames(
                (0..5)
                    .map(|index| of_size(family, index, size, if index < 4 { size } else { last })),
            ))
        };
        assert_eq!(of(data - 4 * size), [[0, 1, 2, 3, 4]]);
        assert_eq!(of(data - 4 * size + 1), [vec![0, 1, 2, 3], vec![4]]);
        let longest =
            frames((0..5).map(|index| of_size(family, index, size, size.min(data - index * size))));
        let after = merged(&longest);
        assert_eq!(after.len(), HEADER_LEN + MAX_MERGED_LEN);
        assert_eq!(split_up(&after), longest);
    }
}

#[test]
fn a_full_batch_and_one_frame_more() {
    for family in FAMILIES {
        let segments = |count| frames((0..count).map(|index| of_size(family, index, 100, 100)));
        let mut coalescer = Coalescer::default();
        for (given, taken) in [(0, 0), (1, 1), (MAX_BATCH, MAX_BATCH), (MAX_BATCH + 1, MAX_BATCH)] {
            assert_eq!(coalescer.sort(&segments(given)), taken);
            let counts: Vec<_> = coalescer.groups().map(Group::count).collect();
            assert_eq!(counts, if taken == 0 { vec![] } else { vec![taken] });
        }
        let alone = (0..MAX_BATCH).map(|_| nth(family, 0));
        assert_eq!(sorted(&frames(alone)).len(), MAX_BATCH);
    }
}

#[test]
fn the_longest_headers_fit() {
    let of = |index: usize| nth(Family::V6, index).tcp_options(&[1; 40]);
    let before = frames([of(0), of(1)]);
    let after = merged(&before);
    assert_eq!(after.len(), MAX_HEADER_LEN + 2 * SIZE);
    assert_eq!(split_up(&after), before);
}

#[test]
fn one_frame_alone_has_no_other_header() {
    let alone = frames([nth(Family::V4, 0)]);
    let mut coalescer = Coalescer::default();
    coalescer.sort(&alone);
    let group = *coalescer.groups().next().unwrap();
    assert_eq!(Coalescer::header(&group, &alone[0], &mut [0; MAX_HEADER_LEN]), None);
}

/// The gate refuses such packets; here they must only not be merged.
#[test]
fn what_is_cut_off_or_longer_than_it_says_is_left_alone() {
    for family in FAMILIES {
        let whole = frame(nth(family, 1));
        for len in 0..whole.len() {
            let groups = sorted(&[frame(nth(family, 0)), whole[..len].to_vec()]);
            assert_eq!(groups, [[0], [1]], "{len} bytes, {family:?}");
        }
        let longer = frame(nth(family, 1).append(b"more"));
        assert_eq!(sorted(&[frame(nth(family, 0)), longer]), [[0], [1]]);
    }
}
