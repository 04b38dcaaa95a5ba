//! Maglev: a table that maps a flow's hash to a real server, the same on every director.
//!
//! The algorithm is that of Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer" (NSDI 2016, section 3.4), with weights. Tables are computed off the packet thread and
//! passed to it whole in a [`Change`](super::Change).
//!
//! 1. `build`: real servers with weights, a number of slots and a seed → slots.
//! 2. `tables`: follows the changes and computes the tables that they need.

mod build;
mod member;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::model::Seed;
use member::{MemberIndex, bytes};

pub use tables::MaglevTables;

/// The default number of slots: the smallest prime above 2^16.
pub const SLOTS: u32 = 65_537;
/// The fewest slots: the smallest prime above the most real servers of a service.
pub const MIN_SLOTS: u32 = 1_031;
/// The most slots: the largest prime below 2^20, a table of 2 MB.
pub const MAX_SLOTS: u32 = 1_048_573;

/// Maps each slot to a real server.
#[derive(Clone, Eq, PartialEq)]
pub struct MaglevTable {
    /// Ordered by address.
    members: Vec<IpAddr>,
    slots: Vec<MemberIndex>,
    checksum: u64,
}

impl MaglevTable {
    /// The table of `slots` slots, a prime, for real servers with their weights. Those of weight 0
    /// get none; of two with the same address the last counts. The result does not depend on their
    /// order or on the machine.
    #[must_use]
    pub fn new(seed: Seed, slots: u32, reals: impl IntoIterator<Item = (IpAddr, u32)>) -> Self {
        let members = build::members(seed, slots, reals);
        let slots = build::slots(slots, &members);
        let members: Vec<_> = members.into_iter().map(|member| member.address).collect();
        let checksum = checksum(&members, &slots);
        Self { members, slots, checksum }
    }

    /// The number of slots; 0 without members.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The real servers with slots, ordered by address.
    #[must_use]
    pub fn members(&self) -> &[IpAddr] {
        &self.members
    }

    /// A hash of members and slots, the same on every machine: two directors with the same checksum
    /// place flows alike.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// The index in [`Self::members`] of the real server for a flow's hash.
    pub(super) fn member(&self, hash: u64) -> Option<usize> {
        let slot = hash.checked_rem(self.slots.len() as u64)?;
        self.slots.get(usize::try_from(slot).ok()?).copied().map(usize::from)
    }

    /// The number of slots in which the two tables name different real servers. If the numbers of
    /// slots differ, the slots of a hash in both tables are unrelated, since both numbers are
    /// primes: then it is the share of flows that moves, in slots.
    #[must_use]
    pub fn moved(&self, other: &Self) -> usize {
        let (mine, theirs) = (self.slots.len(), other.slots.len());
        if mine == 0 || theirs == 0 {
            return mine.max(theirs);
        }
        if mine != theirs {
            // The pairs of slots that name the same real server.
            let common = |address: &IpAddr| self.slots_of(*address) * other.slots_of(*address);
            let stay: usize = self.members.iter().map(common).sum();
            return mine - stay / theirs;
        }
        let differ = |(one, two): &(&MemberIndex, &MemberIndex)| {
            self.members.get(usize::from(**one)) != other.members.get(usize::from(**two))
        };
        self.slots.iter().zip(&other.slots).filter(differ).count()
    }

    /// The number of slots of the real server.
    #[must_use]
    pub fn slots_of(&self, address: IpAddr) -> usize {
        let Ok(index) = self.members.binary_search(&address) else { return 0 };
        self.slots.iter().filter(|&&member| usize::from(member) == index).count()
    }
}

/// Without the slots: there are 65,537.
impl fmt::Debug for MaglevTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { members, slots, checksum } = self;
        write!(f, "MaglevTable({} members, {} slots, {checksum:016x})", members.len(), slots.len())
    }
}

/// All input is bytes in a fixed order, so that the checksum does not depend on the machine.
fn checksum(members: &[IpAddr], slots: &[MemberIndex]) -> u64 {
    let mut hasher = SipHasher13::new();
    for address in members {
        hasher.write(&bytes(*address));
    }
    for member in slots {
        hasher.write(&member.to_le_bytes());
    }
    hasher.finish()
}

/// Whether it is a prime, by trial division, which is fast enough for numbers of slots.
#[must_use]
pub fn is_prime(number: u32) -> bool {
    let divisors = (2_u32..).take_while(|divisor| u64::from(*divisor).pow(2) <= u64::from(number));
    number >= 2 && divisors.into_iter().all(|divisor| !number.is_multiple_of(divisor))
}
