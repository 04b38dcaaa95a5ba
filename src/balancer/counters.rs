//! Plain integer counters; one thread owns them.

use super::verdict::{Disposition, Reason};

/// What happened to the packets read. `read == tunnelled + replied + dropped + held`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets read; a super-frame is one.
    pub read: u64,
    /// Packets sent to a real server.
    pub tunnelled: u64,
    /// Packets that were carried ([`Carrier`](super::carrier::Carrier)): a part of
    /// [`Self::read`] and [`Self::tunnelled`].
    pub carried: u64,
    /// Packets answered by the director itself, [`Self::ended`] among them.
    pub replied: u64,
    /// Packets dropped, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
    /// Fragments currently held; each will be tunnelled or dropped.
    pub held: u64,
    /// Packets forwarded without a connection entry, because the table was full or the service in
    /// flood mode.
    pub without_entry: u64,
    /// New flows of persistent clients placed by hash, because the template table was full.
    pub without_template: u64,
    /// Connections reset because of their real server's state, whether or not the real server got a
    /// reset too.
    pub ended: u64,
    /// Packets of the director's own probes, which are not part of [`Self::read`].
    pub probes: u64,
    /// ICMP protocol-unreachable, host-unreachable and the like from the tunnels' far ends.
    pub tunnel_errors: u64,
}

impl Counters {
    /// Counts one packet read by what happens to it.
    #[inline]
    pub(crate) fn count(&mut self, disposition: Disposition) {
        self.read += 1;
        match disposition {
            Disposition::Drop(reason) => self.dropped[reason as usize] += 1,
            // The client's packet counts as answered; a reset to the real server is the director's
            // own packet.
            Disposition::Reply | Disposition::Reset(_) => self.replied += 1,
            Disposition::Tunnel(_) => self.tunnelled += 1,
            Disposition::Hold => self.held += 1,
        }
    }

    /// A held fragment is tunnelled.
    pub(super) fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
        self.tunnelled += 1;
    }

    /// Held fragments are dropped.
    pub(super) fn unhold(&mut self, reason: Reason, count: u64) {
        self.held = self.held.saturating_sub(count);
        self.dropped[reason as usize] += count;
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
