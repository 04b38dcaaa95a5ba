//! One function per fuzz target: takes any bytes, and panics where a promise of the code under test is broken.

use std::net::IpAddr;

use vstun::config;
use vstun::decap::{Gate, Mss, Outcome};
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{MAX_OUTER_LEN, Outer, ipip};
use vstun::wire::packet::MAX_PACKET_LEN;
use vstun::wire::segment::{MAX_HEADER_LEN, Plan, complete_checksum};
use vstun::wire::virtio::{self, Offload};
use vstun::wire::{Fragment, Packet, Transport, icmp, protocol, tcp};

/// A target's function.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const ALL: [(&str, Body); 4] = [
    ("frames", frames),
    ("decapsulation", decapsulation),
    ("quotes", quotes),
    ("configuration", configuration),
];

/// A frame as the director's TUN gives it: parsed, completed, split, answered.
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

/// A datagram as the real server's raw socket gives it.
pub fn decapsulation(datagram: &[u8]) {
    let vip = IpAddr::from([192, 0, 2, 10]);
    let directors = vec!["10.0.0.0/8".parse().expect("a network")];
    let mut gate = Gate::new(directors, vec![vip], Mss { v4: 1440, v6: 1420 });
    let mut room = datagram.to_vec();
    let outcome = gate.open(&mut room);
    let counters = gate.counters();
    assert_eq!(counters.read, counters.delivered + counters.dropped_total());
    match outcome {
        Outcome::Drop(refusal) => {
            assert_eq!(counters.dropped(refusal), 1);
            assert_eq!(room, datagram, "a refused datagram stays as it was");
        }
        Outcome::Deliver(range) => {
            let (offload, packet) = virtio::split_frame(&room[range]).expect("a frame for the TUN");
            let packet = Packet::parse(packet).expect("a whole inner packet");
            assert_eq!(packet.destination, vip);
            assert_ne!(packet.source, vip);
            if let Offload::Tcp { .. } = offload {
                segments(&packet, offload);
            }
        }
    }
}

/// An ICMP error from a client's path.
pub fn quotes(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let Some(quote) = icmp::quote(&packet) else { return };
    assert!(icmp::is_error(&packet));
    assert!(matches!(quote.protocol, protocol::TCP | protocol::UDP));
    let _ = icmp::checksum_ok(&packet);
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

/// Every answer is a packet from the asked to the asker, with right checksums.
fn answers(packet: &Packet<'_>) {
    let mut out = Vec::with_capacity(MAX_PACKET_LEN);
    for build in [icmp::echo_reply, icmp::port_unreachable, tcp::reset] {
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
        assert_eq!(tcp::reset(&answer, &mut Vec::new()), None, "no answer to an answer");
    }
}

/// The segments are packets that carry the super-frame's bytes, all of them and in order, and fit into a tunnel.
fn segments(packet: &Packet<'_>, offload: Offload) {
    let Ok(plan) = Plan::new(packet, offload) else { return };
    assert!(plan.header_len() <= MAX_HEADER_LEN);
    let outer = Outer {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 11].into(),
        traffic_class: packet.traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0,
    };
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
        let written = ipip::write(&outer, 4, segment.len(), room);
        assert_eq!(written, (segment.len() <= 65_515).then_some(20));
    }
    assert_eq!(end, packet.bytes().len());
    assert_eq!(plan.write(plan.count(), packet.bytes(), &mut [0; MAX_HEADER_LEN]), None);
}

/// All ones where the header checksum is right.
fn header_sum(packet: &Packet<'_>) -> u16 {
    Sum::of(&packet.bytes()[..usize::from(packet.header_len)]).fold()
}

/// All ones where the TCP or UDP checksum is right.
fn transport_sum(packet: &Packet<'_>) -> u16 {
    let length = u32::try_from(packet.payload().len()).expect("a packet has at most 65,535 bytes");
    Sum::pseudo_header(packet.source, packet.destination, packet.protocol, length)
        .add_bytes(packet.payload())
        .fold()
}
