//! Merged packets and unfinished checksums: the virtio-net header that a packet needs.

use std::net::IpAddr;

use super::Refusal;
use crate::wire::checksum::Sum;
use crate::wire::encap::Opened;
use crate::wire::tcp;
use crate::wire::virtio::{self, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM};
use crate::wire::{Fragment, Packet, Transport};

/// The smallest MSS that the gate uses; Linux's own minimum (`TCP_MIN_MSS`): it leaves room for 40
/// bytes of TCP options.
pub const MIN_MSS: u16 = 88;

/// The default MTU of a link, in bytes: Ethernet's.
const USUAL_MTU: u32 = 1_500;

const TCP_HEADER_LEN: u16 = 20;
const TCP_CHECKSUM_OFFSET: u16 = 16;
const UDP_HEADER_LEN: u16 = 8;
const UDP_LENGTH_OFFSET: u16 = 4;
const UDP_CHECKSUM_OFFSET: u16 = 6;

/// The MSS in bytes that this host advertises for its virtual IPs of each family; it limits the
/// clients' segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mss {
    /// For IPv4 clients.
    pub v4: u16,
    /// For IPv6 clients.
    pub v6: u16,
}

/// The lengths that distinguish a merged packet from a whole one.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergeLimits {
    pub(super) mss: Mss,
    /// The largest MTU of this host's links, in bytes.
    pub(super) link_mtu: u32,
}

impl MergeLimits {
    /// An MSS below [`MIN_MSS`] is raised to it.
    pub(super) fn new(mss: Mss) -> Self {
        let mss = Mss { v4: mss.v4.max(MIN_MSS), v6: mss.v6.max(MIN_MSS) };
        Self { mss, link_mtu: USUAL_MTU }
    }

    /// Whether a datagram of `len` bytes, outer header included, comes over a link.
    #[inline]
    pub(super) fn fits_a_link(&self, len: usize) -> bool {
        len <= usize::try_from(self.link_mtu).unwrap_or(usize::MAX)
    }

    /// The virtio-net header for the packet: empty, unless its checksum is unfinished.
    #[inline]
    pub(super) fn offload(
        &self,
        outer: &Opened,
        packet: &Packet<'_>,
    ) -> Result<virtio::Header, Refusal> {
        match (packet.transport, packet.fragment) {
            (Transport::Tcp(header), Fragment::Whole) => Ok(self.offload_tcp(packet, &header)),
            (Transport::Udp { .. }, Fragment::Whole) => self.offload_udp(outer, packet),
            _ => Ok(virtio::Header::default()),
        }
    }

    /// GRO leaves a partial checksum: the field equals the pseudo-header's sum. Only such a packet
    /// may be marked, since the kernel trusts `NEEDS_CSUM` whatever the field holds.
    #[inline]
    fn offload_tcp(&self, packet: &Packet<'_>, header: &tcp::Header) -> virtio::Header {
        let segment = packet.payload();
        let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
        let partial = Some(pseudo_header(packet, length).fold());
        if field(segment, TCP_CHECKSUM_OFFSET) != partial {
            return virtio::Header::default();
        }
        let (mss, gso_type) = match packet.source {
            IpAddr::V4(_) => (self.mss.v4, GSO_TCPV4),
            IpAddr::V6(_) => (self.mss.v6, GSO_TCPV6),
        };
        let ip_len = u16::from(packet.header_len);
        let tcp_len = u16::from(header.header_len);
        // A client that sends full segments sends our MSS minus its options (RFC 6691); at least 48
        // bytes.
        let options = tcp_len.saturating_sub(TCP_HEADER_LEN);
        let gso_size = mss.saturating_sub(options);
        let merged = segment.len() > usize::from(tcp_len) + usize::from(gso_size);
        virtio::Header {
            flags: NEEDS_CSUM,
            gso_type: if merged { gso_type } else { virtio::GSO_NONE },
            hdr_len: ip_len + tcp_len,
            gso_size: if merged { gso_size } else { 0 },
            csum_start: ip_len,
            csum_offset: TCP_CHECKSUM_OFFSET,
        }
    }

    /// GRO leaves the same value in the checksum field as a local sender leaves for its network
    /// card: the pseudo-header's sum over the whole length. Only the length distinguishes a merged
    /// datagram from a whole one. A merged datagram that fits into a link's MTU is rare: Linux
    /// merges UDP only if a program asks for it (`UDP_GRO`) or for forwarding, and then usually far
    /// more than one MTU.
    #[inline]
    fn offload_udp(&self, outer: &Opened, packet: &Packet<'_>) -> Result<virtio::Header, Refusal> {
        let payload = packet.payload();
        let length = field(payload, UDP_LENGTH_OFFSET).unwrap_or_default();
        let pseudo = pseudo_header(packet, u32::from(length));
        if field(payload, UDP_CHECKSUM_OFFSET) != Some(pseudo.fold()) {
            return Ok(virtio::Header::default());
        }
        let datagram = payload.get(..usize::from(length)).ok_or(Refusal::Malformed)?;
        // A complete checksum can have the same value by chance (one in 65,536).
        if pseudo.add_bytes(datagram).checksum() == 0 {
            return Ok(virtio::Header::default());
        }
        let outer_len = outer.encap.outer_len(outer.source);
        // `NEEDS_CSUM` covers all following bytes, so it would include bytes after the datagram.
        if !self.fits_a_link(outer_len + packet.bytes().len()) || datagram.len() != payload.len() {
            return Err(Refusal::UdpSuperPacket);
        }
        let ip_len = u16::from(packet.header_len);
        Ok(virtio::Header {
            flags: NEEDS_CSUM,
            hdr_len: ip_len + UDP_HEADER_LEN,
            csum_start: ip_len,
            csum_offset: UDP_CHECKSUM_OFFSET,
            ..virtio::Header::default()
        })
    }
}

#[inline]
pub(super) fn pseudo_header(packet: &Packet<'_>, length: u32) -> Sum {
    Sum::pseudo_header(packet.source, packet.destination, packet.protocol, length)
}

#[inline]
fn field(bytes: &[u8], at: u16) -> Option<u16> {
    bytes.get(usize::from(at)..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}
