//! The outer header of a tunnelled packet. It decides whether the receiver's NIC merges packets,
//! and with that the real server's cost.
//!
//! Linux merges (GRO) consecutive tunnelled packets of one inner TCP stream only if their outer
//! headers allow it: the same TTL, for IPv4 DF with ID 0, for IPv6 the same flow label. UDP must
//! never be merged, since a raw socket loses the datagrams' boundaries. Linux merges where the ID
//! is one more than the last, where DF is set and both are equal, and since 6.18 where both are
//! equal. So datagrams over IPv4 have no DF and an ID four larger than the last one's. IPv6 has no
//! ID, and its flow label has to stay for routers that spread flows over equal-cost paths; there a
//! changing hop limit prevents it.
//!
//! In GUE each outer datagram stays one, so nothing has to prevent merging, and packets of several
//! flows are sent together. Their hop limit and, over IPv6, their flow label are those of their
//! source port, which the flow's hash chooses (RFC 6438 section 3).

use std::net::{IpAddr, Ipv4Addr};

use super::flow::Key;
use super::tunnel::Tunnel;
use crate::wire::encap::{Encap, GuePorts, Outer, Shim, SourcePorts, pieces::Pieces};
use crate::wire::{Fragment, Packet, Transport, ecn, protocol};

/// TTL of tunnelled packets.
pub const TTL: u8 = 64;

/// The number of hop limits of tunnelled UDP over IPv6, used in turn from [`TTL`] on. A NIC holds
/// at most 64 packets for merging (`MAX_GRO_SKBS` in each of `GRO_HASH_BUCKETS`). So a packet can
/// meet one of its flow with the same hop limit only if exactly a multiple of this many others came
/// between and none of them was merged.
const HOP_LIMITS: u8 = 128;

/// Bytes of the longest inner packet that fits the path over IPv4 whatever its MTU: 552 bytes are
/// the least that Linux takes for one (`min_pmtu`).
const FITS_ANY_PATH: usize = 552 - Encap::Gue.outer_len(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// The inputs of the outer header from the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inner {
    /// IP version, 4 or 6.
    pub version: u8,
    traffic_class: u8,
    wire_len: usize,
    mergeable: bool,
    /// Whether no router may fragment it, or none has to.
    whole: bool,
    flow_label: u32,
}

impl Inner {
    /// The inputs from this packet. `key` makes flow labels unpredictable for others (RFC 6437
    /// section 3).
    #[inline]
    #[must_use]
    pub fn of(packet: &Packet<'_>, key: u64) -> Self {
        Self {
            version: packet.version(),
            traffic_class: packet.traffic_class,
            wire_len: packet.wire_len(),
            // NICs never merge fragments.
            mergeable: packet.protocol == protocol::TCP && packet.fragment == Fragment::Whole,
            whole: packet.dont_fragment || packet.wire_len() <= FITS_ANY_PATH,
            flow_label: flow_label(packet, key),
        }
    }

    /// The inputs from a packet of the director's own that must not be fragmented on the way.
    #[must_use]
    pub fn of_size_probe(packet: &Packet<'_>, key: u64) -> Self {
        Self { mergeable: true, ..Self::of(packet, key) }
    }

    /// The outer header of the `index`th packet of those sent into the tunnel together, and what
    /// follows it. `fallback` is the source if the tunnel has none; with 0.0.0.0 the kernel picks
    /// it by its routing table.
    #[inline]
    #[must_use]
    pub fn headers(
        self,
        tunnel: &Tunnel,
        index: usize,
        fallback: IpAddr,
        ports: GuePorts,
    ) -> (Outer, Shim) {
        let mut outer = self.outer(tunnel, index, fallback);
        let shim = self.shim(tunnel.encap, ports);
        if let Shim::Gue { source_port, .. } = shim {
            outer.flow_label = source_port.into();
        }
        (outer, shim)
    }

    /// The outer header alone, see [`Self::headers`]. In GUE its flow label depends on what
    /// follows.
    #[inline]
    #[must_use]
    pub fn outer(self, tunnel: &Tunnel, index: usize, fallback: IpAddr) -> Outer {
        let gue = tunnel.encap == Encap::Gue;
        let sequence = tunnel.sequence.wrapping_add(index as u64);
        // A packet that is too long and still sent has to be fragmented.
        let dont_fragment = (self.mergeable || gue && self.whole) && self.wire_len <= tunnel.limit;
        Outer {
            source: tunnel.source.unwrap_or(fallback),
            destination: tunnel.real,
            traffic_class: ecn::encapsulate(self.traffic_class),
            ttl: if self.mergeable || gue || tunnel.real.is_ipv4() {
                TTL
            } else {
                let number = sequence % u64::from(HOP_LIMITS);
                TTL + u8::try_from(number).unwrap_or_default()
            },
            dont_fragment,
            identification: if dont_fragment { 0 } else { self.identification(sequence) },
            flow_label: self.flow_label,
        }
    }

    /// The ID of a datagram: larger by four than that of the packet before it, so that no two of a
    /// flow are equal or follow each other within 16,384. It is never 0, which the kernel would
    /// replace by a counter's, and never that of a packet that the eBPF program carries, whose IDs
    /// are multiples of four. The flow label makes it unpredictable.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits count")]
    fn identification(self, sequence: u64) -> u16 {
        (self.flow_label.wrapping_add(sequence as u32) << 2 | 2) as u16
    }

    /// A number that all packets of its flow have, and few others.
    #[inline]
    #[must_use]
    pub fn flow(self) -> u32 {
        self.flow_label
    }

    /// What stands between the outer IP header and the packet.
    #[inline]
    #[must_use]
    pub fn shim(self, encap: Encap, ports: GuePorts) -> Shim {
        let source_port = if encap == Encap::Gue { self.source_port(ports.sources) } else { 0 };
        Shim::new(encap, source_port, ports.destination)
    }

    #[inline]
    fn source_port(self, ports: SourcePorts) -> u16 {
        ports.of_flow(self.flow_label, self.mergeable)
    }
}

/// How a packet of `len` bytes and its shim are cut if they exceed the path MTU. `None` if they
/// fit, as far as is known. Only a packet that may be fragmented or cannot be smaller is sent into
/// a tunnel that it does not fit (RFC 2473 section 7). Over IPv4, routers fragment what fits the
/// director's own link.
#[inline]
#[must_use]
pub fn pieces(tunnel: &Tunnel, len: usize) -> Option<Pieces> {
    let limit = if tunnel.real.is_ipv6() { tunnel.limit } else { tunnel.link };
    let shim = tunnel.encap.shim_len();
    (len > limit).then(|| Pieces::new(tunnel.real, len + shim, limit + shim))
}

/// One label for all packets of a flow (RFC 6438 section 3), never zero, which means "no label".
/// Later fragments have no ports: for all fragments of a datagram only the addresses count.
#[inline]
fn flow_label(packet: &Packet<'_>, key: u64) -> u32 {
    let (protocol, ports) = match (packet.fragment, packet.transport) {
        // The protocol does not count either: a later fragment's next header may be an extension
        // header of the datagram.
        (Fragment::First | Fragment::Later, _) => (0, 0),
        (_, Transport::Tcp(header)) => {
            (packet.protocol, pair(header.source_port, header.destination_port))
        }
        (_, Transport::Udp { source_port, destination_port }) => {
            (packet.protocol, pair(source_port, destination_port))
        }
        _ => (packet.protocol, 0),
    };
    label(packet.source, packet.destination, protocol, ports, key)
}

/// The label that a whole packet with this key gets.
#[must_use]
pub fn label_of_flow(flow: &Key, key: u64) -> u32 {
    let ports = pair(flow.client_port(), flow.virtual_port());
    label(flow.client(), flow.vip(), flow.protocol(), ports, key)
}

#[inline]
fn label(source: IpAddr, destination: IpAddr, protocol: u8, ports: u32, key: u64) -> u32 {
    const BITS: u32 = 20;
    // The fields that distinguish flows enter both products: with a single one neighbouring ports
    // would get neighbouring labels.
    let source = word(source, key) ^ u64::from(ports) << 32;
    let destination = word(destination, !key) ^ u64::from(protocol) << 32;
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

/// Mixes two words into one: both halves of the product, with odd constants mixed in, so that a
/// factor of zero does not persist.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    let [high, low] = halves(product);
    high ^ low
}

#[cfg(test)]
mod tests;
