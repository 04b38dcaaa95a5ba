//! One function per fuzz target: accepts any bytes, and panics if the code under test breaks a
//! guarantee.

use std::net::IpAddr;
use std::time::Duration;

use vstun::balancer::fragments::{Bounds, LIFETIME};
use vstun::balancer::{Balancer, Change, Limits, Outlet, Tunnel, Verdict};
use vstun::config;
use vstun::decap::{Admission, Gate, Mss, Payload};
use vstun::doctor::inquiry::{InquiryAnswer, Question};
use vstun::model::{Millis, Policy, RealSpec, SchedulerKind, Seed, ServiceSpec};
use vstun::trace::reading::Reader;
use vstun::trace::replay::Replay;
use vstun::wire::checksum::Sum;
use vstun::wire::coalesce::{self, Coalescer, Group, MAX_BATCH};
use vstun::wire::encap::{self, MAX_OUTER_LEN, Outer, gue, ipip};
use vstun::wire::packet::MAX_PACKET_LEN;
use vstun::wire::segment::{MAX_HEADER_LEN, SplitPlan, complete_checksum};
use vstun::wire::virtio::{self, Offload};
use vstun::wire::{Fragment, Packet, Transport, icmp, protocol, tcp};

#[path = "../../tests/packets/pieces.rs"]
#[allow(dead_code)] // tests need more of it
mod pieces;
#[path = "../../tests/packets/recorder.rs"]
mod recorder;

use pieces::piece;
use recorder::{Recorder, Sent};

/// A target's function.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const ALL: [(&str, Body); 8] = [
    ("frames", frames),
    ("fragments", fragments),
    ("decapsulation", decapsulation),
    ("merged_gue", merged_gue),
    ("coalescing", coalescing),
    ("quotes", quotes),
    ("configuration", configuration),
    ("recordings", recordings),
];

/// A frame from the director's TUN: parsed, completed, split, answered.
pub fn frames(frame: &[u8]) {
    let mut frame = frame.to_vec();
    let Ok((offload, packet)) = virtio::split_frame(&frame) else { return };
    let start = frame.len() - packet.len();
    if let Offload::Checksum { start: from, offset } = offload
        && complete_checksum(&mut frame[start..], from, offset).is_err()
    {
        return;
    }
    let Ok(packet) = Packet::parse(&frame[start..]) else { return };
    assert!(packet.bytes().len() <= frame.len() - start);
    answers(&packet);
    if matches!(offload, Offload::Tcp { .. } | Offload::Udp { .. }) {
        segments(&packet, offload);
    }
}

/// A stream of fragments and pauses, eight bytes each: its kind, the datagram's number, the
/// fragment's start and length. For any stream every packet is accounted for, the bounds hold, and
/// only a first fragment releases others.
pub fn fragments(script: &[u8]) {
    let mut director = director();
    let mut now = Millis(0);
    for step in script.chunks_exact(8) {
        let [kind, number, start_high, start_low, len_high, len_low, more, port] = *step else {
            unreachable!("chunks of eight")
        };
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        if kind & 0xf0 == 0xf0 {
            now = now.after(Duration::from_millis(len as u64));
            director.expire(now);
            continue;
        }
        let start = usize::from(u16::from_be_bytes([start_high, start_low])) & !7;
        let whole = datagram(kind & 1 == 1, kind & 2 == 2, 80 + port % 2);
        // A page is enough, and quick.
        let end = start + (len & 0xfff);
        let bytes = piece(&whole, number.into(), start..end, more & 1 == 1);
        let Ok(packet) = Packet::parse(&bytes) else { continue };
        let verdict = director.forward(now, &packet);
        let mut recorder = Recorder::new(&bytes);
        director.carry_out(now, &verdict, &mut recorder);
        let first = matches!(verdict, Verdict::Tunnel(_)) && packet.fragment == Fragment::First;
        assert!(first || recorder.sent.len() <= 1);
        for sent in recorder.sent.iter().skip(1) {
            let Sent::ToReal(_, bytes) = sent else { panic!("an answer beside the packet") };
            let released = Packet::parse(bytes).expect("a packet");
            assert_eq!(released.fragment, Fragment::Later);
            assert_eq!(
                (released.source, released.destination),
                (packet.source, packet.destination)
            );
        }
        accounted(&director);
    }
    while director.snapshot().fragments.waiting + director.snapshot().fragments.decided > 0 {
        director.expire(now.after(LIFETIME));
    }
    assert_eq!(director.counters().held, 0);
    assert_eq!(director.snapshot().fragments.bytes, 0);
}

/// Both families' virtual IPs at port 80, before one real server.
fn director() -> Balancer {
    let limits = Limits { connections: 16, refusals_per_second: 10 };
    let mut director = Balancer::new(limits, Seed(1, 2));
    let listens = [
        "192.0.2.10:80/tcp",
        "192.0.2.10:80/udp",
        "[2001:db8::10]:80/tcp",
        "[2001:db8::10]:80/udp",
    ];
    let spec = ServiceSpec {
        name: "web".to_owned(),
        listens: listens.map(|listen| listen.parse().expect("a listen")).to_vec(),
        scheduler: SchedulerKind::RoundRobin,
        reals: vec![RealSpec::new([10, 0, 0, 11].into(), 1)],
        policy: Policy::default(),
    };
    director.apply(Millis(0), &Change::AddService(spec)).expect("a service");
    director
}

/// A packet from a client to the virtual IP, whose data is its transport header.
fn datagram(is_ipv6: bool, is_tcp: bool, port: u8) -> Vec<u8> {
    let protocol = if is_tcp { protocol::TCP } else { protocol::UDP };
    let header = if is_ipv6 {
        let (client, vip) = ([0x20, 1, 0xd, 0xb8, 0, 7], [0x20, 1, 0xd, 0xb8, 0, 0]);
        let address = |prefix: [u8; 6], last| [&prefix[..], &[0; 9], &[last]].concat();
        [&[0x60, 0, 0, 0, 0, 0, protocol, 64][..], &address(client, 7), &address(vip, 0x10)]
            .concat()
    } else {
        vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]
    };
    let transport = [156, 64, 0, port, 255, 255, 0, 0, 0, 0, 0, 0, 0x50, tcp::Flags::SYN];
    [header, transport.to_vec()].concat()
}

fn accounted(director: &Balancer) {
    let counters = director.counters();
    let fates = counters.tunnelled + counters.replied() + counters.dropped_total() + counters.held;
    assert_eq!(counters.read, fates);
    let fragments = director.snapshot().fragments;
    assert!(fragments.waiting <= Bounds::DEFAULT.waiting);
    assert!(fragments.decided <= Bounds::DEFAULT.decided);
    assert!(fragments.bytes <= Bounds::DEFAULT.bytes);
    assert!(fragments.waiting as u64 <= counters.held, "who waits holds something");
}

/// Bytes before a datagram whose outer header the kernel has removed.
const HEADROOM: usize = 64;

/// A datagram from the real server's raw sockets: with its outer header; and without, where the
/// first byte is the outer traffic class and the second says what the socket receives.
pub fn decapsulation(datagram: &[u8]) {
    admission(datagram, Gate::open);
    let [traffic_class, version, inner @ ..] = datagram else { return };
    let payload = [Payload::Packet(4), Payload::Packet(6), Payload::Gre, Payload::Gue];
    let payload = payload[usize::from(version & 3)];
    let room = [&[0; HEADROOM], inner].concat();
    admission(&room, |gate, room| {
        let source = "fd00::1".parse().expect("an address");
        gate.open_bare(payload, source, *traffic_class, HEADROOM, room)
    });
}

fn vips() -> [IpAddr; 2] {
    ["192.0.2.10", "2001:db8::10"].map(|vip| vip.parse::<IpAddr>().expect("an address"))
}

fn gate() -> Gate {
    let directors = ["10.0.0.0/8", "fd00::/64"].map(|net| net.parse().expect("a network"));
    let mss = Mss { v4: 1440, v6: 1420 };
    Gate::new(directors.to_vec(), vips().to_vec(), mss).with_gue_port(Some(gue::PORT))
}

/// GUE datagrams that the kernel has merged: after the traffic class and the length of each but the
/// last. Each is opened, and what is accepted is coalesced.
pub fn merged_gue(input: &[u8]) {
    let [traffic_class, high, low, datagrams @ ..] = input else { return };
    let piece = usize::from(u16::from_be_bytes([*high, *low])).max(1);
    let director = "10.0.0.1".parse().expect("an address");
    let (mut gate, mut datagrams, mut frames) = (gate(), datagrams.to_vec(), Vec::new());
    let count = datagrams.len().div_ceil(piece);
    assert!(!gate.refuse_merged(&director, count));
    for bytes in datagrams.chunks_mut(piece) {
        let before = bytes.to_vec();
        match gate.open_piece(director, *traffic_class, bytes) {
            Admission::DeliverPiece(header, place) => {
                let packet = Packet::parse(&bytes[place.clone()]).expect("a whole inner packet");
                assert!(vips().contains(&packet.destination));
                assert!(gue::open(&before).is_ok_and(|(_, start)| start == place.start));
                assert!(before[place.end..].iter().all(|byte| *byte == 0), "padding is zeros");
                frames.push([&header[..], packet.bytes()].concat());
            }
            Admission::Inquiry(_) => gate.count_inquiry(),
            Admission::Drop(_) => assert_eq!(bytes, before, "a refused datagram stays as it was"),
            Admission::Deliver(_) => panic!("there is no room for a header before it"),
        }
    }
    let counters = gate.counters();
    assert_eq!((counters.read, counters.gue_merged), (count as u64, count as u64));
    assert_eq!(counters.read, counters.delivered + counters.dropped_total());
    for frames in frames.chunks(MAX_BATCH) {
        coalesced(frames);
    }
}

fn admission(datagram: &[u8], open: impl FnOnce(&mut Gate, &mut [u8]) -> Admission) {
    let (vips, mut gate) = (vips(), gate());
    let mut room = datagram.to_vec();
    let outcome = open(&mut gate, &mut room);
    let counters = gate.counters();
    assert_eq!(counters.read, counters.delivered + counters.dropped_total());
    match outcome {
        Admission::Drop(refusal) => {
            assert_eq!(counters.dropped(refusal), 1);
            assert_eq!(room, datagram, "a refused datagram stays as it was");
        }
        Admission::Inquiry(range) => {
            assert_eq!(room, datagram, "a question stays as it was");
            let packet = Packet::parse(&room[range]).expect("a whole inner packet");
            if let Ok(question) = Question::parse(packet.payload()) {
                assert_eq!(Question::parse(&question.encode()), Ok(question));
            }
            let _ = InquiryAnswer::parse(packet.payload());
        }
        Admission::Deliver(range) => {
            let (offload, packet) = virtio::split_frame(&room[range]).expect("a frame for the TUN");
            let packet = Packet::parse(packet).expect("a whole inner packet");
            assert!(vips.contains(&packet.destination));
            assert!(!vips.contains(&packet.source));
            if let Offload::Tcp { .. } = offload {
                segments(&packet, offload);
            }
        }
        Admission::DeliverPiece(..) => panic!("it is whole"),
    }
}

/// A batch of frames as the gate leaves them: each is two bytes of length, a byte of virtio flags,
/// and the packet.
pub fn batch(mut batch: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [high, low, flags, rest @ ..] = batch {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, others) = rest.split_at(len);
        let header = virtio::Header { flags: flags & 1, ..virtio::Header::default() };
        frames.push([&header.encode()[..], packet].concat());
        batch = others;
    }
    frames
}

/// A batch, coalesced and split again.
pub fn coalescing(input: &[u8]) {
    coalesced(&batch(input));
}

fn coalesced(frames: &[Vec<u8>]) {
    let mut coalescer = Coalescer::default();
    let sorted = coalescer.sort(frames);
    assert_eq!(sorted, frames.len().min(MAX_BATCH));
    let mut places: Vec<_> =
        coalescer.groups().flat_map(|group| coalescer.frame_indexes(group)).collect();
    places.sort_unstable();
    assert_eq!(places, (0..sorted).collect::<Vec<_>>(), "each is written once");
    for group in coalescer.groups().filter(|group| group.count() > 1) {
        comes_apart(&coalescer, group, frames);
    }
}

/// A merged frame is a packet, and splits into its original packets.
fn comes_apart(coalescer: &Coalescer, group: &Group, frames: &[Vec<u8>]) {
    let mut room = [0; coalesce::MAX_HEADER_LEN];
    let len = Coalescer::header(group, &frames[group.first()], &mut room).expect("a merged frame");
    let payloads = coalescer.frame_indexes(group).flat_map(|place| group.payload(&frames[place]));
    let frame: Vec<u8> = room[..len].iter().chain(payloads).copied().collect();
    let (offload, packet) = virtio::split_frame(&frame).expect("a frame");
    let packet = Packet::parse(packet).expect("a packet");
    assert_eq!(packet.bytes().len(), group.packet_len());
    let plan = SplitPlan::new(&packet, offload).expect("a super-frame");
    assert_eq!(plan.count(), group.count());
    for (index, place) in coalescer.frame_indexes(group).enumerate() {
        let mut header = [0; MAX_HEADER_LEN];
        let payload = plan.write(index, packet.bytes(), &mut header).expect("a segment");
        let after = [&header[..plan.header_len()], &packet.bytes()[payload]].concat();
        let before = &frames[place][virtio::HEADER_LEN..];
        assert_eq!(after.len(), before.len());
        // All bytes except the identification, the checksums and those that are zero there.
        let checksums = usize::from(packet.header_len) + 16;
        let same = after.iter().zip(before).enumerate().all(|(at, (after, before))| {
            let in_header = packet.version() == 4 && ([4, 5, 10, 11].contains(&at));
            after == before || in_header || [checksums, checksums + 1].contains(&at)
        });
        assert!(same, "segment {index}");
    }
}

/// An ICMP error from a client's path.
pub fn quotes(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let Some(quote) = icmp::quote(&packet) else { return };
    assert!(icmp::is_error(&packet));
    assert!(matches!(quote.protocol, protocol::TCP | protocol::UDP));
    let _ = icmp::checksum_ok(&packet);
    assert_eq!(quote.source.is_ipv4(), packet.source.is_ipv4());
    assert_eq!(quote.destination.is_ipv4(), packet.source.is_ipv4());
    assert!(!icmp::concerns_the_link(&packet));
    let mut out = Vec::new();
    assert_eq!(icmp::port_unreachable(&packet, &mut out), None, "no error about an error");
}

/// A configuration text, read for both roles.
pub fn configuration(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Err(faults) = config::director(text) {
        assert!(!faults.is_empty(), "refused without a fault");
    }
    if let Err(faults) = config::realserver(text) {
        assert!(!faults.is_empty(), "refused without a fault");
    }
}

/// A file is replayed as far as it can be read, and no packet of it is longer than IP allows.
pub fn recordings(file: &[u8]) {
    const CONFIGURATION: &str = "[director]\nmax_connections = 100\n[[service]]\nname = \"web\"\n\
        listen = [\"192.0.2.10:80/tcp\", \"[2001:db8::10]:80/tcp\"]\nscheduler = \"rr\"\n\
        [[service.real]]\naddress = \"10.0.0.11\"\n[[service.real]]\naddress = \"10.0.0.12\"\n";
    let Ok(mut reader) = Reader::new(file) else { return };
    let config = config::director(CONFIGURATION).expect("a configuration");
    let Ok(mut replay) = Replay::new(&config, reader.begins(), None) else { return };
    while let Ok(Some(packet)) = reader.next_packet() {
        assert!(packet.captured <= packet.bytes.len() && packet.bytes.len() <= MAX_PACKET_LEN);
        let _ = replay.packet(&packet);
    }
    assert!(replay.outcome.differing <= replay.outcome.replayed);
}

/// Every answer is a packet from the destination to the sender, with right checksums.
fn answers(packet: &Packet<'_>) {
    let mut out = Vec::with_capacity(MAX_PACKET_LEN);
    let too_big = |packet: &Packet<'_>, out: &mut Vec<u8>| icmp::packet_too_big(packet, 1280, out);
    let room = (out.as_ptr(), out.capacity());
    for build in [icmp::echo_reply, icmp::port_unreachable, too_big, tcp::reset] {
        if build(packet, &mut out).is_none() {
            assert!(out.is_empty());
            continue;
        }
        let answer = Packet::parse(&out).expect("an answer is a packet");
        assert_eq!((answer.source, answer.destination), (packet.destination, packet.source));
        assert_eq!(answer.bytes().len(), out.len());
        assert_eq!(header_sum(&answer), 0xffff);
        match answer.transport {
            Transport::Icmp { .. } => assert!(icmp::checksum_ok(&answer)),
            _ => assert_eq!(transport_sum(&answer), 0xffff),
        }
        assert_eq!((out.as_ptr(), out.capacity()), room, "the longest answer fits");
        assert_eq!(tcp::reset(&answer, &mut Vec::new()), None, "no answer to an answer");
    }
}

/// The segments are packets with all of the super-frame's bytes in order, and fit into a tunnel.
fn segments(packet: &Packet<'_>, offload: Offload) {
    let Ok(plan) = SplitPlan::new(packet, offload) else { return };
    assert!(plan.header_len() <= MAX_HEADER_LEN);
    let ends: [(IpAddr, usize); 2] =
        [([10, 0, 0, 1].into(), 20), ([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), 40)];
    let mut end = plan.header_len();
    for index in 0..plan.count() {
        let mut header = [0; MAX_OUTER_LEN + MAX_HEADER_LEN];
        let (room, inner) = header.split_at_mut(MAX_OUTER_LEN);
        let payload = plan.write(index, packet.bytes(), inner).expect("a planned segment");
        assert_eq!(payload.start, end, "no byte twice, none left out");
        end = payload.end;
        let segment = [&inner[..plan.header_len()], &packet.bytes()[payload]].concat();
        let parsed = Packet::parse(&segment).expect("a segment is a packet");
        assert_eq!(parsed.fragment, Fragment::Whole);
        assert_eq!(parsed.bytes().len(), segment.len());
        assert_eq!((parsed.source, parsed.destination), (packet.source, packet.destination));
        assert_eq!((header_sum(&parsed), transport_sum(&parsed)), (0xffff, 0xffff));
        assert!(segment.len() <= plan.on_wire().longest);
        for (end, len) in ends {
            let outer = Outer {
                source: end,
                destination: end,
                traffic_class: packet.traffic_class,
                ttl: 64,
                dont_fragment: true,
                identification: 0,
                flow_label: 1,
            };
            let written = ipip::write(&outer, packet.version(), segment.len(), room);
            // IPv4's length field counts the header too.
            let longest = 65_535 - if len == 20 { 20 } else { 0 };
            assert_eq!(written, (segment.len() <= longest).then_some(len));
            if let Some(len) = written {
                let datagram = [&room[MAX_OUTER_LEN - len..], &segment].concat();
                let opened = encap::open(&datagram).expect("what was wrapped is opened");
                assert_eq!(
                    (opened.inner, opened.inner_version),
                    (len..datagram.len(), packet.version())
                );
            }
        }
    }
    assert_eq!(end, packet.bytes().len());
    assert_eq!(plan.write(plan.count(), packet.bytes(), &mut [0; MAX_HEADER_LEN]), None);
}

/// All ones if the header checksum is right; IPv6 has none.
fn header_sum(packet: &Packet<'_>) -> u16 {
    if packet.version() == 6 {
        return 0xffff;
    }
    Sum::of(&packet.bytes()[..usize::from(packet.header_len)]).fold()
}

/// All ones if the TCP or UDP checksum is right.
fn transport_sum(packet: &Packet<'_>) -> u16 {
    let length = u32::try_from(packet.payload().len()).expect("a packet has at most 65,535 bytes");
    Sum::pseudo_header(packet.source, packet.destination, packet.protocol, length)
        .add_bytes(packet.payload())
        .fold()
}
