//! Packet in, verdict and bytes out: one table per sort of packet, through the public API alone.
//!
//! Every table runs over the four combinations of the client's and the real servers' family.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use vstun::balancer::{Balancer, Change, Limits, Reason, TunnelError, TunnelErrorKind, Verdict};
use vstun::model::{
    Listen, Millis, Policy, PortRange, Protocol, RealSpec, SchedulerKind, Seed, ServiceSpec,
};
use vstun::wire::Packet;
use vstun::wire::icmp::{Quoted, QuotedPacket};
use vstun::wire::tcp::Flags;

mod answers;
mod headers;
mod rows;

use crate::build::{self, DESTINATION_OPTIONS, FAMILIES, Family, MIXES};
use crate::pieces::piece;
use crate::recorder::{Recorder, Sent};
use rows::{Row, drops, opening, refusals};

/// The real servers, by the number in their address.
const A: u8 = 11;
const B: u8 = 12;

/// What the director does with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    /// To the real server with that number.
    To(u8),
    Reply,
    Hold,
    Drop(Reason),
}

use Deed::{Drop, Hold, Reply, To};

struct Director {
    balancer: Balancer,
    now: Millis,
    /// The real servers' family.
    outer: Family,
    /// The packets sent for the last packet.
    sent: Vec<Sent>,
}

/// Another virtual IP than the builder's.
fn other_vip(family: Family) -> IpAddr {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x12);
    family.pick(Ipv4Addr::new(192, 0, 2, 12).into(), v6.into())
}

impl Director {
    /// `web` on 80/tcp with A and B, `dns` on 53/udp with A, `empty` on 81/tcp and 81/udp without
    /// real servers; round robin. `other` has its own virtual IP.
    fn new(inner: Family, outer: Family) -> Self {
        use Protocol::{Tcp, Udp};
        let limits = Limits { connections: 100, refusals_per_second: 1_000 };
        let mut balancer = Balancer::new(limits, Seed(1, 2));
        for (name, address, listens, reals) in [
            ("web", inner.vip(), &[(Tcp, 80)][..], &[A, B][..]),
            ("dns", inner.vip(), &[(Udp, 53)], &[A]),
            ("empty", inner.vip(), &[(Tcp, 81), (Udp, 81)], &[]),
            ("other", other_vip(inner), &[(Tcp, 80)], &[B]),
        ] {
            let listen = |&(protocol, port): &(Protocol, u16)| {
                let ports = PortRange { first: port, last: port };
                Listen { protocol, address, ports }
            };
            let real = |&number: &u8| RealSpec::new(outer.real(number), 1);
            let (listens, reals) =
                (listens.iter().map(listen).collect(), reals.iter().map(real).collect());
            let scheduler = SchedulerKind::RoundRobin;
            let spec = ServiceSpec {
                name: name.to_owned(),
                listens,
                scheduler,
                reals,
                policy: Policy::default(),
            };
            balancer.apply(Millis(0), &Change::AddService(spec)).unwrap();
        }
        Self { balancer, now: Millis(1_000), outer, sent: Vec::new() }
    }

    /// Handles a frame like the daemon; also checks that exactly one packet was counted, once.
    fn take(&mut self, bytes: &[u8]) -> Deed {
        let before = self.balancer.counters().clone();
        let verdict = match Packet::parse(bytes) {
            Ok(packet) => self.balancer.forward(self.now, &packet),
            Err(error) => self.balancer.refuse(error.into()),
        };
        let mut recorder = Recorder::new(bytes);
        self.balancer.carry_out(self.now, &verdict, &mut recorder);
        self.sent = recorder.sent;
        let counters = self.balancer.counters();
        let (tunnelled, replied, dropped) = match verdict {
            Verdict::Tunnel(_) => (1, 0, 0),
            Verdict::Reply | Verdict::Reset(_) => (0, 1, 0),
            Verdict::Hold => (0, 0, 0),
            Verdict::Drop(reason) => {
                assert_eq!(counters.dropped(reason), before.dropped(reason) + 1, "{reason:?}");
                (0, 0, 1)
            }
        };
        assert_eq!(counters.read, before.read + 1);
        assert_eq!(counters.tunnelled, before.tunnelled + tunnelled);
        assert_eq!(counters.replied(), before.replied() + replied);
        assert_eq!(counters.dropped_total(), before.dropped_total() + dropped);
        assert_eq!(counters.held, before.held + u64::from(verdict == Verdict::Hold));
        match verdict {
            Verdict::Drop(reason) => Drop(reason),
            Verdict::Reply => Reply,
            Verdict::Hold => Hold,
            Verdict::Reset(_) => panic!("every real server is up"),
            Verdict::Tunnel(tunnel) => {
                To([A, B].into_iter().find(|&n| self.outer.real(n) == tunnel.real).unwrap())
            }
        }
    }
}

fn check(rows: fn(Family) -> Vec<Row>) {
    for (inner, outer) in MIXES {
        for (name, packet, expected) in rows(inner) {
            let deed = Director::new(inner, outer).take(&packet);
            assert_eq!(deed, expected, "{name}, {inner:?} in {outer:?}");
        }
    }
}

#[test]
fn packets_that_open() {
    check(opening);
}

#[test]
fn packets_that_are_answered_and_packets_that_must_not_be() {
    check(refusals);
}

#[test]
fn packets_that_are_dropped() {
    check(drops);
}

#[test]
fn sources_next_to_the_refused_ranges_are_clients() {
    let v4 = ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"];
    let v6 = ["::2", "::fffe:198.51.100.7", "::1:0:0", "feff::", "2001:db8::ffff:0:1"];
    for family in FAMILIES {
        for source in family.pick(&v4[..], &v6[..]) {
            let source: IpAddr = source.parse().unwrap();
            let syn = family.tcp(Flags::SYN).from(source).bytes();
            assert_eq!(Director::new(family, family).take(&syn), To(A), "{source}");
        }
    }
}

/// Reasons that only the packet loop or repeated packets cause: a bad offload header, the limit of
/// answers, and errors from the tunnel.
const NOT_BY_ONE_PACKET: &[Reason] = &[
    Reason::BadOffload,
    Reason::FragmentDuplicate,
    Reason::FragmentOverlap,
    Reason::FragmentLimit,
    Reason::FragmentExpired,
    Reason::NoRealServer,
    Reason::RealServersFull,
    Reason::NoFallback,
    Reason::TunnelError,
    Reason::TunnelErrorUnverified,
    Reason::PathMtu,
];

/// An error's quote of a TCP segment that went into a tunnel.
pub(crate) fn quoted(segment: &[u8]) -> Quoted {
    Quoted::Packet(QuotedPacket::of(&Packet::parse(segment).unwrap()).unwrap())
}

#[test]
fn every_reason_has_a_row() {
    let rows = FAMILIES.map(|family| [opening(family), refusals(family), drops(family)].concat());
    let seen: BTreeSet<_> = rows
        .iter()
        .flatten()
        .filter_map(|(_, _, deed)| if let Drop(reason) = deed { Some(reason.name()) } else { None })
        .collect();
    for &reason in Reason::ALL {
        let elsewhere = NOT_BY_ONE_PACKET.contains(&reason);
        assert_eq!(seen.contains(reason.name()), !elsewhere, "{reason:?}");
    }
}

#[test]
fn the_other_reasons_come_from_the_right_places() {
    for (inner, outer) in MIXES {
        let mut director = Director::new(inner, outer);
        let verdict = director.balancer.refuse(Reason::BadOffload);
        assert_eq!(verdict, Verdict::Drop(Reason::BadOffload));
        let sent = inner.tcp(Flags::SYN).bytes();
        assert_eq!(director.take(&sent), To(A));
        for (kind, reason) in [
            (TunnelErrorKind::ProtocolUnreachable, Reason::TunnelError),
            (TunnelErrorKind::Unreachable, Reason::TunnelError),
            (TunnelErrorKind::PathMtu(1_400), Reason::PathMtu),
        ] {
            let error = TunnelError { real: outer.real(A), kind };
            let of = [(quoted(&sent), reason), (Quoted::Other, Reason::TunnelErrorUnverified)];
            for (quoted, reason) in of {
                let verdict = director.balancer.tunnel_error(director.now, error, quoted);
                assert_eq!(verdict, Verdict::Drop(reason));
            }
        }
        let syn = inner.tcp(Flags::SYN).destination_port(81).bytes();
        for _ in 0..1_000 {
            assert_eq!(director.take(&syn), Reply);
        }
        assert_eq!(director.take(&syn), Drop(Reason::NoRealServer));
    }
}

/// For one datagram at a time: the balancer's own tests cover the other reasons.
#[test]
fn the_reasons_of_fragments_come_from_the_right_places() {
    for (inner, outer) in MIXES {
        let mut director = Director::new(inner, outer);
        let whole = inner.udp(53).data(&[7; 1_400]).bytes();
        let part = |number, start, end| piece(&whole, number, start..end, true);
        assert_eq!(director.take(&part(1, 0, 24)), To(A));
        assert_eq!(director.take(&part(1, 24, 48)), To(A));
        assert_eq!(director.take(&part(1, 24, 48)), Drop(Reason::FragmentDuplicate));
        assert_eq!(director.take(&part(1, 40, 56)), Drop(Reason::FragmentOverlap));
        for start in 0..128 {
            assert_eq!(director.take(&part(2, start * 8, start * 8 + 8)), To(A));
        }
        assert_eq!(director.take(&part(2, 1_024, 1_032)), Drop(Reason::FragmentLimit));
        assert_eq!(director.take(&part(3, 24, 48)), Hold);
        director.balancer.expire(director.now.after(Duration::from_secs(30)));
        assert_eq!(director.balancer.counters().dropped(Reason::FragmentExpired), 1);
    }
}

#[test]
fn a_connection_s_packets_follow_its_first() {
    for (inner, outer) in MIXES {
        let mut director = Director::new(inner, outer);
        let from = |port| inner.tcp(Flags::SYN).source_port(port);
        assert_eq!(director.take(&from(1).bytes()), To(A));
        assert_eq!(director.take(&from(2).bytes()), To(B));
        assert_eq!(director.take(&from(3).bytes()), To(A));
        for (name, packet, expected) in [
            ("ACK", from(2).flags(Flags::ACK), To(B)),
            ("data", from(2).flags(Flags::ACK | Flags::PSH).data(&[7; 1400]), To(B)),
            ("another port's ACK", from(1).flags(Flags::ACK), To(A)),
            ("no flags", from(2).flags(0), To(B)),
            ("FIN", from(2).flags(Flags::FIN | Flags::ACK), To(B)),
            ("RST", from(3).flags(Flags::RST), To(A)),
            ("an unknown port's ACK", from(4).flags(Flags::ACK), Reply),
            ("the same ports in UDP", inner.udp(80).source_port(2), Reply),
        ] {
            assert_eq!(director.take(&packet.bytes()), expected, "{name}, {inner:?} in {outer:?}");
        }
    }
}

/// Extension headers do not belong to a flow's key.
#[test]
fn extension_headers_are_no_part_of_a_flow() {
    let mut director = Director::new(Family::V6, Family::V6);
    let from = |port, flags| Family::V6.tcp(flags).source_port(port);
    assert_eq!(director.take(&from(1, Flags::SYN).bytes()), To(A));
    assert_eq!(director.take(&from(2, Flags::SYN).bytes()), To(B));
    let dressed = from(2, Flags::ACK).extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    assert_eq!(director.take(&dressed.bytes()), To(B));
    assert_eq!(director.take(&from(2, Flags::ACK).fragment(0, false).bytes()), To(B));
}

#[test]
fn icmp_errors_go_to_the_real_server_of_the_flow_they_quote() {
    for (inner, outer) in MIXES {
        let mut director = Director::new(inner, outer);
        director.take(&inner.tcp(Flags::SYN).source_port(1).bytes());
        director.take(&inner.tcp(Flags::SYN).source_port(2).bytes());
        director.take(&inner.udp(53).source_port(9).data(b"query").bytes());
        // B's packet to the client, sent directly: from the VIP.
        let sent = || inner.tcp(Flags::ACK).source_port(2).data(&[7; 600]).backwards();
        let (reply, shortest) = (sent().bytes(), inner.header_len() + 8);
        let datagram = inner.udp(53).source_port(9).data(&[7; 600]).backwards().bytes();
        let error = |kind: (u8, u8), quote: &[u8]| inner.icmp_error(kind, quote);
        let elsewhere = |kind, quote: &[u8]| error(kind, quote).from(inner.router());
        let too_big = inner.too_big();
        let no_flow = Drop(Reason::IcmpNoFlow);
        let unknown = inner.tcp(Flags::ACK).source_port(3).backwards().bytes();
        let wrong_way = inner.tcp(Flags::ACK).source_port(2).bytes();
        let ping = inner.icmp_echo(b"ping").backwards().bytes();
        let later = sent().fragment(800, true).bytes();
        let foreign = inner.pick(Family::V6, Family::V4).tcp(Flags::ACK).backwards().bytes();
        for (name, packet, expected) in [
            ("too big", elsewhere(too_big, &reply), To(B)),
            ("unreachable", elsewhere(inner.pick((3, 1), (1, 0)), &reply), To(B)),
            ("port unreachable from the client", error(inner.port_unreachable(), &datagram), To(A)),
            ("time exceeded", elsewhere(inner.pick((11, 0), (3, 0)), &reply), To(B)),
            ("parameter problem", elsewhere(inner.pick((12, 0), (4, 1)), &reply), To(B)),
            ("the shortest quote", error(too_big, &reply[..shortest]), To(B)),
            ("a byte less", error(too_big, &reply[..shortest - 1]), no_flow),
            ("another flow", error(too_big, &unknown), no_flow),
            ("a quote the wrong way round", error(too_big, &wrong_way), no_flow),
            ("a quote of an ICMP message", error(too_big, &ping), no_flow),
            ("a quote of the other family", error(too_big, &foreign), no_flow),
            ("a quote of a later fragment", error(too_big, &later), no_flow),
            ("a first fragment", error(too_big, &sent().fragment(0, true).bytes()), To(B)),
            ("a wrong checksum", error(too_big, &reply).flip_upper(20), Drop(Reason::Malformed)),
            (
                "to another VIP than the quoted source",
                error(too_big, &reply).to(other_vip(inner)),
                no_flow,
            ),
            ("to no VIP", error(too_big, &reply).to(inner.client()), Drop(Reason::NotVip)),
        ] {
            assert_eq!(director.take(&packet.bytes()), expected, "{name}, {inner:?} in {outer:?}");
        }
        assert_eq!(director.balancer.snapshot().connections, 3, "an error opens nothing");
    }
    // Source quench exists for IPv4 only (RFC 6633: deprecated, but still an error).
    let mut director = Director::new(Family::V4, Family::V4);
    director.take(&Family::V4.tcp(Flags::SYN).bytes());
    let reply = Family::V4.tcp(Flags::ACK).backwards().bytes();
    let quench = Family::V4.icmp_error((4, 0), &reply).bytes();
    assert_eq!(director.take(&quench), To(A), "source quench");
}

/// IPv6 servers with extension headers: the quote has them too.
#[test]
fn a_quote_with_extension_headers_names_its_flow() {
    let mut director = Director::new(Family::V6, Family::V4);
    director.take(&Family::V6.tcp(Flags::SYN).bytes());
    let sent = Family::V6.tcp(Flags::ACK).data(&[7; 600]).backwards();
    let dressed = sent.extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]).bytes();
    let error = |quote: &[u8]| Family::V6.icmp_error((2, 0), quote).bytes();
    assert_eq!(director.take(&error(&dressed)), To(A));
    assert_eq!(director.take(&error(&dressed[..56])), To(A), "as far as its ports");
    assert_eq!(director.take(&error(&dressed[..55])), Drop(Reason::IcmpNoFlow));
}
