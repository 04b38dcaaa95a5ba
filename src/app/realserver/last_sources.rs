//! The last hosts whose tunnelled packets were refused, and when the last packet was admitted, for
//! `vstun doctor`.

use std::net::IpAddr;
use std::time::Instant;

use crate::control::{LastSources, RefusedSource};

/// The most hosts that are kept; a further one replaces the one that was silent for longest.
const KEPT: usize = 8;

/// A host whose tunnelled packets are refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct RefusedHost {
    address: IpAddr,
    /// How many packets were refused since it is kept; in floods those that were read.
    count: u64,
    /// When the last one was.
    last: Instant,
}

/// Where tunnelled packets have come from lately.
#[derive(Clone, Debug)]
pub(super) struct SourceWatch {
    refused: Vec<RefusedHost>,
    /// How many were admitted at the last look.
    delivered: u64,
    admitted: Option<Instant>,
    /// The current turn of the packet loop.
    now: Instant,
}

impl SourceWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self { refused: Vec::with_capacity(KEPT), delivered: 0, admitted: None, now }
    }

    /// A turn of the packet loop begins, and so many packets were admitted until now.
    #[inline]
    pub(super) fn turn(&mut self, now: Instant, delivered: u64) {
        if delivered != self.delivered {
            (self.delivered, self.admitted) = (delivered, Some(self.now));
        }
        self.now = now;
    }

    /// Packets of this host were refused.
    #[cold]
    pub(super) fn refuse(&mut self, address: IpAddr, count: u64) {
        let last = self.now;
        let known = self.refused.iter_mut().find(|known| known.address == address);
        if let Some(known) = known {
            (known.count, known.last) = (known.count + count, last);
            return;
        }
        let new = RefusedHost { address, count, last };
        if self.refused.len() < KEPT {
            self.refused.push(new);
        } else if let Some(oldest) = self.refused.iter_mut().min_by_key(|known| known.last) {
            *oldest = new;
        }
    }

    /// The hosts, the last refused first, and when the last packet was admitted.
    pub(super) fn report(&self, now: Instant) -> LastSources {
        let ago = |then| now.saturating_duration_since(then).as_secs();
        let mut hosts = self.refused.clone();
        hosts.sort_by_key(|one| std::cmp::Reverse(one.last));
        let source = |RefusedHost { address, count, last }| {
            let seconds = ago(last);
            RefusedSource { address, count, seconds }
        };
        LastSources {
            refused_sources: hosts.into_iter().map(source).collect(),
            admitted_seconds: self.admitted.map(ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_hosts_are_kept_with_their_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let host = |number: u8| IpAddr::from([10, 0, 0, number]);
        let mut sources = SourceWatch::new(start);
        for number in 0..8 {
            sources.turn(at(number.into()), 0);
            sources.refuse(host(number), 1);
        }
        sources.turn(at(20), 0);
        sources.refuse(host(0), 3);
        let seen = |sources: &SourceWatch| {
            let hosts = sources.report(at(30)).refused_sources;
            hosts.iter().map(|one| (one.address, one.count, one.seconds)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&sources)[0], (host(0), 4, 10));
        // The ninth takes the place of the one that was silent for longest.
        sources.turn(at(21), 0);
        sources.refuse(host(9), 1);
        let seen = seen(&sources);
        assert_eq!((seen.len(), seen[0], seen[7]), (8, (host(9), 1, 9), (host(2), 1, 28)));
    }

    #[test]
    fn the_time_of_the_last_admitted_packet_is_known() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sources = SourceWatch::new(start);
        sources.turn(at(1), 0);
        assert_eq!(sources.report(at(9)).admitted_seconds, None);
        // Admitted in the turn that began at 1 s.
        sources.turn(at(2), 5);
        sources.turn(at(3), 5);
        assert_eq!(sources.report(at(9)).admitted_seconds, Some(8));
    }
}
