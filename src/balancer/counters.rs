//! Plain integer counters; one thread owns them.

use super::verdict::{Reason, Verdict};

/// What became of the packets read. `read == tunnelled + replied + dropped + held`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets read; a super-frame is one.
    pub read: u64,
    /// Packets given to a real server.
    pub tunnelled: u64,
    /// Packets answered by the director itself, [`Self::ended`] among them.
    pub replied: u64,
    /// Packets dropped, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
    /// Fragments that are held now; each will be tunnelled or dropped.
    pub held: u64,
    /// Packets forwarded without a connection entry, because the table was full or the service in
    /// flood mode.
    pub without_entry: u64,
    /// New flows of persistent clients placed by hash, because there was no room for another
    /// template.
    pub without_template: u64,
    /// Connections that were reset because of their real server's state, whether or not it was told
    /// too.
    pub ended: u64,
    /// Packets of the director's own probes, which are no part of [`Self::read`].
    pub probes: u64,
    /// ICMP protocol-unreachable, host-unreachable and the like from the tunnels' far ends.
    pub tunnel_errors: u64,
}

impl Counters {
    /// Counts one packet read and what became of it.
    #[inline]
    pub fn count(&mut self, verdict: &Verdict) {
        self.read += 1;
        match verdict {
            Verdict::Drop(reason) => self.dropped[*reason as usize] += 1,
            // The client's packet is answered; what the real server is told is a packet of the
            // director's own.
            Verdict::Reply | Verdict::Reset(_) => self.replied += 1,
            Verdict::Tunnel(_) => self.tunnelled += 1,
            Verdict::Hold => self.held += 1,
        }
    }

    /// A fragment that was held is tunnelled.
    pub(super) fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
        self.tunnelled += 1;
    }

    /// So many fragments that were held are dropped.
    pub(super) fn unhold(&mut self, reason: Reason, count: u64) {
        self.held = self.held.saturating_sub(count);
        self.dropped[reason as usize] += count;
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many were dropped, whatever the reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
