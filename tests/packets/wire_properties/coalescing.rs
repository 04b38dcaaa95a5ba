//! Coalescing and splitting a batch again gives the same batch, whatever its packets.

use proptest::collection::vec;
use proptest::prelude::*;
use vstun::wire::Packet;
use vstun::wire::coalesce::{Coalescer, Group, MAX_BATCH, MAX_HEADER_LEN};
use vstun::wire::virtio;

use super::build::{Family, Ip};
use super::{checksums_are_right, family, split};

/// The next packet of a stream, or a possible disturbance.
#[derive(Clone, Copy, Debug)]
enum Step {
    Next,
    Short,
    Push,
    Again,
    Lost,
    Empty,
    Flags(u8),
    Window,
    Acknowledgement,
    Options,
    Ttl,
    TrafficClass(u8),
    WrongChecksum,
    WrongHeader,
    Fragment,
    Datagram,
    Merged,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => Just(Step::Next),
        3 => Just(Step::Short),
        3 => Just(Step::Push),
        1 => prop::sample::select(
            vec![Step::Again, Step::Lost, Step::Empty, Step::Window, Step::Acknowledgement],
        ),
        1 => prop::sample::select(
            vec![Step::Options, Step::Ttl, Step::WrongChecksum, Step::WrongHeader],
        ),
        1 => prop::sample::select(vec![Step::Fragment, Step::Datagram, Step::Merged]),
        1 => any::<u8>().prop_map(Step::Flags),
        1 => any::<u8>().prop_map(Step::TrafficClass),
    ]
}

/// One sender.
#[derive(Clone, Debug)]
struct Flow {
    family: Family,
    port: u16,
    sequence: u32,
    identification: u16,
    counts: bool,
    dont_fragment: bool,
    flow_label: u32,
    size: usize,
    options: Vec<u8>,
}

fn flow() -> impl Strategy<Value = Flow> {
    let options = (0_usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4));
    let numbers = (any::<u32>(), any::<u16>(), 0_u32..1 << 20, 1_usize..1_400);
    (family(), 0_u16..3, numbers, any::<[bool; 2]>(), options).prop_map(
        |(
            family,
            port,
            (sequence, identification, label, size),
            [counts, dont_fragment],
            options,
        )| Flow {
            family,
            port: 40_000 + port,
            sequence,
            identification,
            counts,
            dont_fragment,
            flow_label: family.pick(0, label),
            size,
            options,
        },
    )
}

impl Flow {
    fn segment(&self, len: usize) -> Ip {
        let data: Vec<u8> =
            (0..=250).cycle().skip(self.sequence as usize % 251).take(len).collect();
        let ip = self.family.tcp(0x10).source_port(self.port).sequence(self.sequence);
        let ip = ip.tcp_options(&self.options).identification(self.identification).data(&data);
        match self.family {
            Family::V4 => ip.dont_fragment(self.dont_fragment),
            Family::V6 => ip.flow_label(self.flow_label),
        }
    }

    /// A frame as the gate leaves it.
    fn frame(&mut self, step: Step) -> Vec<u8> {
        let len = if matches!(step, Step::Short) { self.size.div_ceil(2) } else { self.size };
        let len = if matches!(step, Step::Empty) { 0 } else { len };
        let ip = self.segment(len);
        let mut header = virtio::Header::default();
        let ip = match step {
            Step::Next | Step::Short | Step::Again | Step::Lost | Step::Empty => ip,
            Step::Push => ip.flags(0x18),
            Step::Flags(flags) => ip.flags(flags),
            Step::Window => ip.set_upper(14, 0),
            Step::Acknowledgement => ip.acknowledgement(9_999),
            Step::Options => ip.tcp_options(&[1; 8]),
            Step::Ttl => ip.ttl(9),
            Step::TrafficClass(class) => ip.traffic_class(class),
            Step::WrongChecksum => ip.flip_upper(17),
            Step::WrongHeader => ip.set(self.family.pick(10, 7), 0x5a),
            Step::Fragment => ip.fragment(8, true),
            Step::Datagram => self.family.udp(53).source_port(self.port).data(&[7; 20]),
            Step::Merged => {
                header.flags = virtio::NEEDS_CSUM;
                ip
            }
        };
        self.identification = self.identification.wrapping_add(u16::from(self.counts));
        let moved = if matches!(step, Step::Again) { 0 } else { len };
        let gap = if matches!(step, Step::Lost) { 1 } else { 0 };
        self.sequence = self.sequence.wrapping_add(u32::try_from(moved + gap).unwrap());
        [&header.encode()[..], &ip.bytes()].concat()
    }
}

/// The packets of a group's frame.
fn apart(coalescer: &Coalescer, group: &Group, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut room = [0; MAX_HEADER_LEN];
    let Some(len) = Coalescer::header(group, &frames[group.first()], &mut room) else {
        return vec![frames[group.first()][virtio::HEADER_LEN..].to_vec()];
    };
    let payloads = coalescer.frame_indexes(group).flat_map(|index| group.payload(&frames[index]));
    let frame: Vec<u8> = room[..len].iter().chain(payloads).copied().collect();
    let (offload, packet) = virtio::split_frame(&frame).unwrap();
    split(packet, offload)
}

/// The meaningful bytes: the identification of an IPv4 packet with DF is not (RFC 6864 section
/// 4.1), nor its part of the checksum.
fn meaning(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] == 0x45 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// The key of what stays in order: a TCP flow's addresses and ports.
fn flow_of(frame: &[u8]) -> Option<(Vec<u8>, u16)> {
    let packet = Packet::parse(&frame[virtio::HEADER_LEN..]).ok()?;
    let vstun::wire::Transport::Tcp(header) = packet.transport else { return None };
    Some((packet.source.to_string().into_bytes(), header.source_port))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn coalesced_and_split_is_what_it_was(
        mut flows in vec(flow(), 1..12),
        script in vec((any::<prop::sample::Index>(), step()), 1..MAX_BATCH + 6),
        runs in 1_usize..9,
    ) {
        // A sender's packets come in runs.
        let script = script.chunks(runs).flat_map(|run| {
            run.iter().map(|(_, step)| (run[0].0, *step))
        });
        let count = flows.len();
        let frame = |(flow, step): (prop::sample::Index, _)| flows[flow.index(count)].frame(step);
        let frames: Vec<_> = script.map(frame).collect();
        let mut coalescer = Coalescer::default();
        let sorted = coalescer.sort(&frames);
        prop_assert_eq!(sorted, frames.len().min(MAX_BATCH));

        let indexes = |group| coalescer.frame_indexes(group);
        let written: Vec<usize> = coalescer.groups().flat_map(indexes).collect();
        let mut all = written.clone();
        all.sort_unstable();
        prop_assert_eq!(all, (0..sorted).collect::<Vec<_>>(), "each is written once");
        for (at, index) in written.iter().enumerate() {
            let overtaken = written[at..].iter().find(|later| {
                *later < index && flow_of(&frames[**later]) == flow_of(&frames[*index])
            });
            prop_assert!(overtaken.is_none() || flow_of(&frames[*index]).is_none());
        }
        for group in coalescer.groups() {
            let indexes: Vec<_> = coalescer.frame_indexes(group).collect();
            let packet = |index: &usize| &frames[*index][virtio::HEADER_LEN..];
            let before: Vec<_> = indexes.iter().map(packet).collect();
            let after = apart(&coalescer, group, &frames);
            if indexes.len() > 1 {
                let right = before.iter().all(|packet| checksums_are_right(packet));
                prop_assert!(right, "none that is wrong is merged");
                prop_assert!(after.iter().all(|packet| checksums_are_right(packet)));
            }
            let meaning = |packets: &[&[u8]]| {
                packets.iter().map(|packet| meaning(packet)).collect::<Vec<_>>()
            };
            let after: Vec<&[u8]> = after.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(meaning(&after), meaning(&before));
        }
    }

    /// A sender that numbers its packets gets the same numbers, byte for byte.
    #[test]
    fn a_streams_segments_come_back_to_the_byte(mut flow in flow(), count in 2..=MAX_BATCH) {
        flow.counts = true;
        let frames: Vec<_> = (0..count).map(|_| flow.frame(Step::Next)).collect();
        let mut coalescer = Coalescer::default();
        coalescer.sort(&frames);
        let pieces = |group| apart(&coalescer, group, &frames);
        let after: Vec<_> = coalescer.groups().flat_map(pieces).collect();
        let packet = |frame: &Vec<u8>| frame[virtio::HEADER_LEN..].to_vec();
        let before: Vec<_> = frames.iter().map(packet).collect();
        prop_assert_eq!(after, before);
        let packet_len = frames[0].len() - virtio::HEADER_LEN;
        let merged_len = packet_len + (count - 1) * flow.size;
        prop_assert_eq!(coalescer.groups().count() == 1, merged_len <= 65_535);
    }
}
