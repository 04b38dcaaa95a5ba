//! The parts of a frame that the coalescer compares.

use std::ops::Range;

use crate::wire::checksum::Sum;
use crate::wire::frame::Framed;
use crate::wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use crate::wire::protocol;
use crate::wire::tcp::{self, Flags};

/// Where the checksum field is in a TCP header.
pub(super) const CHECKSUM: Range<usize> = 16..18;

/// More fragments, and the fragment offset.
const FRAGMENT: u16 = 0x3fff;
const DONT_FRAGMENT: u8 = 0x40;

/// What a frame holds.
pub(super) enum SegmentKind<'f> {
    /// TCP directly after an IP header without options: its flow is known.
    Tcp(Segment<'f>),
    /// Another protocol: belongs to no TCP flow.
    Other,
    /// Could belong to any TCP flow: a fragment, or a packet with IPv4 options or IPv6 extension
    /// headers, whose ports are not parsed here.
    AnyFlow,
}

/// A TCP segment after an IP header without options.
#[derive(Clone, Copy)]
pub(super) struct Segment<'f> {
    ip: &'f [u8],
    /// The TCP header and the payload.
    tcp: &'f [u8],
    tcp_header: &'f [u8; tcp::MIN_HEADER_LEN],
    tcp_header_len: usize,
    mergeable: bool,
}

#[inline]
pub(super) fn classify(frame: &impl Framed) -> SegmentKind<'_> {
    let Some((virtio, packet)) = frame.parts() else { return SegmentKind::AnyFlow };
    // Frames that the NIC has merged, or whose checksum is partial, cannot be verified.
    let plain = virtio.iter().all(|byte| *byte == 0);
    match packet.first() {
        Some(0x45) => match packet.split_at_checked(IPV4_HEADER_LEN) {
            Some((ip, tcp)) => of_ipv4(ip, tcp, plain),
            None => SegmentKind::AnyFlow,
        },
        Some(0x60..=0x6f) => match packet.split_at_checked(IPV6_HEADER_LEN) {
            Some((ip, tcp)) => of_ipv6(ip, tcp, plain),
            None => SegmentKind::AnyFlow,
        },
        _ => SegmentKind::AnyFlow,
    }
}

#[inline]
fn of_ipv4<'f>(ip: &'f [u8], tcp: &'f [u8], plain: bool) -> SegmentKind<'f> {
    if ip.get(9) != Some(&protocol::TCP) {
        return SegmentKind::Other;
    }
    let whole = field(ip, 6) & FRAGMENT == 0;
    if !whole || usize::from(field(ip, 2)) != ip.len() + tcp.len() {
        return SegmentKind::AnyFlow;
    }
    of_tcp(ip, tcp, plain)
}

#[inline]
fn of_ipv6<'f>(ip: &'f [u8], tcp: &'f [u8], plain: bool) -> SegmentKind<'f> {
    match ip.get(6) {
        Some(&protocol::TCP) if usize::from(field(ip, 4)) == tcp.len() => of_tcp(ip, tcp, plain),
        Some(&(protocol::UDP | protocol::ICMPV6)) => SegmentKind::Other,
        _ => SegmentKind::AnyFlow,
    }
}

#[inline]
fn of_tcp<'f>(ip: &'f [u8], tcp: &'f [u8], plain: bool) -> SegmentKind<'f> {
    let Some(tcp_header) = tcp.first_chunk::<{ tcp::MIN_HEADER_LEN }>() else {
        return SegmentKind::AnyFlow;
    };
    let tcp_header_len = usize::from(tcp_header[12] >> 4) * 4;
    // Any other flag belongs to one position in the stream. The reserved bits (RFC 9293 section
    // 3.1), one of them AccECN's, must not be copied. A segment without data is an acknowledgement,
    // and each of those counts (RFC 5681 section 3.2).
    let mergeable = plain
        && matches!(tcp_header[13], Flags::ACK | ACK_PUSH)
        && tcp_header[12].trailing_zeros() >= 4
        && tcp_header_len >= tcp::MIN_HEADER_LEN
        && tcp.len() > tcp_header_len;
    SegmentKind::Tcp(Segment { ip, tcp, tcp_header, tcp_header_len, mergeable })
}

const ACK_PUSH: u8 = Flags::ACK | Flags::PSH;

impl<'f> Segment<'f> {
    /// The IP header.
    #[inline]
    pub(super) fn ip(&self) -> &'f [u8] {
        self.ip
    }

    #[inline]
    pub(super) fn is_ipv6(&self) -> bool {
        self.ip.len() == IPV6_HEADER_LEN
    }

    /// Whether it may be part of a merged frame at all.
    #[inline]
    pub(super) fn mergeable(&self) -> bool {
        self.mergeable
    }

    /// Length of both headers.
    #[inline]
    pub(super) fn header_len(&self) -> usize {
        self.ip.len() + self.tcp_header_len
    }

    #[inline]
    pub(super) fn payload_len(&self) -> usize {
        self.tcp.len().saturating_sub(self.tcp_header_len)
    }

    #[inline]
    pub(super) fn sequence(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.tcp_header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The sequence number after its last byte.
    #[inline]
    pub(super) fn next_sequence(&self) -> u32 {
        // The length of a packet fits into 32 bits.
        self.sequence().wrapping_add(u32::try_from(self.payload_len()).unwrap_or_default())
    }

    #[inline]
    pub(super) fn push(&self) -> bool {
        self.tcp_header[13] & Flags::PSH != 0
    }

    /// IPv4's identification; 0 for IPv6.
    #[inline]
    pub(super) fn identification(&self) -> u16 {
        if self.is_ipv6() { 0 } else { field(self.ip, 4) }
    }

    #[inline]
    pub(super) fn dont_fragment(&self) -> bool {
        self.is_ipv6() || self.ip.get(6).is_some_and(|flags| flags & DONT_FRAGMENT != 0)
    }

    /// Same addresses and same ports.
    #[inline]
    pub(super) fn is_of_the_flow_of(&self, other: &Segment<'_>) -> bool {
        self.tcp_header[..4] == other.tcp_header[..4]
            && self.ip.len() == other.ip.len()
            && self.addresses() == other.addresses()
    }

    /// Whether the headers of two segments of one flow are the same, except for lengths, checksums,
    /// sequence number, identification and PSH.
    #[inline]
    pub(super) fn differs_in_position_only(&self, other: &Segment<'_>) -> bool {
        let (own, its) = (self.tcp_header, other.tcp_header);
        // Acknowledgement and header length; window; urgent pointer.
        own[8..13] == its[8..13]
            && own[14..16] == its[14..16]
            && own[18..] == its[18..]
            && self.tcp_options() == other.tcp_options()
            && self.same_way(other)
    }

    /// Whether both checksums are right: the IPv4 header's and TCP's.
    #[inline]
    pub(super) fn checksums_are_right(&self) -> bool {
        (self.is_ipv6() || Sum::of(self.ip).fold() == RIGHT)
            && self.pseudo_header(self.tcp.len()).add_bytes(self.tcp).fold() == RIGHT
    }

    /// The sum of the pseudo-header for `len` bytes of TCP header and payload (RFC 9293 section
    /// 3.1).
    #[inline]
    pub(super) fn pseudo_header(&self, len: usize) -> Sum {
        // Lengths here are below 2^16.
        let len = u32::try_from(len).unwrap_or_default();
        Sum::of(self.addresses()).add_u16(u16::from(protocol::TCP)).add_u32(len)
    }

    /// Traffic class with ECN, and TTL; for IPv4 also DF and the reserved bit, for IPv6 the flow
    /// label.
    #[inline]
    fn same_way(&self, other: &Segment<'_>) -> bool {
        let (own, its) = (self.ip, other.ip);
        if self.is_ipv6() {
            return own.get(..4) == its.get(..4) && own.get(7) == its.get(7);
        }
        own.get(1) == its.get(1) && own.get(6..9) == its.get(6..9)
    }

    #[inline]
    fn addresses(&self) -> &'f [u8] {
        let start = if self.is_ipv6() { 8 } else { 12 };
        self.ip.get(start..).unwrap_or_default()
    }

    #[inline]
    fn tcp_options(&self) -> &'f [u8] {
        self.tcp.get(tcp::MIN_HEADER_LEN..self.tcp_header_len).unwrap_or_default()
    }
}

/// The sum over data with a right checksum field (RFC 1071 section 1).
const RIGHT: u16 = 0xffff;

#[inline]
fn field(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u16::from_be_bytes(*field))
}
