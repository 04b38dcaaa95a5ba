//! The eBPF program against the gate: it hands on exactly packets that the gate would deliver, with
//! the same bytes. The tests need the right to load the program, and report if it is missing.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::decap::{Admission, Gate, Mss};
use crate::sys::fast_path::REDIRECT;
use crate::wire::build::{DESTINATION_OPTIONS, Family, Ip, MIXES};
use crate::wire::encap::{Outer, ipip};
use crate::wire::virtio::HEADER_LEN;

const ETHERNET: usize = 14;
const NEXT: u32 = u32::MAX;
const GUE_PORT: u16 = 6080;

/// The program, and the gate with the same configuration.
struct Both {
    program: Program,
    counts: ProgramCounters,
    gate: Gate,
}

fn directors() -> Vec<IpNet> {
    ["10.0.0.0/30", "fd00::/126"].map(|text| text.parse().unwrap()).to_vec()
}

fn vips() -> Vec<IpAddr> {
    vec![Family::V4.vip(), Family::V6.vip()]
}

fn own() -> IpAddr {
    Family::V4.real(11)
}

impl Both {
    fn load() -> Option<Self> {
        let (mut program, counts) = match real_path::load(1, GUE_PORT) {
            Ok(loaded) => loaded,
            Err(error) => {
                println!("not tested, since the program may not be loaded here: {error}");
                return None;
            }
        };
        let own = [own(), Family::V6.real(11)].into();
        program.admit(&Admitted { directors: directors(), vips: vips(), own }).unwrap();
        let mss = Mss { v4: 1440, v6: 1420 };
        let gate = Gate::new(directors(), vips(), mss).with_gue_port(Some(GUE_PORT));
        Some(Self { program, counts, gate })
    }

    /// The packet that the program hands on; `None`: it leaves the datagram as it is.
    fn carried(&mut self, datagram: &[u8], version: u8) -> Option<Vec<u8>> {
        let mut frame = vec![0; ETHERNET];
        frame[12..].copy_from_slice(if version == 4 { &[8, 0] } else { &[0x86, 0xdd] });
        frame.extend_from_slice(datagram);
        let mut sent = vec![0; frame.len() + 64];
        // The kernel tests no program on a frame without a whole IP header.
        let (answer, len) = self.program.run(&frame, &mut sent).ok()?;
        if answer == NEXT {
            assert_eq!(sent[..len], frame, "it was changed");
            return None;
        }
        assert_eq!(answer, REDIRECT);
        Some(sent[..len].to_vec().split_off(ETHERNET))
    }

    /// The packet that the gate delivers.
    fn delivered(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        match self.gate.open(&mut datagram) {
            Admission::Deliver(range) => Some(datagram[range].to_vec().split_off(HEADER_LEN)),
            _ => None,
        }
    }
}

fn tunnelled(
    source: IpAddr,
    destination: IpAddr,
    traffic_class: u8,
    inner: &[u8],
) -> Option<Vec<u8>> {
    let outer = Outer {
        source,
        destination,
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0x1_2345,
    };
    let mut datagram = vec![0; if source.is_ipv4() { 20 } else { 40 }];
    let version = if inner.first()? >> 4 == 6 { 6 } else { 4 };
    ipip::write(&outer, version, inner.len(), &mut datagram)?;
    datagram.extend_from_slice(inner);
    Some(datagram)
}

fn from_director(outer: Family, inner: &[u8]) -> Vec<u8> {
    tunnelled(outer.director(), outer.real(11), 0, inner).unwrap()
}

/// The IPv4 packet with another byte at `at`, and the right checksum of its header.
fn with(mut packet: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    packet[at] = byte;
    packet[10..12].fill(0);
    let check = crate::wire::checksum::Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet
}

/// A tunnelled UDP datagram whose outer packet has so many bytes.
fn of_len(family: Family, outer: Family, len: usize) -> Vec<u8> {
    let data = vec![7; len - outer.header_len() - family.header_len() - 8];
    from_director(outer, &family.udp(53).data(&data).bytes())
}

fn segment(family: Family) -> Ip {
    family.tcp(0x10).data(b"data")
}

#[test]
fn each_mix_is_carried_as_the_gate_delivers_it_with_every_congestion_mark() {
    let Some(mut both) = Both::load() else { return };
    let (mut carried, mut bytes) = (0, 0);
    for (family, outer) in MIXES {
        for packet in [segment(family), family.udp(53).data(b"query"), family.tcp(2)] {
            for (mark, class) in (0..4).flat_map(|mark| (0..4).map(move |inner| (mark, inner))) {
                let inner = packet.clone().traffic_class(0x28 | class).bytes();
                let (source, destination) = (outer.director(), outer.real(11));
                let datagram = tunnelled(source, destination, 0xb8 | mark, &inner).unwrap();
                let found = both.carried(&datagram, outer.version());
                assert_eq!(found, both.delivered(&datagram), "{family:?} {mark} {class}");
                carried += u64::from(found.is_some());
                bytes += found.map_or(0, |packet| packet.len() as u64);
            }
        }
    }
    assert_eq!(carried, 4 * 3 * 15, "only not-ECT in a packet marked CE is dropped");
    assert_eq!(both.counts.sum(), Count { packets: carried, bytes, merged: 0 });
}

#[test]
fn all_other_packets_are_left_to_the_gate() {
    let Some(mut both) = Both::load() else { return };
    for (family, outer) in MIXES {
        let good = segment(family).bytes();
        let to = outer.real(11);
        let strange = outer.pick("10.0.0.4", "fd00::4").parse().unwrap();
        let foreign = outer.real(12);
        let nobody = family.pick("127.0.0.1", "::1").parse::<IpAddr>().unwrap();
        let group = family.pick("224.0.0.1", "ff02::1").parse::<IpAddr>().unwrap();
        let local = family.pick("0.0.0.1", "fe80::1").parse::<IpAddr>().unwrap();
        let mut longer = good.clone();
        longer[family.pick(32, 52)] |= 0xf0;
        let cases = [
            ("stranger", tunnelled(strange, to, 0, &good).unwrap()),
            ("to another host", tunnelled(outer.director(), foreign, 0, &good).unwrap()),
            ("no VIP", from_director(outer, &segment(family).to(family.real(3)).bytes())),
            ("from a VIP", from_director(outer, &segment(family).from(family.vip()).bytes())),
            ("from the loopback", from_director(outer, &segment(family).from(nobody).bytes())),
            ("from a group", from_director(outer, &segment(family).from(group).bytes())),
            ("from no network", from_director(outer, &segment(family).from(local).bytes())),
            ("fragment", from_director(outer, &segment(family).fragment(0, true).bytes())),
            ("last fragment", from_director(outer, &segment(family).fragment(8, false).bytes())),
            ("TCP header longer than it", from_director(outer, &longer)),
            ("long datagram", from_director(outer, &family.udp(53).data(&[7; 1_600]).bytes())),
            ("ICMP", from_director(outer, &family.icmp_echo(b"x").bytes())),
            ("GUE in it", from_director(outer, &family.udp(GUE_PORT).data(b"x").bytes())),
            ("tunnel in it", from_director(outer, &segment(family).protocol(4).bytes())),
            ("cut", from_director(outer, &good)[..60].to_vec()),
            ("bytes behind it", [from_director(outer, &good), vec![0; 3]].concat()),
            ("bytes behind it inside", from_director(outer, &[&good[..], &[0; 3]].concat())),
            ("datagram longer than a frame", of_len(family, outer, 1_501)),
        ];
        for (name, datagram) in cases {
            assert_eq!(both.carried(&datagram, outer.version()), None, "{family:?}: {name}");
        }
        for carried in [from_director(outer, &good), of_len(family, outer, 1_500)] {
            assert!(both.carried(&carried, outer.version()).is_some());
        }
    }
}

/// Inside and outside.
#[test]
fn headers_that_the_stack_or_the_gate_would_refuse_are_left_to_them() {
    let Some(mut both) = Both::load() else { return };
    let (inner, outer) = (segment(Family::V4).bytes(), Family::V4);
    let datagram = from_director(outer, &inner);
    let mut wrong = datagram.clone();
    wrong[10] ^= 1;
    assert_eq!(both.carried(&wrong, 4), None, "outer checksum");
    wrong.clone_from(&inner);
    wrong[10] ^= 1;
    assert_eq!(both.carried(&from_director(outer, &wrong), 4), None, "inner checksum");
    for (at, byte) in [(0, 0x55), (0, 0x46), (6, 0x20), (7, 1)] {
        let outside = with(datagram.clone(), at, byte);
        assert_eq!(both.carried(&outside, 4), None, "outer {at}: {byte:x}");
        let inside = from_director(outer, &with(inner.clone(), at, byte));
        assert_eq!(both.carried(&inside, 4), None, "inner {at}: {byte:x}");
    }
    let options = segment(Family::V4).options(&[1; 4]).bytes();
    assert_eq!(both.carried(&from_director(outer, &options), 4), None, "options");
    let frame = [&[2][..], &[0; 11], &[8, 0], datagram.as_slice()].concat();
    let (answer, _) = both.program.run(&frame, &mut [0; 256]).unwrap();
    assert_eq!(answer, NEXT, "for another host");
    let options = segment(Family::V6).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    assert_eq!(both.carried(&from_director(Family::V6, &options.bytes()), 6), None);
}

#[test]
fn what_is_not_admitted_any_more_is_not_carried_any_more() {
    let Some(mut both) = Both::load() else { return };
    let datagram = from_director(Family::V4, &segment(Family::V6).bytes());
    let all = Admitted { directors: directors(), vips: vips(), own: [own()].into() };
    let without = [
        Admitted { directors: Vec::new(), ..all.clone() },
        Admitted { vips: vec![Family::V4.vip()], ..all.clone() },
        Admitted { own: [Family::V4.real(12)].into(), ..all.clone() },
    ];
    for less in without {
        both.program.admit(&less).unwrap();
        assert_eq!(both.carried(&datagram, 4), None, "{less:?}");
        both.program.admit(&all).unwrap();
        assert!(both.carried(&datagram, 4).is_some());
    }
}

fn inner() -> impl Strategy<Value = (Ip, Family)> {
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    let len = prop_oneof![0_usize..40, 1_300_usize..1_500];
    (family.clone(), family, any::<bool>(), any::<u8>(), any::<u8>(), len).prop_map(
        |(family, outer, tcp, flags, class, len)| {
            let packet = if tcp { family.tcp(flags) } else { family.udp(53) };
            (packet.data(&vec![7; len]).traffic_class(class), outer)
        },
    )
}

#[test]
fn whatever_is_carried_the_gate_delivers_with_the_same_bytes() {
    let Some(both) = Both::load() else { return };
    let (both, carried) = (RefCell::new(both), Cell::new(0));
    let spoil = prop::collection::vec((0_usize..100, any::<u8>()), 0..4);
    let cases = (inner(), any::<u8>(), spoil, 0_usize..40, any::<bool>());
    let mut runner = TestRunner::new(Config::with_cases(3_000));
    let result = runner.run(&cases, |((packet, outer), class, spoiled, cut, cuts)| {
        let (source, destination) = (outer.director(), outer.real(11));
        let mut datagram = tunnelled(source, destination, class, &packet.bytes()).unwrap();
        for (at, byte) in spoiled {
            if let Some(changed) = datagram.get_mut(at) {
                *changed = byte;
            }
        }
        if cuts {
            datagram.truncate(datagram.len().saturating_sub(cut).max(1));
        }
        let mut both = both.borrow_mut();
        let Some(found) = both.carried(&datagram, outer.version()) else { return Ok(()) };
        prop_assert_eq!(Some(found), both.delivered(&datagram));
        carried.set(carried.get() + 1);
        Ok(())
    });
    result.unwrap();
    assert!(carried.get() > 300, "only {} packets were carried", carried.get());
}
