//! How much the packet loops process at a time, with the measurement behind each figure;
//! `docs/performance.md` has more.

/// The director's budgets.
pub(super) mod director {
    /// Packets per `sendmmsg`, and frames read before they are processed. A 66-byte packet into a
    /// veth took 1.00 alone, 0.77 in batches of 8, 0.73 in those of 32, 0.74 in those of 64 and
    /// 0.73 in those of 128. The loop never waits to fill a batch.
    pub(in crate::app) const BATCH: usize = 64;

    /// A frame of at least this many bytes is a super-frame: it ends the batch and is processed
    /// while it is in the cache.
    pub(in crate::app) const LARGE: usize = 4_096;

    /// Frames read before timers and messages are handled: about 0.6 ms of small packets.
    pub(in crate::app) const TURN: usize = 256;

    /// Bytes of frames read before that: eight of the largest super-frames, about 2 ms. By their
    /// number alone they could take 70 ms.
    pub(in crate::app) const TURN_BYTES: usize = 512 << 10;

    /// Messages of the control thread handled per turn, so that listings do not delay packets.
    pub(in crate::app) const MESSAGES_A_TURN: usize = 1;

    /// Changes of real servers' values applied before packets are handled again; the last service
    /// of a piece is changed whole. About 50 µs.
    pub(in crate::app) const CHANGES_A_PIECE: usize = 64;

    /// Real servers in one piece of a listing: about 50 µs.
    pub(in crate::app) const REALS_A_PIECE: usize = 256;

    /// Real servers examined per request for real servers whose tunnels have reported an error.
    pub(in crate::app) const LOOKED_AT_A_PIECE: usize = 1_024;

    /// Decisions in one piece of what the recorder keeps.
    pub(in crate::app) const RECORDED_A_PIECE: usize = 256;

    /// Tunnel errors read per turn: any host can send them, and they must not delay packets.
    pub(in crate::app) const ERRORS_A_TURN: usize = 64;
}

/// The real server's budgets.
pub(super) mod realserver {
    use crate::wire::coalesce::MAX_BATCH;

    /// Datagrams per `recvmmsg`. Each may be 64 KB of merged segments; a larger batch would leave
    /// the cache.
    pub(in crate::app) const BATCH: usize = 16;

    /// The same after a full batch of packets that the NIC had not merged: 0.60 of the daemon's CPU
    /// with one write per packet, where [`BATCH`] alone was 0.65.
    pub(in crate::app) const LONG_BATCH: usize = MAX_BATCH;

    /// Messages of the control thread handled per turn, so that listings do not delay packets.
    pub(in crate::app) const MESSAGES_A_TURN: usize = 8;

    /// Batches per socket before messages are handled.
    pub(in crate::app) const TURN: usize = 16;
}

#[cfg(test)]
mod tests {
    use super::director;

    /// In tenths of 1 µs: a turn's share of a listing takes less time than a tenth of its packets,
    /// so that readers do not delay packets.
    #[test]
    fn messages_take_a_small_part_of_a_turn() {
        const LISTINGS: usize = director::MESSAGES_A_TURN * director::REALS_A_PIECE * 2;
        const PACKETS: usize = director::TURN * 23;
        const { assert!(LISTINGS * 10 <= PACKETS) };
    }
}
