//! Inquiries of `vstun doctor`: only from directors, and to any address.

use super::*;
use crate::wire::inquiry::{MAGIC, PROTOCOL};

/// An inquiry in a tunnel over IPv4, or another packet of its protocol.
fn question(outer_source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = |inner: usize| u16::try_from(20 + inner).unwrap().to_be_bytes();
    let header = |source: [u8; 4], destination: [u8; 4], protocol: u8, inner: usize| {
        let [high, low] = length(inner);
        let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
        header.extend(source);
        header.extend(destination);
        header
    };
    let mut bytes = header(outer_source, [10, 0, 0, 11], 4, 20 + payload.len());
    bytes.extend(header([10, 0, 0, 1], [203, 0, 113, 99], PROTOCOL, payload.len()));
    bytes.extend(payload);
    bytes
}

/// One to an address that is no virtual IP.
fn asked(family: Family) -> Ip {
    family.udp(53).to(family.router()).protocol(PROTOCOL)
}

/// Its payload is the packet's, after the addresses and in place of UDP's header.
fn with_magic(packet: Ip, family: Family, ends: &[u8]) -> Vec<u8> {
    let mut bytes = packet.bytes();
    bytes.truncate(family.header_len());
    bytes.extend(MAGIC);
    bytes.extend([0; 4]);
    bytes.extend(ends);
    bytes
}

#[test]
fn an_inquiry_is_one_in_each_mix_and_only_whole() {
    for (family, outer) in MIXES {
        let version = family.version();
        let given = |version: u8, bytes: &[u8]| {
            let mut datagram = [&[0; HEADROOM], bytes].concat();
            let payload = Payload::Packet(version);
            gate().open_bare(payload, outer.director(), 0, HEADROOM, &mut datagram)
        };
        let bytes = with_magic(asked(family), family, &[]);
        let end = HEADROOM + bytes.len();
        assert_eq!(given(version, &bytes), Admission::Inquiry(HEADROOM..end));
        // What follows the packet is not part of it.
        let padded = with_magic(asked(family), family, &[0; 7]);
        assert_eq!(given(version, &padded), Admission::Inquiry(HEADROOM..end));
        // Where an IPv4 header has the protocol, an IPv6 one has part of its source.
        let mut other = bytes;
        if family == Family::V6 {
            other[9] = PROTOCOL;
        }
        let other = given(10 - version, &other);
        assert!(matches!(other, Admission::Drop(_)), "the other version: {other:?}");
    }
    // IPv4's fragment bits; over IPv6 another header would say so.
    let mut fragment = with_magic(asked(Family::V4), Family::V4, &[]);
    fragment[6] = 0x20;
    let mut datagram = [&[0; HEADROOM], &fragment[..]].concat();
    let given =
        gate().open_bare(Payload::Packet(4), Family::V4.director(), 0, HEADROOM, &mut datagram);
    assert_eq!(given, Admission::Drop(Refusal::NotVip));
}

#[test]
fn only_an_inquiry_from_a_director_is_accepted() {
    let mut gate = gate();
    let mut bytes = question([10, 0, 0, 1], &MAGIC);
    let len = bytes.len();
    assert_eq!(gate.open(&mut bytes), Admission::Inquiry(20..len));
    gate.count_inquiry();
    assert_eq!((gate.counters().read, gate.counters().delivered), (1, 1));
    let mut stranger = question([198, 51, 100, 1], &MAGIC);
    assert_eq!(gate.open(&mut stranger), Admission::Drop(Refusal::Source));
    let mut other = question([10, 0, 0, 1], b"else");
    assert_eq!(gate.open(&mut other), Admission::Drop(Refusal::NotVip));
}

/// Its answer would have to be about a packet of which the rest is not known.
#[test]
fn a_fragment_is_no_inquiry() {
    const MORE_FRAGMENTS: u8 = 0x20;
    let mut gate = gate();
    let mut payload = [0; 24];
    payload[..MAGIC.len()].copy_from_slice(&MAGIC);
    let mut whole = question([10, 0, 0, 1], &payload);
    let mut fragment = whole.clone();
    fragment[20 + 6] = MORE_FRAGMENTS;
    assert_eq!(gate.open(&mut whole), Admission::Inquiry(20..20 + 20 + payload.len()));
    assert_eq!(gate.open(&mut fragment), Admission::Drop(Refusal::NotVip));
}
