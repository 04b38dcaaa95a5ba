//! The measured rows.

use std::hint::black_box;

use vstun::balancer::{Balancer, Change, Limits, Verdict};
use vstun::model::{
    FloodMarks, Listen, Millis, Policy, PortRange, Protocol, RealSpec, SchedulerKind, Seed,
    ServiceSpec,
};
use vstun::wire::coalesce::{self, Coalescer};
use vstun::wire::segment::{MAX_HEADER_LEN, SplitPlan};
use vstun::wire::virtio::Offload;
use vstun::wire::{Packet, protocol};

use super::batch::{CHANGES, weights};
use super::carried::{carry, enter_and_forget, not_carried};
use super::many::{
    MILLION, Pages, forward_batches, forward_flood, forward_many, forward_new_among_many,
};
use super::memory::Ring;
use super::packets::Family::{self, V4, V6};
use super::packets::{PORT, segment_with_extensions};
use super::schedulers::schedule;
use super::short::connections;
use super::tunnels::{gate, outer};
use super::{checksum, parse_and_hash};

/// The reference of all other rows; rows that forward contain it.
pub(crate) const YARDSTICK: &str = "parse + keyed hash";

pub(crate) const SEED: Seed = Seed(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
/// The limit of an IPv6 packet's decision relative to IPv4's.
const FORWARD_V6: f64 = 1.30;

/// Runs this many operations of one sort.
pub(crate) type Run = Box<dyn FnMut(u64)>;

/// A measurement and its set-up.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The same row for IPv4, or with fewer headers.
    pub(crate) against: Option<&'static str>,
    /// The limit of the ratio to it.
    pub(crate) at_most: Option<f64>,
    pub(crate) set_up: fn() -> Run,
    /// Operations in a round.
    pub(crate) operations: u64,
}

const OPERATIONS: u64 = 200_000;
/// Each is a system call.
const CARRIED_PACKETS: u64 = 50_000;

/// All measurements.
pub(crate) const ALL: &[Row] = &[
    row("parse", || parse(V4.segment(0, &[]))),
    row("parse, v6", || parse(V6.segment(0, &[]))).against("parse"),
    row("parse, v6, two extension headers", || parse(segment_with_extensions())).against("parse"),
    row(YARDSTICK, || hash(V4)),
    row("parse + keyed hash, v6", || hash(V6)).against(YARDSTICK),
    row(TCP, || forward(V4, vec![V4.segment(0, &[])])),
    row("forward, one TCP flow, v6", || forward(V6, vec![V6.segment(0, &[])]))
        .against(TCP)
        .at_most(FORWARD_V6),
    row(UDP, || forward(V4, vec![V4.datagram(0)])),
    row("forward, one UDP flow, v6", || forward(V6, vec![V6.datagram(0)]))
        .against(UDP)
        .at_most(FORWARD_V6),
    row(ALONE, || forward_alone(V4)).against(YARDSTICK).at_most(1.5),
    row("forward() alone, v6", || forward_alone(V6)).against("parse + keyed hash, v6").at_most(1.5),
    row(TURNS, || forward_in_turn(V4)),
    row("forward, 256 flows in turn, v6", || forward_in_turn(V6))
        .against(TURNS)
        .at_most(FORWARD_V6),
    row(NEW, || forward_new(V4)),
    row("forward, a new flow, v6", || forward_new(V6)).against(NEW),
    row(RING, ring),
    row(MANY, || forward_many(V4, Pages::Usual)).against(RING).at_most(2.5),
    row("forward, 1,000,000 flows at random, v6", || forward_many(V6, Pages::Usual)).against(MANY),
    row("the same, huge pages", || forward_many(V4, Pages::Huge)).against(RING).at_most(2.5),
    row("the same, batches", || forward_batches(V4, Pages::Usual)).against(RING).at_most(2.5),
    row("the same, batches, huge pages", || forward_batches(V4, Pages::Huge))
        .against(RING)
        .at_most(2.5),
    row("forward, new among 900,000", || forward_new_among_many(V4)).against(RING).at_most(2.0),
    row("forward, a SYN of a flood", || forward_flood(V4)).against(RING),
    row("schedule among 16, rr", || schedule(SchedulerKind::RoundRobin)).against(UDP),
    row("schedule among 16, wrr", || schedule(SchedulerKind::WeightedRoundRobin)).against(UDP),
    row("schedule among 16, lc", || schedule(SchedulerKind::LeastConnections)).against(UDP),
    row("schedule among 16, wlc", || schedule(SchedulerKind::WeightedLeastConnections))
        .against(UDP),
    row("schedule among 16, sed", || schedule(SchedulerKind::ShortestExpectedDelay)).against(UDP),
    row("schedule among 16, nq", || schedule(SchedulerKind::NeverQueue)).against(UDP),
    row("schedule among 16, sh", || schedule(SchedulerKind::SourceHashing)).against(UDP),
    row("schedule among 16, dh", || schedule(SchedulerKind::DestinationHashing)).against(UDP),
    row("schedule among 16, mh", || schedule(SchedulerKind::Maglev)).against(UDP),
    row("schedule among 16, fo", || schedule(SchedulerKind::Failover)).against(UDP),
    row("schedule among 16, ovf", || schedule(SchedulerKind::Overflow)).against(UDP),
    row("schedule among 16, twos", || schedule(SchedulerKind::TwoChoices)).against(UDP),
    row("a weight in a batch, wlc", || weights(SchedulerKind::WeightedLeastConnections))
        .operations(CHANGES),
    row("a weight in a batch, wrr", || weights(SchedulerKind::WeightedRoundRobin))
        .operations(CHANGES),
    row(CARRIED, || carry(256)).operations(CARRIED_PACKETS),
    row("carried, 1,000,000 flows at random", || carry(MILLION))
        .against(CARRIED)
        .at_most(1.5)
        .operations(CARRIED_PACKETS),
    row("not carried: the program alone", not_carried),
    row(SHORT, || connections(V4, false)).operations(CARRIED_PACKETS),
    row("a short connection, with a fast path", || connections(V4, true))
        .against(SHORT)
        .at_most(1.03)
        .operations(CARRIED_PACKETS),
    row("carried: enter and forget a flow among 900,000", enter_and_forget),
    row(SPLIT, || split(V4, 1_448)),
    row("split a super-frame, per segment, v6", || split(V6, 1_428)).against(SPLIT),
    row(COALESCE, || coalesce(V4, 1_448)),
    row("coalesce, per segment, v6", || coalesce(V6, 1_428)).against(COALESCE),
    row("coalesce, nothing to merge, per packet", || coalesce_nothing(V4)),
    row("checksum of 1,448 bytes", || {
        repeated(vec![7; 1_448], |bytes| {
            black_box(checksum(bytes));
        })
    }),
    row(OUTER, || outer(V4, V4)),
    row("outer header, 6in4", || outer(V6, V4)).against(OUTER),
    row("outer header, 4in6", || outer(V4, V6)).against(OUTER),
    row("outer header, 6in6", || outer(V6, V6)).against(OUTER),
    row(GATE, || gate(V4, V4)),
    row("gate, 1,448 bytes of data, 6in4", || gate(V6, V4)).against(GATE),
    row("gate, 1,448 bytes of data, 4in6", || gate(V4, V6)).against(GATE),
    row("gate, 1,448 bytes of data, 6in6", || gate(V6, V6)).against(GATE),
];

// References, by name.
const TCP: &str = "forward, one TCP flow";
const UDP: &str = "forward, one UDP flow";
const TURNS: &str = "forward, 256 flows in turn";
const NEW: &str = "forward, a new flow";
const MANY: &str = "forward, 1,000,000 flows at random";
const RING: &str = "dependent read from 64 MB at random";
const ALONE: &str = "forward() alone, one TCP flow";
const SHORT: &str = "a short connection";
const CARRIED: &str = "carried, 256 flows at random";
const SPLIT: &str = "split a super-frame, per segment";
const COALESCE: &str = "coalesce, per segment";
const OUTER: &str = "outer header";
const GATE: &str = "gate, 1,448 bytes of data";

const fn row(name: &'static str, set_up: fn() -> Run) -> Row {
    Row { name, against: None, at_most: None, set_up, operations: OPERATIONS }
}

impl Row {
    const fn against(self, name: &'static str) -> Self {
        Self { against: Some(name), ..self }
    }

    const fn operations(self, operations: u64) -> Self {
        Self { operations, ..self }
    }

    const fn at_most(self, limit: f64) -> Self {
        Self { at_most: Some(limit), ..self }
    }
}

fn repeated(bytes: Vec<u8>, act: impl Fn(&[u8]) + 'static) -> Run {
    Box::new(move |count| {
        for _ in 0..count {
            act(&bytes);
        }
    })
}

fn parse(packet: Vec<u8>) -> Run {
    repeated(packet, |bytes| {
        black_box(Packet::parse(black_box(bytes))).unwrap();
    })
}

fn hash(family: Family) -> Run {
    repeated(family.segment(0, &[]), |bytes| {
        black_box(parse_and_hash(bytes, SEED));
    })
}

pub(crate) fn director(family: Family, capacity: u32) -> Balancer {
    let limits = Limits { connections: capacity, refusals_per_second: 0 };
    let mut director = Balancer::new(limits, SEED);
    let ports = PortRange { first: PORT, last: PORT };
    let listens = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Listen { protocol, address: family.vip(), ports })
        .to_vec();
    let reals = [0, 1, 2, 3].map(|real| RealSpec::new(family.real(real), 1));
    let (name, scheduler) = ("web".to_owned(), SchedulerKind::WeightedLeastConnections);
    let reals = reals.to_vec();
    director
        .apply(
            Millis(0),
            &Change::AddService(ServiceSpec {
                name,
                listens,
                scheduler,
                reals,
                policy: Policy { flood: FloodMarks::OFF, ..Policy::default() },
            }),
        )
        .unwrap();
    director
}

/// The offsets of the sequence number and of the flags in a TCP header.
const SEQUENCE: usize = 4;
pub(crate) const FLAGS: usize = 13;
pub(crate) const SYN: u8 = 2;

/// Opens the packet's flow. TCP needs a SYN first, whose sequence number is one less.
pub(crate) fn open(director: &mut Balancer, packet: &[u8]) {
    let mut opening = packet.to_vec();
    let parsed = Packet::parse(packet).unwrap();
    if parsed.protocol == protocol::TCP {
        let tcp = &mut opening[usize::from(parsed.header_len)..];
        tcp[FLAGS] = SYN;
        let sequence = tcp[SEQUENCE..].first_chunk_mut().unwrap();
        *sequence = (u32::from_be_bytes(*sequence) - 1).to_be_bytes();
    }
    for bytes in [&opening, packet] {
        let verdict = director.forward(Millis(0), &Packet::parse(bytes).unwrap());
        assert!(matches!(verdict, Verdict::Tunnel(_)));
    }
}

/// The packet loop's work for a packet, except for the outer header.
pub(crate) fn take(director: &mut Balancer, now: Millis, packet: &[u8]) {
    let packet = Packet::parse(black_box(packet)).unwrap();
    black_box(director.forward(now, &packet));
}

fn forward(family: Family, packets: Vec<Vec<u8>>) -> Run {
    let mut director = director(family, 1_024);
    packets.iter().for_each(|packet| open(&mut director, packet));
    let mut next = 0;
    Box::new(move |count| {
        for _ in 0..count {
            take(&mut director, Millis(1), &packets[next]);
            next = if next + 1 == packets.len() { 0 } else { next + 1 };
        }
    })
}

/// The call alone, for a parsed packet.
fn forward_alone(family: Family) -> Run {
    let mut director = director(family, 1_024);
    let bytes = family.segment(0, &[]);
    open(&mut director, &bytes);
    Box::new(move |count| {
        let packet = Packet::parse(&bytes).unwrap();
        for _ in 0..count {
            black_box(director.forward(Millis(1), black_box(&packet)));
        }
    })
}

fn forward_in_turn(family: Family) -> Run {
    forward(family, (0..256).map(|number| family.segment(number, &[])).collect())
}

/// Each packet opens a flow, and the time between two ends an older one: the cost of a flow without
/// other packets. Some 3,000 are alive.
fn forward_new(family: Family) -> Run {
    const STEP: u64 = 100;
    const TURN: u64 = 64;
    let mut director = director(family, 8_192);
    let mut packet = family.datagram(0);
    let mut number = 0_u32;
    Box::new(move |count| {
        for _ in 0..count {
            let now = Millis(u64::from(number) * STEP);
            if u64::from(number) % TURN == 0 {
                director.expire(now);
            }
            family.set_client(&mut packet, number);
            take(&mut director, now, &packet);
            number += 1;
        }
        assert_eq!(director.counters().without_entry, 0, "the table has room");
    })
}

fn ring() -> Run {
    let mut ring = Ring::new(MILLION);
    Box::new(move |count| {
        black_box(ring.walk(count));
    })
}

fn split(family: Family, segment: u16) -> Run {
    let frame = family.segment(0, &vec![7; usize::from(segment) * 44]);
    let start = u16::try_from(family.header_len()).unwrap();
    let mut header = [0; MAX_HEADER_LEN];
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            let packet = Packet::parse(black_box(&frame)).unwrap();
            let plan = SplitPlan::new(&packet, Offload::Tcp { segment, start }).unwrap();
            for index in 0..plan.count() {
                black_box(plan.write(index, packet.bytes(), &mut header)).unwrap();
            }
            done += plan.count() as u64;
        }
    })
}

/// Batches of 44 segments of one stream: sorted, verified, and the merged frame's headers written.
fn coalesce(family: Family, segment: u16) -> Run {
    coalesce_batches((0..44).map(|index| stream(family, 0, index, segment)).collect())
}

/// Batches in which every packet is of another flow.
fn coalesce_nothing(family: Family) -> Run {
    coalesce_batches((0..44).map(|number| stream(family, number, 0, 1_448)).collect())
}

/// A segment of a client's stream, in the form that the gate delivers.
fn stream(family: Family, client: u32, index: u16, segment: u16) -> Vec<u8> {
    let sequence = u32::from(index) * u32::from(segment);
    let packet = family.stream(client, sequence, &vec![7; segment.into()]);
    [&[0; 10][..], &packet].concat()
}

fn coalesce_batches(frames: Vec<Vec<u8>>) -> Run {
    let mut coalescer = Coalescer::default();
    let mut room = [0; coalesce::MAX_HEADER_LEN];
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            black_box(coalescer.sort(black_box(&frames)));
            for group in coalescer.groups() {
                black_box(Coalescer::header(group, &frames[group.first()], &mut room));
            }
            done += frames.len() as u64;
        }
    })
}
