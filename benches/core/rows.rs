//! What is measured.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::PacketBuilder;
use vstun::balancer::outer::Inner;
use vstun::balancer::{
    Balancer, Change, Limits, Listen, Millis, RealSpec, SchedulerKind, Seed, ServiceSpec, Tunnel,
    Verdict,
};
use vstun::decap::{Gate, Mss};
use vstun::wire::Packet;
use vstun::wire::encap::{MAX_OUTER_LEN, ipip};
use vstun::wire::segment::{MAX_HEADER_LEN, Plan};
use vstun::wire::virtio::Offload;

use super::memory::Ring;
use super::{checksum, parse_and_hash};

/// The row that all others are compared with; rows that forward contain it.
pub(crate) const YARDSTICK: &str = "parse + keyed hash";

const SEED: Seed = Seed(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
const VIP: [u8; 4] = [192, 0, 2, 10];
const REALS: [[u8; 4]; 4] = [[10, 0, 0, 11], [10, 0, 0, 12], [10, 0, 0, 13], [10, 0, 0, 14]];
const DIRECTOR: [u8; 4] = [10, 0, 0, 1];
/// Flows of the large table.
const MILLION: u32 = 1_000_000;

/// Does so many operations of one kind.
type Run = Box<dyn FnMut(u64)>;

/// What is measured, by name, and how it is set up.
type Row = (&'static str, fn() -> Run);

/// All that is measured.
pub(crate) const ALL: &[Row] = &[
    ("parse", || {
        Box::new(repeated(segment(client(0), &[]), |bytes| {
            black_box(Packet::parse(black_box(bytes))).unwrap();
        }))
    }),
    (YARDSTICK, || {
        Box::new(repeated(segment(client(0), &[]), |bytes| {
            black_box(parse_and_hash(bytes, SEED));
        }))
    }),
    ("forward, one TCP flow", || Box::new(forward(vec![segment(client(0), &[])]))),
    ("forward, one UDP flow", || Box::new(forward(vec![datagram(client(0))]))),
    ("forward, 256 flows in turn", || {
        Box::new(forward((0..256).map(|number| segment(client(number), &[])).collect()))
    }),
    ("forward, 1,000,000 flows at random", || Box::new(forward_many())),
    ("dependent read from 64 MB at random", || Box::new(ring())),
    ("split a super-frame, per segment", || Box::new(split())),
    ("checksum of 1,448 bytes", || {
        Box::new(repeated(vec![7; 1_448], |bytes| {
            black_box(checksum(bytes));
        }))
    }),
    ("outer header", || Box::new(outer(segment(client(0), &[7; 1_448])))),
    ("gate, 1,448 bytes of data", || Box::new(gate(&segment(client(0), &[7; 1_448])))),
];

fn repeated(bytes: Vec<u8>, act: impl Fn(&[u8])) -> impl FnMut(u64) {
    move |count| {
        for _ in 0..count {
            act(&bytes);
        }
    }
}

/// The `number`th client.
fn client(number: u32) -> [u8; 4] {
    (u32::from(Ipv4Addr::new(198, 18, 0, 0)).wrapping_add(number)).to_be_bytes()
}

fn segment(client: [u8; 4], data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(client, VIP, 60).tcp(40_000, 80, 7, 1_000).ack(9);
    let mut packet = vec![0; builder.size(data.len())];
    builder.write_to_slice(&mut packet, data).unwrap();
    packet
}

fn datagram(client: [u8; 4]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(client, VIP, 60).udp(40_000, 80);
    let mut packet = vec![0; builder.size(18)];
    builder.write_to_slice(&mut packet, &[7; 18]).unwrap();
    packet
}

fn director(capacity: u32) -> Balancer {
    let limits = Limits { connections: capacity, refusals_per_second: 0 };
    let mut director = Balancer::new(limits, SEED);
    let listens = ["192.0.2.10:80/tcp", "192.0.2.10:80/udp"];
    let listens = listens.map(|text| text.parse::<Listen>().unwrap()).to_vec();
    let reals = REALS.map(|real| RealSpec { address: real.into(), weight: 1 }).to_vec();
    let (name, scheduler) = ("web".to_owned(), SchedulerKind::WeightedLeastConnections);
    director.apply(&Change::AddService(ServiceSpec { name, listens, scheduler, reals })).unwrap();
    director
}

/// Opens the packet's flow; TCP needs a SYN first.
fn open(director: &mut Balancer, packet: &[u8]) {
    let mut opening = packet.to_vec();
    if opening[9] == 6 {
        opening[33] = 2;
    }
    for bytes in [&opening, packet] {
        let verdict = director.forward(Millis(0), &Packet::parse(bytes).unwrap());
        assert!(matches!(verdict, Verdict::Tunnel(_)));
    }
}

/// What the packet loop does with a packet, but for the outer header.
fn take(director: &mut Balancer, packet: &[u8]) {
    let packet = Packet::parse(black_box(packet)).unwrap();
    if let Verdict::Tunnel(real) = director.forward(Millis(1), &packet) {
        black_box(director.dispatch(real, 1, packet.bytes().len() as u64));
    }
}

fn forward(packets: Vec<Vec<u8>>) -> impl FnMut(u64) {
    let mut director = director(1_024);
    packets.iter().for_each(|packet| open(&mut director, packet));
    let mut next = 0;
    move |count| {
        for _ in 0..count {
            take(&mut director, &packets[next]);
            next = if next + 1 == packets.len() { 0 } else { next + 1 };
        }
    }
}

/// One packet whose client changes, so that only the table is far away.
fn forward_many() -> impl FnMut(u64) {
    let mut director = director(MILLION);
    let mut packet = segment(client(0), &[]);
    for number in 0..MILLION {
        packet[12..16].copy_from_slice(&client(number));
        open(&mut director, &packet);
    }
    let mut random = 1_u32;
    move |count| {
        for _ in 0..count {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The upper bits are the better ones.
            let number = (u64::from(random) * u64::from(MILLION)) >> 32;
            packet[12..16].copy_from_slice(&client(u32::try_from(number).unwrap()));
            take(&mut director, &packet);
        }
    }
}

fn ring() -> impl FnMut(u64) {
    let mut ring = Ring::new(MILLION);
    move |count| {
        black_box(ring.walk(count));
    }
}

fn split() -> impl FnMut(u64) {
    const SEGMENT: u16 = 1_448;
    let frame = segment(client(0), &vec![7; usize::from(SEGMENT) * 44]);
    let mut header = [0; MAX_HEADER_LEN];
    move |count| {
        let mut done = 0;
        while done < count {
            let packet = Packet::parse(black_box(&frame)).unwrap();
            let plan = Plan::new(&packet, Offload::Tcp { segment: SEGMENT, start: 20 }).unwrap();
            for index in 0..plan.count() {
                black_box(plan.write(index, packet.bytes(), &mut header)).unwrap();
            }
            done += plan.count() as u64;
        }
    }
}

fn outer(packet: Vec<u8>) -> impl FnMut(u64) {
    let mut room = [0; MAX_OUTER_LEN];
    let (source, tunnel) = (IpAddr::from(DIRECTOR), tunnel());
    move |count| {
        let inner = Inner::of(&Packet::parse(&packet).unwrap(), 7);
        for _ in 0..count {
            let outer = black_box(inner).outer(black_box(&tunnel), 0, source, 7);
            black_box(ipip::write(&outer, 4, packet.len(), &mut room)).unwrap();
        }
    }
}

fn tunnel() -> Tunnel {
    Tunnel { real: REALS[0].into(), source: None, sequence: 0 }
}

fn gate(inner: &[u8]) -> impl FnMut(u64) + use<> {
    let mut gate = Gate::new(
        vec!["10.0.0.1/32".parse().unwrap()],
        vec![VIP.into()],
        Mss { v4: 1_440, v6: 1_420 },
    );
    let mut datagram = vec![0; 20];
    let header = Inner::of(&Packet::parse(inner).unwrap(), 7);
    let header = header.outer(&tunnel(), 0, DIRECTOR.into(), 7);
    ipip::write(&header, 4, inner.len(), &mut datagram).unwrap();
    datagram.extend_from_slice(inner);
    let outer: [u8; 20] = *datagram.first_chunk().unwrap();
    move |count| {
        for _ in 0..count {
            datagram[..20].copy_from_slice(&outer);
            black_box(gate.open(black_box(&mut datagram)));
        }
    }
}
