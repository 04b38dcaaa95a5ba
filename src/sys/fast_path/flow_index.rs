//! Finds a flow's index by its key: two buckets of eight slots for each key, in memory that the
//! program reads. To enter a flow or to forget it takes no system call.

use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared::Shared;

/// The slots of a bucket, which is one cache line.
const SLOTS: usize = 8;

/// Two slots for each flow at least: with two buckets to choose from, none is full then.
const FLOWS_A_BUCKET: u32 = 4;

/// Both ends of a flow; an IPv4 address is in its mapped form. Numbers are in the byte order of the
/// network, but for the protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowKey {
    client: [u8; 16],
    vip: [u8; 16],
    ports: [u8; 4],
    protocol: u32,
}
const _: () = assert!(size_of::<FlowKey>() == 40 && offset_of!(FlowKey, protocol) == 36);

impl FlowKey {
    /// The key of packets of `protocol` between these ends.
    #[must_use]
    pub fn new(protocol: u8, client: (IpAddr, u16), vip: (IpAddr, u16)) -> Self {
        let ([a, b], [c, d]) = (client.1.to_be_bytes(), vip.1.to_be_bytes());
        Self {
            client: mapped(client.0),
            vip: mapped(vip.0),
            ports: [a, b, c, d],
            protocol: protocol.into(),
        }
    }

    /// The key as the program compares it. The last word is not 0, since the protocol is not 0.
    pub(super) fn words(&self) -> [u64; 5] {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.client);
        bytes[16..32].copy_from_slice(&self.vip);
        bytes[32..36].copy_from_slice(&self.ports);
        bytes[36..].copy_from_slice(&self.protocol.to_ne_bytes());
        let mut words = [0; 5];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_ne_bytes);
        }
        words
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// One cache line of slots. A slot holds an index plus one, and its key's tag in the upper half; 0:
/// it is free.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Bucket {
    slots: [AtomicU64; SLOTS],
}
const _: () = assert!(size_of::<Bucket>() == 64);

/// How many buckets there are for so many flows.
pub(super) fn buckets_for(flows: u32) -> u32 {
    flows.div_ceil(FLOWS_A_BUCKET).max(2).next_power_of_two()
}

/// The index.
#[derive(Debug)]
pub(super) struct FlowIndex {
    buckets: Shared<Bucket>,
    /// The key of the hash.
    seed: u64,
}

/// The values derived from a key's hash.
struct Hash {
    tag: u32,
    buckets: [u32; 2],
}

impl FlowIndex {
    pub(super) fn new(buckets: Shared<Bucket>, seed: u64) -> Self {
        Self { buckets, seed }
    }

    /// The program's `hash` and `find`.
    #[allow(clippy::cast_possible_truncation)] // both halves are used
    fn hash(&self, words: [u64; 5]) -> Hash {
        let mut sum = words.iter().fold(self.seed, |sum, word| {
            let sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum ^ sum >> 32
        });
        sum = sum.wrapping_mul(0xd6e8_feb8_6659_fd93);
        sum ^= sum >> 32;
        let (tag, first) = ((sum >> 32) as u32, sum as u32);
        let mask = self.buckets.count() - 1;
        Hash { tag, buckets: [first & mask, (first ^ tag.wrapping_mul(0x85eb_ca77)) & mask] }
    }

    /// The tag of a key.
    pub(super) fn tag(&self, words: [u64; 5]) -> u32 {
        self.hash(words).tag
    }

    fn slots(&self, bucket: u32) -> &[AtomicU64] {
        self.buckets.at(bucket).map_or(&[], |bucket| &bucket.slots)
    }

    /// Adds the key with this index, to the emptier of its two buckets. False: both are full.
    pub(super) fn insert(&self, words: [u64; 5], index: u32) -> bool {
        let Hash { tag, buckets } = self.hash(words);
        let is_free = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) == 0;
        let free = buckets.map(|bucket| self.slots(bucket).iter().filter(is_free).count());
        let bucket = buckets[usize::from(free[1] > free[0])];
        let Some(slot) = self.slots(bucket).iter().find(is_free) else { return false };
        slot.store(u64::from(tag) << 32 | u64::from(index + 1), Ordering::Release);
        true
    }

    /// Removes the key.
    pub(super) fn remove(&self, words: [u64; 5], index: u32) {
        let Hash { tag, buckets } = self.hash(words);
        let wanted = u64::from(tag) << 32 | u64::from(index + 1);
        let slots = buckets.into_iter().flat_map(|bucket| self.slots(bucket));
        if let Some(slot) = slots.into_iter().find(|slot| slot.load(Ordering::Relaxed) == wanted) {
            slot.store(0, Ordering::Release);
        }
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        let slots = (0..self.buckets.count()).flat_map(|bucket| self.slots(bucket));
        slots.filter(|slot| slot.load(Ordering::Relaxed) != 0).count()
    }

    #[cfg(test)]
    pub(super) fn descriptor(&self) -> i32 {
        self.buckets.descriptor()
    }
}
