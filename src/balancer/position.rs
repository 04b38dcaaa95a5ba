//! The client's position in a TCP connection, to tell its segments from forged ones.
//!
//! A host acts on a FIN, a reset or an acknowledgement only within its windows (RFC 9293 section
//! 3.10.7.4, RFC 5961). The director sees one direction and no window, so it compares with the
//! client's last segment. A segment fits if it starts where the last one ended, or if both its
//! numbers are near. An attacker who knows only addresses and ports has to guess about a million
//! times.

use crate::wire::tcp::{self, Flags};
use crate::wire::{Packet, Transport};

/// How far a segment's sequence number may be from the end of the previous one: more than most
/// connections have in flight, so that losses and retransmissions fit.
pub(super) const SEQUENCE_WINDOW: u32 = 4 << 20;

/// The same for acknowledgement numbers, which are stored in units of 64 KiB. A client acknowledges
/// much more often.
pub(super) const ACKNOWLEDGEMENT_WINDOW: u32 = 1 << 20;

/// How far a segment may be from the SYN while no acknowledgement number is known. The window of
/// the first answer is not scaled (RFC 7323 section 2.2), so the client cannot have sent more.
pub(super) const OPENING_WINDOW: u32 = 1 << 16;

/// The low bits of an acknowledgement number that are not stored.
const KEPT_SHIFT: u32 = 16;

/// The fields of a segment that show its sender's position.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFields {
    sequence: u32,
    /// The sequence number after its data, its SYN and its FIN.
    end: u32,
    acknowledgement: u32,
    pub(super) flags: Flags,
}

impl SegmentFields {
    /// The fields of a packet with this TCP header. A super-frame is one long segment.
    #[inline(always)]
    pub(super) fn of(packet: &Packet<'_>, header: tcp::Header) -> Self {
        let headers = usize::from(packet.header_len) + usize::from(header.header_len);
        let data = packet.bytes().len().saturating_sub(headers);
        let controls = u32::from(header.flags.syn()) + u32::from(header.flags.fin());
        // No packet has 4 GiB.
        #[allow(clippy::cast_possible_truncation)]
        let end = header.sequence.wrapping_add(data as u32).wrapping_add(controls);
        Self {
            sequence: header.sequence,
            end,
            acknowledgement: header.acknowledgement,
            flags: header.flags,
        }
    }

    /// The sequence number after it.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// Its acknowledgement number; meaningful where it has that flag.
    pub(super) fn acknowledgement(&self) -> u32 {
        self.acknowledgement
    }

    /// Whether it has data, with a FIN or without. A FIN alone occupies a sequence number too.
    #[inline(always)]
    pub(super) fn has_data(&self) -> bool {
        self.end.wrapping_sub(self.sequence) > u32::from(self.flags.fin())
    }
}

/// The client's position according to its fitting segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position {
    /// The next sequence number.
    pub(super) next: u32,
    /// The upper half of the last acknowledgement number.
    pub(super) acknowledged: u16,
    /// Whether only the SYN has been seen: no acknowledgement number is known.
    pub(super) opening: bool,
}

impl Position {
    /// The position in a flow without sequence numbers.
    pub(super) const NONE: Self = Self { next: 0, acknowledged: 0, opening: false };

    /// The position after the first segment seen of a connection.
    #[inline]
    pub(super) fn after(segment: &SegmentFields) -> Self {
        // Data in a SYN may be refused and then sent again (RFC 7413 section 4.1.2): only the SYN
        // counts.
        let syn = segment.flags.syn();
        Self {
            next: if syn { segment.sequence.wrapping_add(1) } else { segment.end },
            acknowledged: upper(segment.acknowledgement),
            opening: !segment.flags.ack(),
        }
    }

    /// The position after the first packet seen of a flow.
    #[inline]
    pub(super) fn of(packet: &Packet<'_>) -> Self {
        match packet.transport {
            Transport::Tcp(header) => Self::after(&SegmentFields::of(packet, header)),
            _ => Self::NONE,
        }
    }

    /// Whether the segment may be the client's next one.
    #[inline(always)]
    pub(super) fn fits(self, segment: &SegmentFields) -> bool {
        segment.sequence == self.next || self.is_near(segment)
    }

    /// A reset without an acknowledgement number has to match exactly, as at a host (RFC 5961
    /// section 3.2).
    #[inline]
    fn is_near(self, segment: &SegmentFields) -> bool {
        if self.opening {
            return near(segment.sequence, self.next, OPENING_WINDOW);
        }
        // The lower half, which is not stored, may have any value.
        let acknowledged = u32::from(self.acknowledged) << KEPT_SHIFT;
        let acknowledgement = segment.acknowledgement & (u32::MAX << KEPT_SHIFT);
        segment.flags.ack()
            && near(segment.sequence, self.next, SEQUENCE_WINDOW)
            && near(acknowledgement, acknowledged, ACKNOWLEDGEMENT_WINDOW)
    }

    /// Whether a fitting segment has data that was not sent before.
    #[inline]
    pub(super) fn is_extended_by(self, segment: &SegmentFields) -> bool {
        is_after(segment.end, self.next)
    }

    /// The position after a fitting segment.
    #[inline(always)]
    pub(super) fn moved_by(self, segment: &SegmentFields) -> Self {
        let ack = segment.flags.ack();
        Self {
            next: if is_after(segment.end, self.next) { segment.end } else { self.next },
            acknowledged: if ack { upper(segment.acknowledgement) } else { self.acknowledged },
            opening: self.opening && !ack,
        }
    }

    /// Whether the segment is a retransmitted SYN, and only acknowledgements have followed the SYN.
    pub(super) fn is_after_syn(self, segment: &SegmentFields) -> bool {
        segment.sequence.wrapping_add(1) == self.next
    }
}

/// Whether two numbers are at most `window` apart, in either direction (RFC 9293 section 3.4).
#[inline(always)]
fn near(number: u32, other: u32, window: u32) -> bool {
    number.wrapping_sub(other).wrapping_add(window) <= 2 * window
}

/// Whether one number follows another, for numbers less than 2 GiB apart.
#[inline(always)]
pub(super) fn is_after(number: u32, other: u32) -> bool {
    let ahead = number.wrapping_sub(other);
    ahead != 0 && ahead <= u32::MAX / 2
}

/// The one that follows the other.
pub(super) fn later(number: u32, other: u32) -> u32 {
    if is_after(number, other) { number } else { other }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // the upper half, on purpose
fn upper(number: u32) -> u16 {
    (number >> KEPT_SHIFT) as u16
}

#[cfg(test)]
mod tests;
