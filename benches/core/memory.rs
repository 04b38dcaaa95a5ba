//! The machine's latency of dependent reads.

/// A ring through all indexes in random order: each holds the next one's index.
pub(crate) struct Ring {
    /// One cache line each, like a connection.
    slots: Vec<Slot>,
    at: u32,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot(u32);

impl Ring {
    pub(crate) fn new(slots: u32) -> Self {
        // Sattolo's shuffle makes one cycle through all.
        let mut order: Vec<u32> = (0..slots).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for last in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let other = usize::try_from(random % last as u64).unwrap_or_default();
            order.swap(last, other);
        }
        Self { slots: order.into_iter().map(Slot).collect(), at: 0 }
    }

    /// Follows the ring for this many reads.
    pub(crate) fn walk(&mut self, reads: u64) -> u32 {
        for _ in 0..reads {
            self.at = self.slots[self.at as usize].0;
        }
        self.at
    }
}
