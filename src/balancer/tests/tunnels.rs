//! The tunnels: sources, sizes, and the answers to clients whose packets do not fit.

use SchedulerKind::RoundRobin;
use proptest::prelude::*;

use super::*;
use crate::wire::build::{FAMILIES, MIXES};
use crate::wire::encap::Encap;
use crate::wire::icmp::{Quote, Quoted, QuotedPacket};
use crate::wire::packet::OnWire;

mod links;
mod probed;

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A director with one real server of the family, and a connection to it of each family.
fn director(outer: Family) -> Director {
    let mut director = Director::with(RoundRobin, &[(outer.real(11), 1)]);
    for family in FAMILIES {
        director.to(&client(family, Flags::SYN, 0));
        director.to(&client(family, Flags::ACK, 0));
    }
    director
}

/// A client's packet of that many bytes, or of its minimum length.
fn client(family: Family, flags: u8, len: usize) -> Vec<u8> {
    segment(family, flags, len).bytes()
}

fn segment(family: Family, flags: u8, len: usize) -> Ip {
    family.tcp(flags).data(&vec![7; len.saturating_sub(family.header_len() + 20)])
}

impl Director {
    fn path_mtu(&mut self, real: IpAddr, mtu: u16) {
        let error = TunnelError { real, kind: TunnelErrorKind::PathMtu(mtu) };
        let verdict = self.balancer.believe(self.now, error);
        assert_eq!(verdict, Verdict::Drop(Reason::PathMtu));
    }

    /// The MTU in the answer to the packet; `None` if it is tunnelled.
    fn reported_mtu(&mut self, packet: &[u8]) -> Option<u32> {
        match self.forward(packet) {
            Verdict::Tunnel(_) => None,
            Verdict::Reply => {
                let (sent, reply) = (
                    Packet::parse(packet).unwrap(),
                    Packet::parse(&self.balancer.answers.reply).unwrap(),
                );
                assert_eq!((reply.source, reply.destination), (sent.destination, sent.source));
                assert!(crate::wire::icmp::checksum_ok(&reply));
                let expected = if sent.version() == 4 { (3, 4) } else { (2, 0) };
                let Transport::Icmp { kind, code } = reply.transport else { panic!("{reply:?}") };
                assert_eq!((kind, code), expected);
                Some(u32::from_be_bytes(reply.payload()[4..8].try_into().unwrap()))
            }
            verdict => panic!("{verdict:?}"),
        }
    }
}

impl Director {
    /// Whether the packet is tunnelled without DF (IPv4).
    fn may_be_cut(&mut self, packet: &[u8]) -> bool {
        let Verdict::Tunnel(tunnel) = self.forward(packet) else { return false };
        packet.len() > tunnel.limit
    }

    fn report(&mut self, real: IpAddr, mtu: u16, quoted: Quoted) -> Verdict {
        let error = TunnelError { real, kind: TunnelErrorKind::PathMtu(mtu) };
        self.balancer.tunnel_error(self.now, error, quoted)
    }
}

/// A router's quote of a packet that went into the tunnel.
fn quoted(packet: &[u8]) -> Quoted {
    Quoted::Packet(QuotedPacket::of(&Packet::parse(packet).unwrap()).unwrap())
}

const UNVERIFIED: Verdict = Verdict::Drop(Reason::TunnelErrorUnverified);

#[test]
fn an_error_counts_only_if_it_quotes_what_was_sent_to_that_real_server() {
    for (inner, outer) in MIXES {
        let real = outer.real(11);
        let mut director = director(outer);
        let longest = client(inner, Flags::ACK, 1_500);
        let Quoted::Packet(packet) = quoted(&longest) else { panic!() };
        let (quote, sequence) = (packet.flow, packet.number);
        let swapped = Quote { source: quote.destination, destination: quote.source, ..quote };
        let flow = |flow| Quoted::Packet(QuotedPacket { flow, ..packet });
        let number = |number| Quoted::Packet(QuotedPacket { number, ..packet });
        let forged = [
            Quoted::Other,
            flow(Quote { source_port: 9, ..quote }),
            flow(Quote { protocol: 17, ..quote }),
            flow(swapped),
            number(sequence.wrapping_add(0x4000_0000)),
            number(sequence.wrapping_sub(5 << 20)),
        ];
        for quoted in forged {
            assert_eq!(director.report(real, 1_300, quoted), UNVERIFIED, "{quoted:?}");
        }
        assert_eq!(director.report(outer.real(12), 1_300, quoted(&longest)), UNVERIFIED);
        assert_eq!(director.reported_mtu(&longest), None);
        assert!(!director.may_be_cut(&longest));
        let snapshot = director.real(real).unwrap();
        assert_eq!((snapshot.path_mtu, snapshot.unreachable), (None, 0));
        assert_eq!(director.balancer.counters().tunnel_errors, 7);
        let sent = director.report(real, 1_400, quoted(&longest));
        assert_eq!(sent, Verdict::Drop(Reason::PathMtu));
    }
}

/// RFC 792 asks routers for eight bytes. Such a quote identifies no flow: clients get no answer,
/// routers may fragment.
#[test]
fn a_quote_too_short_to_identify_a_flow_only_clears_df() {
    for (inner, outer) in MIXES {
        let mut director = director(outer);
        let longest = client(inner, Flags::ACK, 1_500);
        assert_eq!(director.report(outer.real(11), 1_400, Quoted::TooShort), UNVERIFIED);
        assert_eq!(director.reported_mtu(&longest), None);
        assert_eq!(director.may_be_cut(&longest), outer == Family::V4);
        assert!(!director.may_be_cut(&client(inner, Flags::ACK, 1_380)));
        director.pass(TEN_MINUTES);
        director.to(&client(inner, Flags::SYN, 0));
        director.to(&longest);
        assert!(!director.may_be_cut(&longest), "forgotten");
    }
}

#[test]
fn packets_too_big_for_the_path_are_answered_with_what_fits() {
    for (inner, outer) in MIXES {
        let mut director = director(outer);
        let longest = client(inner, Flags::ACK, 1_500);
        assert_eq!(director.reported_mtu(&longest), None, "nothing is known yet");
        director.path_mtu(outer.real(11), 1_400);
        let fits = 1_400 - outer.header_len();
        assert_eq!(director.reported_mtu(&longest), Some(u32::try_from(fits).unwrap()));
        assert_eq!(
            director.reported_mtu(&client(inner, Flags::ACK, fits + 1)).map(|mtu| mtu as usize),
            Some(fits)
        );
        assert_eq!(director.reported_mtu(&client(inner, Flags::ACK, fits)), None);
        let counters = director.balancer.counters();
        assert_eq!(
            (counters.replied(), counters.dropped(Reason::PathMtu)),
            (2, 1),
            "answered, not dropped"
        );
    }
}

/// RFC 8200 section 5: no IPv6 packet needs to be smaller than 1,280 bytes. Such a packet is sent
/// although it does not fit.
#[test]
fn no_ipv6_client_gets_an_mtu_below_1280() {
    for (outer, mtu) in
        [(Family::V4, 1_299), (Family::V4, 1_000), (Family::V6, 1_319), (Family::V6, 1_280)]
    {
        let mut director = director(outer);
        director.path_mtu(outer.real(11), mtu);
        assert_eq!(director.reported_mtu(&client(Family::V6, Flags::ACK, 1_281)), Some(1_280));
        let smallest = client(Family::V6, Flags::ACK, 1_280);
        let tunnel = director.tunnel(&smallest);
        assert_eq!(tunnel.limit, usize::from(mtu) - outer.header_len());
        let header = outer::Inner::of(&Packet::parse(&smallest).unwrap(), 7);
        let header = header.outer(&tunnel, 0, outer.director());
        assert!(!header.dont_fragment, "RFC 4213 section 3.2.2: over IPv4 it may be cut");
    }
}

/// Forged errors must not stop the traffic.
#[test]
fn a_path_mtu_below_the_smallest_is_ignored() {
    for (outer, floor) in [(Family::V4, 552), (Family::V6, 1_280)] {
        let fits = floor - u32::try_from(outer.header_len()).unwrap();
        for mtu in [0, 1, 68, floor - 1, floor] {
            let mut director = director(outer);
            director.path_mtu(outer.real(11), u16::try_from(mtu).unwrap());
            let longest = client(Family::V4, Flags::ACK, 1_500);
            let believed = mtu == floor;
            assert_eq!(director.reported_mtu(&longest), believed.then_some(fits), "{mtu}");
            let may_be_cut =
                director.may_be_cut(&client(Family::V4, Flags::ACK, fits as usize + 1));
            assert_eq!(may_be_cut, !believed && outer == Family::V4, "{mtu}");
        }
    }
    let mut director = director(Family::V4);
    director.path_mtu(Family::V4.real(11), 553);
    assert_eq!(
        director.reported_mtu(&client(Family::V4, Flags::ACK, 1_500)),
        Some(533),
        "one more than it"
    );
}

#[test]
fn the_smaller_mtu_holds_and_expires_after_ten_minutes() {
    for (inner, outer) in MIXES {
        let mut director = director(outer);
        director.apply(&Change::SetTimeouts(Timeouts {
            tcp_established: seconds(4_000),
            ..Timeouts::DEFAULT
        }));
        director.forward(&client(inner, Flags::ACK, 0));
        let longest = client(inner, Flags::ACK, 1_500);
        let reported_mtu = |mtu: u32| Some(mtu - u32::try_from(outer.header_len()).unwrap());
        director.path_mtu(outer.real(11), 1_450);
        director.path_mtu(outer.real(11), 1_400);
        assert_eq!(director.reported_mtu(&longest), reported_mtu(1_400));
        director.path_mtu(outer.real(11), 1_480);
        assert_eq!(director.reported_mtu(&longest), reported_mtu(1_400), "a larger MTU is ignored");
        director.pass(TEN_MINUTES - Duration::from_millis(1));
        assert_eq!(director.reported_mtu(&longest), reported_mtu(1_400));
        director.pass(Duration::from_millis(1));
        assert_eq!(director.reported_mtu(&longest), None);
        assert_eq!(director.tunnel(&longest).limit, usize::MAX, "forgotten");
        director.path_mtu(outer.real(11), 1_450);
        assert_eq!(
            director.reported_mtu(&longest),
            reported_mtu(1_450),
            "the expired MTU has no effect"
        );
    }
}

#[test]
fn a_path_is_one_real_server_s_in_every_service() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let mail = ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp"]),
        ..web(RoundRobin, &[(A, 1)])
    };
    director.apply(&Change::AddService(mail));
    director.path_mtu(A, 1_400);
    let long = |flow: Flow, flags| flow.segment(flags).data(&[7; 1_400]).bytes();
    let mailer = Flow { client: 0, port: 25 };
    assert_eq!([director.syn(flow(0)), director.syn(flow(2)), director.syn(mailer)], [A, B, A]);
    assert_eq!(director.reported_mtu(&long(flow(0), Flags::ACK)), Some(1_380));
    assert_eq!(director.reported_mtu(&long(mailer, Flags::ACK)), Some(1_380));
    assert_eq!(director.reported_mtu(&long(flow(2), Flags::ACK)), None);
}

/// A super-frame is as large on the wire as its segments.
#[test]
fn super_frames_are_judged_by_their_segments() {
    for (inner, outer) in MIXES {
        let mut director = director(outer);
        director.path_mtu(outer.real(11), 1_400);
        let fits = 1_400 - outer.header_len();
        let frame = client(inner, Flags::ACK, 60_000);
        let of = |longest| {
            Packet::parse(&frame).unwrap().split_into(OnWire {
                packets: 45,
                bytes: 65_000,
                longest,
            })
        };
        let verdict = director.balancer.forward(director.now, &of(fits));
        assert!(matches!(verdict, Verdict::Tunnel(_)), "{verdict:?}");
        assert_eq!(director.balancer.forward(director.now, &of(fits + 1)), Verdict::Reply);
    }
}

/// IPv4 without DF may be fragmented, so it is sent.
#[test]
fn a_packet_without_df_is_not_answered() {
    for outer in FAMILIES {
        let mut director = director(outer);
        director.path_mtu(outer.real(11), 1_400);
        let packet = segment(Family::V4, Flags::ACK, 1_500).dont_fragment(false).bytes();
        assert_eq!(director.reported_mtu(&packet), None);
        let datagram = Family::V4.udp(80).data(&[7; 1_472]);
        assert_eq!(director.reported_mtu(&datagram.clone().dont_fragment(false).bytes()), None);
        assert!(director.reported_mtu(&datagram.bytes()).is_some());
    }
}

#[test]
fn answers_over_the_limit_are_drops_and_the_connection_lives_on() {
    for (inner, outer) in MIXES {
        let limits = Limits { connections: 10, refusals_per_second: 3 };
        let mut director = Director::new(10);
        director.balancer = Balancer::new(limits, Seed(1, 2));
        director.apply(&Change::AddService(web(RoundRobin, &[(outer.real(11), 1)])));
        director.to(&client(inner, Flags::SYN, 0));
        director.path_mtu(outer.real(11), 1_400);
        let longest = client(inner, Flags::ACK, 1_500);
        for _ in 0..3 {
            assert!(director.reported_mtu(&longest).is_some());
        }
        assert_eq!(director.forward(&longest), Verdict::Drop(Reason::PathMtu));
        director.to(&client(inner, Flags::ACK, 0));
        director.pass(seconds(1));
        assert!(director.reported_mtu(&longest).is_some());
        let counters = director.balancer.counters();
        assert_eq!((counters.read, counters.tunnelled, counters.replied()), (8, 2, 4));
        assert_eq!(counters.dropped(Reason::PathMtu), 2, "a router's report is one");
    }
}

#[test]
fn sources_are_those_of_real_servers_now_and_later() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    let source = |director: &mut Director, number| {
        let tunnel = director.tunnel(&flow(number).tcp(Flags::SYN));
        (tunnel.real, tunnel.source)
    };
    let (near, far) = (Family::V6.director(), Family::V6.router());
    assert_eq!([source(&mut director, 0), source(&mut director, 2)], [(A, None), (B, None)]);
    let later = Family::V6.real(14);
    director.apply(&Change::SetSources([(B, near), (later, far)].into()));
    assert_eq!([source(&mut director, 4), source(&mut director, 6)], [(A, None), (B, Some(near))]);
    director.apply(&add_real(later, 1));
    director.apply(&set_weight(A, 0));
    director.apply(&set_weight(B, 0));
    assert_eq!(source(&mut director, 8), (later, Some(far)), "it joined later");
    director.apply(&remove_real(later));
    director.pass(seconds(1_000));
    director.apply(&add_real(later, 1));
    assert_eq!(source(&mut director, 10), (later, Some(far)), "and again");
    director.apply(&Change::SetSources([(later, near)].into()));
    assert_eq!(source(&mut director, 12), (later, Some(near)), "another one");
    director.apply(&Change::SetSources(Sources::new()));
    let kept = "without a route the last one is kept, so sending fails with the kernel's reason";
    assert_eq!(source(&mut director, 14), (later, Some(near)), "{kept}");
    director.apply(&set_weight(B, 1));
    director.apply(&set_weight(later, 0));
    assert_eq!(source(&mut director, 16), (B, Some(near)), "{kept}");
}

#[test]
fn a_reused_id_has_neither_the_source_nor_the_mtus_of_the_previous_server() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    director.apply(&Change::SetSources([(A, Family::V4.director())].into()));
    director.apply(&Change::SetLinkMtus([(A, 1_500)].into()));
    director.path_mtu(A, 1_400);
    director.apply(&remove_real(A));
    director.apply(&add_real(B, 1));
    let expected = Tunnel {
        real: B,
        encap: Encap::Ipip,
        source: None,
        sequence: 0,
        limit: usize::MAX,
        link: usize::MAX,
    };
    assert_eq!(director.tunnel(&flow(0).tcp(Flags::SYN)), expected);
}

#[test]
fn shares_follow_the_weights_whatever_family_a_real_server_or_a_client_is_of() {
    use SchedulerKind::{WeightedLeastConnections, WeightedRoundRobin};
    for scheduler in [WeightedRoundRobin, WeightedLeastConnections] {
        let v6 = Family::V6.real(14);
        let mut director = Director::with(scheduler, &[(A, 3), (B, 2), (C, 1), (v6, 2)]);
        for number in 0..80 {
            director.connect(flow(number));
        }
        let shares = [A, B, C, v6].map(|real| director.real(real).unwrap().connections);
        assert_eq!(shares, [30, 20, 10, 20], "{}", scheduler.name());
    }
}

proptest! {
    /// Whatever routers report and clients send: an answered MTU fits, and a tunnelled packet fits
    /// or cannot be smaller.
    #[test]
    fn a_tunnelled_packet_fits_or_cannot_be_smaller(
        mix in prop::sample::select(MIXES.to_vec()),
        words in prop::collection::vec((any::<u16>(), 0_u64..890), 1..6),
        len in 40_usize..2_000,
        dont_fragment: bool,
        link in prop::option::of(600_u32..2_000),
    ) {
        let (inner, outer) = mix;
        let mut director = director(outer);
        let mut doubted = false;
        if let Some(mtu) = link {
            director.apply(&Change::SetLinkMtus([(outer.real(11), mtu)].into()));
        }
        for (mtu, pause) in words {
            doubted |= outer == Family::V4 && mtu < 552;
            director.path_mtu(outer.real(11), mtu);
            director.pass(seconds(pause));
            director.to(&client(inner, Flags::ACK, 0));
            let packet = segment(inner, Flags::ACK, len).dont_fragment(dont_fragment).bytes();
            match director.reported_mtu(&packet) {
                Some(reported_mtu) => {
                    prop_assert!((reported_mtu as usize) < packet.len());
                    prop_assert!(reported_mtu >= inner.pick(532, 1_280));
                    let fitting = segment(inner, Flags::ACK, reported_mtu as usize).bytes();
                    prop_assert_eq!(director.reported_mtu(&fitting), None);
                }
                None => {
                    let tunnel = director.tunnel(&packet);
                    let limit = tunnel.limit;
                    let free = inner == Family::V4 && !dont_fragment;
                    let smallest = inner == Family::V6 && packet.len() <= 1_280;
                    // Over IPv4 a router may fragment it.
                    prop_assert!(packet.len() <= limit || free || smallest || doubted);
                    let cut = outer::pieces(&tunnel, packet.len()).is_some();
                    prop_assert!(cut || packet.len() <= tunnel.link);
                }
            }
        }
    }
}
