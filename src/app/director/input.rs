//! The input buffer: frames from the TUN, one after the other, until their packets have been sent.

use std::ops::Range;

use crate::app::budgets::director::{BATCH, LARGE};
use crate::sys::tun::{MAX_FRAME_LEN, VIRTIO_HEADER_LEN};
use crate::wire::encap::MAX_OUTER_LEN;
use crate::wire::packet::MAX_PACKET_LEN;

/// Space before each packet for its outer header; the virtio-net header is the last part of it.
const HEADROOM: usize = MAX_OUTER_LEN - VIRTIO_HEADER_LEN;

/// Bytes of a full-size packet with its space, to compute the size of the buffer.
const USUAL: usize = 1_600;

/// Space for answers: one of the greatest length, or a batch of usual ones.
const ANSWERS: usize = BATCH * USUAL;

/// The buffer that frames are read into.
///
/// ```text
///  | headroom | virtio | packet ...... | headroom | virtio | packet .. | free      | answers
///                                                                      ^ used      ^ answered
/// ```
///
/// The loop first reads frames until there are none, then processes their packets: each phase keeps
/// its code in the cache (a tenth of a small packet's own cost).
#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Where the free space begins.
    used: usize,
    /// The packets of the frames that have been read.
    packets: Vec<Range<usize>>,
    /// Where the next answer is stored.
    answered: usize,
    /// The current packet.
    packet: Range<usize>,
}

impl Input {
    pub(super) fn new() -> Self {
        let len = BATCH * USUAL + HEADROOM + MAX_FRAME_LEN + ANSWERS;
        let packets = Vec::with_capacity(BATCH);
        Self { bytes: vec![0; len], used: 0, packets, answered: len - ANSWERS, packet: 0..0 }
    }

    /// Whether to read another frame before the current ones are processed.
    pub(super) fn has_room(&self) -> bool {
        self.packets.len() < BATCH
            && self.used + HEADROOM + MAX_FRAME_LEN + ANSWERS <= self.bytes.len()
            && self.packets.last().is_none_or(|packet| packet.len() < LARGE)
    }

    /// The space for the next frame.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let start = self.used + HEADROOM;
        self.bytes.get_mut(start..start + MAX_FRAME_LEN).unwrap_or_default()
    }

    /// Records a frame of `len` bytes, read into [`Self::room`].
    pub(super) fn filled(&mut self, len: usize) {
        let frame = self.used + HEADROOM;
        let end = frame + len;
        self.packets.push((frame + VIRTIO_HEADER_LEN).min(end)..end);
        self.used = end.next_multiple_of(64);
    }

    /// How many frames have been read.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// The packets of all frames that have been read.
    pub(super) fn packets(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.packets.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }

    /// Makes frame `index` the current one.
    pub(super) fn select(&mut self, index: usize) {
        self.packet = self.packets.get(index).cloned().unwrap_or_default();
    }

    /// The current frame.
    pub(super) fn frame(&self) -> &[u8] {
        let start = self.packet.start.saturating_sub(VIRTIO_HEADER_LEN);
        self.bytes.get(start..self.packet.end).unwrap_or_default()
    }

    /// The current packet.
    pub(super) fn packet_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.packet.clone()).unwrap_or_default()
    }

    /// The current packet.
    pub(super) fn packet(&self) -> &[u8] {
        self.bytes.get(self.packet.clone()).unwrap_or_default()
    }

    /// The range of the current packet in [`Self::bytes`].
    pub(super) fn packet_range(&self) -> Range<usize> {
        self.packet.clone()
    }

    /// Shortens the current packet: bytes behind an IP packet's own length are cut off.
    pub(super) fn cut(&mut self, len: usize) {
        self.packet.end = self.packet.end.min(self.packet.start + len);
    }

    /// The space for the outer headers before the packet at that range, and the packet.
    pub(super) fn with_room_before(
        &mut self,
        Range { start, end }: Range<usize>,
    ) -> (&mut [u8], &[u8]) {
        let bytes = self.bytes.get_mut(start.saturating_sub(MAX_OUTER_LEN)..end);
        let room = start.min(MAX_OUTER_LEN);
        let (room, packet) =
            bytes.unwrap_or_default().split_at_mut_checked(room).unwrap_or_default();
        (room, packet)
    }

    /// Stores an answer until it is sent and returns its range; `None` if earlier answers have to
    /// be sent first.
    pub(super) fn answer(&mut self, answer: &[u8]) -> Option<Range<usize>> {
        let range = self.answered..self.answered + answer.len();
        self.bytes.get_mut(range.clone())?.copy_from_slice(answer);
        self.answered = range.end;
        Some(range)
    }

    /// Space among the answers for a held packet of any length; empty if earlier answers have to be
    /// sent first.
    pub(super) fn released_room(&mut self) -> &mut [u8] {
        let start = self.answered + MAX_OUTER_LEN;
        self.bytes.get_mut(start..start + MAX_PACKET_LEN).unwrap_or_default()
    }

    /// Records that a packet of `len` bytes was copied there, and returns its range.
    pub(super) fn released(&mut self, len: usize) -> Range<usize> {
        let start = self.answered + MAX_OUTER_LEN;
        self.answered = start + len;
        start..self.answered
    }

    /// Discards the answers after they were sent.
    pub(super) fn clear_answers(&mut self) {
        self.answered = self.bytes.len() - ANSWERS;
    }

    /// Discards everything after it was sent.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.packets.clear();
        self.clear_answers();
    }

    /// The whole buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_any_length_fits_and_one_too_many_is_refused_until_the_others_are_sent() {
        let mut input = Input::new();
        let longest = vec![7; usize::from(u16::MAX)];
        let range = input.answer(&longest).expect("the first answer fits");
        assert_eq!(input.bytes().get(range), Some(&longest[..]));
        assert_eq!(input.answer(&longest), None);
        input.clear_answers();
        assert!(input.answer(&longest).is_some());
    }

    #[test]
    fn a_released_packet_of_any_length_fits_with_its_outer_header() {
        let mut input = Input::new();
        let mut answers = input.answered..input.bytes().len();
        for len in [1_500, MAX_PACKET_LEN] {
            assert_eq!(input.released_room().len(), MAX_PACKET_LEN);
            let range = input.released(len);
            assert_eq!(input.with_room_before(range.clone()).0.len(), MAX_OUTER_LEN);
            assert_eq!(range.len(), len);
            assert!(range.start - MAX_OUTER_LEN >= answers.start && range.end <= answers.end);
            answers.start = range.end;
        }
        assert!(input.released_room().is_empty());
        input.clear_answers();
        assert!(!input.released_room().is_empty());
    }

    #[test]
    fn frames_never_reach_into_the_answers_nor_each_other() {
        let mut input = Input::new();
        let mut ends = Vec::new();
        while input.has_room() {
            assert_eq!(input.room().len(), MAX_FRAME_LEN);
            input.filled(1_500);
            input.select(input.len() - 1);
            assert!(
                ends.last().is_none_or(|end| input.packet_range().start >= end + MAX_OUTER_LEN)
            );
            ends.push(input.packet_range().end);
        }
        assert_eq!(ends.len(), BATCH);
        assert!(ends.last().is_some_and(|end| *end <= input.answered));
    }

    #[test]
    fn a_super_frame_is_processed_at_once() {
        let mut input = Input::new();
        input.filled(100);
        assert!(input.has_room());
        input.filled(MAX_FRAME_LEN);
        assert!(!input.has_room());
        input.clear();
        assert!(input.has_room());
    }
}
