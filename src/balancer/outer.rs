//! The outer header of a tunnelled packet: what the receiver's NIC makes of it decides the far end's cost.
//!
//! Linux merges (GRO) consecutive IPIP packets of one inner TCP stream only if their outer headers let it:
//! DF with id 0 and one TTL. UDP must never be merged, since the datagrams' boundaries are lost for a raw
//! socket: no DF and a random id stop it on every kernel (with DF set older ones ignore the id).

use std::net::IpAddr;

use crate::wire::{Packet, ecn, encap::Outer, protocol};

/// TTL of tunnelled packets.
pub const TTL: u8 = 64;

/// What the outer header takes from the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inner {
    traffic_class: u8,
    mergeable: bool,
}

impl Inner {
    /// Of this packet.
    #[inline]
    #[must_use]
    pub fn of(packet: &Packet<'_>) -> Self {
        let mergeable = packet.protocol == protocol::TCP;
        Self { traffic_class: packet.traffic_class, mergeable }
    }

    /// The outer header from `source` to the real server. `random` must differ from packet to packet
    /// unpredictably. A `source` of 0.0.0.0 lets the kernel take the one its routing table picks.
    #[inline]
    #[must_use]
    pub fn outer(self, source: IpAddr, real: IpAddr, random: u16) -> Outer {
        Outer {
            source,
            destination: real,
            traffic_class: ecn::encapsulate(self.traffic_class),
            ttl: TTL,
            dont_fragment: self.mergeable,
            // The kernel would fill an id of 0 where DF is not set, from a counter that lets GRO merge.
            identification: if self.mergeable { 0 } else { random.max(1) },
        }
    }
}
