//! Director and real servers together, on one simulated clock: a real server's kernel gets a
//! client's packets byte for byte. Every script runs over the four combinations of the client's and
//! the tunnel's family.

mod super_frames;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vstun::balancer::outer::Inner;
use vstun::balancer::{Balancer, Change, Limits, Tunnel, TunnelError, TunnelErrorKind};
use vstun::decap::{Admission, Gate, Mss, Refusal};
use vstun::model::{
    Listen, Millis, Policy, PortRange, Protocol, RealSpec, SchedulerKind, Seed, ServiceSpec,
};
use vstun::wire::Packet;
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{self, MAX_OUTER_LEN, Opened, ipip};
use vstun::wire::icmp::Quoted;
use vstun::wire::segment::{MAX_HEADER_LEN, SplitPlan};
use vstun::wire::tcp::Flags;
use vstun::wire::virtio::{self, Offload};

use crate::build::{Family, Ip, MIXES};
use crate::forwarding::quoted;
use crate::pieces::{cut, piece};
use crate::recorder::{Recorder, Sent};

/// The real servers, by the number in their address.
const A: u8 = 11;
const B: u8 = 12;
/// Bytes of a segment that fits in every combination.
const SEGMENT: u16 = 1_400;
/// Bytes that the kernel leaves before a datagram without its outer header.
const HEADROOM: usize = 64;

/// A packet that a real server's kernel gets from its TUN.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Delivered {
    real: u8,
    header: virtio::Header,
    packet: Vec<u8>,
}

struct Pair {
    inner: Family,
    outer: Family,
    director: Balancer,
    reals: BTreeMap<u8, Gate>,
    now: Millis,
    /// The director's answer to the last packet, if it answered.
    answer: Option<Vec<u8>>,
}

impl Pair {
    /// `web` on ports 80/tcp and 53/udp with A and B, round robin.
    fn new((inner, outer): (Family, Family)) -> Self {
        let limits = Limits { connections: 100, refusals_per_second: 1_000 };
        let mut director = Balancer::new(limits, Seed(1, 2));
        let listen = |(protocol, port)| {
            let ports = PortRange { first: port, last: port };
            Listen { protocol, address: inner.vip(), ports }
        };
        let listens = [(Protocol::Tcp, 80), (Protocol::Udp, 53)].map(listen).to_vec();
        let reals = [A, B].map(|real| RealSpec::new(outer.real(real), 1)).to_vec();
        let (name, scheduler) = ("web".to_owned(), SchedulerKind::RoundRobin);
        let spec = ServiceSpec { name, listens, scheduler, reals, policy: Policy::default() };
        director.apply(Millis(0), &Change::AddService(spec)).unwrap();
        let sources = [A, B].map(|real| (outer.real(real), outer.director()));
        director.apply(Millis(0), &Change::SetSources(sources.into())).unwrap();
        let mss = Mss { v4: SEGMENT, v6: SEGMENT };
        let gate = || Gate::new(vec![outer.director().into()], vec![inner.vip()], mss);
        let reals = [(A, gate()), (B, gate())].into();
        Self { inner, outer, director, reals, now: Millis(0), answer: None }
    }

    /// The datagrams that the director sends for a frame, with their real server.
    fn tunnelled(&mut self, packet: &[u8], offload: Offload) -> Vec<(u8, Vec<u8>)> {
        let mut parsed = Packet::parse(packet).unwrap();
        if offload != Offload::None {
            parsed = parsed.split_into(SplitPlan::new(&parsed, offload).unwrap().on_wire());
        }
        let mut recorder = Recorder::new(packet);
        let verdict = self.director.forward(self.now, &parsed);
        self.director.carry_out(self.now, &verdict, &mut recorder);
        self.answer = None;
        let mut tunnelled = Vec::new();
        for sent in recorder.sent {
            match sent {
                Sent::ToClient(answer) => self.answer = Some(answer),
                Sent::ToReal(tunnel, bytes) if offload == Offload::None => {
                    tunnelled.extend(self.wrapped(&tunnel, vec![bytes]));
                }
                Sent::ToReal(tunnel, bytes) => {
                    tunnelled.extend(self.wrapped(&tunnel, split(&bytes, offload)));
                }
            }
        }
        tunnelled
    }

    /// A packet's wire segments in their tunnel.
    fn wrapped(&mut self, tunnel: &Tunnel, pieces: Vec<Vec<u8>>) -> Vec<(u8, Vec<u8>)> {
        let real = [A, B].into_iter().find(|&real| self.outer.real(real) == tunnel.real).unwrap();
        let inner = Inner::of(&Packet::parse(&pieces[0]).unwrap(), 7);
        let mut datagram = |(index, piece): (usize, Vec<u8>)| {
            let outer = inner.outer(tunnel, index, [0; 4].into());
            let mut room = [0; MAX_OUTER_LEN];
            let len = ipip::write(&outer, inner.version, piece.len(), &mut room).unwrap();
            (real, [&room[MAX_OUTER_LEN - len..], &piece].concat())
        };
        pieces.into_iter().enumerate().map(&mut datagram).collect()
    }

    /// A datagram as Linux delivers it: IPv6 without its header.
    fn open(&mut self, real: u8, mut datagram: Vec<u8>) -> Result<Delivered, Refusal> {
        let gate = self.reals.get_mut(&real).unwrap();
        let outcome = if self.outer == Family::V4 {
            gate.open(&mut datagram)
        } else {
            let Opened { source, traffic_class, encap, inner_version, inner } =
                encap::open(&datagram).unwrap();
            datagram = [&[0; HEADROOM], &datagram[inner]].concat();
            let inner = HEADROOM..datagram.len();
            let outer = Opened { source, traffic_class, encap, inner_version, inner };
            gate.open_payload(&outer, &mut datagram)
        };
        match outcome {
            Admission::Drop(refusal) => Err(refusal),
            Admission::Inquiry(_) => panic!("no client's packet is a question"),
            Admission::DeliverPiece(..) => panic!("it is whole"),
            Admission::Deliver(frame) => {
                let (header, packet) = virtio::Header::decode(&datagram[frame]).unwrap();
                Ok(Delivered { real, header, packet: packet.to_vec() })
            }
        }
    }

    /// Sends one packet all the way: it arrives unchanged, with no work left for the kernel.
    fn send(&mut self, packet: Ip) -> u8 {
        let packet = packet.bytes();
        let datagrams = self.tunnelled(&packet, Offload::None);
        let [(real, datagram)] = &datagrams[..] else { panic!("{} datagrams", datagrams.len()) };
        let delivered = self.open(*real, datagram.clone()).unwrap();
        assert_eq!(delivered.packet, packet);
        assert_eq!(delivered.header, virtio::Header::default());
        *real
    }

    /// A segment of the client.
    fn tcp(&self, flags: u8) -> Ip {
        self.inner.tcp(flags)
    }

    /// The checksum start that the kernel reports for a super-frame of the client.
    fn start(&self) -> u16 {
        u16::try_from(self.inner.header_len()).unwrap()
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

    /// After every timeout no state is left, and every packet was counted on both sides.
    fn ends(mut self) {
        self.pass(Duration::from_secs(3_600));
        assert_eq!((self.connections(), self.director.next_deadline()), (0, None));
        let snapshot = self.director.snapshot();
        let counters = &snapshot.counters;
        assert_eq!(counters.held, 0);
        assert_eq!(
            counters.read,
            counters.tunnelled + counters.replied() + counters.dropped_total()
        );
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
    let plan = SplitPlan::new(&Packet::parse(frame).unwrap(), offload).unwrap();
    let segment = |index| {
        let mut header = [0; MAX_HEADER_LEN];
        let payload = plan.write(index, frame, &mut header).unwrap();
        [&header[..plan.header_len()], &frame[payload]].concat()
    };
    (0..plan.count()).map(segment).collect()
}

/// Data in which every byte shows its position.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// Leaves the checksum as the kernel does for offload: the pseudo-header's sum.
fn make_partial(packet: &mut [u8], field: usize) {
    let parsed = Packet::parse(packet).unwrap();
    let length = u32::try_from(parsed.payload().len()).unwrap();
    let at = usize::from(parsed.header_len) + field;
    let sum = Sum::pseudo_header(parsed.source, parsed.destination, parsed.protocol, length);
    packet[at..at + 2].copy_from_slice(&sum.fold().to_be_bytes());
}

/// Sets the length field of the packet, and for IPv4 the checksum.
fn set_length(bytes: &mut [u8]) {
    if bytes[0] >> 4 == 6 {
        let length = u16::try_from(bytes.len() - 40).unwrap();
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        return;
    }
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[10..12].fill(0);
    let check = Sum::of(&bytes[..20]).checksum();
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
}

#[test]
fn a_tcp_connection_from_syn_to_timeout() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let client = |flags| mix.0.tcp(flags).source_port(50_000);
        assert_eq!(pair.send(client(Flags::SYN)), A);
        assert_eq!(pair.send(client(Flags::ACK)), A);
        // The last one's datagram is the longest that IPv4 allows.
        for len in [1, 536, 1_399, 1_440, 65_535 - 20 - mix.0.header_len() - 20] {
            let segment = client(Flags::ACK | Flags::PSH).data(&data(len));
            assert_eq!(pair.send(segment), A, "{len} bytes");
        }
        pair.pass(Duration::from_secs(890));
        assert_eq!(pair.send(client(Flags::ACK)), A, "kept alive");
        assert_eq!(pair.send(client(Flags::FIN | Flags::ACK)), A);
        assert_eq!(pair.send(client(Flags::ACK)), A, "the last ACK");
        pair.pass(Duration::from_secs(119));
        assert_eq!(pair.connections(), 1);
        pair.pass(Duration::from_secs(2));
        assert_eq!(pair.connections(), 0);
        pair.ends();
    }
}

#[test]
fn connections_and_datagrams_of_two_real_servers() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let tcp = |flags, port| mix.0.tcp(flags).source_port(port);
        let udp = |port| mix.0.udp(53).source_port(port);
        let mut expected = [A, B].into_iter().cycle();
        let clients: Vec<_> = (0..20).map(|n| (1_000 + n, expected.next().unwrap())).collect();
        for &(port, real) in &clients {
            assert_eq!(pair.send(tcp(Flags::SYN, port)), real);
        }
        let lookups: Vec<_> =
            (0..10).map(|n| (n, pair.send(udp(n).data(&data(usize::from(n)))))).collect();
        for &(port, real) in &clients {
            assert_eq!(pair.send(tcp(Flags::ACK, port).data(b"GET /")), real);
        }
        for (port, real) in lookups {
            assert_eq!(pair.send(udp(port).data(b"again")), real);
        }
        let delivered: u64 = pair.reals.values().map(|gate| gate.counters().delivered).sum();
        assert_eq!(delivered, pair.director.counters().tunnelled);
        pair.ends();
    }
}

/// A real server's kernel reassembles them: it gets each fragment unchanged, together with the
/// flow's whole datagrams, and none of a datagram that another receiver could reassemble
/// differently.
#[test]
fn fragments_reach_the_real_server_of_their_flow_as_they_were_sent() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let udp = |port| mix.0.udp(53).source_port(port).data(&data(4_000)).bytes();
        assert_eq!(pair.send(mix.0.udp(53).source_port(1)), A);
        assert_eq!(pair.send(mix.0.udp(53).source_port(2)), B);
        let of = |port: u16| cut(&udp(port), port.into(), &[1_400, 2_800]);
        let (one, other, bad) = (of(1), of(2), of(3));
        let overlap = piece(&udp(3), 3, 2_792..4_008, false);
        let shuffled = [
            &bad[2], &other[1], &one[2], &other[2], &one[0], &overlap, &one[1], &bad[0], &other[0],
            &bad[1],
        ];
        let mut arrived = Vec::new();
        for packet in shuffled {
            for (real, datagram) in pair.tunnelled(packet, Offload::None) {
                let delivered = pair.open(real, datagram).unwrap();
                assert_eq!(delivered.header, virtio::Header::default());
                arrived.push((real, delivered.packet));
            }
        }
        let expected = [
            [A; 3].into_iter().zip([0, 2, 1].map(|at: usize| one[at].clone())).collect::<Vec<_>>(),
            [B; 3].into_iter().zip([0, 1, 2].map(|at: usize| other[at].clone())).collect(),
        ];
        assert_eq!(arrived, expected.concat());
        pair.ends();
    }
}

#[test]
fn a_real_server_is_removed_in_the_middle_of_a_connection() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let client = |port, flags| mix.0.tcp(flags).source_port(port);
        assert_eq!(pair.send(client(1, Flags::SYN)), A);
        assert_eq!(pair.send(client(1, Flags::ACK)), A);
        let (service, address) = ("web".to_owned(), mix.1.real(A));
        pair.director.apply(Millis(0), &Change::RemoveReal { service, address }).unwrap();
        assert_eq!(pair.send(client(2, Flags::SYN)), B);
        assert_eq!(pair.send(client(3, Flags::SYN)), B);
        assert_eq!(pair.send(client(1, Flags::ACK | Flags::PSH)), A, "served to its end");
        assert_eq!(pair.send(client(1, Flags::FIN | Flags::ACK)), A);
        pair.pass(Duration::from_secs(121));
        let left: Vec<IpAddr> =
            pair.director.snapshot().services[0].reals.iter().map(|real| real.address).collect();
        assert_eq!(left, [mix.1.real(B)]);
        assert_eq!(pair.send(client(1, Flags::SYN)), B, "the port comes again");
        pair.ends();
    }
}

#[test]
fn a_congestion_mark_on_the_way_reaches_the_inner_packet() {
    // The mark: in IPv4 the last bits of the second byte, in IPv6 in the middle of it.
    let mark = |outer: Family, datagram: &mut Vec<u8>| datagram[1] |= outer.pick(0x03, 0x30);
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        pair.send(pair.tcp(Flags::SYN));
        let ect = pair.tcp(Flags::ACK).traffic_class(0xb8 | 2).data(&data(100));
        let (real, mut datagram) = pair.tunnelled(&ect.clone().bytes(), Offload::None).remove(0);
        mark(mix.1, &mut datagram);
        if mix.1 == Family::V4 {
            set_length(&mut datagram);
        }
        let delivered = pair.open(real, datagram).unwrap();
        assert_eq!(delivered.packet, ect.traffic_class(0xb8 | 3).bytes());

        let not_ect = pair.tcp(Flags::ACK).bytes();
        let (real, mut datagram) = pair.tunnelled(&not_ect, Offload::None).remove(0);
        mark(mix.1, &mut datagram);
        assert_eq!(pair.open(real, datagram), Err(Refusal::Ecn));
        pair.ends();
    }
}

#[test]
fn an_icmp_error_reaches_the_server_whose_segment_was_too_long() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let tcp = |flags, port| mix.0.tcp(flags).source_port(port);
        pair.send(tcp(Flags::SYN, 1));
        assert_eq!(pair.send(tcp(Flags::SYN, 2)), B);
        let too_long = tcp(Flags::ACK, 2).data(&data(1_460)).backwards().bytes();
        let quote = &too_long[..mix.0.pick(548, 1_232)];
        let error = mix.0.icmp_error(mix.0.too_big(), quote).from(mix.0.router());
        assert_eq!(pair.send(error), B);
        pair.ends();
    }
}

/// A client that learns a smaller path MTU sends packets that fit, and they arrive.
#[test]
fn a_smaller_path_mtu_is_answered_and_then_respected() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        pair.send(pair.tcp(Flags::SYN));
        let kind = TunnelErrorKind::PathMtu(1_400);
        let error = TunnelError { real: mix.1.real(A), kind };
        let sent = quoted(&pair.tcp(Flags::SYN).bytes());
        pair.director.tunnel_error(pair.now, error, sent);
        let (_, probe) = pair.director.size_probe(pair.now).unwrap();
        let sent = Quoted::of(&Packet::parse(probe).unwrap());
        pair.director.tunnel_error(pair.now, error, sent);
        let mtu = 1_400 - mix.1.header_len();
        let segment = |len: usize| mix.0.tcp(Flags::ACK).data(&data(len - mix.0.header_len() - 20));
        assert_eq!(pair.tunnelled(&segment(mtu + 1).bytes(), Offload::None), []);
        let answer = Packet::parse(pair.answer.as_ref().unwrap()).unwrap();
        let reported = answer.payload()[4..8].try_into().unwrap();
        assert_eq!(usize::try_from(u32::from_be_bytes(reported)), Ok(mtu));
        assert_eq!(pair.send(segment(mtu)), A);
        pair.ends();
    }
}
