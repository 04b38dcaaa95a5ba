//! A full connection table: flows go on without entries, placed by hash.

use std::collections::BTreeMap;

use super::*;

const FLOWS: u32 = 4_000;

/// A director whose table of ten is full of established connections.
fn full(scheduler: SchedulerKind, reals: &[(IpAddr, u32)]) -> Director {
    let mut director = Director::new(10);
    director.apply(&Change::AddService(web(scheduler, reals)));
    for number in 0..10 {
        director.connect(flow(number));
    }
    director
}

fn placed(director: &mut Director, packet: impl Fn(Flow) -> Vec<u8>) -> Vec<IpAddr> {
    (100..100 + FLOWS).map(|number| director.to(&packet(flow(number)))).collect()
}

fn shares(placed: &[IpAddr]) -> BTreeMap<IpAddr, usize> {
    let mut shares = BTreeMap::new();
    for &real in placed {
        *shares.entry(real).or_default() += 1;
    }
    shares
}

#[test]
fn the_table_holds_its_capacity_and_no_more() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1)]);
    assert_eq!(director.connections(), 10);
    assert_eq!(director.balancer.counters().without_entry, 0);
    director.syn(flow(10));
    assert_eq!(director.connections(), 10);
    assert_eq!(director.balancer.counters().without_entry, 1);
}

#[test]
fn another_capacity_counts_at_once_and_ends_no_flow() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.syn(flow(10));
    director.apply(&Change::SetCapacity(11));
    director.syn(flow(11));
    assert_eq!((director.connections(), director.balancer.counters().without_entry), (11, 1));
    director.apply(&Change::SetCapacity(5));
    director.syn(flow(12));
    assert_eq!((director.connections(), director.balancer.counters().without_entry), (11, 2));
    let before = director.to(&flow(3).tcp(Flags::ACK));
    director.apply(&Change::SetCapacity(20_000));
    assert_eq!(director.to(&flow(3).tcp(Flags::ACK)), before);
    director.syn(flow(13));
    assert_eq!((director.connections(), director.balancer.counters().without_entry), (12, 2));
}

/// A larger table moves in turns, while flows begin, go on and end.
#[test]
fn flows_stay_where_they_are_while_a_larger_table_moves() {
    const BEFORE: u32 = 5_000;
    let mut director = Director::new(BEFORE);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1), (C, 1)])));
    let homes: Vec<_> = (0..BEFORE).map(|number| director.connect(flow(number))).collect();
    director.apply(&Change::SetCapacity(20 * BEFORE));
    let mut turns = 0;
    let waits = |director: &Director| director.balancer.next_deadline() == Some(director.now);
    for number in 0.. {
        director.balancer.expire(director.now);
        if !waits(&director) {
            break;
        }
        turns += 1;
        let (old, new) = (number * 7 % BEFORE, BEFORE + number);
        assert_eq!(director.ack(flow(old)), homes[old as usize]);
        let home = director.connect(flow(new));
        assert_eq!(director.ack(flow(new)), home);
        director.to(&flow(number).tcp(Flags::RST | Flags::ACK));
    }
    assert!(turns >= 1, "it moves bit by bit");
    let emptied = std::iter::from_fn(|| director.balancer.take_emptied()).count();
    assert_eq!(emptied, 2, "the smaller indexes of connections and of templates");
    for (number, home) in (0..).zip(homes).skip(turns) {
        assert_eq!(director.ack(flow(number)), home);
    }
    assert_eq!(director.balancer.counters().without_entry, 0);
}

#[test]
fn new_flows_go_by_weight_whatever_the_scheduler() {
    let mut choices = Vec::new();
    // Schedulers that place by hash continue to do so: see tests/placing.rs.
    // Failover stays failover: see tests/placed_by_weight.rs.
    let placed_otherwise =
        |kind: &SchedulerKind| kind.by_hash() || *kind == SchedulerKind::Failover;
    for scheduler in SchedulerKind::ALL.into_iter().filter(|kind| !placed_otherwise(kind)) {
        let mut director = full(scheduler, &[(A, 30), (B, 10), (C, 0)]);
        let placed = placed(&mut director, |flow| flow.tcp(Flags::SYN));
        let shares = shares(&placed);
        assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [A, B], "{}", scheduler.name());
        // Three quarters of 4,000, give or take four standard deviations.
        assert!((2_890..=3_110).contains(&shares[&A]), "{} {shares:?}", scheduler.name());
        choices.push(placed);
    }
    assert!(choices.windows(2).all(|pair| pair[0] == pair[1]), "the scheduler is not used");
}

#[test]
fn a_flow_without_an_entry_stays_with_its_server() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let opened = placed(&mut director, |flow| flow.tcp(Flags::SYN));
    assert_eq!(placed(&mut director, |flow| flow.tcp(Flags::SYN)), opened, "SYN again");
    assert_eq!(placed(&mut director, |flow| flow.tcp(Flags::ACK)), opened, "no reset");
    assert_eq!(placed(&mut director, |flow| flow.tcp(Flags::FIN | Flags::ACK)), opened);
    assert_eq!(director.balancer.counters().without_entry, u64::from(4 * FLOWS));
    let datagrams = placed(&mut director, Flow::udp);
    assert_eq!(placed(&mut director, Flow::udp), datagrams);
}

#[test]
fn established_flows_are_untouched() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let before = [director.counts(A), director.counts(B)];
    placed(&mut director, |flow| flow.tcp(Flags::SYN));
    for number in 0..10 {
        assert_eq!(director.ack(flow(number)), if number % 2 == 0 { A } else { B });
    }
    assert_eq!([director.counts(A), director.counts(B)], before);
}

#[test]
fn a_removed_server_s_flows_move_and_only_they() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1), (C, 1)]);
    let before = placed(&mut director, |flow| flow.tcp(Flags::SYN));
    director.apply(&set_weight(C, 0));
    let after = placed(&mut director, |flow| flow.tcp(Flags::ACK));
    for (before, after) in before.into_iter().zip(after) {
        assert!(before == after || before == C && after != C);
    }
}

#[test]
fn unknown_tcp_is_reset_again_when_no_such_flow_can_live_any_more() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let stray = flow(50).tcp(Flags::ACK);
    director.resets(&stray);
    director.syn(flow(10));
    director.pass(seconds(900) - Duration::from_millis(1));
    director.to(&stray);
    director.pass(seconds(900) - Duration::from_millis(1));
    director.to(&stray);
    director.pass(seconds(900));
    director.resets(&stray);
}

/// Stray packets must not keep a service placing by hash; only a full table does.
#[test]
fn once_there_is_room_a_flow_enters_the_table_and_strays_extend_nothing() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let real = director.syn(flow(10));
    for number in 0..10 {
        director.to(&flow(number).tcp(Flags::RST | Flags::ACK));
    }
    director.pass(seconds(11));
    assert_eq!(director.connections(), 0);
    let without_entry = director.balancer.counters().without_entry;
    assert_eq!(director.ack(flow(10)), real, "the same server as without an entry");
    assert_eq!(director.connections(), 1);
    for _ in 0..10 {
        director.pass(seconds(88));
        director.to(&flow(50).tcp(Flags::ACK));
    }
    assert_eq!(director.balancer.counters().without_entry, without_entry);
    director.pass(seconds(60));
    director.resets(&flow(50).tcp(Flags::ACK));
}

#[test]
fn the_longest_timeout_is_how_long_such_a_flow_can_live() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let (tcp_established, udp) = (seconds(30), seconds(50));
    director.apply(&Change::SetTimeouts(Timeouts { tcp_established, udp, ..Timeouts::DEFAULT }));
    director.to(&flow(10).udp());
    director.pass(seconds(50) - Duration::from_millis(1));
    director.to(&flow(11).tcp(Flags::ACK));
    director.pass(seconds(50));
    director.resets(&flow(11).tcp(Flags::ACK));
}

#[test]
fn another_service_s_unknown_tcp_is_reset_as_ever() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1)]);
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        ..web(SchedulerKind::RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(mail));
    director.syn(flow(10));
    director.resets(&Flow { client: 10, port: 25 }.tcp(Flags::ACK));
    director.resets(&Flow { client: 10, port: 443 }.tcp(Flags::ACK));
}

/// While flows without an entry are alive, a new entry must not move one of them to another server.
#[test]
fn with_room_again_flows_get_entries_where_the_hash_had_put_them() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let hashed: Vec<_> = (20..28).map(|number| director.to(&flow(number).udp())).collect();
    for number in 0..10 {
        director.to(&flow(number).tcp(Flags::RST));
    }
    director.pass(seconds(11));
    assert_eq!(director.connections(), 0);
    let entered: Vec<_> = (20..28).map(|number| director.to(&flow(number).udp())).collect();
    assert_eq!(entered, hashed);
    assert_eq!(director.connections(), 8);
    assert_eq!(director.balancer.counters().without_entry, 8);
}

#[test]
fn without_a_usable_server_flows_are_refused_as_always() {
    let mut director = full(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.syn(flow(10));
    director.apply(&set_weight(A, 0));
    director.resets(&flow(10).tcp(Flags::SYN));
    director.resets(&flow(10).tcp(Flags::ACK));
    assert_eq!(director.forward(&flow(10).udp()), Verdict::Reply);
}

#[test]
fn a_table_without_room_for_one() {
    let mut director = Director::new(0);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    assert_eq!(director.connect(flow(1)), A);
    assert_eq!((director.connections(), director.balancer.next_deadline()), (0, None));
}

#[test]
fn a_listing_looks_at_a_bounded_number_of_entries_and_goes_on() {
    let entries = u32::try_from(ENTRIES_A_PAGE).unwrap();
    let mut director = Director::new(entries + 1);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1)])));
    for number in 0..=entries {
        director.syn(flow(number));
    }
    let page = |from, most| {
        let (listed, next) = director.balancer.connections(director.now, from, most);
        (listed.len(), next)
    };
    assert_eq!(page(0, usize::MAX), (ENTRIES_A_PAGE, Some(ENTRIES_A_PAGE)));
    assert_eq!(page(ENTRIES_A_PAGE, usize::MAX), (1, None));
    assert_eq!(page(1, usize::MAX), (ENTRIES_A_PAGE, None));
    assert_eq!(page(5, 2), (2, Some(7)));
    assert_eq!(page(5, 0), (0, Some(5)));
    assert_eq!(page(usize::MAX, 1), (0, None));
}
