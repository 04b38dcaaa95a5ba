//! The eBPF program against the packet function, on arbitrary bytes: every packet that the program
//! sends is the one that the director would have sent. The tests need the right to load the
//! program, and report if it is missing.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::balancer::Tunnel;
use crate::balancer::not_carried::NotCarried;
use crate::balancer::outer::Inner;
use crate::sys::fast_path::REDIRECT;
use crate::wire::build::{Family, Ip};
use crate::wire::encap::{Encap, MAX_OUTER_LEN, ipip};
use crate::wire::tcp::Flags;
use crate::wire::{Fragment, Packet, Transport};

/// Ethernet: the loopback's own address, so that the frame is for this host.
const ETHERNET: usize = 14;
/// The program's answer to what it does not carry.
const NEXT: u32 = u32::MAX;
const LIMIT: usize = 1_400;
const NEXT_SEQUENCE: u32 = 5_000;
const LABEL_KEY: u64 = 77;

const REALS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 12)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    ),
];

/// The program with the flow of `packet` entered.
struct Kernel {
    program: IngressProgram,
    carrier: KernelCarrier,
    tunnels: [TunnelNumber; 2],
}

impl Kernel {
    fn load() -> Option<Self> {
        let (program, maps) = match fast_path::load(16) {
            Ok(loaded) => loaded,
            Err(error) => {
                println!("not tested, since the program may not be loaded here: {error}");
                return None;
            }
        };
        let mut carrier = KernelCarrier::new(maps, Instant::now());
        let tunnels = REALS.map(|(real, source)| {
            let tunnel = CarriedTunnel { real, source, interface: 1, limit: LIMIT };
            carrier.open(&tunnel).unwrap()
        });
        Some(Self { program, carrier, tunnels })
    }

    /// The program's result for the packet if `key` is carried through tunnel `to`, and the packet
    /// afterwards.
    fn run(&mut self, key: Key, to: usize, packet: &[u8], version: u8) -> (u32, Vec<u8>) {
        let label = crate::balancer::outer::label_of_flow(&key, LABEL_KEY);
        let (tunnel, acknowledged) = (self.tunnels[to], 0);
        let flow = CarriedFlow { key, tunnel, label, next: NEXT_SEQUENCE, acknowledged };
        assert!(self.carrier.enter(3, &flow));
        let mut frame = vec![0; ETHERNET];
        frame[12..].copy_from_slice(if version == 4 { &[8, 0] } else { &[0x86, 0xdd] });
        frame.extend_from_slice(packet);
        // The kernel tests no program on a frame without a whole IP header.
        let mut sent = vec![0; frame.len() + 256];
        let ran = self.program.run(&frame, &mut sent);
        self.carrier.forget(3, &key);
        match ran {
            Ok((answer, len)) => (answer, sent[..len].to_vec().split_off(ETHERNET)),
            Err(_) => (NEXT, frame.split_off(ETHERNET)),
        }
    }
}

fn key(packet: &Packet<'_>) -> Option<Key> {
    let (source, destination) = match packet.transport {
        Transport::Tcp(header) => (header.source_port, header.destination_port),
        Transport::Udp { source_port, destination_port } => (source_port, destination_port),
        _ => return None,
    };
    Some(Key::new(packet.protocol, packet.source, source, packet.destination, destination))
}

/// The packet that the director sends after the host has decremented the TTL. The IPv4
/// identification of UDP is arbitrary.
fn expected(packet: &[u8], to: usize) -> Vec<u8> {
    let mut inner = packet.to_vec();
    if inner[0] >> 4 == 4 {
        inner[8] -= 1;
        inner[10..12].fill(0);
        let check = crate::wire::checksum::Sum::of(&inner[..20]).checksum();
        inner[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        inner[7] -= 1;
    }
    let parsed = Packet::parse(&inner).unwrap();
    let (real, source) = REALS[to];
    let (limit, link) = (LIMIT, LIMIT);
    let tunnel =
        Tunnel { real, encap: Encap::Ipip, source: Some(source), sequence: 0, limit, link };
    let outer = Inner::of(&parsed, LABEL_KEY).outer(&tunnel, 0, source);
    let mut room = [0; MAX_OUTER_LEN];
    let len = ipip::write(&outer, parsed.version(), inner.len(), &mut room).unwrap();
    [&room[MAX_OUTER_LEN - len..], &inner].concat()
}

/// The packet without the fields that differ from packet to packet. UDP over IPv4: the
/// identification and the header's checksum. UDP over IPv6: the hop limit.
fn comparable(mut packet: Vec<u8>, udp: bool) -> Vec<u8> {
    match packet[0] >> 4 {
        4 if udp => {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        6 if udp => packet[7] = 0,
        _ => {}
    }
    packet
}

fn packets() -> impl Strategy<Value = (Ip, usize)> {
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    let flags = prop_oneof![4 => Just(Flags::ACK), 1 => any::<u8>()];
    let sequence = prop_oneof![
        4 => Just(NEXT_SEQUENCE),
        2 => Just(NEXT_SEQUENCE + (4 << 20)),
        2 => Just(NEXT_SEQUENCE + (4 << 20) + 1),
        1 => any::<u32>(),
    ];
    let acknowledgement = prop::sample::select(vec![0, 1, 1 << 20, (1 << 20) + (1 << 16), 1 << 31]);
    let len = prop_oneof![4 => 0_usize..60, 2 => 1_300_usize..1_420];
    let ttl = prop::sample::select(vec![0, 1, 2, 64, 255]);
    let tcp = any::<bool>();
    (family, tcp, flags, (sequence, acknowledgement), len, ttl, any::<u8>(), 0_usize..2).prop_map(
        |(family, tcp, flags, (sequence, acknowledgement), len, ttl, class, to)| {
            let packet = match tcp {
                true => family.tcp(flags).sequence(sequence).acknowledgement(acknowledgement),
                false => family.udp(9_000),
            };
            (packet.data(&vec![7; len]).ttl(ttl).traffic_class(class), to)
        },
    )
}

#[test]
fn the_program_sends_exactly_packets_that_the_director_would_send() {
    let Some(kernel) = Kernel::load() else { return };
    let (kernel, carried) = (RefCell::new(kernel), Cell::new(0));
    let mut runner = TestRunner::new(Config::with_cases(3_000));
    let spoil = prop::collection::vec((0_usize..80, any::<u8>()), 0..3);
    let cases = (packets(), spoil, 0_usize..30, 0_usize..3);
    let result = runner.run(&cases, |((packet, to), spoiled, padding, cut)| {
        let whole = packet.bytes();
        let flow = key(&Packet::parse(&whole).unwrap()).unwrap();
        let mut bytes = [whole.as_slice(), &vec![0; padding]].concat();
        for (at, byte) in spoiled {
            if let Some(index) = bytes.get_mut(at) {
                *index = byte;
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut * padding).max(1));
        let version = whole[0] >> 4;
        let (answer, sent) = kernel.borrow_mut().run(flow, to, &bytes, version);
        if answer == NEXT {
            return Ok(());
        }
        prop_assert_eq!(answer, REDIRECT);
        let parsed = Packet::parse(&bytes)
            .map_err(|error| TestCaseError::fail(format!("the director refuses it: {error:?}")))?;
        prop_assert_eq!(key(&parsed), Some(flow));
        prop_assert_eq!(parsed.fragment, Fragment::Whole);
        prop_assert!(parsed.ttl > 1 && parsed.wire_len() <= LIMIT);
        if let Transport::Tcp(header) = parsed.transport {
            let flags = header.flags;
            prop_assert!(flags.ack() && !flags.syn() && !flags.fin() && !flags.rst());
            let behind = NEXT_SEQUENCE.wrapping_sub(header.sequence);
            let ahead = header.sequence.wrapping_sub(NEXT_SEQUENCE);
            prop_assert!(ahead.min(behind) <= 4 << 20);
            prop_assert!(ahead == 0 || header.acknowledgement < (1 << 20) + (1 << 16));
        }
        let udp = !matches!(parsed.transport, Transport::Tcp(_));
        let same = comparable(expected(parsed.bytes(), to), udp);
        prop_assert_eq!(comparable(sent, udp), same);
        carried.set(carried.get() + 1);
        Ok(())
    });
    result.unwrap();
    assert!(carried.get() > 300, "only {} packets were carried", carried.get());
}

#[test]
fn a_closed_tunnel_and_a_held_flow_carry_nothing_and_the_counts_are_exact() {
    let Some(mut kernel) = Kernel::load() else { return };
    let packet = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).data(&[7; 9]).bytes();
    let flow = key(&Packet::parse(&packet).unwrap()).unwrap();
    for _ in 0..5 {
        assert_eq!(kernel.run(flow, 0, &packet, 4).0, REDIRECT);
    }
    let bytes = 5 * packet.len() as u64;
    let carried = Carried { frames: 5, packets: 5, bytes };
    assert_eq!(kernel.carrier.carried(kernel.tunnels[0]), carried);
    assert_eq!(kernel.carrier.carried(kernel.tunnels[0]), Carried::default());
    assert_eq!(kernel.carrier.close(kernel.tunnels[0]), Carried::default());
    assert_eq!(kernel.run(flow, 0, &packet, 4).0, NEXT);
    assert_eq!(kernel.run(flow, 1, &packet, 4).0, REDIRECT);
}

#[test]
fn flows_past_the_capacity_stay_with_the_director() {
    let Some(mut kernel) = Kernel::load() else { return };
    let tunnel = kernel.tunnels[0];
    let enter = |carrier: &mut KernelCarrier, index: usize| {
        let client = IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(index).unwrap()));
        let key = Key::new(6, client, 1, "192.0.2.10".parse().unwrap(), 80);
        let flow = CarriedFlow { key, tunnel, label: 0, next: 0, acknowledged: 0 };
        carrier.enter(index, &flow)
    };
    assert!((0..16).all(|index| enter(&mut kernel.carrier, index)));
    assert!(!enter(&mut kernel.carrier, 16));
}

/// The reasons counted since the last call.
fn reasons(kernel: &Kernel, before: &mut NotCarriedCounts) -> Vec<NotCarried> {
    let now = kernel.carrier.not_carried();
    let counted = NotCarried::ALL.iter().zip(now.iter().zip(before.iter()));
    let counted = counted.filter(|(_, (now, before))| now != before).map(|(reason, _)| *reason);
    let counted = counted.collect();
    *before = now;
    counted
}

#[test]
fn each_packet_that_is_not_carried_is_counted_by_its_reason() {
    let Some(mut kernel) = Kernel::load() else { return };
    let mut before = kernel.carrier.not_carried();
    let segment = || Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).data(&[7; 9]);
    let whole = segment().bytes();
    let flow = key(&Packet::parse(&whole).unwrap()).unwrap();
    let with = |at: usize, byte: u8| {
        let mut packet = segment().bytes();
        packet[at] = byte;
        packet[10..12].fill(0);
        let check = crate::wire::checksum::Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet
    };
    let far = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE + (4 << 20) + 1).data(&[7; 9]);
    let last = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE + (4 << 20)).data(&[7; 9]);
    // The acknowledgement number matters where the sequence number is not the next one.
    let acknowledging =
        |number| segment().sequence(NEXT_SEQUENCE + 9).acknowledgement(number).bytes();
    let other = Family::V4.tcp(Flags::ACK).source_port(9).data(&[7; 9]);
    let cases = [
        (with(6, 0x20), vec![NotCarried::Fragment]),
        (with(7, 1), vec![NotCarried::Fragment]),
        (with(0, 0x46), vec![NotCarried::Header]),
        (with(0, 0x55), vec![NotCarried::Header]),
        // A TCP header that is longer than the packet.
        (with(32, 0xf0), vec![NotCarried::Header]),
        (with(9, 1), vec![NotCarried::Protocol]),
        (Family::V4.tcp(Flags::SYN).bytes(), vec![NotCarried::Flags]),
        (segment().ttl(1).bytes(), vec![NotCarried::Ttl]),
        (other.bytes(), vec![NotCarried::NoFlow]),
        (segment().data(&[7; LIMIT - 40]).bytes(), vec![]),
        (segment().data(&[7; LIMIT - 39]).bytes(), vec![NotCarried::TooLarge]),
        (last.bytes(), vec![]),
        (far.bytes(), vec![NotCarried::Position]),
        (acknowledging((1 << 20) + 0xffff), vec![]),
        (acknowledging((1 << 20) + 0x1_0000), vec![NotCarried::Position]),
    ];
    for (packet, expected) in cases {
        kernel.run(flow, 0, &packet, 4);
        assert_eq!(reasons(&kernel, &mut before), expected, "{packet:x?}");
    }
}

#[test]
fn other_frames_and_packets_of_a_closed_tunnel_are_counted_by_their_reason() {
    let Some(mut kernel) = Kernel::load() else { return };
    let mut before = kernel.carrier.not_carried();
    let whole = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).data(&[7; 9]).bytes();
    let flow = key(&Packet::parse(&whole).unwrap()).unwrap();
    // The same flow's addresses in IPv6, where they are no client's.
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    let packet = Family::V6.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).data(&[7; 9]);
    let packet = packet.from(mapped(flow.client())).to(mapped(flow.vip())).bytes();
    kernel.run(flow, 0, &packet, 6);
    assert_eq!(reasons(&kernel, &mut before), [NotCarried::Header]);
    kernel.carrier.close(kernel.tunnels[0]);
    kernel.run(flow, 0, &whole, 4);
    assert_eq!(reasons(&kernel, &mut before), [NotCarried::Held]);
    // ARP, and two tags of a VLAN that the kernel has left in the data.
    let mut frame = vec![0; ETHERNET + whole.len()];
    for kind in [[8, 6], [0x81, 0], [0x88, 0xa8]] {
        frame[12..ETHERNET].copy_from_slice(&kind);
        assert_eq!(kernel.program.run(&frame, &mut [0; 256]).unwrap().0, NEXT);
        assert_eq!(reasons(&kernel, &mut before), [NotCarried::NotIp], "{kind:x?}");
    }
    frame[0] = 2;
    assert_eq!(kernel.program.run(&frame, &mut [0; 256]).unwrap().0, NEXT);
    assert_eq!(reasons(&kernel, &mut before), [NotCarried::Frame]);
}

#[test]
fn merged_datagrams_are_left_to_the_director() {
    let Some(mut kernel) = Kernel::load() else { return };
    let mut before = kernel.carrier.not_carried();
    let datagrams = Family::V4.udp(9_000).data(&[7; 200]).bytes();
    let frame = [&[0; 12][..], &[8, 0], datagrams.as_slice()].concat();
    let merged = kernel.program.run_merged(100, &frame, &mut [0; 512]).unwrap();
    assert_eq!((merged.0, reasons(&kernel, &mut before)), (NEXT, vec![NotCarried::SuperFrame]));
    kernel.program.run(&frame, &mut [0; 512]).unwrap();
    assert_eq!(reasons(&kernel, &mut before), [NotCarried::NoFlow], "a single one");
}

/// A test's super-frame lacks what the kernel wants to know of one that it widens.
#[test]
fn a_super_frame_fits_if_each_of_its_segments_does() {
    let Some(mut kernel) = Kernel::load() else { return };
    let mut before = kernel.carrier.not_carried();
    let packet = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).data(&[7; 2_500]).bytes();
    let key = key(&Packet::parse(&packet).unwrap()).unwrap();
    let flow = CarriedFlow { key, tunnel: kernel.tunnels[0], label: 0, next: 0, acknowledged: 0 };
    assert!(kernel.carrier.enter(3, &CarriedFlow { next: NEXT_SEQUENCE, ..flow }));
    let frame = [&[0; 12][..], &[8, 0], packet.as_slice()].concat();
    let longest = u32::try_from(LIMIT - 40).unwrap();
    for (size, why) in [(longest, NotCarried::NoRoom), (longest + 1, NotCarried::TooLarge)] {
        kernel.program.run_merged(size, &frame, &mut [0; 3_000]).unwrap();
        assert_eq!(reasons(&kernel, &mut before), [why], "segments of {size} bytes");
    }
}

#[test]
fn a_carried_segment_moves_its_flows_position() {
    let Some(mut kernel) = Kernel::load() else { return };
    let segment = Family::V4.tcp(Flags::ACK).sequence(NEXT_SEQUENCE).acknowledgement(0x7_0005);
    let packet = segment.data(&[7; 9]).bytes();
    let key = key(&Packet::parse(&packet).unwrap()).unwrap();
    let (tunnel, next) = (kernel.tunnels[0], NEXT_SEQUENCE);
    assert!(kernel.carrier.enter(3, &CarriedFlow { key, tunnel, label: 0, next, acknowledged: 0 }));
    let frame = [&[0; 12][..], &[8, 0], packet.as_slice()].concat();
    assert_eq!(kernel.program.run(&frame, &mut [0; 256]).unwrap().0, REDIRECT);
    let seen = kernel.carrier.seen(3);
    assert_eq!((seen.next, seen.acknowledged), (NEXT_SEQUENCE + 9, 7));
    assert!(seen.last.is_some());
}

/// No network card merges them, nor with one that user space sent before: over IPv4 identifications
/// are multiples of four and differ, over IPv6 hop limits differ, and a flow's first one is beyond
/// those of user space.
#[test]
fn datagrams_one_after_another_have_outer_headers_that_keep_them_apart() {
    let Some(mut kernel) = Kernel::load() else { return };
    let packet = Family::V6.udp(9_000).data(&[7; 9]).bytes();
    let key = key(&Packet::parse(&packet).unwrap()).unwrap();
    let frame = [&[0; 12][..], &[0x86, 0xdd], packet.as_slice()].concat();
    let mut carried = |to: usize, count| -> Vec<Vec<u8>> {
        let (tunnel, label) = (kernel.tunnels[to], 0x54_321);
        let flow = CarriedFlow { key, tunnel, label, next: 0, acknowledged: 0 };
        assert!(kernel.carrier.enter(3, &flow));
        let all = (0..count).map(|_| {
            let mut sent = [0; 256];
            assert_eq!(kernel.program.run(&frame, &mut sent).unwrap().0, REDIRECT);
            sent[ETHERNET..].to_vec()
        });
        let all = all.collect();
        kernel.carrier.forget(3, &key);
        all
    };
    // Each CPU counts by itself: a try in which this thread moves to another one proves nothing.
    let in_turn = (0..20).any(|_| {
        let outers = carried(0, 50);
        let number = |outer: &Vec<u8>| u16::from_be_bytes([outer[4], outer[5]]);
        let numbers: Vec<u16> = outers.iter().map(number).collect();
        assert!(numbers.iter().all(|number| number % 4 == 0), "{numbers:?}");
        numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(4))
    });
    assert!(in_turn, "identifications do not follow each other");
    let hop_limits: Vec<u8> = carried(1, 130).iter().map(|outer| outer[7]).collect();
    assert!(hop_limits.windows(2).all(|pair| pair[0] != pair[1]), "{hop_limits:?}");
    assert!((192..=255).contains(&hop_limits[0]), "{hop_limits:?}");
    assert!(hop_limits[1..].iter().all(|limit| (64..192).contains(limit)), "{hop_limits:?}");
}

/// Bytes of the kernel's memory for a map.
fn memory_of(descriptor: i32) -> u64 {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap();
    let line = about.lines().find_map(|line| line.strip_prefix("memlock:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn as_many_flows_as_fit_are_found_each_in_its_slot_and_then_none() {
    const FLOWS: u32 = 50_000;
    /// The most that a carried flow may take of the kernel's memory.
    const BYTES_A_FLOW: u64 = 144;
    let Ok((_program, mut maps)) = fast_path::load(FLOWS) else {
        return println!("not tested, since the program may not be loaded here");
    };
    let memory: u64 = maps.descriptors().into_iter().map(memory_of).sum();
    assert!(
        memory / u64::from(FLOWS) <= BYTES_A_FLOW,
        "{} bytes a flow",
        memory / u64::from(FLOWS)
    );
    let key = |number: u32| {
        let client = (IpAddr::V4(Ipv4Addr::from_bits(number)), 1);
        FlowKey::new(6, client, ("192.0.2.10".parse().unwrap(), 80))
    };
    maps.open(
        1,
        &MapTunnelSpec { destination: REALS[0].0, source: REALS[0].1, interface: 1, limit: 1_400 },
    );
    for turn in 0..2 {
        let entered = (0..FLOWS).filter(|&index| {
            maps.enter(index, &key(index + turn), 1, 0, (0, 0)) && maps.carries(index)
        });
        assert_eq!(entered.count(), FLOWS as usize);
        (0..FLOWS).for_each(|index| maps.forget(index));
        assert!((0..FLOWS).all(|index| !maps.carries(index)));
        assert_eq!(maps.slots_in_use(), 0);
    }
}
