//! Director and real servers together, on one simulated clock: what a client sends is what a real server's
//! kernel gets, to the byte.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vstun::balancer::outer::Inner;
use vstun::balancer::{
    Balancer, Change, Limits, Listen, Millis, RealSpec, SchedulerKind, Seed, ServiceSpec, Verdict,
};
use vstun::decap::{Gate, Mss, Outcome, Refusal};
use vstun::wire::Packet;
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{MAX_OUTER_LEN, ipip};
use vstun::wire::segment::{MAX_HEADER_LEN, Plan};
use vstun::wire::tcp::Flags;
use vstun::wire::virtio::{self, Offload};

#[path = "forwarding/build.rs"]
#[allow(dead_code)] // the table needs more of it
mod build;

use build::{VIP, tcp, udp};

const DIRECTOR: [u8; 4] = [10, 0, 0, 1];
const A: [u8; 4] = [10, 0, 0, 11];
const B: [u8; 4] = [10, 0, 0, 12];
const MSS: u16 = 1_440;

/// A packet that a real server's kernel gets from its TUN.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Delivered {
    real: [u8; 4],
    header: virtio::Header,
    packet: Vec<u8>,
}

struct Pair {
    director: Balancer,
    reals: BTreeMap<[u8; 4], Gate>,
    now: Millis,
    random: u16,
}

impl Pair {
    /// `web` on ports 80/tcp and 53/udp with A and B, round robin.
    fn new() -> Self {
        let limits = Limits { connections: 100, refusals_per_second: 1_000 };
        let mut director = Balancer::new(limits, Seed(1, 2));
        let listens = ["192.0.2.10:80/tcp", "192.0.2.10:53/udp"];
        let listens = listens.map(|text| text.parse::<Listen>().unwrap()).to_vec();
        let reals = [A, B].map(|real| RealSpec { address: real.into(), weight: 1 }).to_vec();
        let (name, scheduler) = ("web".to_owned(), SchedulerKind::RoundRobin);
        let spec = ServiceSpec { name, listens, scheduler, reals };
        director.apply(&Change::AddService(spec)).unwrap();
        let gate = || {
            Gate::new(
                vec!["10.0.0.1/32".parse().unwrap()],
                vec![VIP.into()],
                Mss { v4: MSS, v6: MSS },
            )
        };
        Self { director, reals: [(A, gate()), (B, gate())].into(), now: Millis(0), random: 0 }
    }

    /// What the director sends for a frame, as whole datagrams with their real server.
    fn tunnelled(&mut self, packet: &[u8], offload: Offload) -> Vec<([u8; 4], Vec<u8>)> {
        let parsed = Packet::parse(packet).unwrap();
        let Verdict::Tunnel(id) = self.director.forward(self.now, &parsed) else {
            return Vec::new();
        };
        let pieces = match offload {
            Offload::None => vec![packet.to_vec()],
            _ => split(packet, offload),
        };
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let tunnel = self.director.dispatch(id, pieces.len() as u64, bytes).unwrap();
        let IpAddr::V4(address) = tunnel.real else { panic!("{tunnel:?}") };
        let inner = Inner::of(&parsed, 7);
        let mut datagram = |piece: Vec<u8>| {
            self.random = self.random.wrapping_add(0x5bd1);
            let outer = inner.outer(&tunnel, 0, DIRECTOR.into(), self.random);
            let mut room = [0; MAX_OUTER_LEN];
            let len = ipip::write(&outer, 4, piece.len(), &mut room).unwrap();
            (address.octets(), [&room[MAX_OUTER_LEN - len..], &piece].concat())
        };
        pieces.into_iter().map(&mut datagram).collect()
    }

    fn open(&mut self, real: [u8; 4], mut datagram: Vec<u8>) -> Result<Delivered, Refusal> {
        match self.reals.get_mut(&real).unwrap().open(&mut datagram) {
            Outcome::Drop(refusal) => Err(refusal),
            Outcome::Deliver(frame) => {
                let (header, packet) = virtio::Header::decode(&datagram[frame]).unwrap();
                Ok(Delivered { real, header, packet: packet.to_vec() })
            }
        }
    }

    /// One packet all the way: it arrives as it was sent, and there is nothing left to do for the kernel.
    fn send(&mut self, packet: &[u8]) -> [u8; 4] {
        let datagrams = self.tunnelled(packet, Offload::None);
        let [(real, datagram)] = &datagrams[..] else { panic!("{} datagrams", datagrams.len()) };
        let delivered = self.open(*real, datagram.clone()).unwrap();
        assert_eq!(delivered.packet, packet);
        assert_eq!(delivered.header, virtio::Header::default());
        *real
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.director.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.director.expire(self.now);
        }
        self.now = end;
    }

    fn connections(&self) -> usize {
        self.director.snapshot().connections
    }

    /// Nothing is left once every timeout is over, and every packet was counted on both sides.
    fn ends(mut self) {
        self.pass(Duration::from_secs(3_600));
        assert_eq!((self.connections(), self.director.next_deadline()), (0, None));
        let snapshot = self.director.snapshot();
        let counters = &snapshot.counters;
        assert_eq!(counters.read, counters.tunnelled + counters.replied + counters.dropped_total());
        for real in snapshot.services.iter().flat_map(|service| &service.reals) {
            assert_eq!((real.active, real.inactive), (0, 0), "{}", real.address);
        }
        for gate in self.reals.values().map(Gate::counters) {
            assert_eq!(gate.read, gate.delivered + gate.dropped_total());
        }
    }
}

/// The wire segments of a super-frame.
fn split(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let plan = Plan::new(&Packet::parse(frame).unwrap(), offload).unwrap();
    let segment = |index| {
        let mut header = [0; MAX_HEADER_LEN];
        let payload = plan.write(index, frame, &mut header).unwrap();
        [&header[..plan.header_len()], &frame[payload]].concat()
    };
    (0..plan.count()).map(segment).collect()
}

/// Data in which every byte's place shows.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

/// What the kernel hands over with a frame whose checksum it left to the next: the pseudo-header's sum.
fn make_partial(packet: &mut [u8], field: usize) {
    let parsed = Packet::parse(packet).unwrap();
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let sum = Sum::pseudo_header(parsed.source, parsed.destination, parsed.protocol, length);
    packet[20 + field..22 + field].copy_from_slice(&sum.fold().to_be_bytes());
}

/// What a real server's network card makes of consecutive datagrams of one TCP stream: one datagram, the
/// inner lengths summed up, the inner checksum partial.
fn merged(datagrams: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    const HEADERS: usize = 60;
    let mut whole = datagrams[0].1.clone();
    for (_, datagram) in &datagrams[1..] {
        assert_eq!(datagram[4..6], [0, 0], "an id of zero");
        assert_eq!(datagram[6..9], whole[6..9], "DF and TTL as the first one's");
        whole.extend_from_slice(&datagram[HEADERS..]);
    }
    whole[33 + 20] |= datagrams.last().unwrap().1[33 + 20];
    let (outer_len, inner_len) = (whole.len(), whole.len() - 20);
    whole[2..4].copy_from_slice(&u16::try_from(outer_len).unwrap().to_be_bytes());
    whole[22..24].copy_from_slice(&u16::try_from(inner_len).unwrap().to_be_bytes());
    for start in [0, 20] {
        whole[start + 10..start + 12].fill(0);
        let check = Sum::of(&whole[start..start + 20]).checksum();
        whole[start + 10..start + 12].copy_from_slice(&check.to_be_bytes());
    }
    make_partial(&mut whole[20..], 16);
    whole
}

#[test]
fn a_tcp_connection_from_syn_to_timeout() {
    let mut pair = Pair::new();
    let client = |flags| tcp(flags).source_port(50_000);
    assert_eq!(pair.send(&client(Flags::SYN).bytes()), A);
    assert_eq!(pair.send(&client(Flags::ACK).bytes()), A);
    for len in [1, 536, 1_399, 1_440, 65_475] {
        let segment = client(Flags::ACK | Flags::PSH).data(&data(len)).bytes();
        assert_eq!(pair.send(&segment), A, "{len} bytes");
    }
    pair.pass(Duration::from_secs(890));
    assert_eq!(pair.send(&client(Flags::ACK).bytes()), A, "kept alive");
    assert_eq!(pair.send(&client(Flags::FIN | Flags::ACK).bytes()), A);
    assert_eq!(pair.send(&client(Flags::ACK).bytes()), A, "the last ACK");
    pair.pass(Duration::from_secs(119));
    assert_eq!(pair.connections(), 1);
    pair.pass(Duration::from_secs(2));
    assert_eq!(pair.connections(), 0);
    pair.ends();
}

#[test]
fn connections_and_datagrams_of_two_real_servers() {
    let mut pair = Pair::new();
    let mut expected = [A, B].into_iter().cycle();
    let clients: Vec<_> = (0..20).map(|n| (1_000 + n, expected.next().unwrap())).collect();
    for &(port, real) in &clients {
        assert_eq!(pair.send(&tcp(Flags::SYN).source_port(port).bytes()), real);
    }
    let lookups: Vec<_> = (0..10)
        .map(|n| (n, pair.send(&udp(53).source_port(n).data(&data(usize::from(n))).bytes())))
        .collect();
    for &(port, real) in &clients {
        assert_eq!(pair.send(&tcp(Flags::ACK).source_port(port).data(b"GET /").bytes()), real);
    }
    for (port, real) in lookups {
        assert_eq!(pair.send(&udp(53).source_port(port).data(b"again").bytes()), real);
    }
    let delivered: u64 = pair.reals.values().map(|gate| gate.counters().delivered).sum();
    assert_eq!(delivered, pair.director.counters().tunnelled);
    pair.ends();
}

#[test]
fn a_super_frame_arrives_as_the_segments_that_the_client_cut() {
    let mut pair = Pair::new();
    pair.send(&tcp(Flags::SYN).bytes());
    let sent = data(40_000);
    let segment = |start: usize, flags| {
        let end = sent.len().min(start + 1_440);
        let sequence = 5_000 + u32::try_from(start).unwrap();
        tcp(flags).sequence(sequence).data(&sent[start..end])
    };
    let mut frame = tcp(Flags::ACK | Flags::PSH).sequence(5_000).data(&sent).bytes();
    make_partial(&mut frame, 16);
    let datagrams = pair.tunnelled(&frame, Offload::Tcp { segment: 1_440, start: 20 });
    assert_eq!(datagrams.len(), 28);
    for (index, (real, datagram)) in datagrams.into_iter().enumerate() {
        let delivered = pair.open(real, datagram).unwrap();
        let flags = if index == 27 { Flags::ACK | Flags::PSH } else { Flags::ACK };
        // A sender's own segments have consecutive ids.
        let mut expected = segment(index * 1_440, flags).bytes();
        expected[4..6].copy_from_slice(&u16::try_from(index).unwrap().to_be_bytes());
        expected[10..12].fill(0);
        let check = Sum::of(&expected[..20]).checksum();
        expected[10..12].copy_from_slice(&check.to_be_bytes());
        assert_eq!(delivered.packet, expected, "segment {index}");
        assert_eq!(delivered.header, virtio::Header::default());
    }
    let real = &pair.director.snapshot().services[0].reals[0];
    assert_eq!((real.packets, real.bytes), (29, 40 + 40_000 + 28 * 40));
    pair.ends();
}

#[test]
fn segments_that_the_network_card_merged_arrive_as_one_super_frame() {
    let mut pair = Pair::new();
    pair.send(&tcp(Flags::SYN).bytes());
    let sent = data(20 * 1_440 + 7);
    let mut frame = tcp(Flags::ACK | Flags::PSH).data(&sent).bytes();
    make_partial(&mut frame, 16);
    let datagrams = pair.tunnelled(&frame, Offload::Tcp { segment: 1_440, start: 20 });
    let delivered = pair.open(datagrams[0].0, merged(&datagrams)).unwrap();
    let expected = virtio::Header {
        flags: virtio::NEEDS_CSUM,
        gso_type: virtio::GSO_TCPV4,
        hdr_len: 40,
        gso_size: MSS,
        csum_start: 20,
        csum_offset: 16,
    };
    assert_eq!(delivered.header, expected);
    assert_eq!(&delivered.packet[40..], sent);
    assert_eq!(delivered.packet, frame, "the frame that the director had read");
    let offload = Offload::Tcp { segment: MSS, start: 20 };
    let again = split(&delivered.packet, offload);
    let cut: Vec<_> = datagrams.iter().map(|(_, datagram)| datagram[20..].to_vec()).collect();
    assert_eq!(again, cut, "and its segments are those that the card had merged");
    assert_eq!(pair.reals[&A].counters().super_packets, 1);
    pair.ends();
}

/// Merging would lose the datagrams' boundaries for good: ids that differ and no DF keep a card from it.
#[test]
fn a_udp_super_frame_arrives_as_datagrams_that_no_card_merges() {
    let mut pair = Pair::new();
    let mut frame = udp(53).data(&data(1_000)).bytes();
    make_partial(&mut frame, 6);
    let datagrams = pair.tunnelled(&frame, Offload::Udp { segment: 300, start: 20 });
    let ids: std::collections::BTreeSet<_> =
        datagrams.iter().map(|(_, datagram)| datagram[4..6].to_vec()).collect();
    assert_eq!(ids.len(), 4);
    let mut received = Vec::new();
    for (real, datagram) in datagrams {
        assert_eq!(datagram[6..8], [0, 0], "neither DF nor a fragment");
        let delivered = pair.open(real, datagram).unwrap();
        assert_eq!(delivered.header, virtio::Header::default());
        received.push(delivered.packet[28..].to_vec());
    }
    assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [300, 300, 300, 100]);
    assert_eq!(received.concat(), data(1_000));
    pair.ends();
}

#[test]
fn a_real_server_is_removed_in_the_middle_of_a_connection() {
    let mut pair = Pair::new();
    let client = |port, flags| tcp(flags).source_port(port).bytes();
    assert_eq!(pair.send(&client(1, Flags::SYN)), A);
    assert_eq!(pair.send(&client(1, Flags::ACK)), A);
    let (service, address) = ("web".to_owned(), A.into());
    pair.director.apply(&Change::RemoveReal { service, address }).unwrap();
    assert_eq!(pair.send(&client(2, Flags::SYN)), B);
    assert_eq!(pair.send(&client(3, Flags::SYN)), B);
    assert_eq!(pair.send(&client(1, Flags::ACK | Flags::PSH)), A, "served to its end");
    assert_eq!(pair.send(&client(1, Flags::FIN | Flags::ACK)), A);
    pair.pass(Duration::from_secs(121));
    let left: Vec<_> =
        pair.director.snapshot().services[0].reals.iter().map(|real| real.address).collect();
    assert_eq!(left, [IpAddr::from(B)]);
    assert_eq!(pair.send(&client(1, Flags::SYN)), B, "the port comes again");
    pair.ends();
}

#[test]
fn a_congestion_mark_on_the_way_reaches_the_inner_packet() {
    let mut pair = Pair::new();
    pair.send(&tcp(Flags::SYN).bytes());
    let ect = tcp(Flags::ACK).traffic_class(0xb8 | 2).data(&data(100));
    let (real, mut datagram) = pair.tunnelled(&ect.clone().bytes(), Offload::None).remove(0);
    datagram[1] |= 3;
    let delivered = pair.open(real, datagram).unwrap();
    assert_eq!(delivered.packet, ect.traffic_class(0xb8 | 3).bytes());

    let not_ect = tcp(Flags::ACK).bytes();
    let (real, mut datagram) = pair.tunnelled(&not_ect, Offload::None).remove(0);
    datagram[1] |= 3;
    assert_eq!(pair.open(real, datagram), Err(Refusal::Ecn));
    pair.ends();
}

#[test]
fn an_icmp_error_reaches_the_server_whose_segment_was_too_long() {
    let mut pair = Pair::new();
    pair.send(&tcp(Flags::SYN).source_port(1).bytes());
    assert_eq!(pair.send(&tcp(Flags::SYN).source_port(2).bytes()), B);
    let too_long = tcp(Flags::ACK).source_port(2).data(&data(1_460)).backwards().bytes();
    let error = build::icmp_error(3, 4, &too_long[..548]).from([203, 0, 113, 1]).bytes();
    assert_eq!(pair.send(&error), B);
    pair.ends();
}
