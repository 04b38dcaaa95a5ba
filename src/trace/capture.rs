//! How much of a packet is kept: its headers, unless more is requested.

use crate::wire::encap::{Encap, MAX_OUTER_LEN};
use crate::wire::packet::{
    ICMP_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN, MAX_PACKET_LEN, UDP_HEADER_LEN,
};
use crate::wire::{Fragment, Packet, Transport, protocol};

/// The most bytes of a packet that can be requested: those of the longest one with its outer
/// header.
pub const MAX_SNAPLEN: usize = MAX_PACKET_LEN + MAX_OUTER_LEN;

/// How many bytes of each packet are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Snaplen {
    /// The headers up to the transport's.
    Headers,
    /// This many bytes.
    Bytes(usize),
}

impl Snaplen {
    /// The kept part of a packet as it came.
    #[must_use]
    pub fn came(self, bytes: &[u8]) -> &[u8] {
        self.cut(bytes, headers_len)
    }

    /// The kept part of a packet as it was sent: to a real server in a tunnel, or to a client.
    #[must_use]
    pub fn sent(self, bytes: &[u8]) -> &[u8] {
        self.cut(bytes, sent_headers_len)
    }

    fn cut(self, bytes: &[u8], headers: impl FnOnce(&[u8]) -> usize) -> &[u8] {
        let len = match self {
            Self::Headers => headers(bytes),
            Self::Bytes(len) => len,
        };
        bytes.get(..len).unwrap_or(bytes)
    }
}

/// The length of a packet's headers up to the transport's. Bytes that are not a packet count as an
/// IP header without options.
fn headers_len(bytes: &[u8]) -> usize {
    let Ok(packet) = Packet::parse(bytes) else { return ip_header_len(bytes) };
    let transport = match packet.transport {
        Transport::Tcp(header) => usize::from(header.header_len),
        Transport::Udp { .. } => UDP_HEADER_LEN,
        Transport::Icmp { .. } => ICMP_HEADER_LEN,
        Transport::Other => 0,
    };
    usize::from(packet.header_len) + transport
}

/// As [`headers_len`], with the outer header of a tunnel. If the packet was sent in several pieces,
/// only the first has the inner headers, and the inner packet is longer than the piece.
fn sent_headers_len(bytes: &[u8]) -> usize {
    let Ok(outer) = Packet::parse(bytes) else { return ip_header_len(bytes) };
    // All UDP that a director sends to real servers is GUE.
    let encap = match outer.protocol {
        protocol::IPIP | protocol::IPV6 => Some(Encap::Ipip),
        protocol::GRE => Some(Encap::Gre),
        protocol::UDP => Some(Encap::Gue),
        _ => None,
    };
    let Some(encap) = encap.filter(|_| outer.fragment != Fragment::Later) else {
        return headers_len(bytes);
    };
    let len = usize::from(outer.header_len) + encap.shim_len();
    len + headers_len(bytes.get(len..).unwrap_or_default())
}

fn ip_header_len(bytes: &[u8]) -> usize {
    match bytes.first().map(|first| first >> 4) {
        Some(6) => IPV6_HEADER_LEN,
        _ => IPV4_HEADER_LEN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::build::Family;
    use crate::wire::encap::{Outer, ipip};
    use crate::wire::tcp::Flags;

    #[test]
    fn headers_end_before_the_payload_in_and_out_of_a_tunnel() {
        for (family, ip) in [(Family::V4, IPV4_HEADER_LEN), (Family::V6, IPV6_HEADER_LEN)] {
            let tcp = family.tcp(Flags::ACK).data(b"secret").bytes();
            assert_eq!(Snaplen::Headers.came(&tcp), &tcp[..ip + 20], "{family:?}");
            assert_eq!(Snaplen::Bytes(tcp.len() - 1).came(&tcp).len(), tcp.len() - 1);
            assert_eq!(Snaplen::Bytes(tcp.len() + 1).came(&tcp), tcp);
            let udp = family.udp(53).data(b"secret").bytes();
            assert_eq!(Snaplen::Headers.came(&udp), &udp[..ip + UDP_HEADER_LEN]);
            let outer = Outer {
                source: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.11".parse().unwrap(),
                traffic_class: 0,
                ttl: 64,
                dont_fragment: true,
                identification: 0,
                flow_label: 0,
            };
            let mut sent = vec![0; IPV4_HEADER_LEN];
            let version = if family == Family::V4 { 4 } else { 6 };
            ipip::write(&outer, version, tcp.len(), &mut sent).unwrap();
            sent.extend_from_slice(&tcp);
            let kept = Snaplen::Headers.sent(&sent);
            assert_eq!(kept.len(), IPV4_HEADER_LEN + ip + 20);
        }
    }

    #[test]
    fn of_what_is_no_packet_a_header_s_length_is_kept() {
        assert_eq!(Snaplen::Headers.came(&[0x45; 30]).len(), IPV4_HEADER_LEN);
        assert_eq!(Snaplen::Headers.came(&[0x60; 30]).len(), 30);
        assert_eq!(Snaplen::Headers.came(&[]).len(), 0);
    }
}
