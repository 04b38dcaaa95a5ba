//! Counters of the datagrams that have arrived, by result.

use super::Refusal;
use crate::wire::encap::Encap;

/// Accepted datagrams of one encapsulation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EncapCounters {
    /// How many. Merged datagrams count one by one if they are separated here, otherwise as one.
    pub packets: u64,
    /// Bytes of the packets that were in them.
    pub bytes: u64,
}

/// Counters of the datagrams that have arrived. `read == delivered + dropped`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GateCounters {
    /// Datagrams read, and `filtered`; one merged by the network card counts once, but each of
    /// merged GUE datagrams counts.
    pub read: u64,
    /// Strangers' datagrams that the kernel has refused, as far as the sample that it lets pass
    /// tells; they are among `dropped` too.
    pub filtered: u64,
    /// Accepted datagrams.
    pub delivered: u64,
    /// Accepted datagrams, by [`Encap`].
    pub accepted: [EncapCounters; Encap::ALL.len()],
    /// GUE datagrams that the kernel had merged with others (`UDP_GRO`), and that were separated
    /// again; dropped ones too.
    pub gue_merged: u64,
    /// Accepted datagrams that were merged TCP segments.
    pub super_packets: u64,
    /// Whole segments and datagrams with a checksum that the sender left for a network card to
    /// complete.
    pub partial_checksums: u64,
    /// Dropped datagrams, by [`Refusal`].
    pub dropped: [u64; Refusal::ALL.len()],
}

impl GateCounters {
    /// The accepted datagrams of that encapsulation.
    #[must_use]
    pub fn accepted(&self, encap: Encap) -> EncapCounters {
        self.accepted[encap as usize]
    }

    /// How many were dropped for `refusal`.
    #[must_use]
    pub fn dropped(&self, refusal: Refusal) -> u64 {
        self.dropped[refusal as usize]
    }

    /// How many were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Counts `count` datagrams dropped for one reason, of which the kernel has refused `filtered`.
    pub(super) fn refuse(&mut self, refusal: Refusal, count: u64, filtered: u64) {
        self.read += count;
        self.filtered += filtered;
        self.dropped[refusal as usize] += count;
    }

    /// Counts an accepted datagram with a packet of `len` bytes.
    #[inline]
    pub(super) fn accept(&mut self, encap: Encap, len: usize) {
        self.read += 1;
        self.delivered += 1;
        let accepted = &mut self.accepted[encap as usize];
        accepted.packets += 1;
        accepted.bytes += len as u64;
    }
}
