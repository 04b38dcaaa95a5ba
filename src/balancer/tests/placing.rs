//! Placement by hash: the Maglev table and its updates, and that directors with one seed agree on
//! every flow.

use proptest::prelude::*;

use super::*;
use crate::balancer::maglev::{MaglevTable, MaglevTables};
use crate::model::WeightStep;

const SLOTS: u32 = maglev::MIN_SLOTS;
const HASH_SEED: Seed = Seed(21, 22);
const BY_HASH: [SchedulerKind; 3] =
    [SchedulerKind::Maglev, SchedulerKind::SourceHashing, SchedulerKind::DestinationHashing];

/// A director like the daemon's: changes come with the tables that they need.
struct Kept {
    director: Director,
    maglev_tables: MaglevTables,
}

impl Kept {
    /// `secret` is the connection table's seed; every director has its own.
    fn new(capacity: u32, secret: Seed) -> Self {
        let limits = Limits { connections: capacity, refusals_per_second: 1_000 };
        let balancer = Balancer::new(limits, secret);
        let director = Director { balancer, now: Millis(1_000) };
        let mut kept = Self { director, maglev_tables: MaglevTables::new(HASH_SEED, SLOTS) };
        kept.apply(vec![Change::SetHashSeed(HASH_SEED)]);
        kept
    }

    fn with(scheduler: SchedulerKind, reals: &[(IpAddr, u32)]) -> Self {
        let mut kept = Self::new(10_000, Seed(3, 5));
        kept.apply(vec![Change::AddService(web(scheduler, reals))]);
        kept
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in self.maglev_tables.follow(changes) {
            self.director.apply(&change);
        }
    }

    /// The real server for a flow without an entry: a datagram's, since each is scheduled alone.
    fn placed(&mut self, numbers: std::ops::Range<u32>) -> Vec<Option<IpAddr>> {
        let place = |number| match self.director.forward(&flow(number).udp()) {
            Verdict::Tunnel(tunnel) => Some(tunnel.real),
            Verdict::Reply | Verdict::Drop(Reason::NoRealServer) => None,
            verdict => panic!("{verdict:?}"),
        };
        numbers.map(place).collect()
    }

    fn maglev(&self) -> Option<snapshot::MaglevSnapshot> {
        self.director.balancer.snapshot().services[0].maglev
    }
}

fn set_policy(policy: Policy) -> Change {
    Change::SetPolicy { service: "web".to_owned(), policy }
}

/// A's flows move to the others, in proportion to its smaller share, and no other server's flows.
#[test]
fn a_loaded_real_server_loses_flows_in_steps_and_regains_them() {
    for scheduler in [SchedulerKind::SourceHashing, SchedulerKind::Maglev] {
        let mut kept = Kept::with(scheduler, &[(A, 1), (B, 1), (C, 1)]);
        kept.apply(vec![set_policy(Policy {
            hash_ports: Some(true),
            one_packet: true,
            ..Policy::default()
        })]);
        let step = |thousandths| {
            let step = WeightStep::FULL.after(thousandths);
            Change::SetStep { service: "web".to_owned(), address: A, step }
        };
        let numbers = 0..3_000;
        let before = kept.placed(numbers.clone());
        kept.apply(vec![step(500)]);
        let after = kept.placed(numbers.clone());
        let of_a =
            |placed: &[Option<IpAddr>]| placed.iter().filter(|real| **real == Some(A)).count();
        let (all, left) = (of_a(&before), of_a(&after));
        assert!((900..1_100).contains(&all), "{}: {all}", scheduler.name());
        assert!((500..700).contains(&left), "{}: {left}", scheduler.name());
        let others =
            before.iter().zip(&after).filter(|(one, other)| one != other && **one != Some(A));
        let few = if scheduler == SchedulerKind::Maglev { 30 } else { 0 };
        assert!(others.count() <= few, "{}", scheduler.name());
        let effective = kept.director.real(A).unwrap().effective_weight;
        assert_eq!(effective, Some(500), "{}", scheduler.name());
        kept.apply(vec![step(1_000)]);
        assert_eq!(kept.placed(numbers), before, "{}", scheduler.name());
    }
}

#[test]
fn the_table_places_new_flows_and_the_listing_shows_it() {
    let mut kept = Kept::with(SchedulerKind::Maglev, &[(A, 1), (B, 2), (C, 1)]);
    let table = MaglevTable::new(HASH_SEED, SLOTS, [(C, 1), (B, 2), (A, 1)]);
    let shown = kept.maglev().unwrap();
    assert_eq!((shown.slots, shown.checksum), (1_031, table.checksum()));
    for number in 0..500 {
        let flow = flow(number);
        let vip =
            flow.family().pick("192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap());
        let Transport::Udp { source_port, .. } = Packet::parse(&flow.udp()).unwrap().transport
        else {
            panic!("a datagram");
        };
        let key = flow::Key::new(17, flow.source(), source_port, vip, 80);
        let owner = table.members()[table.member(key.hash(HASH_SEED)).unwrap()];
        assert_eq!(kept.placed(number..number + 1), [Some(owner)]);
    }
}

#[test]
fn a_table_is_for_maglev_alone() {
    let mut kept = Kept::with(SchedulerKind::Maglev, &[(A, 1), (B, 1)]);
    let before = kept.maglev();
    assert!(before.is_some());
    let to = |scheduler| vec![Change::SetScheduler { service: "web".to_owned(), scheduler }];
    kept.apply(to(SchedulerKind::RoundRobin));
    assert_eq!(kept.maglev(), None);
    kept.apply(to(SchedulerKind::Maglev));
    assert_eq!(kept.maglev(), before);
    let table = std::sync::Arc::clone(kept.maglev_tables.table("web").unwrap());
    let change = Change::SetMaglev { service: "missing".to_owned(), table };
    kept.director.refuses(&change, &ChangeError::NoService("missing".to_owned()));
}

#[test]
fn another_placement_has_another_checksum() {
    let checksum = |changes: Vec<Change>| {
        let mut kept = Kept::with(SchedulerKind::Maglev, &[(A, 1), (B, 1)]);
        kept.apply(changes);
        kept.maglev().unwrap().checksum
    };
    let base = checksum(Vec::new());
    let policy =
        |hash_ports, fallback| set_policy(Policy { hash_ports, fallback, ..Policy::default() });
    // Another history, the same placement.
    let there_and_back = vec![set_weight(A, 7), add_real(C, 3), remove_real(C), set_weight(A, 1)];
    assert_eq!(checksum(there_and_back), base);
    assert_eq!(checksum(vec![policy(Some(true), true)]), base);
    assert_eq!(checksum(vec![set_weight(A, 0)]), base);
    let others = [
        vec![policy(Some(false), true)],
        vec![policy(None, false)],
        vec![policy(Some(false), false)],
        vec![set_weight(A, 2)],
        vec![add_real(C, 1)],
        vec![remove_real(A)],
        vec![Change::SetHashSeed(Seed(1, 1))],
    ];
    let mut seen: std::collections::BTreeSet<_> = others.into_iter().map(checksum).collect();
    assert!(seen.insert(base));
    assert_eq!(seen.len(), 8);
}

#[test]
fn established_flows_ignore_a_new_table() {
    let mut kept = Kept::with(SchedulerKind::Maglev, &[(A, 1), (B, 1)]);
    let before: Vec<_> = (0..200).map(|number| kept.director.connect(flow(number))).collect();
    kept.apply(vec![Change::SetHashSeed(Seed(1, 1)), add_real(C, 5), set_weight(A, 3)]);
    for (number, before) in (0..200).zip(before) {
        assert_eq!(kept.director.ack(flow(number)), before);
    }
}

/// The service's own hash, not rendezvous, places flows for which the table has no space.
#[test]
fn flows_without_an_entry_stay_where_the_scheduler_places_them() {
    for scheduler in BY_HASH {
        let reals = [(A, 1), (B, 1), (C, 1)];
        let expected = Kept::with(scheduler, &reals).placed(0..500);
        let mut full = Kept::new(1, Seed(3, 5));
        full.apply(vec![Change::AddService(web(scheduler, &reals))]);
        full.director.connect(flow(9_999));
        assert_eq!(full.placed(0..500), expected, "{}", scheduler.name());
        assert_eq!(full.director.balancer.counters().without_entry, 500);
    }
}

#[test]
fn without_fallback_a_lost_server_s_flows_are_refused() {
    for scheduler in BY_HASH {
        let mut kept = Kept::with(scheduler, &[(A, 1), (B, 1)]);
        kept.apply(vec![
            set_policy(Policy { fallback: false, ..Policy::default() }),
            set_weight(B, 0),
        ]);
        let placed = kept.placed(0..200);
        let refused = placed.iter().filter(|placed| placed.is_none()).count();
        // dh has two addresses here, and may place both at one server.
        let some = if scheduler == SchedulerKind::DestinationHashing { 0..=200 } else { 60..=140 };
        assert!(some.contains(&refused), "{} refuses {refused}", scheduler.name());
        kept.apply(vec![set_policy(Policy::default())]);
        assert!(kept.placed(200..400).iter().all(|placed| *placed == Some(A)));
    }
}

/// An operator's change to both directors, with the real servers in any order of configuration.
#[derive(Clone, Debug)]
enum Act {
    Weight(usize, u32),
    Join(usize, u32),
    Leave(usize),
    Scheduler(SchedulerKind),
    Seed(u64),
    Policy(Option<bool>, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = || 0_usize..6;
    let by_hash = prop::sample::select(BY_HASH.to_vec());
    let act = prop_oneof![
        3 => (which(), 0_u32..9).prop_map(|(real, weight)| Act::Weight(real, weight)),
        2 => (which(), 1_u32..9).prop_map(|(real, weight)| Act::Join(real, weight)),
        2 => which().prop_map(Act::Leave),
        1 => by_hash.prop_map(Act::Scheduler),
        1 => any::<u64>().prop_map(Act::Seed),
        1 => (any::<Option<bool>>(), any::<bool>())
            .prop_map(|(ports, back)| Act::Policy(ports, back)),
    ];
    prop::collection::vec(act, 0..8)
}

fn candidate(number: usize) -> IpAddr {
    let more = ["fd00::14", "10.0.0.15", "fd00::16"].map(|text| text.parse().unwrap());
    [A, B, C, more[0], more[1], more[2]][number]
}

fn change(act: &Act) -> Change {
    let service = || "web".to_owned();
    match *act {
        Act::Weight(real, weight) => set_weight(candidate(real), weight),
        Act::Join(real, weight) => add_real(candidate(real), weight),
        Act::Leave(real) => remove_real(candidate(real)),
        Act::Scheduler(scheduler) => Change::SetScheduler { service: service(), scheduler },
        Act::Seed(seed) => Change::SetHashSeed(Seed(seed, 1)),
        Act::Policy(hash_ports, fallback) => {
            set_policy(Policy { hash_ports, fallback, ..Policy::default() })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two directors with one configuration, but other secrets, another order of real servers,
    /// other earlier flows, and one with a full table: every flow gets the same server, and the
    /// checksums are equal.
    #[test]
    fn two_directors_with_one_configuration_agree_flow_by_flow(
        scheduler in prop::sample::select(BY_HASH.to_vec()),
        weights in prop::collection::vec(1_u32..9, 3),
        acts in acts(),
    ) {
        let mut reals: Vec<_> = (0..).map(candidate).zip(weights).collect();
        let (mut one, mut other) = (Kept::new(10_000, Seed(1, 2)), Kept::new(1, Seed(7, 8)));
        one.apply(vec![Change::AddService(web(scheduler, &reals))]);
        reals.reverse();
        other.apply(vec![Change::AddService(web(scheduler, &reals))]);
        one.placed(5_000..5_100);
        let mut first = 0;
        for act in &acts {
            let here = |kept: &Kept, real| {
                let real = kept.director.real(candidate(real));
                real.is_some_and(|real| real.state == RealState::Up)
            };
            let fits = match act {
                Act::Weight(real, _) | Act::Leave(real) => here(&one, *real),
                Act::Join(real, _) => !here(&one, *real),
                _ => true,
            };
            if !fits {
                continue;
            }
            one.apply(vec![change(act)]);
            other.apply(vec![change(act)]);
            prop_assert_eq!(one.maglev(), other.maglev());
            let flows = first..first + 100;
            prop_assert_eq!(one.placed(flows.clone()), other.placed(flows), "after {:?}", act);
            first += 100;
        }
    }
}

/// The real server of 60 unknown flows in mid-stream, each checked against its explanation.
fn adopted(director: &mut Director) -> Vec<Option<IpAddr>> {
    let place = |number| {
        let flow = flow(number);
        let vip: IpAddr =
            flow.family().pick("192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap());
        let asked = FlowQuery {
            protocol: Protocol::Tcp,
            client: (flow.source(), 40_000).into(),
            virtual_address: (vip, flow.port).into(),
        };
        let said = director.balancer.explain(director.now, &asked).mid_stream;
        let quote = flow.segment(Flags::ACK).backwards().bytes();
        let error = flow.family().icmp_error(flow.family().too_big(), &quote).from(flow.source());
        let error = director.forward(&error.bytes());
        let went = match director.forward(&flow.tcp(Flags::ACK)) {
            Verdict::Tunnel(Tunnel { real, .. }) => {
                let same = matches!(error, Verdict::Tunnel(tunnel) if tunnel.real == real);
                assert!(same, "an error about it goes there too: {error:?}");
                Some(real)
            }
            Verdict::Reply => None,
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(went, said, "{number}");
        went
    };
    (0..60).map(place).collect()
}

/// No other server can have been chosen for them, whenever they began.
#[test]
fn without_a_fallback_existing_flows_find_a_server_that_takes_no_new_ones() {
    let policy = Policy { unknown: Some(Unknown::Adopt), fallback: false, ..Policy::default() };
    let all = [(A, 1), (B, 1), (C, 1)];
    for scheduler in BY_HASH {
        let fresh = || {
            let mut kept = Kept::with(scheduler, &all);
            kept.apply(vec![set_policy(policy)]);
            kept
        };
        let before = adopted(&mut fresh().director);
        let quiet = before.iter().flatten().next().copied().unwrap();
        let drain = AdminState::Draining { deadline: None };
        for change in
            [set_weight(quiet, 0), set_state(quiet, drain), set_state(quiet, AdminState::Disabled)]
        {
            let mut another = fresh();
            another.apply(vec![change.clone()]);
            let new = another.placed(0..60);
            assert!(!new.contains(&Some(quiet)), "{scheduler:?} {change:?}");
            assert!(new.contains(&None), "{scheduler:?} {change:?}: its flows are refused");
            assert_eq!(adopted(&mut another.director), before, "{scheduler:?} {change:?}");
        }
        let mut another = fresh();
        another.apply(vec![set_state(quiet, AdminState::Down)]);
        let left = adopted(&mut another.director);
        let expected: Vec<_> =
            before.iter().map(|real| real.filter(|&real| real != quiet)).collect();
        assert_eq!(left, expected, "{scheduler:?}: nothing arrives there");
    }
}

/// With one they may have begun before or after: they go where a new flow would go.
#[test]
fn with_a_fallback_established_flows_go_where_new_ones_would() {
    let policy = Policy { unknown: Some(Unknown::Adopt), ..Policy::default() };
    for scheduler in BY_HASH {
        let mut kept = Kept::with(scheduler, &[(A, 1), (B, 1), (C, 1)]);
        kept.apply(vec![set_policy(policy), set_weight(A, 0)]);
        let adopted = adopted(&mut kept.director);
        kept.director.balancer.flush(&Flush::default(), 0);
        let new: Vec<_> = (0..60).map(|number| Some(kept.director.syn(flow(number)))).collect();
        assert_eq!(adopted, new, "{scheduler:?}");
        assert!(!new.contains(&Some(A)));
    }
}
