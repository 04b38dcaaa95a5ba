//! The outer header of a tunnelled packet: what the receiver's NIC makes of it decides the far
//! end's cost.
//!
//! Linux merges (GRO) consecutive tunnelled packets of one inner TCP stream only if their outer
//! headers let it: one TTL, and for IPv4 DF with id 0, for IPv6 one flow label. UDP must never be
//! merged, since the datagrams' boundaries are lost for a raw socket. Over IPv4 no DF and a random
//! id stop it on every kernel (with DF set older ones ignore the id). IPv6 has no id, and its flow
//! label has to stay for routers that spread flows over equal paths; there a hop limit that differs
//! from packet to packet stops it.

use std::net::IpAddr;

use super::tunnel::Tunnel;
use crate::wire::{Fragment, Packet, Transport, ecn, encap::Outer, protocol};

/// TTL of tunnelled packets.
pub const TTL: u8 = 64;

/// Hop limits of tunnelled UDP over IPv6, in turn from [`TTL`] on. A NIC's merging holds at most 64
/// packets at a time (`MAX_GRO_SKBS` in each of `GRO_HASH_BUCKETS`), so a packet meets one of its
/// own flow with the same only where exactly a multiple of so many others came between and none of
/// them was merged.
const HOP_LIMITS: u8 = 128;

/// What the outer header takes from the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inner {
    /// IP version, 4 or 6.
    pub version: u8,
    traffic_class: u8,
    wire_len: usize,
    mergeable: bool,
    flow_label: u32,
}

impl Inner {
    /// Of this packet. `key` makes flow labels that nobody else can tell in advance (RFC 6437
    /// section 3).
    #[inline]
    #[must_use]
    pub fn of(packet: &Packet<'_>, key: u64) -> Self {
        Self {
            version: packet.version(),
            traffic_class: packet.traffic_class,
            wire_len: packet.wire_len(),
            // What is a part of a datagram no NIC merges, whatever it is a part of.
            mergeable: packet.protocol == protocol::TCP && packet.fragment == Fragment::Whole,
            flow_label: flow_label(packet, key),
        }
    }

    /// The outer header of the `index`th packet of those just dispatched into the tunnel.
    /// `fallback` is the source where the tunnel names none; 0.0.0.0 lets the kernel take the one
    /// its routing table picks. `random` must differ from packet to packet unpredictably.
    #[inline]
    #[must_use]
    pub fn outer(self, tunnel: &Tunnel, index: usize, fallback: IpAddr, random: u16) -> Outer {
        // What does not fit and yet is sent can only arrive in pieces.
        let dont_fragment = self.mergeable && self.wire_len <= tunnel.limit;
        Outer {
            source: tunnel.source.unwrap_or(fallback),
            destination: tunnel.real,
            traffic_class: ecn::encapsulate(self.traffic_class),
            ttl: if self.mergeable || tunnel.real.is_ipv4() {
                TTL
            } else {
                let number = tunnel.sequence.wrapping_add(index as u64) % u64::from(HOP_LIMITS);
                TTL + u8::try_from(number).unwrap_or_default()
            },
            dont_fragment,
            // The kernel would fill an id of 0 where DF is not set, from a counter that lets GRO
            // merge.
            identification: if dont_fragment { 0 } else { random.max(1) },
            flow_label: self.flow_label,
        }
    }
}

/// One label for all packets of a flow (RFC 6438 section 3), never zero, which says "no label".
/// Fragments other than the first have no ports: all of a datagram go by its addresses.
#[inline]
fn flow_label(packet: &Packet<'_>, key: u64) -> u32 {
    const BITS: u32 = 20;
    let (protocol, ports) = match (packet.fragment, packet.transport) {
        // Nor need they name the same protocol: with extension headers in the data, IPv6's name
        // those.
        (Fragment::First | Fragment::Later, _) => (0, 0),
        (_, Transport::Tcp(header)) => {
            (packet.protocol, pair(header.source_port, header.destination_port))
        }
        (_, Transport::Udp { source_port, destination_port }) => {
            (packet.protocol, pair(source_port, destination_port))
        }
        _ => (packet.protocol, 0),
    };
    // What distinguishes flows goes through both products: a single one would make neighbouring
    // ports neighbouring labels.
    let source = word(packet.source, key) ^ u64::from(ports) << 32;
    let destination = word(packet.destination, !key) ^ u64::from(protocol) << 32;
    let hash = fold(fold(source, destination), key);
    u32::try_from(hash >> (u64::BITS - BITS)).unwrap_or_default().max(1)
}

#[inline]
fn pair(source: u16, destination: u16) -> u32 {
    u32::from(source) << 16 | u32::from(destination)
}

/// An address as one word, keyed.
#[inline]
fn word(address: IpAddr, key: u64) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()) ^ key,
        IpAddr::V6(address) => {
            let [high, low] = halves(address.to_bits());
            fold(high ^ key, low)
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // both halves are used
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

/// Two words to one: both halves of the product with odd constants mixed in, so that neither factor
/// is zero for long.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    let [high, low] = halves(product);
    high ^ low
}

#[cfg(test)]
mod tests;
