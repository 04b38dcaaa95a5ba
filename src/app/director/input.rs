//! The way in: frames from the TUN, side by side in one buffer until their packets have been sent.

use std::ops::Range;

use crate::sys::tun::{MAX_FRAME_LEN, VIRTIO_HEADER_LEN};
use crate::wire::encap::MAX_OUTER_LEN;

use super::output::BATCH;

/// Room before each packet for its outer header, of which the virtio-net header is the last part.
const HEADROOM: usize = MAX_OUTER_LEN - VIRTIO_HEADER_LEN;

/// Bytes of a full-size packet with its room, for the size of the buffer.
const USUAL: usize = 1_600;

/// The buffer that frames are read into.
///
/// ```text
///  ... | headroom | virtio | packet ...... | headroom | virtio | packet .. | free
///                          ^ start     end ^          ^ next frame
/// ```
#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Where free room begins.
    used: usize,
    /// The packet that was read last.
    packet: Range<usize>,
}

impl Input {
    pub(super) fn new() -> Self {
        let len = BATCH * USUAL + HEADROOM + MAX_FRAME_LEN;
        Self { bytes: vec![0; len], used: 0, packet: 0..0 }
    }

    /// Whether another frame of any length fits.
    pub(super) fn has_room(&self) -> bool {
        self.used + HEADROOM + MAX_FRAME_LEN <= self.bytes.len()
    }

    /// Where the next frame is to be read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let start = self.used + HEADROOM;
        self.bytes.get_mut(start..start + MAX_FRAME_LEN).unwrap_or_default()
    }

    /// A frame of `len` bytes has been read to [`Self::room`].
    pub(super) fn filled(&mut self, len: usize) {
        let frame = self.used + HEADROOM;
        self.packet = (frame + VIRTIO_HEADER_LEN).min(frame + len)..frame + len;
    }

    /// The frame that was read last.
    pub(super) fn frame(&self) -> &[u8] {
        self.bytes.get(self.used + HEADROOM..self.packet.end).unwrap_or_default()
    }

    /// Its packet.
    pub(super) fn packet_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.packet.clone()).unwrap_or_default()
    }

    /// Its packet.
    pub(super) fn packet(&self) -> &[u8] {
        self.bytes.get(self.packet.clone()).unwrap_or_default()
    }

    /// Where its packet lies in [`Self::bytes`].
    pub(super) fn packet_range(&self) -> Range<usize> {
        self.packet.clone()
    }

    /// Its packet is shorter than the frame was: bytes past an IP packet's own length are cut off.
    pub(super) fn cut(&mut self, len: usize) {
        self.packet.end = self.packet.end.min(self.packet.start + len);
    }

    /// The room before its packet, for the outer header.
    pub(super) fn before_packet(&mut self) -> &mut [u8] {
        let start = self.packet.start;
        self.bytes.get_mut(start.saturating_sub(MAX_OUTER_LEN)..start).unwrap_or_default()
    }

    /// Puts an answer in the packet's place; where it lies.
    pub(super) fn replace(&mut self, answer: &[u8]) -> Option<Range<usize>> {
        let place = self.packet.start..self.packet.start + answer.len();
        self.bytes.get_mut(place.clone())?.copy_from_slice(answer);
        self.packet = place.clone();
        Some(place)
    }

    /// Keeps the packet that was read last until [`Self::clear`]: it waits to be sent.
    pub(super) fn keep(&mut self) {
        self.used = self.packet.end.next_multiple_of(64);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// The whole buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
