//! The state of the probes of one path: see [`super::size_probes`].

use std::net::IpAddr;
use std::time::Duration;

use super::hash::mix;
use crate::model::{Millis, RealId, Seed};
use crate::wire::encap::MAX_OUTER_LEN;
use crate::wire::icmp::QuotedPacket;

/// The timeout of a probe's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The most paths that are probed in one turn of the packet loop.
pub(super) const PROBES_A_TURN: usize = 64;
/// Bytes of the longest probe.
const LONGEST: usize = u16::MAX as usize - MAX_OUTER_LEN;

/// The probes of the path to one real server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizeTrial {
    /// A client and its virtual IP: the addresses of each probe, so that it takes the clients'
    /// path.
    pub(super) ends: Option<(IpAddr, IpAddr)>,
    /// Bytes of the longest inner packet that fits, according to the latest claim.
    pub(super) claimed: usize,
    /// Probes left for the current claim.
    pub(super) left: u8,
    /// When another may be sent.
    pub(super) next: Millis,
    pub(super) refuted_until: Millis,
    /// Probes sent so far. Every second one has the smallest size that does not fit according to
    /// the claim: a link on the path may drop the largest one without an error.
    pub(super) sent: u32,
    latest: Option<Numbers>,
}

/// What identifies the latest probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Numbers {
    pub(super) label: u32,
    pub(super) echo: (u16, u16),
    at: Millis,
}

/// The real servers whose paths are to be probed in this turn.
#[derive(Debug)]
pub(super) struct WantedProbes {
    pub(super) reals: Vec<RealId>,
    /// The total of probes made: a probe's numbers are a keyed hash of it.
    pub(super) made: u64,
}

impl Default for WantedProbes {
    fn default() -> Self {
        Self { reals: Vec::with_capacity(PROBES_A_TURN), made: 0 }
    }
}

impl SizeTrial {
    /// Begins a probe; packets longer than `known` bytes are known not to fit. Returns its size.
    pub(super) fn begin(&mut self, numbers: Numbers, known: usize) -> usize {
        let greatest = self.sent.is_multiple_of(2) && known <= LONGEST;
        self.sent = self.sent.wrapping_add(1);
        self.latest = Some(numbers);
        if greatest { known } else { known.min(self.claimed + 1) }
    }

    pub(super) fn is_quoted_by(&self, now: Millis, reply: QuotedPacket) -> bool {
        self.latest.is_some_and(|Numbers { label, echo: (id, sequence), at }| {
            reply.label == label
                && reply.flow.source_port == id
                && reply.number == u32::from(sequence)
                && at.until(now) <= ANSWER_WITHIN
        })
    }
}

impl Numbers {
    #[allow(clippy::cast_possible_truncation)] // the hash has more bits than are needed
    pub(super) fn new(seed: Seed, made: u64, at: Millis) -> Self {
        let hash = mix(mix(made ^ seed.0).wrapping_add(seed.1));
        // IPv4 has 16 bits for it, IPv6 20. A kernel replaces an identification of 0.
        let label = u32::from((hash >> 32) as u16).max(1);
        Self { label, echo: (hash as u16, (hash >> 16) as u16), at }
    }
}
