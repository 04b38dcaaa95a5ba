//! A frame for a TUN: a virtio-net header and a packet.

use super::virtio::HEADER_LEN;

/// A virtio-net header and a packet.
#[derive(Debug)]
pub enum Frame<'d> {
    /// One behind the other.
    Joined(&'d mut [u8]),
    /// The packet lies behind bytes of another one, where there is no room for its header.
    Apart([u8; HEADER_LEN], &'d mut [u8]),
}

impl Default for Frame<'_> {
    fn default() -> Self {
        Self::Joined(&mut [])
    }
}

impl Frame<'_> {
    /// Both; `None` where there is less than a header.
    #[inline]
    #[must_use]
    pub fn parts_mut(&mut self) -> Option<(&mut [u8; HEADER_LEN], &mut [u8])> {
        match self {
            Self::Joined(bytes) => bytes.split_first_chunk_mut(),
            Self::Apart(header, packet) => Some((header, packet)),
        }
    }
}

/// A buffer that holds a frame.
pub trait Framed {
    /// The virtio-net header and the packet; `None` where there is less than a header.
    fn parts(&self) -> Option<(&[u8; HEADER_LEN], &[u8])>;

    /// The packet.
    #[inline]
    fn packet(&self) -> &[u8] {
        self.parts().map_or(&[], |(_, packet)| packet)
    }
}

impl Framed for Frame<'_> {
    #[inline]
    fn parts(&self) -> Option<(&[u8; HEADER_LEN], &[u8])> {
        match self {
            Self::Joined(bytes) => bytes.split_first_chunk(),
            Self::Apart(header, packet) => Some((header, packet)),
        }
    }
}

impl<T: AsRef<[u8]>> Framed for T {
    #[inline]
    fn parts(&self) -> Option<(&[u8; HEADER_LEN], &[u8])> {
        self.as_ref().split_first_chunk()
    }
}
