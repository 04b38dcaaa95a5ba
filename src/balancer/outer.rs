//! The outer header of a tunnelled packet: what the receiver's NIC makes of it decides the far end's cost.
//!
//! Linux merges (GRO) consecutive IPIP packets of one inner TCP stream only if their outer headers let it:
//! DF with id 0 and one TTL. UDP must never be merged, since the datagrams' boundaries are lost for a raw
//! socket: no DF and a random id stop it on every kernel (with DF set older ones ignore the id).

use std::net::IpAddr;

use crate::wire::{Packet, ecn, encap::Outer, protocol};

/// TTL of tunnelled packets.
pub const TTL: u8 = 64;

/// The outer header for an inner packet. `random` must differ from packet to packet unpredictably.
///
/// A `source` of 0.0.0.0 lets the kernel take the one its routing table picks.
#[inline]
#[must_use]
pub fn header(packet: &Packet<'_>, source: IpAddr, real: IpAddr, random: u16) -> Outer {
    let mergeable = packet.protocol == protocol::TCP;
    Outer {
        source,
        destination: real,
        traffic_class: ecn::encapsulate(packet.traffic_class),
        ttl: TTL,
        dont_fragment: mergeable,
        // The kernel would fill an id of 0 where DF is not set, from a counter that lets GRO merge.
        identification: if mergeable { 0 } else { random.max(1) },
    }
}
