//! Plain integer counters; one thread owns them.

use super::verdict::{AnswerCause, Disposition, Reason};

/// The name of answers that end a connection because of its real server's state.
pub const CONNECTION_ENDED: &str = "connection_ended";
/// The name of answers to echo requests.
pub const ECHO: &str = "echo";

/// What happened to the packets read. `read == tunnelled + replied() + dropped + held`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets read; a super-frame is one.
    pub read: u64,
    /// Packets sent to a real server.
    pub tunnelled: u64,
    /// Packets that were carried ([`Carrier`](super::carrier::Carrier)): a part of
    /// [`Self::read`] and [`Self::tunnelled`].
    pub carried: u64,
    /// Echo requests that the director answered.
    pub echoes: u64,
    /// Packets answered by a reset because of their connection's real server's state.
    pub ending: u64,
    /// Packets refused with an answer, by [`Reason`].
    pub refused: [u64; Reason::ALL.len()],
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
            Disposition::Reply(AnswerCause::ConnectionEnded) | Disposition::Reset(_) => {
                self.ending += 1;
            }
            Disposition::Reply(AnswerCause::Echo) => self.echoes += 1,
            Disposition::Reply(AnswerCause::Refused(reason)) => self.refused[reason as usize] += 1,
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

    /// Packets that the director answered itself.
    #[must_use]
    pub fn replied(&self) -> u64 {
        self.echoes + self.ending + self.refused.iter().sum::<u64>()
    }

    /// The answered packets by name: those of [`Reason::is_answered`], and two that refuse nothing.
    pub fn answered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let refused = Reason::ALL.iter().filter(|reason| reason.is_answered());
        refused
            .map(|reason| (reason.name(), self.refused[*reason as usize]))
            .chain([(CONNECTION_ENDED, self.ending), (ECHO, self.echoes)])
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
