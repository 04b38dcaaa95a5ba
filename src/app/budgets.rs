//! How much the packet loops take at a time, with what chose each figure. `docs/performance.md` has
//! the measurements.

/// The director's.
pub(super) mod director {
    /// Packets in one `sendmmsg`, and frames read before they are decided on. A 66-byte packet into
    /// a veth took 1.00 alone, 0.77 in batches of 8, 0.73 in those of 32, 0.74 in those of 64 and
    /// 0.73 in those of 128. A batch is never waited for: it is what was there.
    pub(in crate::app) const BATCH: usize = 64;

    /// A frame this long in bytes is a super-frame: it is worth a turn of its own, while it is in
    /// the cache.
    pub(in crate::app) const LARGE: usize = 4_096;

    /// Frames read in one turn before timers and messages have theirs: some 0.6 ms of small
    /// packets.
    pub(in crate::app) const TURN: usize = 256;

    /// Messages of the control thread in one turn: readers of listings must not hold up packets.
    pub(in crate::app) const MESSAGES_A_TURN: usize = 1;

    /// Real servers in one piece of a listing: some 50 µs.
    pub(in crate::app) const REALS_A_PIECE: usize = 256;

    /// Real servers that are looked at for one piece of those whose tunnels have signalled an
    /// error.
    pub(in crate::app) const LOOKED_AT_A_PIECE: usize = 1_024;

    /// Tunnel errors read in one turn: they come from anywhere and must not hold up packets.
    pub(in crate::app) const ERRORS_A_TURN: usize = 64;
}

/// The real server's.
pub(super) mod realserver {
    use crate::wire::coalesce::MAX_BATCH;

    /// Datagrams in one `recvmmsg`. Each may be 64 KB of merged segments, so more would only cool
    /// the caches.
    pub(in crate::app) const BATCH: usize = 16;

    /// The same after a batch that was full of packets which the NIC had not merged: 0.60 of the
    /// daemon's CPU with one write a packet, where [`BATCH`] always was 0.65.
    pub(in crate::app) const LONG_BATCH: usize = MAX_BATCH;

    /// Messages of the control thread in one turn: readers must not hold up packets.
    pub(in crate::app) const MESSAGES_A_TURN: usize = 8;

    /// Batches of each socket in one turn before messages have theirs.
    pub(in crate::app) const TURN: usize = 16;
}
