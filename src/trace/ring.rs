//! The latest decisions, with the headers of their packets.

use super::capture::Snaplen;
use crate::balancer::Record;
use crate::config::MAX_RECORDED;

/// The bytes of headers that are kept: the longest ones of IPv4 and TCP, or those of IPv6 and TCP
/// with a short extension header.
pub const HEADERS: usize = 120;

/// A decision that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedDecision {
    /// The decision.
    pub record: Record,
    len: u8,
    bytes: [u8; HEADERS],
}

impl RecordedDecision {
    /// With the headers of its packet.
    fn new(record: Record, packet: &[u8]) -> Self {
        let headers = Snaplen::Headers.came(packet);
        let headers = headers.get(..HEADERS).unwrap_or(headers);
        let mut bytes = [0; HEADERS];
        bytes[..headers.len()].copy_from_slice(headers);
        // At most HEADERS, which a byte can count.
        Self { record, len: u8::try_from(headers.len()).unwrap_or_default(), bytes }
    }

    /// The headers of the packet as it came.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The latest decisions. Its memory is allocated as they come, up to its capacity.
#[derive(Debug)]
pub struct Ring {
    kept: Vec<RecordedDecision>,
    capacity: usize,
    /// How many decisions were added in all.
    count: u64,
}

impl Ring {
    /// A ring of the last `capacity` decisions, at most [`MAX_RECORDED`].
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { kept: Vec::new(), capacity: capacity.min(MAX_RECORDED) as usize, count: 0 }
    }

    /// How many decisions it can keep.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps a decision; replaces the oldest one if the ring is full.
    pub fn push(&mut self, record: Record, packet: &[u8]) {
        if self.capacity == 0 {
            return;
        }
        let kept = RecordedDecision::new(record, packet);
        match self.index(self.count).and_then(|index| self.kept.get_mut(index)) {
            Some(oldest) => *oldest = kept,
            None => self.kept.push(kept),
        }
        self.count += 1;
    }

    /// Up to `most` decisions from number `from` on, oldest first, and the number to go on from.
    /// Decisions that are no longer kept are left out.
    pub fn since(&self, from: u64, most: usize) -> (impl Iterator<Item = &RecordedDecision>, u64) {
        let oldest = self.count - self.kept.len() as u64;
        let from = from.clamp(oldest, self.count);
        let next = from.saturating_add(most as u64).min(self.count);
        let kept = move |number| self.index(number).and_then(|index| self.kept.get(index));
        ((from..next).filter_map(kept), next)
    }

    /// The number of the next decision.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_rem(self.capacity as u64)?).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::balancer::{Balancer, Reason};
    use crate::model::Millis;
    use crate::wire::build::Family;
    use crate::wire::tcp::Flags;

    fn record(number: u64) -> Record {
        Balancer::record_of_frame(Millis(number), 3, Reason::NotIp)
    }

    fn numbers(ring: &Ring, from: u64, most: usize) -> (Vec<u64>, u64) {
        let (kept, next) = ring.since(from, most);
        (kept.map(|kept| kept.record.at.0).collect(), next)
    }

    #[test]
    fn as_many_as_fit_are_kept_and_one_more_replaces_the_oldest() {
        let mut ring = Ring::new(3);
        assert_eq!(numbers(&ring, 0, 9), (vec![], 0));
        for number in 0..3 {
            ring.push(record(number), &[]);
        }
        assert_eq!(numbers(&ring, 0, 9), (vec![0, 1, 2], 3));
        ring.push(record(3), &[]);
        assert_eq!(numbers(&ring, 0, 9), (vec![1, 2, 3], 4));
        assert_eq!(numbers(&ring, 0, 2), (vec![1, 2], 3));
        assert_eq!(numbers(&ring, 3, 2), (vec![3], 4));
        assert_eq!(numbers(&ring, 9, 2), (vec![], 4));
    }

    #[test]
    fn a_ring_of_capacity_0_keeps_nothing() {
        let mut ring = Ring::new(0);
        ring.push(record(1), &[]);
        assert_eq!(numbers(&ring, 0, 9), (vec![], 0));
        assert_eq!(Ring::new(u32::MAX).capacity(), MAX_RECORDED as usize);
    }

    #[test]
    fn headers_are_kept_without_their_payload_and_never_more_than_fit() {
        let mut ring = Ring::new(2);
        let packet = Family::V6.tcp(Flags::ACK).data(b"secret").bytes();
        ring.push(record(1), &packet);
        let long = Family::V4.udp(53).options(&[1; 40]).data(&[7; 200]).bytes();
        ring.push(record(2), &long);
        let (kept, _) = ring.since(0, 2);
        let headers: Vec<_> = kept.map(RecordedDecision::headers).collect();
        assert_eq!(headers, [&packet[..60], &long[..68]]);
    }
}
