//! No heap allocation per packet, and no memory for unused connection entries.
#![allow(clippy::unwrap_used)]
// Implementing a global allocator is unsafe.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use vstun::balancer::maglev::{self, MaglevTables};
use vstun::balancer::{
    Balancer, Change, Limits, Outlet, Reason, Tunnel, TunnelError, TunnelErrorKind, Verdict,
};
use vstun::model::{
    AdminState, FloodMarks, Listen, Millis, Persistence, Policy, PortRange, Protocol, Quiescent,
    RealSpec, RealValue, SchedulerKind, Seed, ServiceSpec,
};
use vstun::trace::ring::Ring;
use vstun::wire::Packet;
use vstun::wire::icmp::{Quoted, QuotedPacket};
use vstun::wire::packet::MAX_PACKET_LEN;
use vstun::wire::tcp::Flags;

#[path = "../packets/build/mod.rs"]
#[allow(dead_code)] // other tests need more of it
mod build;

#[path = "../packets/pieces.rs"]
mod pieces;
mod tunnel;

use build::{DESTINATION_OPTIONS, FAMILIES, Family, Ip};
use pieces::{cut, piece};

/// The system's allocator, counting each thread's allocation calls.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every method passes its arguments to `System`, which fulfils the contract; counting
// touches only a constant-initialised thread-local without destructor, which neither allocates nor
// unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System::alloc_zeroed` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `block` came from `System`, through this allocator, with `layout`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System`, through this allocator, with `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `act` makes.
fn allocations(act: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    act();
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(vec![1]))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0; 9]))), 1, "zeroed");
    let mut grown = Vec::with_capacity(1);
    assert_eq!(allocations(|| grown.extend([1, 2, 3])), 1, "grown");
    assert_eq!(allocations(|| ()), 0);
}

/// Both families' virtual IPs before real servers of both.
fn service() -> ServiceSpec {
    let listen = |address, protocol, port| Listen {
        protocol,
        address,
        ports: PortRange { first: port, last: port },
    };
    let listens = FAMILIES
        .map(Family::vip)
        .into_iter()
        .flat_map(|vip| [listen(vip, Protocol::Tcp, 80), listen(vip, Protocol::Udp, 53)])
        .collect();
    let reals = FAMILIES.map(|family| RealSpec::new(family.real(11), 1)).to_vec();
    let (name, scheduler) = ("web".to_owned(), SchedulerKind::WeightedLeastConnections);
    let policy = Policy { flood: FloodMarks::OFF, ..Policy::default() };
    ServiceSpec { name, listens, scheduler, reals, policy }
}

fn director(capacity: u32) -> Balancer {
    let limits = Limits { connections: capacity, refusals_per_second: 1_000_000 };
    let mut director = Balancer::new(limits, Seed(1, 2));
    director.apply(Millis(0), &Change::AddService(service())).unwrap();
    director
}

/// Sends nothing.
struct Nowhere(Vec<u8>);

impl Outlet for Nowhere {
    fn packet(&mut self, tunnel: &Tunnel) {
        black_box(tunnel);
    }

    fn reply(&mut self, answer: &[u8]) {
        black_box(answer);
    }

    fn server_reset(&mut self, tunnel: &Tunnel, reset: &[u8]) {
        black_box((tunnel, reset));
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn released(&mut self, tunnel: &Tunnel, len: usize) {
        black_box((tunnel, &self.0[..len]));
    }
}

fn forward(director: &mut Balancer, now: u64, packet: &[u8]) -> Verdict {
    forward_to(&mut Nowhere(Vec::new()), director, now, packet)
}

fn forward_to(out: &mut Nowhere, director: &mut Balancer, now: u64, packet: &[u8]) -> Verdict {
    let verdict = director.forward(Millis(now), &Packet::parse(packet).unwrap());
    director.carry_out(Millis(now), &verdict, out);
    black_box(verdict)
}

/// One packet of each of the clients with these ports, of each family.
fn of_clients(ports: std::ops::Range<u16>, packet: impl Fn(Family) -> Ip) -> Vec<Vec<u8>> {
    let of = |port| FAMILIES.map(|family| packet(family).source_port(port).bytes());
    ports.flat_map(of).collect()
}

#[test]
fn packets_of_known_flows_allocate_nothing() {
    let mut director = director(2_000);
    let opening = [
        of_clients(0..500, |family| family.tcp(Flags::SYN)),
        of_clients(0..500, |family| family.udp(53)),
    ]
    .concat();
    for packet in &opening {
        forward(&mut director, 0, packet);
    }
    let established = of_clients(0..500, |family| family.tcp(Flags::ACK).data(b"data"));
    let dressed = Family::V6.tcp(Flags::ACK).source_port(7);
    let dressed = dressed.extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]).bytes();
    let steady = allocations(|| {
        for now in 0..10 {
            for packet in opening.iter().chain(&established).chain([&dressed]) {
                assert!(matches!(forward(&mut director, now * 100, packet), Verdict::Tunnel(_)));
            }
            director.expire(Millis(now * 100));
        }
    });
    assert_eq!(steady, 0);
}

/// Without a trace and a recorder nothing of this runs.
#[test]
fn a_full_recorder_keeps_decisions_without_allocating() {
    let mut director = director(2_000);
    let opening = of_clients(0..100, |family| family.tcp(Flags::SYN));
    let mut ring = Ring::new(50);
    let mut decide = |packet: &[u8]| {
        let parsed = Packet::parse(packet).unwrap();
        let seen = director.observe(&parsed);
        let verdict = director.forward(Millis(0), &parsed);
        ring.push(director.record(Millis(0), &parsed, &seen, &verdict), packet);
    };
    opening.iter().for_each(|packet| decide(packet));
    assert_eq!(allocations(|| opening.iter().for_each(|packet| decide(packet))), 0);
    assert_eq!(ring.count(), 400);
}

#[test]
fn connections_come_and_go_without_allocating() {
    let mut director = director(256);
    let opening = of_clients(0..128, |family| family.tcp(Flags::SYN));
    let closing = of_clients(0..128, |family| family.tcp(Flags::RST));
    let life = |director: &mut Balancer, start: u64| {
        for packet in opening.iter().chain(&closing) {
            assert!(matches!(forward(director, start, packet), Verdict::Tunnel(_)));
        }
        let mut now = Millis(start).after(Duration::from_secs(70));
        while let Some(due) = director.next_deadline() {
            now = now.max(due);
            director.expire(now);
        }
    };
    // From the first connection on: memory was reserved at the start.
    assert_eq!(allocations(|| life(&mut director, 0)), 0);
    assert_eq!(allocations(|| life(&mut director, 1_000_000)), 0);
}

/// In order, out of order, refused, expired, and above the bounds.
#[test]
fn fragments_are_held_and_released_without_allocating() {
    let mut director = director(16);
    let pieces: Vec<Vec<u8>> = (0..4_000)
        .flat_map(|number| {
            let family = FAMILIES[number as usize % 2];
            let whole = family.udp(53).data(&[7; 1_992]).bytes();
            let mut pieces = cut(&whole, number, &[1_200]);
            match number % 8 {
                0 | 1 => pieces.reverse(),
                2 | 3 => pieces.truncate(1),
                4 | 5 => {
                    pieces = vec![pieces[1].clone(), piece(&whole, number, 1_192..1_208, true)];
                }
                _ => {}
            }
            // Before their first ones, which never arrive.
            pieces.extend(
                (0..4).map(|lone| piece(&whole, 5_000 + 8 * number + lone, 8..1_400, true)),
            );
            pieces
        })
        .collect();
    let mut out = Nowhere(vec![0; MAX_PACKET_LEN]);
    let calls = allocations(|| {
        for (index, packet) in pieces.iter().enumerate() {
            let now = index as u64;
            forward_to(&mut out, &mut director, now, packet);
        }
        director.expire(Millis(60_000));
    });
    let counters = director.counters();
    assert_eq!(calls, 0);
    assert_eq!((counters.tunnelled, counters.dropped(Reason::FragmentOverlap)), (5_000, 2_000));
    assert!(counters.dropped(Reason::FragmentLimit) > 10_000);
}

#[test]
fn no_scheduler_allocates_for_a_new_flow() {
    for scheduler in SchedulerKind::ALL {
        let mut director = director(2_000);
        let mut service = service();
        // For ovf, which refuses flows above the total capacity.
        service.reals.iter_mut().for_each(|real| real.values.weight = 1_000);
        let (name, reals) = (service.name.clone(), service.reals.clone());
        let mut maglev_tables = MaglevTables::new(Seed(1, 2), maglev::SLOTS);
        let mut changes = vec![
            Change::RemoveService { service: name.clone() },
            Change::AddService(ServiceSpec { scheduler, ..service }),
        ];
        // One that takes no new flow, so that hashing schedulers choose another.
        let address = reals[0].address;
        changes.push(Change::SetReal { service: name, address, value: RealValue::Weight(0) });
        for change in maglev_tables.follow(changes) {
            director.apply(Millis(0), &change).unwrap();
        }
        let packets = of_clients(0..500, |family| family.tcp(Flags::SYN));
        let calls = allocations(|| {
            for packet in &packets {
                assert!(matches!(forward(&mut director, 0, packet), Verdict::Tunnel(_)));
            }
        });
        assert_eq!(calls, 0, "{}", scheduler.name());
    }
}

#[test]
fn templates_come_and_go_without_allocating() {
    let mut director = director(256);
    let persistence = Persistence {
        timeout: Duration::from_secs(60),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let policy = Policy { persistence: Some(persistence), ..Policy::default() };
    director.apply(Millis(0), &Change::SetPolicy { service: "web".to_owned(), policy }).unwrap();
    // One client of each family more than the bound.
    let from = |family: Family, client: u8| match family {
        Family::V4 => IpAddr::from([198, 51, 100, client]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, u16::from(client)]),
    };
    let clients = (1..=33).flat_map(|client| FAMILIES.map(|family| (family, from(family, client))));
    let opening: Vec<_> =
        clients.map(|(family, client)| family.tcp(Flags::SYN).from(client).bytes()).collect();
    let life = |director: &mut Balancer, start: u64| {
        for packet in &opening {
            assert!(matches!(forward(director, start, packet), Verdict::Tunnel(_)));
        }
        while let Some(due) = director.next_deadline() {
            director.expire(due);
        }
    };
    assert_eq!(allocations(|| life(&mut director, 0)), 0);
    assert_eq!(allocations(|| life(&mut director, 1_000_000)), 0);
    assert_eq!((director.counters().without_template, director.snapshot().templates), (4, 0));
}

#[test]
fn a_full_table_allocates_nothing() {
    let mut director = director(4);
    let packets = of_clients(0..32, |family| family.tcp(Flags::SYN));
    let full = allocations(|| {
        for packet in &packets {
            assert!(matches!(forward(&mut director, 0, packet), Verdict::Tunnel(_)));
        }
    });
    assert_eq!(full, 0);
    assert_eq!(director.counters().without_entry, 60);
}

#[test]
fn a_flood_allocates_nothing_once_it_is_detected() {
    let mut director = director(64);
    let flood = FloodMarks { new_flows: 10, table_use: 90 };
    let (service, policy) = ("web".to_owned(), Policy { flood, ..Policy::default() });
    director.apply(Millis(0), &Change::SetPolicy { service, policy }).unwrap();
    let opening = of_clients(0..64, |family| family.tcp(Flags::SYN));
    let stray = of_clients(0..64, |family| family.tcp(Flags::ACK));
    let datagrams = of_clients(0..64, |family| family.udp(53));
    let mut turn = |now: u64| {
        director.expire(Millis(now));
        for packet in opening.iter().chain(&stray).chain(&datagrams) {
            assert!(matches!(forward(&mut director, now, packet), Verdict::Tunnel(_)));
        }
    };
    turn(0);
    let calls = allocations(|| (1..20).for_each(|turn_number| turn(turn_number * 500)));
    assert_eq!(calls, 0);
    let snapshot = director.snapshot();
    assert!(snapshot.services[0].flood.active && snapshot.turnover.evicted > 1_000);
}

#[test]
fn answers_and_drops_allocate_nothing() {
    for family in FAMILIES {
        let mut director = director(16);
        let syn = family.tcp(Flags::SYN).bytes();
        forward(&mut director, 0, &syn);
        let sent = QuotedPacket::of(&Packet::parse(&syn).unwrap()).unwrap();
        for real in FAMILIES.map(|family| family.real(11)) {
            let kind = TunnelErrorKind::PathMtu(1_400);
            let calls = allocations(|| {
                let error = TunnelError { real, kind };
                director.tunnel_error(Millis(0), error, Quoted::Packet(sent));
                while director.size_probe(Millis(0)).is_some() {}
            });
            assert_eq!(calls, 0);
        }
        let links = FAMILIES.map(|family| (family.real(11), 1_400)).into();
        director.apply(Millis(0), &Change::SetLinkMtus(links)).unwrap();
        let stray = || family.tcp(Flags::ACK).source_port(9);
        let quoted = stray().backwards().bytes();
        let rows = [
            ("echo", family.icmp_echo(b"ping"), true),
            ("the longest echo", family.icmp_echo(&vec![7; family.pick(65_507, 65_527)]), true),
            ("reset", family.tcp(Flags::ACK).destination_port(443), true),
            ("port unreachable", family.udp(80).data(&[7; 1_400]), true),
            ("too big", family.tcp(Flags::ACK).data(&[7; 1_400]), true),
            ("stray ACK", stray(), true),
            ("stray RST", family.tcp(Flags::RST).source_port(9), false),
            ("bad source", family.tcp(Flags::SYN).from(family.vip()), false),
            ("ICMP error", family.icmp_error(family.too_big(), &quoted), false),
        ];
        for (name, packet, answered) in rows {
            let packet = packet.bytes();
            let calls = allocations(|| {
                for _ in 0..100 {
                    let verdict = forward(&mut director, 0, &packet);
                    assert_eq!(verdict == Verdict::Reply, answered, "{name} {family:?}");
                }
            });
            assert_eq!(calls, 0, "{name} {family:?}");
        }
        let over = Change::SetState {
            service: "web".to_owned(),
            address: Family::V4.real(11),
            state: AdminState::Draining { deadline: Some(Duration::ZERO) },
        };
        director.apply(Millis(0), &over).unwrap();
        let ended = family.tcp(Flags::ACK).data(b"data").bytes();
        let calls = allocations(|| {
            assert!(matches!(forward(&mut director, 0, &ended), Verdict::Reset(_)));
        });
        assert_eq!(calls, 0, "{family:?}");
        let hostile: [&[u8]; 4] = [&[], &[0x45; 19], &[0x60; 40], &[0xff; 1_500]];
        let refused = allocations(|| {
            for bytes in hostile {
                director.refuse(Packet::parse(bytes).unwrap_err().into());
            }
        });
        assert_eq!(refused, 0);
    }
}

/// Resident memory in bytes, from `/proc/self/statm` (proc(5)): the second number, in pages.
fn resident() -> u64 {
    const PAGE: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}

/// In a process of its own: the memory of other tests would count too.
#[test]
fn an_empty_table_of_a_million_is_mapped_but_not_touched() {
    const ENOUGH: u64 = 4 << 20;
    const NAME: &str = "an_empty_table_of_a_million_is_mapped_but_not_touched";
    if std::env::var_os("ALONE").is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", NAME, "--nocapture"]).env("ALONE", "1").output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(text.contains("1 passed"), "{text}");
        return;
    }
    let before = resident();
    let mut director = director(1_000_000);
    forward(&mut director, 0, &Family::V6.tcp(Flags::SYN).bytes());
    let grown = resident().saturating_sub(before);
    // 30 MB is the limit of the whole idle director.
    assert!(grown < ENOUGH, "{grown} bytes");
    assert_eq!(director.snapshot().capacity, 1_000_000);
}
