//! Fills the slots of a table.
//!
//! Every member has its own permutation of all slots, and the members take turns: at its turn a
//! member takes the first free slot of its permutation. With weights, a member's turns are at the
//! times `(k + phase) / weight` for k = 0, 1, …, as if each advanced at its own speed; the phase is
//! a hash of its address. So a member's turns depend only on itself. If another member is added,
//! removed or changes its weight, the order of the others' turns stays. (IPVS gives each member
//! `weight / gcd` turns a round: one weight that changes the divisor moves several per cent of all
//! flows.)

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::member::{MemberIndex, bytes};
use crate::model::Seed;

/// A free slot.
const FREE: MemberIndex = MemberIndex::MAX;

/// A real server's state while the table is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimant {
    pub(super) address: IpAddr,
    weight: u64,
    /// The next slot of its permutation.
    next: u64,
    /// The distance between two slots of its permutation. It is less than the number of slots, a
    /// prime, so the permutation covers all slots.
    skip: u64,
    /// In units of 2^-32 turns.
    phase: u64,
}

impl Claimant {
    fn new(seed: Seed, slots: u64, address: IpAddr, weight: u32) -> Self {
        let draw = |what: u8| {
            let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
            hasher.write(&bytes(address));
            hasher.write(&[what]);
            hasher.finish()
        };
        Self {
            address,
            weight: u64::from(weight),
            next: draw(0) % slots,
            skip: draw(1) % (slots - 1) + 1,
            phase: draw(2) >> 32,
        }
    }

    /// The time of its turn `number`. The first turns of all members come before any second turn,
    /// so that each has a slot, as in IPVS: even the smallest weight gets flows.
    fn moment(&self, number: u64) -> u64 {
        if number == 0 {
            return 0;
        }
        // Turns are fewer than 2^20, so the sum is below 2^52.
        (((number << 32) + self.phase) << 12) / self.weight
    }

    /// Takes the first free slot of its permutation for `member`. There has to be one.
    fn take(&mut self, slots: &mut [MemberIndex], member: MemberIndex) {
        let count = slots.len() as u64;
        for _ in 0..=count {
            let slot = usize::try_from(self.next).ok().and_then(|slot| slots.get_mut(slot));
            self.next = (self.next + self.skip) % count;
            if let Some(slot) = slot.filter(|slot| **slot == FREE) {
                *slot = member;
                return;
            }
        }
    }
}

/// The members of the table, ordered by address; at most as many as there are slots.
pub(super) fn members(
    seed: Seed,
    slots: u32,
    reals: impl IntoIterator<Item = (IpAddr, u32)>,
) -> Vec<Claimant> {
    let weights: BTreeMap<_, _> = reals.into_iter().collect();
    let most = usize::from(FREE).min(slots as usize);
    let slots = u64::from(slots.max(2));
    weights
        .into_iter()
        .filter(|(_, weight)| *weight > 0)
        .take(most)
        .map(|(address, weight)| Claimant::new(seed, slots, address, weight))
        .collect()
}

/// Fills the slots; each gets the index of its member.
pub(super) fn slots(count: u32, members: &[Claimant]) -> Vec<MemberIndex> {
    if members.is_empty() {
        return Vec::new();
    }
    let mut members = members.to_vec();
    let mut slots = vec![FREE; count as usize];
    // Ordered by time; at the same time by phase, then by address.
    let turn = |member: &Claimant, number: u64, index: usize| {
        Reverse((member.moment(number), member.phase, index, number))
    };
    let mut turns: BinaryHeap<_> =
        members.iter().enumerate().map(|(index, member)| turn(member, 0, index)).collect();
    for _ in 0..count {
        let Some(Reverse((_, _, index, number))) = turns.pop() else { break };
        let (Some(member), Ok(name)) = (members.get_mut(index), MemberIndex::try_from(index))
        else {
            continue;
        };
        member.take(&mut slots, name);
        turns.push(turn(member, number + 1, index));
    }
    slots
}
