//! Packet in, verdict and bytes out: one table per kind of packet, through the public API alone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, TcpHeaderSlice};
use vstun::balancer::outer::{self, Inner};
use vstun::balancer::{
    Balancer, Change, Limits, Listen, Millis, RealSpec, Reason, SchedulerKind, Seed, ServiceSpec,
    Tunnel, TunnelError, TunnelErrorKind, Verdict,
};
use vstun::wire::Packet;
use vstun::wire::encap::ipip;
use vstun::wire::tcp::Flags;

#[path = "forwarding/build.rs"]
mod build;

use build::{CLIENT, Ip, VIP, icmp_echo, icmp_error, tcp, udp};

const DIRECTOR: [u8; 4] = [10, 0, 0, 1];
const A: [u8; 4] = [10, 0, 0, 11];
const B: [u8; 4] = [10, 0, 0, 12];

/// What the director does with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    To([u8; 4]),
    Reply,
    Drop(Reason),
}

use Deed::{Drop, Reply, To};

struct Director {
    balancer: Balancer,
    now: Millis,
}

impl Director {
    /// `web` on 80/tcp with A and B, `dns` on 53/udp with A, `empty` on 81/tcp and 81/udp with nobody; round robin.
    fn new() -> Self {
        let limits = Limits { connections: 100, refusals_per_second: 1_000 };
        let mut director = Self { balancer: Balancer::new(limits, Seed(1, 2)), now: Millis(1_000) };
        for (name, listens, reals) in [
            ("web", &["192.0.2.10:80/tcp"][..], &[A, B][..]),
            ("dns", &["192.0.2.10:53/udp"], &[A]),
            ("empty", &["192.0.2.10:81/tcp", "192.0.2.10:81/udp"], &[]),
            ("other", &["192.0.2.12:80/tcp"], &[B]),
        ] {
            let listens = listens.iter().map(|text| text.parse::<Listen>().unwrap()).collect();
            let real = |&address: &[u8; 4]| RealSpec { address: address.into(), weight: 1 };
            let reals = reals.iter().map(real).collect();
            let scheduler = SchedulerKind::RoundRobin;
            let spec = ServiceSpec { name: name.to_owned(), listens, scheduler, reals };
            director.balancer.apply(&Change::AddService(spec)).unwrap();
        }
        director
    }

    /// A frame as the daemon handles it; also checks that exactly this one packet was counted, once.
    fn take(&mut self, bytes: &[u8]) -> Deed {
        let before = self.balancer.counters().clone();
        let verdict = match Packet::parse(bytes) {
            Ok(packet) => self.balancer.forward(self.now, &packet),
            Err(error) => self.balancer.refuse(error.into()),
        };
        let counters = self.balancer.counters();
        let (tunnelled, replied, dropped) = match verdict {
            Verdict::Tunnel(_) => (1, 0, 0),
            Verdict::Reply => (0, 1, 0),
            Verdict::Drop(reason) => {
                assert_eq!(counters.dropped(reason), before.dropped(reason) + 1, "{reason:?}");
                (0, 0, 1)
            }
        };
        assert_eq!(counters.read, before.read + 1);
        assert_eq!(counters.tunnelled, before.tunnelled + tunnelled);
        assert_eq!(counters.replied, before.replied + replied);
        assert_eq!(counters.dropped_total(), before.dropped_total() + dropped);
        match verdict {
            Verdict::Drop(reason) => Drop(reason),
            Verdict::Reply => Reply,
            Verdict::Tunnel(real) => match self.balancer.dispatch(real, 1, 1) {
                Some(Tunnel { real: IpAddr::V4(real), .. }) => To(real.octets()),
                tunnel => panic!("{tunnel:?}"),
            },
        }
    }

    /// The answer to `bytes`, which is a well-formed packet from the VIP to the client.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(self.take(bytes), Reply);
        let reply = self.balancer.reply().to_vec();
        let ip = Ipv4HeaderSlice::from_slice(&reply).unwrap();
        assert_eq!((ip.source(), ip.destination()), (VIP, CLIENT));
        assert_eq!(usize::from(ip.total_len()), reply.len());
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        assert_eq!((ip.ihl(), ip.ttl()), (5, 64));
        reply
    }
}

/// A named packet and what becomes of it in a director that has seen nothing before.
type Row = (&'static str, Vec<u8>, Deed);

fn check(rows: &[Row]) {
    for (name, packet, expected) in rows {
        assert_eq!(Director::new().take(packet), *expected, "{name}");
    }
}

fn opening() -> Vec<Row> {
    vec![
        ("a SYN opens", tcp(Flags::SYN).bytes(), To(A)),
        ("a SYN with ECN negotiation opens", tcp(Flags::SYN | 0xc0).bytes(), To(A)),
        ("a SYN with data opens", tcp(Flags::SYN).data(b"early").bytes(), To(A)),
        ("a SYN with FIN opens", tcp(Flags::SYN | Flags::FIN).bytes(), To(A)),
        ("a datagram opens", udp(53).data(b"query").bytes(), To(A)),
        ("an empty datagram opens", udp(53).bytes(), To(A)),
        ("a TTL of one is the kernel's business", tcp(Flags::SYN).ttl(1).bytes(), To(A)),
        ("a wrong TCP checksum is the server's business", tcp(Flags::SYN).flip(36).bytes(), To(A)),
        ("bytes after the packet are cut off", tcp(Flags::SYN).append(&[0; 6]).bytes(), To(A)),
        (
            "a record route option passes",
            tcp(Flags::SYN).options(&[7, 7, 4, 0, 0, 0, 0, 0]).bytes(),
            To(A),
        ),
        ("a router alert option passes", tcp(Flags::SYN).options(&[148, 4, 0, 0]).bytes(), To(A)),
        ("forty bytes of no-operation pass", tcp(Flags::SYN).options(&[1; 40]).bytes(), To(A)),
        (
            "what follows the end of options is padding",
            tcp(Flags::SYN).options(&[0, 131, 3, 4]).bytes(),
            To(A),
        ),
    ]
}

fn refusals() -> Vec<Row> {
    vec![
        ("TCP to a closed port", tcp(Flags::SYN).destination_port(443).bytes(), Reply),
        ("a stray ACK to a closed port", tcp(Flags::ACK).destination_port(443).bytes(), Reply),
        ("UDP to a closed port", udp(80).bytes(), Reply),
        ("TCP to a port that only UDP has", tcp(Flags::SYN).destination_port(53).bytes(), Reply),
        ("TCP to port zero", tcp(Flags::SYN).destination_port(0).bytes(), Reply),
        ("a stray ACK", tcp(Flags::ACK).bytes(), Reply),
        ("a stray SYN with ACK", tcp(Flags::SYN | Flags::ACK).bytes(), Reply),
        ("a stray FIN", tcp(Flags::FIN).bytes(), Reply),
        ("a segment without flags", tcp(0).bytes(), Reply),
        ("a SYN to a service without servers", tcp(Flags::SYN).destination_port(81).bytes(), Reply),
        ("UDP to a service without servers", udp(81).bytes(), Reply),
        ("an echo request", icmp_echo(b"ping").bytes(), Reply),
        ("an echo request without data", icmp_echo(b"").bytes(), Reply),
        ("no reset for a reset", tcp(Flags::RST).bytes(), Drop(Reason::NoConnection)),
        (
            "nor for one that acknowledges",
            tcp(Flags::RST | Flags::ACK).bytes(),
            Drop(Reason::NoConnection),
        ),
        ("nor for one with SYN", tcp(Flags::RST | Flags::SYN).bytes(), Drop(Reason::NoConnection)),
        (
            "a reset to a closed port",
            tcp(Flags::RST).destination_port(443).bytes(),
            Drop(Reason::NoService),
        ),
        (
            "a reset to a service without servers",
            tcp(Flags::RST).destination_port(81).bytes(),
            Drop(Reason::NoConnection),
        ),
    ]
}

fn drops() -> Vec<Row> {
    let syn = || tcp(Flags::SYN);
    let mut rows = vec![
        ("no bytes", vec![], Drop(Reason::NotIp)),
        ("version 5", syn().set(0, 0x55).bytes(), Drop(Reason::NotIp)),
        ("half a header", syn().cut(19).bytes(), Drop(Reason::Truncated)),
        ("a byte less than the header says", syn().cut(39).bytes(), Drop(Reason::Truncated)),
        ("a header of four words", syn().set(0, 0x44).bytes(), Drop(Reason::Malformed)),
        ("a length below the header's", syn().set(3, 19).bytes(), Drop(Reason::Malformed)),
        ("a TCP header cut short", syn().set(3, 39).bytes(), Drop(Reason::Malformed)),
        ("a TCP data offset of four", syn().set(32, 0x40).bytes(), Drop(Reason::Malformed)),
        ("a TCP data offset past the end", syn().set(32, 0x60).bytes(), Drop(Reason::Malformed)),
        ("a UDP header cut short", udp(53).set(3, 27).bytes(), Drop(Reason::Malformed)),
        ("a UDP length below its header's", udp(53).set(25, 7).bytes(), Drop(Reason::Malformed)),
        ("a UDP length past the end", udp(53).set(25, 9).bytes(), Drop(Reason::Malformed)),
        ("an ICMP header cut short", icmp_echo(b"").set(3, 27).bytes(), Drop(Reason::Malformed)),
        ("an option of length one", syn().options(&[7, 1, 0, 0]).bytes(), Drop(Reason::Malformed)),
        (
            "an option out of the header",
            syn().options(&[7, 5, 4, 0]).bytes(),
            Drop(Reason::Malformed),
        ),
        (
            "an echo request with a wrong checksum",
            icmp_echo(b"ping").flip(28).bytes(),
            Drop(Reason::Malformed),
        ),
        (
            "a loose source route",
            syn().options(&[131, 7, 4, 10, 0, 0, 1, 0]).bytes(),
            Drop(Reason::SourceRoute),
        ),
        (
            "a strict source route",
            syn().options(&[1, 137, 7, 4, 10, 0, 0, 1]).bytes(),
            Drop(Reason::SourceRoute),
        ),
        ("a first fragment", syn().data(&[0; 12]).set(6, 0x20).bytes(), Drop(Reason::Fragment)),
        ("a later fragment", syn().data(&[0; 12]).set(7, 100).bytes(), Drop(Reason::Fragment)),
        ("a fragment that rewrites TCP flags", syn().set(7, 1).bytes(), Drop(Reason::Malformed)),
        ("a destination that is no VIP", syn().to([192, 0, 2, 11]).bytes(), Drop(Reason::NotVip)),
        ("UDP to no VIP", udp(53).to([192, 0, 2, 11]).bytes(), Drop(Reason::NotVip)),
        (
            "an echo request to no VIP",
            icmp_echo(b"").to([192, 0, 2, 11]).bytes(),
            Drop(Reason::NotVip),
        ),
        ("a multicast destination", udp(53).to([224, 0, 0, 1]).bytes(), Drop(Reason::NotVip)),
        ("an echo reply", icmp_echo(b"").icmp_type(0).bytes(), Drop(Reason::Icmp)),
        ("a timestamp request", icmp_echo(b"").icmp_type(13).bytes(), Drop(Reason::Icmp)),
        ("a redirect", icmp_echo(b"").icmp_type(5).bytes(), Drop(Reason::Icmp)),
        ("an echo request with a code", icmp_echo(b"").icmp_code(1).bytes(), Drop(Reason::Icmp)),
        ("GRE", syn().set(9, 47).bytes(), Drop(Reason::Protocol)),
        ("IP in IP", syn().set(9, 4).bytes(), Drop(Reason::Protocol)),
        ("SCTP", syn().set(9, 132).bytes(), Drop(Reason::Protocol)),
        ("an error that quotes nothing", icmp_error(3, 1, &[]).bytes(), Drop(Reason::IcmpNoFlow)),
        (
            "an error about an unknown flow",
            icmp_error(3, 1, &tcp(Flags::ACK).backwards().bytes()).bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
    ];
    for source in [
        VIP,
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [224, 0, 0, 1],
        [239, 255, 255, 255],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        rows.push(("a SYN from nobody", syn().from(source).bytes(), Drop(Reason::BadSource)));
        rows.push(("UDP from nobody", udp(80).from(source).bytes(), Drop(Reason::BadSource)));
        rows.push((
            "an echo request from nobody",
            icmp_echo(b"").from(source).bytes(),
            Drop(Reason::BadSource),
        ));
    }
    rows
}

#[test]
fn packets_that_open() {
    check(&opening());
}

#[test]
fn packets_that_are_answered_and_packets_that_must_not_be() {
    check(&refusals());
}

#[test]
fn packets_that_are_dropped() {
    check(&drops());
}

#[test]
fn sources_next_to_the_refused_ranges_are_clients() {
    for source in [[1, 0, 0, 0], [126, 255, 255, 255], [128, 0, 0, 0], [223, 255, 255, 255]] {
        assert_eq!(Director::new().take(&tcp(Flags::SYN).from(source).bytes()), To(A));
    }
}

/// What only the packet loop can say: a bad offload header, or more than the limit of answers, which a table of
/// single packets does not reach; and errors that come back from the tunnel.
const NOT_BY_ONE_PACKET: &[Reason] = &[
    Reason::BadOffload,
    Reason::NoRealServer,
    Reason::TunnelError,
    Reason::PathMtu,
    Reason::ExtensionHeader,
    Reason::Unsupported,
    Reason::LinkNoise,
];

#[test]
fn every_reason_has_a_row() {
    let rows = [opening(), refusals(), drops()].concat();
    let seen: BTreeSet<_> = rows
        .iter()
        .filter_map(|(_, _, deed)| if let Drop(reason) = deed { Some(reason.name()) } else { None })
        .collect();
    for &reason in Reason::ALL {
        let elsewhere = NOT_BY_ONE_PACKET.contains(&reason);
        assert_eq!(seen.contains(reason.name()), !elsewhere, "{reason:?}");
    }
}

#[test]
fn the_other_reasons_come_where_they_should() {
    let mut director = Director::new();
    let verdict = director.balancer.refuse(Reason::BadOffload);
    assert_eq!(verdict, Verdict::Drop(Reason::BadOffload));
    for (kind, reason) in [
        (TunnelErrorKind::ProtocolUnreachable, Reason::TunnelError),
        (TunnelErrorKind::Unreachable, Reason::TunnelError),
        (TunnelErrorKind::PathMtu(1_400), Reason::PathMtu),
    ] {
        let error = TunnelError { real: A.into(), kind };
        assert_eq!(director.balancer.tunnel_error(director.now, error), Verdict::Drop(reason));
    }
    for _ in 0..1_000 {
        assert_eq!(director.take(&tcp(Flags::SYN).destination_port(81).bytes()), Reply);
    }
    let over = director.take(&tcp(Flags::SYN).destination_port(81).bytes());
    assert_eq!(over, Drop(Reason::NoRealServer));
}

#[test]
fn a_connection_s_packets_follow_its_first() {
    let mut director = Director::new();
    let from = |port| tcp(Flags::SYN).source_port(port);
    assert_eq!(director.take(&from(1).bytes()), To(A));
    assert_eq!(director.take(&from(2).bytes()), To(B));
    assert_eq!(director.take(&from(3).bytes()), To(A));
    for (name, packet, expected) in [
        ("ACK", from(2).flags(Flags::ACK).bytes(), To(B)),
        ("data", from(2).flags(Flags::ACK | Flags::PSH).data(&[7; 1400]).bytes(), To(B)),
        ("another port's ACK", from(1).flags(Flags::ACK).bytes(), To(A)),
        ("no flags", from(2).flags(0).bytes(), To(B)),
        ("FIN", from(2).flags(Flags::FIN | Flags::ACK).bytes(), To(B)),
        ("RST", from(3).flags(Flags::RST).bytes(), To(A)),
        ("an unknown port's ACK", from(4).flags(Flags::ACK).bytes(), Reply),
        ("the same ports in UDP", udp(80).source_port(2).bytes(), Reply),
    ] {
        assert_eq!(director.take(&packet), expected, "{name}");
    }
}

#[test]
fn icmp_errors_go_to_the_real_server_of_the_flow_they_quote() {
    let mut director = Director::new();
    director.take(&tcp(Flags::SYN).source_port(1).bytes());
    director.take(&tcp(Flags::SYN).source_port(2).bytes());
    director.take(&udp(53).source_port(9).data(b"query").bytes());
    // What B sent to the client, straight: from the VIP.
    let reply = tcp(Flags::ACK).source_port(2).data(&[7; 600]).backwards().bytes();
    let datagram = udp(53).source_port(9).data(&[7; 600]).backwards().bytes();
    let router = [203, 0, 113, 1];
    for (name, packet, expected) in [
        ("fragmentation needed", icmp_error(3, 4, &reply).from(router).bytes(), To(B)),
        ("host unreachable", icmp_error(3, 1, &reply).from(router).bytes(), To(B)),
        ("port unreachable from the client", icmp_error(3, 3, &datagram).bytes(), To(A)),
        ("time exceeded", icmp_error(11, 0, &reply).from(router).bytes(), To(B)),
        ("parameter problem", icmp_error(12, 0, &reply).from(router).bytes(), To(B)),
        ("source quench", icmp_error(4, 0, &reply).from(router).bytes(), To(B)),
        ("the shortest quote of RFC 792", icmp_error(3, 4, &reply[..28]).bytes(), To(B)),
        ("a byte less", icmp_error(3, 4, &reply[..27]).bytes(), Drop(Reason::IcmpNoFlow)),
        (
            "another flow",
            icmp_error(3, 4, &tcp(Flags::ACK).source_port(3).backwards().bytes()).bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
        (
            "a quote the wrong way round",
            icmp_error(3, 4, &tcp(Flags::ACK).source_port(2).bytes()).bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
        (
            "a quote of an ICMP message",
            icmp_error(3, 4, &icmp_echo(b"ping").backwards().bytes()).bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
        (
            "a quote of a later fragment",
            icmp_error(11, 1, &tcp(Flags::ACK).source_port(2).backwards().set(7, 100).bytes())
                .bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
        ("a wrong checksum", icmp_error(3, 4, &reply).flip(40).bytes(), Drop(Reason::Malformed)),
        (
            "an error to another virtual IP than the quoted source",
            icmp_error(3, 4, &reply).to([192, 0, 2, 12]).bytes(),
            Drop(Reason::IcmpNoFlow),
        ),
        (
            "an error to no virtual IP",
            icmp_error(3, 4, &reply).to([192, 0, 2, 11]).bytes(),
            Drop(Reason::NotVip),
        ),
    ] {
        assert_eq!(director.take(&packet), expected, "{name}");
    }
    assert_eq!(director.balancer.snapshot().connections, 3, "an error opens nothing");
}

/// RFC 9293 section 3.10.7.1: the reset's numbers are such that the sender takes it.
#[test]
fn resets_carry_the_numbers_that_their_receiver_expects() {
    const SEQUENCE: u32 = 0xffff_fff0;
    const ACKNOWLEDGED: u32 = 0x1234_5678;
    let segment =
        |flags| tcp(flags).sequence(SEQUENCE).acknowledgement(ACKNOWLEDGED).destination_port(443);
    let all = |count: u32| SEQUENCE.wrapping_add(count);
    for (name, packet, sequence, acknowledgement) in [
        ("SYN", segment(Flags::SYN), 0, Some(all(1))),
        ("SYN with data", segment(Flags::SYN).data(b"early"), 0, Some(all(6))),
        ("FIN", segment(Flags::FIN).data(&[1; 100]), 0, Some(all(101))),
        ("nothing", segment(0), 0, Some(all(0))),
        ("data", segment(Flags::PSH).data(&[1; 100]), 0, Some(all(100))),
        ("ACK", segment(Flags::ACK).data(&[1; 100]), ACKNOWLEDGED, None),
        ("FIN and ACK", segment(Flags::FIN | Flags::ACK), ACKNOWLEDGED, None),
        ("SYN and ACK", segment(Flags::SYN | Flags::ACK), ACKNOWLEDGED, None),
    ] {
        let reply = Director::new().answer(&packet.bytes());
        let ip = Ipv4HeaderSlice::from_slice(&reply).unwrap();
        let reset = TcpHeaderSlice::from_slice(&reply[20..]).unwrap();
        assert_eq!((reset.source_port(), reset.destination_port()), (443, 40_000), "{name}");
        assert!(reset.rst() && !reset.syn() && !reset.fin() && !reset.psh(), "{name}");
        assert_eq!(reset.sequence_number(), sequence, "{name}");
        let acknowledged = reset.ack().then(|| reset.acknowledgment_number());
        assert_eq!(acknowledged, acknowledgement, "{name}");
        assert_eq!(reset.calc_checksum_ipv4(&ip, &[]).unwrap(), reset.checksum(), "{name}");
        assert_eq!(reply.len(), 40, "{name}");
    }
}

#[test]
fn port_unreachable_quotes_the_datagram_as_far_as_576_bytes_go() {
    for (data, quoted) in [(0, 28), (8, 36), (520, 548), (521, 548), (1_400, 548)] {
        let datagram = udp(80).data(&vec![7; data]).bytes();
        let reply = Director::new().answer(&datagram);
        let icmp = Icmpv4Slice::from_slice(&reply[20..]).unwrap();
        assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 3), "{data} bytes");
        assert_eq!(icmp.bytes5to8(), [0; 4], "{data} bytes");
        assert_eq!(icmp.payload(), &datagram[..quoted], "{data} bytes");
        let sum = icmp.icmp_type().calc_checksum(icmp.payload());
        assert_eq!(icmp.checksum(), sum, "{data} bytes");
    }
}

#[test]
fn an_echo_reply_gives_back_what_was_asked() {
    for data in [&b""[..], b"ping", &[7; 1_472], &[9; 65_507]] {
        let request = icmp_echo(data).bytes();
        let reply = Director::new().answer(&request);
        let icmp = Icmpv4Slice::from_slice(&reply[20..]).unwrap();
        assert_eq!((icmp.type_u8(), icmp.code_u8()), (0, 0));
        assert_eq!(icmp.bytes5to8(), request[24..28], "identifier and sequence number");
        assert_eq!(icmp.payload(), data);
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(data));
    }
}

/// RFC 2003 section 3.1, RFC 6040 normal mode, and what the far end's GRO needs (see `balancer::outer`).
#[test]
fn the_outer_header_of_a_tunnelled_packet() {
    struct Expected {
        traffic_class: u8,
        dont_fragment: bool,
        identification: u16,
    }
    let tcp_like =
        |traffic_class| Expected { traffic_class, dont_fragment: true, identification: 0 };
    let other =
        |identification| Expected { traffic_class: 0, dont_fragment: false, identification };
    let syn = || tcp(Flags::SYN);
    let rows: [(&str, Ip, u16, Expected); 10] = [
        ("TCP is mergeable", syn(), 77, tcp_like(0)),
        ("whatever its own DF says", syn().set(6, 0), 77, tcp_like(0)),
        ("DSCP is copied", syn().traffic_class(0xb8), 1, tcp_like(0xb8)),
        ("ECT(0) is copied", syn().traffic_class(0x02), 1, tcp_like(0x02)),
        ("ECT(1) is copied", syn().traffic_class(0x01), 1, tcp_like(0x01)),
        ("CE is copied", syn().traffic_class(0x03), 1, tcp_like(0x03)),
        ("DSCP and ECN together", syn().traffic_class(0xff), 1, tcp_like(0xff)),
        ("UDP has its own id", udp(53).data(b"query"), 77, other(77)),
        ("never 0, which the kernel would fill", udp(53), 0, other(1)),
        ("the largest id", udp(53), 65_535, other(65_535)),
    ];
    for (name, packet, random, expected) in rows {
        let packet = packet.ttl(3).bytes();
        let tunnel = Tunnel { real: A.into(), source: None, sequence: 5 };
        let inner = Inner::of(&Packet::parse(&packet).unwrap(), 7);
        let header = inner.outer(&tunnel, 0, DIRECTOR.into(), random);
        let mut room = [0xaa; 40];
        assert_eq!(ipip::write(&header, 4, packet.len(), &mut room), Some(20), "{name}");
        assert_eq!(room[..20], [0xaa; 20], "{name}: nothing before the header");
        let datagram = [&room[20..], &packet].concat();
        let outer = Ipv4HeaderSlice::from_slice(&datagram).unwrap();
        assert_eq!((outer.source(), outer.destination()), (DIRECTOR, A), "{name}");
        assert_eq!((outer.ihl(), outer.protocol().0, outer.ttl()), (5, 4, outer::TTL), "{name}");
        assert_eq!(usize::from(outer.total_len()), datagram.len(), "{name}");
        assert_eq!(outer.header_checksum(), outer.to_header().calc_header_checksum(), "{name}");
        assert_eq!(datagram[1], expected.traffic_class, "{name}");
        assert_eq!(outer.dont_fragment(), expected.dont_fragment, "{name}");
        assert_eq!(outer.identification(), expected.identification, "{name}");
        assert!(!outer.more_fragments() && outer.fragments_offset().value() == 0, "{name}");
        assert_eq!(&datagram[20..], packet, "{name}: the inner packet, untouched");
    }
}
