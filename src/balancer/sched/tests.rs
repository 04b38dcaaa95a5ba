//! The schedulers against naive models of IPVS's algorithms, or of the algorithm that their file
//! describes.
#![allow(clippy::unwrap_used)]

mod hash;
mod load;
mod turns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::balancer::flow::Key;
use crate::balancer::maglev::MaglevTable;
use crate::balancer::placement::PlacementKey;
use crate::balancer::pool::{Eligible, Pool};
use crate::balancer::real::{Life, Real, Reals};
use crate::balancer::tunnel::LocalRoute;
use crate::model::{Millis, Policy, RealId, RealSpec, RealValue, Seed, ServiceId};
use crate::wire::protocol;

/// The seed of randomised schedulers.
const RANDOM: u64 = 42;
/// The seed of flows that are placed by hash.
const SEED: Seed = Seed(11, 13);

/// The model of a real server.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Unique among all that ever were in the pool.
    id: u32,
    weight: u32,
    /// The last weight that was not 0.
    last_weight: u32,
    draining: bool,
    active: u64,
    inactive: u64,
}

impl Member {
    fn idle(weight: u32) -> Self {
        Self { id: 0, weight, last_weight: weight, draining: false, active: 0, inactive: 0 }
    }

    fn usable(&self) -> bool {
        self.weight > 0 && !self.draining
    }

    fn set_weight(&mut self, weight: u32) {
        self.weight = weight;
        if weight > 0 {
            self.last_weight = weight;
        }
    }

    /// Every other one is IPv6.
    fn address(&self) -> IpAddr {
        if self.id.is_multiple_of(2) {
            Ipv4Addr::from(0x0a00_0000 + self.id).into()
        } else {
            Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(self.id)).into()
        }
    }

    fn real(&self) -> Real {
        let spec = RealSpec::new(self.address(), self.last_weight);
        let mut real =
            Real::new(ServiceId { index: 0, generation: 0 }, spec, LocalRoute::default());
        real.set(RealValue::Weight(self.weight));
        if self.draining {
            real.set_life(Life::Removed);
        }
        real.set_connections(self.active, self.inactive);
        real
    }
}

/// A scheduler with its pool.
struct Bench {
    scheduler: Box<dyn Scheduler>,
    members: Vec<Member>,
    joined: u32,
    policy: Policy,
    table: Option<MaglevTable>,
    flows: u32,
}

impl Bench {
    fn new(kind: SchedulerKind, members: &[Member]) -> Self {
        let mut bench = Self {
            scheduler: new(kind, RANDOM),
            members: Vec::new(),
            joined: 0,
            policy: Policy::default(),
            table: None,
            flows: 0,
        };
        members.iter().for_each(|member| bench.join(*member));
        bench.changed();
        bench
    }

    fn of_weights(kind: SchedulerKind, weights: &[u32]) -> Self {
        Self::new(kind, &weights.iter().copied().map(Member::idle).collect::<Vec<_>>())
    }

    fn join(&mut self, member: Member) {
        self.members.push(Member { id: self.joined, ..member });
        self.joined += 1;
    }

    fn with_pool<T>(&mut self, act: impl FnOnce(&mut dyn Scheduler, Pool<'_>) -> T) -> T {
        let idle = || Member::idle(0).real();
        let mut reals = Reals::default();
        let ids: Vec<RealId> = (0..self.joined).map(|_| reals.insert_with(|_| idle())).collect();
        for member in &self.members {
            reals[ids[member.id as usize]] = member.real();
        }
        let ids: Vec<_> = self.members.iter().map(|member| ids[member.id as usize]).collect();
        let (policy, maglev) = (&self.policy, self.table.as_ref());
        act(
            self.scheduler.as_mut(),
            Pool {
                ids: &ids,
                reals: &reals,
                policy,
                maglev,
                eligible: Eligible::ForNewFlows,
                now: Millis(0),
            },
        )
    }

    fn changed(&mut self) {
        self.with_pool(|scheduler, pool| scheduler.changed(pool));
    }

    /// Chooses for one more flow.
    fn pick(&mut self) -> Option<usize> {
        self.flows += 1;
        self.pick_for(&flow(self.flows))
    }

    fn pick_for(&mut self, key: &Key) -> Option<usize> {
        self.with_pool(|scheduler, pool| {
            let picked = scheduler.pick(PlacementKey { key, seed: SEED }, pool);
            scheduler.taken(picked, pool);
            picked
        })
    }

    /// Picks as text: A for the first real server, `-` for none.
    fn sequence(&mut self, len: usize) -> String {
        const NAMES: [char; 6] = ['A', 'B', 'C', 'D', 'E', 'F'];
        (0..len).map(|_| self.pick().map_or('-', |index| NAMES[index])).collect()
    }
}

/// The `number`th client's flow; every other one is IPv6.
fn flow(number: u32) -> Key {
    let (client, vip): (IpAddr, IpAddr) = if number.is_multiple_of(2) {
        (Ipv4Addr::from(0xc612_0000 + number).into(), Ipv4Addr::new(192, 0, 2, 10).into())
    } else {
        let network = |subnet: u128| (0x2001_0db8_u128 << 96) + (subnet << 64);
        let client = Ipv6Addr::from(network(0xc) + u128::from(number));
        (client.into(), Ipv6Addr::from(network(0xb) + 0x10).into())
    };
    Key::new(protocol::TCP, client, 40_000, vip, 80)
}

fn member() -> impl Strategy<Value = Member> {
    let weight = prop_oneof![Just(0), 1_u32..6, Just(6), Just(12), 1_u32..200];
    (weight, prop::bool::weighted(0.2), 0_u64..4, 0_u64..600).prop_map(
        |(weight, draining, active, inactive)| Member {
            draining,
            active,
            inactive,
            ..Member::idle(weight)
        },
    )
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec(member(), 0..6)
}

/// What happens to a pool between picks.
#[derive(Clone, Copy, Debug)]
enum TurnStep {
    Picks(usize),
    Weight(usize, u32),
    Join(Member),
    Drain(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<TurnStep>> {
    let index = || 0_usize..6;
    let step = prop_oneof![
        4 => (1_usize..20).prop_map(TurnStep::Picks),
        1 => (index(), prop_oneof![Just(0), 1_u32..12])
            .prop_map(|(at, weight)| TurnStep::Weight(at, weight)),
        1 => member().prop_map(TurnStep::Join),
        1 => index().prop_map(TurnStep::Drain),
        1 => index().prop_map(TurnStep::Leave),
    ];
    prop::collection::vec(step, 1..30)
}

impl Bench {
    /// Applies the step, notifies the scheduler, and returns how many picks follow.
    fn apply(&mut self, step: TurnStep) -> usize {
        match step {
            TurnStep::Picks(picks) => return picks,
            TurnStep::Weight(at, weight) if at < self.members.len() => {
                self.members[at].set_weight(weight);
            }
            TurnStep::Join(member) if self.members.len() < 6 => self.join(member),
            TurnStep::Drain(at) if at < self.members.len() => self.members[at].draining = true,
            TurnStep::Leave(at) if at < self.members.len() => drop(self.members.remove(at)),
            _ => return 0,
        }
        self.changed();
        0
    }
}

proptest! {
    #[test]
    fn only_usable_servers_are_picked_and_one_whenever_there_is_one(
        kind in prop::sample::select(SchedulerKind::ALL.to_vec()),
        start in members(),
        steps in steps(),
    ) {
        let mut bench = Bench::new(kind, &start);
        for step in steps {
            for _ in 0..bench.apply(step) {
                let usable = |member: &Member| {
                    // ovf refuses flows when all servers are full.
                    let full = member.active > u64::from(member.weight);
                    member.usable() && !(kind == SchedulerKind::Overflow && full)
                };
                match bench.pick() {
                    Some(index) => prop_assert!(usable(&bench.members[index])),
                    None => prop_assert!(!bench.members.iter().any(usable)),
                }
            }
        }
    }
}

#[test]
fn without_a_usable_server_none_is_picked() {
    for kind in SchedulerKind::ALL {
        assert_eq!(Bench::of_weights(kind, &[]).sequence(3), "---", "{}", kind.name());
        assert_eq!(Bench::of_weights(kind, &[0, 0]).sequence(3), "---", "{}", kind.name());
        let draining = Member { draining: true, ..Member::idle(1) };
        assert_eq!(Bench::new(kind, &[draining]).sequence(3), "---", "{}", kind.name());
    }
}

#[test]
fn names_are_those_of_lvs() {
    assert_eq!(
        SchedulerKind::ALL.map(SchedulerKind::name),
        ["rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "mh", "fo", "ovf", "twos"]
    );
    for kind in SchedulerKind::ALL {
        assert_eq!(SchedulerKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(SchedulerKind::from_name("WLC"), None);
}
