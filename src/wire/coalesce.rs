//! Merges the segments of one TCP stream in a batch into one super-frame, as a NIC with GRO does.
//!
//! The rules are those of Linux's own TCP GRO, or stricter. Segments merge when they follow each
//! other without a gap and their headers differ only in fields that [`super::segment`] writes when
//! it splits. These are lengths, checksums, the sequence number, IPv4's identification, and PSH,
//! which ends the frame. A packet that does not merge with its flow's open frame ends that frame,
//! so a flow's packets stay in order.
//!
//! The virtio-net header makes the kernel trust the checksums of a merged frame. This module
//! therefore verifies the checksums of packets that it merges, and of no others. A packet with a
//! wrong checksum goes on alone and unchanged, and the kernel counts it.
//!
//! Only headers are copied, and no packet waits for a later batch: a batch is what one system call
//! returned.

mod segment;

use super::checksum::Sum;
use super::frame::Framed;
use super::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN};
use super::tcp::{self, Flags};
use super::virtio::{GSO_TCPV4, GSO_TCPV6, HEADER_LEN, Header, NEEDS_CSUM};
use segment::{CHECKSUM, Segment, SegmentKind};

/// The most frames of a batch, and so the most segments of a merged frame. 45 segments of 1,448
/// bytes fill [`MAX_MERGED_LEN`].
pub const MAX_BATCH: usize = 64;

/// Merged frames of a batch that may be open at a time. One more flow closes the oldest. Linux
/// keeps eight in each of eight buckets, for a batch of the same length.
pub const MAX_OPEN: usize = 8;

/// The longest merged packet in bytes with headers: the maximum of IPv4's length field, and the
/// kernel's limit (`GRO_LEGACY_MAX_SIZE`) for both families.
pub const MAX_MERGED_LEN: usize = 65_535;

/// The longest headers that [`Coalescer::header`] writes: virtio-net, IPv6, and TCP with 40 bytes
/// of options.
pub const MAX_HEADER_LEN: usize = HEADER_LEN + IPV6_HEADER_LEN + tcp::MIN_HEADER_LEN + 40;

/// How the IPv4 identification changes from one segment to the next.
///
/// [`super::segment`] counts up by one when it splits, which restores the packets of a sender that
/// counts. A sender may leave it constant only with DF, and then it means nothing (RFC 6864 section
/// 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Numbering {
    /// IPv6, which has none; or the first packet of IPv4.
    Open,
    Constant,
    Counting,
}

/// Frames of a batch that become one. A frame that is not merged is a group of its own.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    first: usize,
    last: usize,
    count: usize,
    /// IP and TCP headers of each, in bytes. Not set for a frame of its own.
    header_len: usize,
    /// The packet's length so far, with one header.
    packet_len: usize,
    /// Payload bytes of each segment but the last.
    segment: usize,
    /// The sequence number of the segment that can follow.
    sequence: u32,
    /// The IPv4 identification of the last segment.
    identification: u16,
    numbering: Numbering,
    /// Whether the first one's checksums have been verified.
    verified: bool,
    /// Whether the last segment has PSH.
    push: bool,
}

impl Group {
    const NONE: Self = Self {
        first: 0,
        last: 0,
        count: 0,
        header_len: 0,
        packet_len: 0,
        segment: 0,
        sequence: 0,
        identification: 0,
        numbering: Numbering::Open,
        verified: false,
        push: false,
    };

    /// The first frame's index in the batch.
    #[inline]
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }

    /// How many frames: at least one.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of the merged packet in bytes, without the virtio-net header.
    #[inline]
    #[must_use]
    pub fn packet_len(&self) -> usize {
        self.packet_len
    }

    /// Length of its packets in bytes before they are merged.
    #[inline]
    #[must_use]
    pub fn packets_len(&self) -> usize {
        self.packet_len + (self.count - 1) * self.header_len
    }

    /// The part of one of the group's frames that [`Coalescer::header`] does not hold.
    #[inline]
    #[must_use]
    pub fn payload<'f>(&self, frame: &'f impl Framed) -> &'f [u8] {
        frame.packet().get(self.header_len..).unwrap_or_default()
    }

    fn alone(index: usize) -> Self {
        Self { first: index, last: index, count: 1, ..Self::NONE }
    }

    /// A group of one segment, which other segments may extend.
    #[inline]
    fn begun(index: usize, segment: &Segment<'_>) -> Self {
        Self {
            header_len: segment.header_len(),
            packet_len: segment.header_len() + segment.payload_len(),
            segment: segment.payload_len(),
            sequence: segment.next_sequence(),
            identification: segment.identification(),
            ..Self::alone(index)
        }
    }

    /// How the identification continues with `next`; `None` if `next` cannot continue the group.
    #[inline]
    fn continues(&self, head: &Segment<'_>, next: &Segment<'_>) -> Option<Numbering> {
        let fits = next.sequence() == self.sequence
            && next.payload_len() <= self.segment
            && self.packet_len + next.payload_len() <= MAX_MERGED_LEN
            && head.differs_in_position_only(next);
        if fits { self.numbered(head, next) } else { None }
    }

    #[inline]
    fn numbered(&self, head: &Segment<'_>, next: &Segment<'_>) -> Option<Numbering> {
        if head.is_ipv6() {
            return Some(Numbering::Open);
        }
        let found = match next.identification().wrapping_sub(self.identification) {
            1 => Numbering::Counting,
            0 if head.dont_fragment() => Numbering::Constant,
            _ => return None,
        };
        (self.numbering == Numbering::Open || self.numbering == found).then_some(found)
    }

    /// Adds `next`; returns whether more may follow.
    #[inline]
    fn take(&mut self, index: usize, next: &Segment<'_>, numbering: Numbering) -> bool {
        self.last = index;
        self.count += 1;
        self.packet_len += next.payload_len();
        self.sequence = next.next_sequence();
        self.identification = next.identification();
        self.numbering = numbering;
        self.push = next.push();
        !self.push && next.payload_len() == self.segment
    }
}

/// An open group and its first segment.
#[derive(Clone, Copy)]
struct Open<'f> {
    head: Segment<'f>,
    group: usize,
}

/// Sorts batches into groups. Allocated once.
#[derive(Clone, Debug)]
pub struct Coalescer {
    /// In the order of their first frames.
    groups: [Group; MAX_BATCH],
    count: usize,
    /// For each frame, the index of the next one in its group; for the last one, its own index.
    next: [usize; MAX_BATCH],
}

impl Default for Coalescer {
    fn default() -> Self {
        Self { groups: [Group::NONE; MAX_BATCH], count: 0, next: [0; MAX_BATCH] }
    }
}

impl Coalescer {
    /// Sorts `frames`, each a virtio-net header and a packet that [`super::Packet::parse`] takes,
    /// into groups, and forgets the batch before. Returns how many frames it has sorted: all, or
    /// the first [`MAX_BATCH`].
    pub fn sort<F: Framed>(&mut self, frames: &[F]) -> usize {
        self.count = 0;
        let mut open = OpenGroups::default();
        for (index, frame) in frames.iter().take(MAX_BATCH).enumerate() {
            self.add(index, frame, &mut open);
        }
        frames.len().min(MAX_BATCH)
    }

    /// The groups, in the order in which they are to be written: a flow's packets stay in order.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().take(self.count)
    }

    /// The indexes of a group's frames, in order.
    pub fn frame_indexes(&self, group: &Group) -> impl Iterator<Item = usize> {
        let mut at = group.first;
        (0..group.count).map(move |_| {
            let index = at;
            at = self.next.get(index).copied().unwrap_or(index);
            index
        })
    }

    /// Writes the merged frame's headers to the beginning of `room` and returns their length; the
    /// payloads of the group's frames follow. `first` is its first frame. `None` if the group is
    /// not merged.
    #[inline]
    #[must_use]
    pub fn header(
        group: &Group,
        first: &impl Framed,
        room: &mut [u8; MAX_HEADER_LEN],
    ) -> Option<usize> {
        if group.count < 2 {
            return None;
        }
        let SegmentKind::Tcp(head) = segment::classify(first) else { return None };
        let ip_len = head.ip().len();
        let header = virtio_header(group, head.is_ipv6(), ip_len)?;
        let (virtio, packet) = room.split_first_chunk_mut()?;
        *virtio = header.encode();
        let headers = packet.get_mut(..group.header_len)?;
        headers.copy_from_slice(first.packet().get(..group.header_len)?);
        let (ip, tcp) = headers.split_at_mut_checked(ip_len)?;
        set_length(ip, group.packet_len)?;
        let tcp = tcp.first_chunk_mut::<{ tcp::MIN_HEADER_LEN }>()?;
        if group.push {
            tcp[13] |= Flags::PSH;
        }
        let partial = head.pseudo_header(group.packet_len - ip_len).fold();
        tcp[CHECKSUM].copy_from_slice(&partial.to_be_bytes());
        Some(HEADER_LEN + group.header_len)
    }

    #[inline]
    fn add<'f>(&mut self, index: usize, frame: &'f impl Framed, open: &mut OpenGroups<'f>) {
        if let Some(own) = self.next.get_mut(index) {
            *own = index;
        }
        match segment::classify(frame) {
            SegmentKind::Tcp(segment) => self.add_tcp(index, segment, open),
            SegmentKind::Other => self.begin(Group::alone(index)),
            SegmentKind::AnyFlow => {
                *open = OpenGroups::default();
                self.begin(Group::alone(index));
            }
        }
    }

    #[inline]
    fn add_tcp<'f>(&mut self, index: usize, segment: Segment<'f>, open: &mut OpenGroups<'f>) {
        let mut sound = true;
        if let Some(slot) = open.of(&segment) {
            match self.join(index, &segment, slot) {
                Joined::GoesOn => return,
                Joined::Ended => return *slot = None,
                Joined::Apart => {}
                Joined::Unsound => sound = false,
            }
            *slot = None;
        }
        // A segment with a wrong checksum, or one that ends a frame or cannot be merged, opens no
        // group.
        if !sound || !segment.mergeable() || segment.push() {
            return self.begin(Group::alone(index));
        }
        open.put(Open { head: segment, group: self.count });
        self.begin(Group::begun(index, &segment));
    }

    /// Tries to add a segment to its flow's open group.
    #[inline]
    fn join(&mut self, index: usize, segment: &Segment<'_>, slot: &Option<Open<'_>>) -> Joined {
        let Some(Open { head, group }) = slot else { return Joined::Apart };
        let Some(group) = self.groups.get_mut(*group) else { return Joined::Apart };
        if !segment.mergeable() {
            return Joined::Apart;
        }
        let Some(numbering) = group.continues(head, segment) else { return Joined::Apart };
        if !segment.checksums_are_right() {
            return Joined::Unsound;
        }
        if !group.verified && !head.checksums_are_right() {
            return Joined::Apart;
        }
        group.verified = true;
        if let Some(next) = self.next.get_mut(group.last) {
            *next = index;
        }
        if group.take(index, segment, numbering) { Joined::GoesOn } else { Joined::Ended }
    }

    #[inline]
    fn begin(&mut self, group: Group) {
        if let Some(room) = self.groups.get_mut(self.count) {
            *room = group;
            self.count += 1;
        }
    }
}

/// The result of adding a segment to its flow's open group.
enum Joined {
    /// Added, and more may follow.
    GoesOn,
    /// Added as the last one.
    Ended,
    /// The segment does not fit the group.
    Apart,
    /// Its checksums are wrong.
    Unsound,
}

/// The open groups.
#[derive(Default)]
struct OpenGroups<'f> {
    slots: [Option<Open<'f>>; MAX_OPEN],
}

impl<'f> OpenGroups<'f> {
    /// The open group of the segment's flow.
    #[inline]
    fn of(&mut self, segment: &Segment<'_>) -> Option<&mut Option<Open<'f>>> {
        let same = |slot: &&mut Option<Open<'f>>| {
            slot.as_ref().is_some_and(|open| open.head.is_of_the_flow_of(segment))
        };
        self.slots.iter_mut().find(same)
    }

    /// Adds a group; if there is no room, closes the oldest.
    #[inline]
    fn put(&mut self, open: Open<'f>) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(open);
            return;
        }
        let oldest = self.slots.iter_mut().min_by_key(|slot| slot.as_ref().map(|open| open.group));
        if let Some(slot) = oldest {
            *slot = Some(open);
        }
    }
}

/// `None` if a length does not fit into its field, which [`MAX_MERGED_LEN`] prevents.
#[inline]
fn virtio_header(group: &Group, is_ipv6: bool, ip_len: usize) -> Option<Header> {
    // Segments with CWR are never merged, so `GSO_ECN` is never set.
    Some(Header {
        flags: NEEDS_CSUM,
        gso_type: if is_ipv6 { GSO_TCPV6 } else { GSO_TCPV4 },
        hdr_len: u16::try_from(group.header_len).ok()?,
        gso_size: u16::try_from(group.segment).ok()?,
        csum_start: u16::try_from(ip_len).ok()?,
        csum_offset: u16::try_from(CHECKSUM.start).ok()?,
    })
}

/// Writes the length of the packet into an IP header, and IPv4's checksum.
#[inline]
fn set_length(ip: &mut [u8], packet_len: usize) -> Option<()> {
    if ip.len() != IPV4_HEADER_LEN {
        let payload_len = u16::try_from(packet_len.checked_sub(IPV6_HEADER_LEN)?).ok()?;
        ip.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
        return Some(());
    }
    let ip = ip.first_chunk_mut::<IPV4_HEADER_LEN>()?;
    ip[2..4].copy_from_slice(&u16::try_from(packet_len).ok()?.to_be_bytes());
    ip[10..12].fill(0);
    let check = Sum::of(ip).checksum();
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
