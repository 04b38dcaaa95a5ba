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
