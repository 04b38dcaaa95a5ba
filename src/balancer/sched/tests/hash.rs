//! sh, dh and mh.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::balancer::hash::{next_hash, salt};

const BY_HASH: [SchedulerKind; 3] =
    [SchedulerKind::SourceHashing, SchedulerKind::DestinationHashing, SchedulerKind::Maglev];
const SLOTS: u32 = 1_031;
const FLOWS: u32 = 400;

impl Bench {
    /// With the Maglev table of the pool.
    fn with_table(mut self) -> Self {
        self.make_table();
        self
    }

    fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn make_table(&mut self) {
        let members = self.members.iter().filter(|member| !member.draining);
        let weights = members.map(|member| (member.address(), member.last_weight));
        self.table = Some(MaglevTable::new(SEED, SLOTS, weights));
        self.changed();
    }

    /// The address of each flow's real server.
    fn placed(&mut self) -> Vec<Option<IpAddr>> {
        let placed = (0..FLOWS).map(|number| self.pick_for(&flow(number)));
        let indexes: Vec<_> = placed.collect();
        indexes.into_iter().map(|index| Some(self.members[index?].address())).collect()
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    (any::<Option<bool>>(), any::<bool>()).prop_map(|(hash_ports, fallback)| Policy {
        hash_ports,
        fallback,
        ..Policy::default()
    })
}

/// The real server of a flow by rendezvous hashing among the eligible ones.
fn model_of_rendezvous(kind: SchedulerKind, bench: &Bench, key: &Key) -> Option<usize> {
    match kind {
        SchedulerKind::DestinationHashing => best_draw(bench, key.vip_hash(SEED), |_| 1),
        _ if bench.policy.hash_ports == Some(true) => {
            best_draw(bench, key.hash(SEED), |member| member.last_weight)
        }
        _ => best_draw(bench, key.client_hash(SEED), |member| member.last_weight),
    }
}

/// The lowest of all draws, computed one by one: among the usable servers, or among all with a
/// check of the winner afterwards.
fn best_draw(bench: &Bench, hash: u64, weight: fn(&Member) -> u32) -> Option<usize> {
    let mut draws = BTreeMap::new();
    for (index, member) in bench.members.iter().enumerate() {
        let belongs = member.last_weight > 0 && !member.draining;
        if if bench.policy.fallback { member.usable() } else { belongs } {
            let mut bits = hash ^ salt(member.address());
            for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb_u64)] {
                bits = (bits ^ bits >> shift).wrapping_mul(factor);
            }
            let uniform = (((bits ^ bits >> 31) >> 11) + 1) as f64 / 2f64.powi(53);
            // Positive floats are in the order of their bits.
            draws.insert((-uniform.ln() / f64::from(weight(member))).to_bits(), index);
        }
    }
    let (_, &winner) = draws.first_key_value()?;
    bench.members[winner].usable().then_some(winner)
}

/// The real server of a flow by the table: slot after slot, until a server is usable or the limit
/// is reached.
fn model_of_maglev(bench: &Bench, key: &Key) -> Option<usize> {
    let first =
        if bench.policy.hash_ports == Some(false) { key.client_hash(SEED) } else { key.hash(SEED) };
    let table = bench.table.as_ref()?;
    let tries = if bench.policy.fallback { 33 } else { 1 };
    let hashes = std::iter::successors(Some(first), |hash| Some(next_hash(*hash)));
    for hash in hashes.take(tries) {
        let Some(owner) = table.member(hash) else { continue };
        let owner = table.members()[owner];
        let index = bench.members.iter().position(|member| member.address() == owner)?;
        if bench.members[index].usable() {
            return Some(index);
        }
    }
    bench.policy.fallback.then(|| best_draw(bench, first, |member| member.last_weight))?
}

proptest! {
    #[test]
    fn hashing_is_rendezvous(
        kind in prop::sample::select(
            vec![SchedulerKind::SourceHashing, SchedulerKind::DestinationHashing],
        ),
        start in members(),
        policy in policies(),
        steps in steps(),
    ) {
        let mut bench = Bench::new(kind, &start).with_policy(policy);
        for step in steps {
            bench.apply(step);
            for number in 0..8 {
                let expected = model_of_rendezvous(kind, &bench, &flow(number));
                prop_assert_eq!(bench.pick_for(&flow(number)), expected);
            }
        }
    }

    #[test]
    fn maglev_looks_into_its_table(
        start in prop::collection::vec((member(), prop::option::weighted(0.3, Just(()))), 1..6),
        policy in policies(),
    ) {
        let members: Vec<_> = start.iter().map(|(member, _)| *member).collect();
        let bench = Bench::new(SchedulerKind::Maglev, &members);
        let mut bench = bench.with_policy(policy).with_table();
        for (member, (_, quiet)) in bench.members.iter_mut().zip(&start) {
            if quiet.is_some() {
                member.set_weight(0);
            }
        }
        for number in 0..20 {
            let expected = model_of_maglev(&bench, &flow(number));
            prop_assert_eq!(bench.pick_for(&flow(number)), expected, "flow {}", number);
        }
    }

    /// A server that takes no flows moves only its own flows, and they return with it. Without
    /// fallback they are refused.
    #[test]
    fn weight_zero_moves_no_other_flow(
        kind in prop::sample::select(BY_HASH.to_vec()),
        weights in prop::collection::vec(1_u32..20, 2..6),
        gone in 0_usize..6,
        fallback: bool,
    ) {
        let gone = gone % weights.len();
        let policy = Policy { fallback, ..Policy::default() };
        let mut bench = Bench::of_weights(kind, &weights).with_policy(policy).with_table();
        let address = bench.members[gone].address();
        let before = bench.placed();
        bench.apply(TurnStep::Weight(gone, 0));
        // A table computed meanwhile is the same.
        bench.make_table();
        for (before, after) in before.iter().zip(bench.placed()) {
            if *before == Some(address) {
                prop_assert!(after.is_some() == fallback && after != Some(address));
            } else {
                prop_assert_eq!(after, *before);
            }
        }
        bench.apply(TurnStep::Weight(gone, weights[gone]));
        prop_assert_eq!(bench.placed(), before);
    }

    /// Without a table, or with one of other servers, flows are still placed.
    #[test]
    fn maglev_without_a_table_that_fits_places_by_rendezvous(
        weights in prop::collection::vec(1_u32..9, 1..6),
    ) {
        let mut bench = Bench::of_weights(SchedulerKind::Maglev, &weights);
        let without = bench.placed();
        prop_assert!(without.iter().all(Option::is_some));
        bench.table = Some(MaglevTable::new(SEED, SLOTS, [(Ipv4Addr::new(10, 9, 9, 9).into(), 1)]));
        bench.changed();
        prop_assert_eq!(bench.placed(), without);
    }
}

#[test]
fn one_client_one_server_unless_ports_count() {
    let clients_with = |hash_ports, kind| {
        let policy = Policy { hash_ports, ..Policy::default() };
        let mut bench = Bench::of_weights(kind, &[1; 5]).with_policy(policy).with_table();
        let (client, vip) = (IpAddr::from([198, 51, 100, 7]), IpAddr::from([192, 0, 2, 10]));
        let flows = (1_000..1_100).map(|port| Key::new(protocol::TCP, client, port, vip, 80));
        flows.map(|key| bench.pick_for(&key)).collect::<BTreeSet<_>>().len()
    };
    for (hash_ports, sh, mh) in [(None, 1, 5), (Some(false), 1, 1), (Some(true), 5, 5)] {
        assert_eq!(clients_with(hash_ports, SchedulerKind::SourceHashing), sh, "{hash_ports:?}");
        assert_eq!(clients_with(hash_ports, SchedulerKind::Maglev), mh, "{hash_ports:?}");
    }
}

/// Without ports a client gets the same server at every address of the service.
#[test]
fn a_client_has_the_same_server_at_every_virtual_address() {
    let mut bench = Bench::of_weights(SchedulerKind::SourceHashing, &[1; 5]);
    for client in 0..100 {
        let client = IpAddr::from([198, 51, 100, client]);
        let at = |vip: u8, port| {
            Key::new(protocol::TCP, client, 4_000, IpAddr::from([192, 0, 2, vip]), port)
        };
        assert_eq!(bench.pick_for(&at(10, 80)), bench.pick_for(&at(11, 443)));
    }
}

#[test]
fn destination_hashing_uses_the_virtual_address_alone() {
    let mut bench = Bench::of_weights(SchedulerKind::DestinationHashing, &[1, 200]);
    let mut servers_of = |vip: u8| {
        let vip = IpAddr::from([192, 0, 2, vip]);
        let client = |host| IpAddr::from([198, 51, 100, host]);
        let flows = (0..50).map(|host| Key::new(protocol::TCP, client(host), 4_000, vip, 80));
        flows.map(|key| bench.pick_for(&key)).collect::<BTreeSet<_>>()
    };
    let servers: Vec<_> = (0..200).map(&mut servers_of).collect();
    assert!(servers.iter().all(|servers| servers.len() == 1));
    let first = servers.iter().filter(|servers| servers.contains(&Some(0))).count();
    assert!((60..140).contains(&first), "weights are ignored: {first} of 200");
}

/// One usable server among a thousand is found even if rehashing does not hit its slots.
#[test]
fn the_last_one_left_takes_everything() {
    let mut bench = Bench::of_weights(SchedulerKind::Maglev, &[1; 200]).with_table();
    for index in 0..199 {
        bench.members[index].set_weight(0);
    }
    let last = bench.members[199].address();
    assert!(bench.placed().into_iter().all(|placed| placed == Some(last)));
}

/// Rehashing distributes a lost server's flows over the others by weight.
#[test]
fn a_lost_server_s_flows_spread_by_weight() {
    for kind in [SchedulerKind::SourceHashing, SchedulerKind::Maglev] {
        let mut bench = Bench::of_weights(kind, &[1, 3, 8]).with_table();
        bench.members[2].set_weight(0);
        bench.changed();
        let placed: Vec<_> = (0..4_000).map(|number| bench.pick_for(&flow(number))).collect();
        let first = placed.iter().filter(|index| **index == Some(0)).count();
        // A quarter of 4,000, give or take four standard deviations.
        assert!((890..=1_110).contains(&first), "{} {first}", kind.name());
    }
}
