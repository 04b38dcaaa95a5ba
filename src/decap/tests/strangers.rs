//! Packets from strangers.

use super::*;

/// Otherwise a flood of malformed packets would not count as a flood of strangers.
#[test]
fn a_stranger_s_malformed_packet_is_a_stranger_s() {
    let packet = udp_packet(Family::V4).bytes();
    let stranger = tunnelled(address("198.51.100.7"), 0, &packet);
    let director = from_director(Family::V4, &packet);
    let cut = stranger.len() - 1;
    for (datagram, refusal) in [
        (&stranger[..cut], Refusal::Source),
        (&director[..cut], Refusal::Truncated),
        (&stranger[..19], Refusal::Truncated),
    ] {
        assert_eq!(gate().open(&mut datagram.to_vec()), Admission::Drop(refusal));
    }
}

#[test]
fn a_sampled_stranger_counts_for_all_that_the_kernel_refuses() {
    let packet = udp_packet(Family::V4).bytes();
    let mut stranger = tunnelled(address("198.51.100.7"), 0, &packet);
    let mut gate = gate();
    let _ = gate.open(&mut stranger);
    gate.set_filtered(true);
    let mut gate = gate.succeeded_by(super::gate());
    let _ = gate.open(&mut stranger);
    let _ = gate.open(&mut from_director(Family::V4, &packet));
    let _ = gate.open(&mut []);
    let counters = gate.counters();
    assert_eq!((counters.read, counters.delivered, counters.filtered), (67, 1, 63));
    assert_eq!((counters.dropped(Refusal::Source), counters.dropped_total()), (65, 66));
    gate.set_filtered(false);
    let _ = gate.open(&mut stranger);
    assert_eq!((gate.counters().read, gate.counters().filtered), (68, 63));
}
