//! A million connections: all of them are found again, within a memory limit.
#![allow(clippy::unwrap_used)]

use std::fs;

use std::net::IpAddr;

use vstun::balancer::table::EXPIRE_BUDGET;
use vstun::balancer::{Balancer, Change, Limits, Verdict};
use vstun::model::{
    FloodMarks, Listen, Millis, Policy, PortRange, Protocol, RealSpec, SchedulerKind, Seed,
    ServiceSpec,
};
use vstun::wire::Packet;

#[path = "packets/build/mod.rs"]
#[allow(dead_code, unused_imports)] // other tests need more of it
mod build;

use build::{FAMILIES, Family};

const MILLION: u32 = 1_000_000;
/// The limit of memory per connection, all included, of either family.
const BYTES_A_FLOW: u64 = 96;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

fn director() -> Balancer {
    let limits = Limits { connections: MILLION, refusals_per_second: 0 };
    let mut director = Balancer::new(limits, Seed(1, 2));
    let (protocol, ports) = (Protocol::Udp, PortRange { first: 53, last: 53 });
    let listens = FAMILIES.map(|family| Listen { protocol, address: family.vip(), ports }).to_vec();
    let reals = [11, 12, 13].map(|host| RealSpec::new(Family::V4.real(host), 1));
    // This test uses the whole table.
    let policy = Policy { flood: FloodMarks::OFF, ..Policy::default() };
    let (name, scheduler) = ("dns".to_owned(), SchedulerKind::RoundRobin);
    let spec = ServiceSpec { name, listens, scheduler, policy, reals: reals.to_vec() };
    director.apply(Millis(0), &Change::AddService(spec)).unwrap();
    director
}

/// Forwards one datagram of each of a million clients, every other one IPv6, and passes each
/// verdict on.
fn datagrams(
    director: &mut Balancer,
    now: Millis,
    homes: &mut [Option<IpAddr>],
    show: impl Fn(&mut Option<IpAddr>, Option<IpAddr>),
) {
    let [mut v4, mut v6] = FAMILIES.map(|family| family.udp(53).bytes());
    for (client, home) in (0..MILLION).zip(homes) {
        let packet = if client % 2 == 0 {
            v4[12..16].copy_from_slice(&(0x0b00_0000 + client).to_be_bytes());
            &v4
        } else {
            v6[20..24].copy_from_slice(&client.to_be_bytes());
            &v6
        };
        let real = match director.forward(now, &Packet::parse(packet).unwrap()) {
            Verdict::Tunnel(tunnel) => Some(tunnel.real),
            _ => None,
        };
        show(home, real);
    }
}

/// One test, since the memory of other threads would be measured too.
#[test]
fn a_million_flows_of_both_families_fit_their_memory_and_expire_in_bounded_turns() {
    let mut homes = vec![None; MILLION as usize];
    let mut director = director();
    let before = resident();
    datagrams(&mut director, Millis(0), &mut homes, |home, real| *home = real);
    let taken = resident().saturating_sub(before) / u64::from(MILLION);
    let snapshot = director.snapshot();
    assert_eq!((snapshot.connections, snapshot.capacity), (1_000_000, 1_000_000));
    println!("{taken} bytes a flow");
    assert!((64..BYTES_A_FLOW).contains(&taken), "{taken} bytes a flow");

    let found_again = |home: &mut Option<IpAddr>, real| assert_eq!(*home, real);
    datagrams(&mut director, Millis(1_000), &mut homes, found_again);
    assert_eq!(director.counters().without_entry, 0);
    expire_all(&mut director);
}

/// All expire at the same time, and each turn keeps its budget.
fn expire_all(director: &mut Balancer) {
    let mut left = director.snapshot().connections;
    while left > 0 {
        director.expire(Millis(400_000));
        let now = director.snapshot().connections;
        assert!(left - now <= EXPIRE_BUDGET, "{left} to {now}");
        left = now;
    }
}
