//! The table's guarantees: bounds, expiry, lazy timers; and a naive model.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::wire::build::Family;

const SEED: Seed = Seed(7, 9);
const REAL: RealId = RealId(0);

/// A flow of the client with that number; every other one is IPv6.
fn key(client: u32) -> Key {
    let family = if client.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let client = family.pick(
        IpAddr::V4(Ipv4Addr::from_bits(client)),
        IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(client))),
    );
    Key::new(6, client, 1_000, family.vip(), 80)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Millis {
    Millis(seconds * 1_000)
}

fn insert(table: &mut Table, client: u32, now: Millis, timeout: Duration) -> Handle {
    table.insert(key(client), REAL, ConnState::Established, now, timeout).unwrap()
}

fn expired(table: &mut Table, now: Millis) -> Vec<Key> {
    let mut budget = EXPIRE_BUDGET;
    let next = || table.due(now, &mut budget).and_then(|handle| table.end(handle));
    std::iter::from_fn(next).map(|entry| entry.key()).collect()
}

#[test]
fn a_flow_of_either_family_costs_one_cache_line_and_its_index_slots() {
    assert_eq!(size_of::<Option<Entry>>(), 64);
}

#[test]
fn the_capacity_is_hard_and_a_removed_entry_makes_room() {
    let mut table = Table::new(3, SEED);
    let handles: Vec<_> = (0..3).map(|n| insert(&mut table, n, at(0), seconds(60))).collect();
    let full = table.insert(key(3), REAL, ConnState::None, at(0), seconds(60));
    assert_eq!(full, Err(Full));
    assert_eq!(table.len(), 3);
    table.remove(handles[1]).unwrap();
    assert_eq!(table.turnover(), Turnover::default(), "removed, not expired");
    insert(&mut table, 3, at(0), seconds(60));
    assert!(table.find(&key(1)).is_none());
    for client in [0, 2, 3] {
        assert!(table.find(&key(client)).is_some(), "client {client}");
    }
}

#[test]
fn a_smaller_capacity_keeps_all_and_takes_none_until_there_are_fewer() {
    let mut table = Table::new(3, SEED);
    let handles: Vec<_> = (0..3).map(|n| insert(&mut table, n, at(0), seconds(60))).collect();
    table.resize(2);
    assert_eq!((table.len(), table.capacity(), table.is_full()), (3, 2, true));
    assert!((0..3).all(|client| table.find(&key(client)).is_some()));
    table.remove(handles[0]).unwrap();
    let full = table.insert(key(3), REAL, ConnState::None, at(0), seconds(60));
    assert_eq!(full, Err(Full), "as many as the capacity");
    table.remove(handles[2]).unwrap();
    insert(&mut table, 3, at(0), seconds(60));
    assert!(table.is_full());
}

/// Reallocation would write the reserved memory, which an almost empty table never has.
#[test]
fn a_larger_capacity_moves_entries_and_keeps_their_handles_and_timers() {
    let mut table = Table::new(1_000, SEED);
    let handles: Vec<_> = (0..1_000).map(|n| insert(&mut table, n, at(0), seconds(60))).collect();
    table.remove(handles[7]).unwrap();
    table.resize(1_000_000);
    assert_eq!((table.len(), table.capacity()), (999, 1_000_000));
    assert_eq!(insert(&mut table, 7, at(0), seconds(60)), handles[7], "the free index is used");
    for client in 1_000..20_000 {
        insert(&mut table, client, at(0), seconds(90));
    }
    for (client, handle) in (0..).zip(&handles) {
        assert_eq!(table.find(&key(client)), Some(*handle), "client {client}");
    }
    assert!((1_000..20_000).all(|client| table.find(&key(client)).is_some()));
    assert_eq!(expired(&mut table, at(61)).len(), 1_000);
    table.resize(1 << 30);
    assert_eq!(table.capacity(), MAX_CAPACITY as usize);
    assert!(table.fits(u32::MAX) || !table.fits(MAX_CAPACITY));
}

#[test]
fn an_entry_expires_at_its_timeout_and_not_a_tick_before() {
    let mut table = Table::new(8, SEED);
    insert(&mut table, 1, Millis(100), seconds(60));
    assert_eq!(table.next_deadline(), Some(Millis(60_250)));
    assert_eq!(expired(&mut table, Millis(60_249)), []);
    assert_eq!(expired(&mut table, Millis(60_250)), [key(1)]);
    assert!(table.find(&key(1)).is_none());
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_later_deadline_is_applied_when_the_first_timer_fires() {
    let mut table = Table::new(8, SEED);
    let handle = insert(&mut table, 1, at(0), seconds(60));
    table.touch(handle, ConnState::Established, at(50), seconds(900));
    assert_eq!(table.next_deadline(), Some(at(60)), "a packet touches no timer");
    assert_eq!(expired(&mut table, at(60)), []);
    assert_eq!(table.turnover(), Turnover { expired: 0, requeued: 1, evicted: 0 });
    assert_eq!(table.next_deadline(), Some(at(950)));
    assert_eq!(expired(&mut table, at(950)), [key(1)]);
    assert_eq!(table.turnover(), Turnover { expired: 1, requeued: 1, evicted: 0 });
}

#[test]
fn a_nearer_deadline_moves_the_entry_at_once() {
    let mut table = Table::new(8, SEED);
    let handles: Vec<_> = (0..3).map(|n| insert(&mut table, n, at(0), seconds(900))).collect();
    table.touch(handles[1], ConnState::Close, at(1), seconds(10));
    assert_eq!(expired(&mut table, at(11)), [key(1)]);
    assert_eq!(expired(&mut table, at(900)).len(), 2);
}

#[test]
fn a_timeout_past_the_horizon_is_kept_to_the_second() {
    let mut table = Table::new(8, SEED);
    let month = seconds(31 * 24 * 3_600);
    insert(&mut table, 1, at(5), month);
    let mut now = at(5);
    while let Some(next) = table.next_deadline() {
        assert!(next > now, "the wheel makes progress");
        now = next;
        if expired(&mut table, now) == [key(1)] {
            break;
        }
    }
    assert_eq!(now, at(5).after(month));
}

#[test]
fn a_turn_looks_at_no_more_than_its_budget() {
    let mut table = Table::new(10_000, SEED);
    for client in 0..=u32::try_from(EXPIRE_BUDGET).unwrap() {
        insert(&mut table, client, at(0), seconds(60));
    }
    assert_eq!(expired(&mut table, at(60)).len(), EXPIRE_BUDGET);
    assert_eq!(table.next_deadline(), Some(at(60)), "the rest is still due");
    assert_eq!(expired(&mut table, at(60)).len(), 1);
}

#[test]
fn a_wheel_that_lags_behind_by_more_than_a_turn_loses_nothing() {
    let mut table = Table::new(8, SEED);
    insert(&mut table, 1, at(0), seconds(60));
    let handle = insert(&mut table, 2, at(0), seconds(61));
    table.touch(handle, ConnState::Established, at(55), seconds(40_000));
    assert_eq!(expired(&mut table, at(20_000)), [key(1)]);
    insert(&mut table, 3, at(20_000), seconds(10));
    assert_eq!(expired(&mut table, at(20_010)), [key(3)]);
    assert_eq!(expired(&mut table, at(40_055)), [key(2)]);
}

#[test]
fn an_expired_entry_can_be_renewed_from_its_deadline() {
    let mut table = Table::new(8, SEED);
    insert(&mut table, 1, at(0), seconds(60));
    let mut budget = EXPIRE_BUDGET;
    // The timer fires late; the new timeout counts from the old deadline.
    let handle = table.due(at(70), &mut budget).unwrap();
    assert_eq!(table.due(at(70), &mut budget), None, "it is handed out once");
    table.renew(handle, ConnState::Idle, seconds(840));
    assert_eq!(table.turnover(), Turnover { expired: 0, requeued: 1, evicted: 0 });
    assert_eq!(table.entry(handle).unwrap().state(), ConnState::Idle);
    assert_eq!(expired(&mut table, at(900)), [key(1)]);
    assert_eq!(table.turnover(), Turnover { expired: 1, requeued: 1, evicted: 0 });
}

#[test]
fn a_template_s_index_is_kept_up_to_the_last_that_three_bytes_hold() {
    let mut table = Table::new(8, SEED);
    let handle = insert(&mut table, 1, at(0), seconds(60));
    assert_eq!(table.entry(handle).unwrap().template(), None);
    for (index, kept) in
        [(0, true), (1, true), (0xff_fffe, true), (0xff_ffff, false), (1 << 24, false)]
    {
        table.set_template(handle, Some(Handle(index)));
        let template = table.entry(handle).unwrap().template();
        assert_eq!(template, kept.then_some(Handle(index)), "{index}");
    }
}

/// Prefetching has no visible effect, whatever the flows.
#[test]
fn looking_ahead_changes_nothing() {
    for count in [0, 1, u32::try_from(AHEAD).unwrap(), 3_000] {
        let mut table = Table::new(4_000, SEED);
        for client in 0..count {
            insert(&mut table, client, at(0), seconds(60));
        }
        for asked in [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 5_000] {
            table.look_ahead((0..u32::try_from(asked).unwrap()).map(key));
        }
        assert_eq!(table.len(), count as usize);
        assert!((0..count).all(|client| table.find(&key(client)).is_some()));
    }
}

#[test]
fn unproven_connections_are_evicted_in_the_order_of_their_last_packets() {
    let mut table = Table::new(8, SEED);
    let mut enter = |client, state| {
        table.insert(key(client), REAL, state, at(u64::from(client)), seconds(60)).unwrap()
    };
    let handles = [
        enter(0, ConnState::SynRecv),
        enter(1, ConnState::Established),
        enter(2, ConnState::SynAck),
        enter(3, ConnState::UdpNew),
        enter(4, ConnState::SynRecv),
        enter(5, ConnState::SynRecv),
    ];
    table.touch(handles[0], ConnState::SynRecv, at(10), seconds(60));
    table.touch(handles[4], ConnState::Established, at(10), seconds(900));
    let evicted: Vec<_> = std::iter::from_fn(|| table.evict()).map(|entry| entry.key()).collect();
    assert_eq!(evicted, [key(2), key(3), key(5), key(0)]);
    assert_eq!(table.turnover(), Turnover { expired: 0, requeued: 0, evicted: 4 });
    assert!(table.find(&key(1)).is_some() && table.find(&key(4)).is_some());
}

#[test]
fn unproven_connections_expire_at_their_timeout_within_the_turns_budget() {
    let mut table = Table::new(10_000, SEED);
    let most = u32::try_from(EXPIRE_BUDGET).unwrap();
    for client in 0..=most {
        table.insert(key(client), REAL, ConnState::SynRecv, at(0), seconds(60)).unwrap();
    }
    assert_eq!(table.next_deadline(), Some(at(60)));
    assert_eq!(expired(&mut table, Millis(59_999)), []);
    insert(&mut table, most + 1, at(0), seconds(60));
    assert_eq!(expired(&mut table, at(60)).len(), EXPIRE_BUDGET);
    assert_eq!(table.next_deadline(), Some(at(60)), "the rest is still due");
    assert_eq!(expired(&mut table, at(60)).len(), 2);
    assert_eq!(table.next_deadline(), None);
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u32, u64),
    /// A packet of an unproven flow.
    Knock(u32),
    Evict,
    Touch(u32, u64),
    Remove(u32),
    Pass(u64),
}

/// The single timeout of all unproven flows.
const UNPROVEN_SECONDS: u64 = 60;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0u32..20, 1u64..2_000).prop_map(|(client, timeout)| Operation::Insert(client, timeout)),
        (0u32..20, 1u64..2_000).prop_map(|(client, timeout)| Operation::Touch(client, timeout)),
        (0u32..20).prop_map(Operation::Knock),
        Just(Operation::Evict),
        (0u32..20).prop_map(Operation::Remove),
        (0u64..1_500).prop_map(Operation::Pass),
    ]
}

proptest! {
    /// The naive model: a map from client to the second in which its entry expires, and a list of
    /// the unproven ones.
    #[test]
    fn behaves_like_a_map_with_deadlines(operations in prop::collection::vec(operation(), 1..120)) {
        let mut table = Table::new(16, SEED);
        let mut model: HashMap<u32, u64> = HashMap::new();
        let mut waiting: Vec<u32> = Vec::new();
        let mut now = 0;
        for operation in operations {
            match operation {
                Operation::Insert(client, timeout) if !model.contains_key(&client) => {
                    let inserted =
                        table.insert(key(client), REAL, ConnState::Udp, at(now), seconds(timeout));
                    prop_assert_eq!(inserted.is_ok(), model.len() < 16);
                    if inserted.is_ok() {
                        model.insert(client, now + timeout);
                    }
                }
                Operation::Touch(client, timeout) => {
                    if let Some(handle) = table.find(&key(client)) {
                        table.touch(handle, ConnState::Udp, at(now), seconds(timeout));
                        model.insert(client, now + timeout);
                        waiting.retain(|other| *other != client);
                    }
                }
                Operation::Knock(client) => {
                    let (state, timeout) = (ConnState::SynRecv, seconds(UNPROVEN_SECONDS));
                    if let Some(handle) = table.find(&key(client)) {
                        table.touch(handle, state, at(now), timeout);
                    } else if table.insert(key(client), REAL, state, at(now), timeout).is_err() {
                        prop_assert_eq!(model.len(), 16);
                        continue;
                    }
                    model.insert(client, now + UNPROVEN_SECONDS);
                    waiting.retain(|other| *other != client);
                    waiting.push(client);
                }
                Operation::Evict => {
                    let evicted = table.evict().map(|entry| entry.key());
                    let first = (!waiting.is_empty()).then(|| waiting.remove(0));
                    prop_assert_eq!(evicted, first.map(key));
                    first.map(|client| model.remove(&client));
                }
                Operation::Remove(client) => {
                    let removed = table.find(&key(client)).and_then(|handle| table.remove(handle));
                    prop_assert_eq!(removed.is_some(), model.remove(&client).is_some());
                    waiting.retain(|other| *other != client);
                }
                Operation::Pass(seconds) => {
                    now += seconds;
                    expired(&mut table, at(now));
                    model.retain(|_, deadline| *deadline > now);
                    waiting.retain(|client| model.contains_key(client));
                }
                Operation::Insert(..) => {}
            }
            prop_assert_eq!(table.len(), model.len());
            for client in 0..20 {
                prop_assert_eq!(table.find(&key(client)).is_some(), model.contains_key(&client));
            }
        }
    }
}

#[test]
fn a_larger_table_leaves_its_entries_where_they_are() {
    let mut table = Table::new(10, SEED);
    for client in 0..10 {
        table.insert(key(client), REAL, ConnState::Udp, at(0), seconds(60)).unwrap();
    }
    let places = |table: &Table| -> Vec<usize> {
        let handles = (0..10).filter_map(|client| table.find(&key(client)));
        handles.map(|handle| std::ptr::from_ref(table.entry(handle).unwrap()) as usize).collect()
    };
    let before = places(&table);
    for capacity in [11, 2_000_000] {
        table.resize(capacity);
        assert_eq!(places(&table), before, "{capacity}");
        assert!(table.memory().iter().any(|piece| piece.contains(&before[0])));
    }
    for client in 10..100 {
        table.insert(key(client), REAL, ConnState::Udp, at(0), seconds(60)).unwrap();
    }
    assert!((0..100).all(|client| table.find(&key(client)).is_some()));
    assert!(table.iter_in(5..95).map(|(index, _)| index).eq(5..95));
    for client in 0..100 {
        assert!(table.remove(table.find(&key(client)).unwrap()).is_some());
    }
    assert!(table.is_empty());
    assert_eq!(table.memory().len(), 4, "the index, and three pieces of entries");
}
