//! How much a turn of the packet loop may still read.

use crate::app::budgets::director::{TURN, TURN_BYTES};

/// Frames and bytes that a turn may still read.
#[derive(Debug)]
pub(super) struct Budget {
    frames: usize,
    bytes: usize,
}

impl Budget {
    /// The budget of a new turn.
    pub(super) fn of_a_turn() -> Self {
        Self { frames: TURN, bytes: TURN_BYTES }
    }

    /// Whether another frame may be read. The last one may exceed the bytes.
    #[inline]
    pub(super) fn lasts(&self) -> bool {
        self.frames > 0 && self.bytes > 0
    }

    /// Counts a read frame of this length; a failed read has length 0.
    #[inline]
    pub(super) fn take(&mut self, len: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames of a length a turn reads.
    fn read(len: usize) -> usize {
        let mut budget = Budget::of_a_turn();
        std::iter::from_fn(|| budget.lasts().then(|| budget.take(len))).count()
    }

    #[test]
    fn a_turn_ends_by_its_frames_or_by_their_bytes() {
        assert_eq!(read(0), TURN);
        assert_eq!(read(TURN_BYTES / TURN), TURN);
        assert_eq!(read(TURN_BYTES / TURN + 1), TURN, "the last one exceeds the bytes");
        assert_eq!(read(TURN_BYTES / 8), 8);
        assert_eq!(read(TURN_BYTES / 8 - 1), 9);
        assert_eq!(read(TURN_BYTES), 1);
    }
}
