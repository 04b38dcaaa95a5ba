//! Fragments: which real server they go to, which are refused, and every bound.

mod bounds;
mod model;

use super::*;
use crate::balancer::fragments::{Fragments, LIFETIME};
use crate::wire::build::{DESTINATION_OPTIONS, FAMILIES, FRAGMENT};
use crate::wire::pieces::{cut, piece};

/// The packets sent for one packet: itself if it is tunnelled, and those that it releases.
fn out(director: &mut Director, packet: &[u8]) -> Vec<(IpAddr, Vec<u8>)> {
    to_reals(director.send(packet).1)
}

/// The packets sent to real servers, with the real server.
fn to_reals(sent: Vec<Sent>) -> Vec<(IpAddr, Vec<u8>)> {
    let to_real = |sent| match sent {
        Sent::ToReal(tunnel, bytes) => Some((tunnel.real, bytes)),
        Sent::ToClient(_) => None,
    };
    sent.into_iter().filter_map(to_real).collect()
}

fn dropped(director: &Director, reason: Reason) -> u64 {
    director.balancer.counters().dropped(reason)
}

fn held(director: &Director) -> (u64, usize) {
    (director.balancer.counters().held, director.balancer.snapshot().fragments.bytes)
}

fn two() -> Director {
    Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)])
}

/// A datagram of 96 bytes, header included, in four fragments.
fn four(family: Family, number: u32) -> Vec<Vec<u8>> {
    cut(&family.udp(80).data(&[7; 88]).bytes(), number, &[24, 48, 72])
}

#[test]
fn in_every_order_all_go_to_one_real_server_and_each_once() {
    let orders = (0..256_usize).map(|code| [0, 2, 4, 6].map(|shift| code >> shift & 3));
    let orders = orders.filter(|order| (0..4).all(|index| order.contains(&index)));
    for (number, order) in (0..).zip(orders) {
        for family in FAMILIES {
            for (name, whole) in [
                ("UDP", family.udp(80).data(&[7; 88]).bytes()),
                ("TCP", family.tcp(Flags::SYN).data(&[7; 88]).bytes()),
            ] {
                let mut director = two();
                let pieces = cut(&whole, number, &[24, 48, 72]);
                let first = order.iter().position(|&index| index == 0).unwrap();
                for &index in &order[..first] {
                    assert_eq!(director.forward(&pieces[index]), Verdict::Hold);
                }
                let together: usize = order[..first].iter().map(|&it| pieces[it].len()).sum();
                assert_eq!(held(&director), (first as u64, together));
                let sent = out(&mut director, &pieces[0]);
                let expected = [&[0], &order[..first]].concat();
                let expected = expected.iter().map(|&index| (A, pieces[index].clone()));
                assert_eq!(sent, expected.collect::<Vec<_>>(), "{name} {family:?} {order:?}");
                for &index in &order[first + 1..] {
                    assert_eq!(out(&mut director, &pieces[index]), [(A, pieces[index].clone())]);
                }
                let snapshot = director.balancer.snapshot();
                assert_eq!(snapshot.fragments, snapshot::FragmentsSnapshot::default(), "forgotten");
                assert_eq!((snapshot.counters.read, snapshot.counters.tunnelled), (4, 4));
                assert_eq!(director.real(A).unwrap().packets, 4);
                assert_eq!(director.counts(A), if name == "TCP" { (1, 0) } else { (0, 1) });
            }
        }
    }
}

/// The datagram of a flow goes to the flow's real server, and only the first fragment changes the
/// flow's state.
#[test]
fn fragments_belong_to_their_flow() {
    for family in FAMILIES {
        let mut director = two();
        let packet = |flags| family.tcp(flags).data(&[7; 40]);
        assert_eq!(director.to(&packet(Flags::SYN).source_port(1).bytes()), A);
        assert_eq!(director.to(&packet(Flags::SYN).bytes()), B);
        let pieces = cut(&packet(Flags::ACK).bytes(), 5, &[40]);
        assert_eq!(out(&mut director, &pieces[1]), []);
        assert_eq!(director.states().iter().filter(|state| **state == "SYN_RECV").count(), 2);
        assert_eq!(out(&mut director, &pieces[0]).len(), 2);
        assert_eq!(director.states().iter().filter(|state| **state == "ESTABLISHED").count(), 1);
        assert_eq!(director.real(B).unwrap().packets, 3);
    }
}

/// The first one has the numbers that both resets need; the others are dropped, before and after
/// it.
#[test]
fn a_segment_in_fragments_ends_its_connection_as_a_whole_one_does() {
    for family in FAMILIES {
        for first_at in 0..3 {
            let mut director = two();
            let flow = |flags| family.tcp(flags).sequence(7_000).acknowledgement(99);
            assert_eq!(director.to(&flow(Flags::SYN).bytes()), A);
            director.apply(&set_state(A, AdminState::Draining { deadline: Some(Duration::ZERO) }));
            let pieces = cut(&flow(Flags::ACK).data(&[7; 80]).bytes(), 5, &[40, 72]);
            let (first, others) = pieces.split_first().unwrap();
            for other in &others[..first_at] {
                assert_eq!(director.forward(other), Verdict::Hold);
            }
            assert_eq!(director.ends(first), Some((A, 7_000)), "{family:?}");
            for other in &others[first_at..] {
                assert_eq!(director.forward(other), Verdict::Drop(Reason::Fragment));
            }
            assert_eq!(dropped(&director, Reason::Fragment), 2);
            assert_eq!(held(&director), (0, 0));
            let counters = director.balancer.counters();
            assert_eq!((counters.ended, counters.read), (1, 4));
            assert_eq!(director.states(), ["CLOSE"]);
            // Further fragments are stray as those of any ended connection.
            assert_eq!(director.ends(&flow(Flags::ACK).data(&[7; 80]).bytes()), Some((A, 7_000)));
        }
    }
}

/// A datagram is identified by both addresses and its number, for IPv4 also by the protocol.
#[test]
fn fragments_of_several_datagrams_do_not_mix() {
    for family in FAMILIES {
        let whole = family.udp(80).data(&[7; 40]).bytes();
        let base = cut(&whole, 5, &[24]);
        let others = [
            cut(&whole, 6, &[24]),
            cut(&family.udp(80).from(family.router()).data(&[7; 40]).bytes(), 5, &[24]),
        ];
        for other in others {
            let mut director = two();
            assert_eq!(out(&mut director, &base[0]).len(), 1);
            assert_eq!(director.forward(&other[1]), Verdict::Hold);
            assert_eq!(out(&mut director, &base[1]).len(), 1);
            assert_eq!(out(&mut director, &other[0]).len(), 2);
        }
        let mut director = two();
        let tcp = cut(&family.tcp(Flags::SYN).data(&[7; 28]).bytes(), 5, &[24]);
        assert_eq!(director.forward(&tcp[1]), Verdict::Hold);
        // For IPv6 it is the same datagram, whatever the later one's header says (RFC 8200 section
        // 4.5).
        let expected = family.pick(1, 2);
        assert_eq!(out(&mut director, &base[0]).len(), expected);
    }
    let v6 = |number| cut(&Family::V6.udp(80).data(&[7; 40]).bytes(), number, &[24]);
    let mut director = two();
    assert_eq!(out(&mut director, &v6(0x0001_0000)[0]).len(), 1);
    assert_eq!(director.forward(&v6(0)[1]), Verdict::Hold, "all 32 bits count");
}

#[test]
fn headers_between_the_fragment_header_and_the_transport_s() {
    let body = [1, 4, 0, 0, 0, 0];
    let udp = || Family::V6.udp(80).data(&[7; 8]);
    let first = udp().fragment(0, true).extension(DESTINATION_OPTIONS, &body).bytes();
    let later = |next| udp().extension(FRAGMENT, &[0, 24, 0, 0, 0, 9]).protocol(next).bytes();
    for next in [DESTINATION_OPTIONS, 17] {
        let mut director = two();
        assert_eq!(director.forward(&later(next)), Verdict::Hold);
        assert_eq!(out(&mut director, &first).len(), 2);
        assert_eq!(director.balancer.snapshot().fragments, snapshot::FragmentsSnapshot::default());
    }
}

#[test]
fn a_duplicate_is_dropped_and_the_others_pass() {
    for family in FAMILIES {
        let mut director = two();
        let pieces = four(family, 5);
        let order = [3, 3, 0, 0, 3, 1, 1, 0];
        let sent: usize = order.iter().map(|&at| out(&mut director, &pieces[at]).len()).sum();
        assert_eq!((sent, dropped(&director, Reason::FragmentDuplicate)), (3, 5));
        assert_eq!(out(&mut director, &pieces[2]), [(A, pieces[2].clone())]);
        // It is complete and forgotten: its number may be another datagram's.
        assert_eq!(out(&mut director, &pieces[0]), [(A, pieces[0].clone())]);
    }
}

/// RFC 5722: all fragments of the datagram are dropped, earlier and later ones. Its number can be
/// used again after the lifetime.
#[test]
fn an_overlap_refuses_the_datagram() {
    for family in FAMILIES {
        let whole = family.udp(80).data(&[7; 88]).bytes();
        let pieces = four(family, 5);
        let hostile = [
            ("a unit into the first", piece(&whole, 5, 16..48, true)),
            ("more of the first", piece(&whole, 5, 0..32, true)),
            ("the first and the second", piece(&whole, 5, 0..48, true)),
            ("within another", piece(&whole, 5, 80..88, true)),
            ("another end", piece(&whole, 5, 72..88, false)),
            ("behind the end", piece(&whole, 5, 96..104, true)),
            ("the end, and more", piece(&whole, 5, 72..96, true)),
        ];
        for (name, hostile) in hostile {
            let mut director = two();
            let _ = [3, 0].map(|at| out(&mut director, &pieces[at]));
            assert_eq!(
                director.forward(&hostile),
                Verdict::Drop(Reason::FragmentOverlap),
                "{name}"
            );
            for piece in &pieces {
                let verdict = director.forward(piece);
                assert_eq!(verdict, Verdict::Drop(Reason::FragmentOverlap), "{name}");
            }
            director.pass(LIFETIME);
            assert_eq!(out(&mut director, &pieces[0]).len(), 1, "{name}");
        }
    }
}

#[test]
fn held_fragments_of_a_refused_datagram_are_dropped() {
    for family in FAMILIES {
        let mut director = two();
        let pieces = four(family, 5);
        let whole = family.udp(80).data(&[7; 88]).bytes();
        assert_eq!([3, 1].map(|at| director.forward(&pieces[at])), [Verdict::Hold; 2]);
        let hostile = piece(&whole, 5, 32..56, true);
        assert_eq!(director.forward(&hostile), Verdict::Drop(Reason::FragmentOverlap));
        assert_eq!((held(&director), dropped(&director, Reason::FragmentOverlap)), ((0, 0), 3));
        assert_eq!(out(&mut director, &pieces[0]), []);
    }
}

/// The first one is answered for the datagram, and the others have no real server.
#[test]
fn without_a_real_server_for_the_first_one_the_others_are_dropped() {
    for family in FAMILIES {
        let udp = |port| family.udp(port).data(&[7; 88]).bytes();
        let tcp = |flags| family.tcp(flags).data(&[7; 76]).bytes();
        let rows = [
            ("no service listens", udp(81), Verdict::Reply),
            ("stray TCP", tcp(Flags::ACK), Verdict::Reply),
            (
                "an answer would need the last fragment",
                tcp(Flags::FIN),
                Verdict::Drop(Reason::NoConnection),
            ),
        ];
        for (name, whole, verdict) in rows {
            let mut director = two();
            let pieces = cut(&whole, 5, &[24, 48, 72]);
            assert_eq!(director.forward(&pieces[2]), Verdict::Hold, "{name}");
            assert_eq!(director.forward(&pieces[0]), verdict, "{name}");
            assert_eq!((held(&director), dropped(&director, Reason::Fragment)), ((0, 0), 1));
            for at in [1, 3] {
                assert_eq!(
                    director.forward(&pieces[at]),
                    Verdict::Drop(Reason::Fragment),
                    "{name}"
                );
            }
            assert_eq!(
                director.balancer.snapshot().fragments,
                snapshot::FragmentsSnapshot::default()
            );
            assert!(!director.balancer.tables.fragments.has_released());
        }
    }
}

#[test]
fn fragments_that_are_not_held() {
    for family in FAMILIES {
        let udp = || family.udp(80).data(&[7; 88]);
        let later = |whole: Vec<u8>| piece(&whole, 5, 48..72, true);
        let first = |whole: Vec<u8>| piece(&whole, 5, 0..24, true);
        let loopback = family.pick(Ipv4Addr::LOCALHOST.into(), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let echo = family.icmp_echo(&[7; 88]).bytes();
        let rows = [
            ("an echo request's first", first(echo.clone()), Reason::Fragment),
            ("an echo request's later", later(echo), Reason::Fragment),
            ("another protocol's", later(udp().protocol(47).bytes()), Reason::Protocol),
            ("another protocol's first", first(udp().protocol(47).bytes()), Reason::Protocol),
            ("to no virtual IP", later(udp().to(family.router()).bytes()), Reason::NotVip),
            ("from the VIP", later(udp().from(family.vip()).bytes()), Reason::BadSource),
            ("from nowhere", later(udp().from(loopback).bytes()), Reason::BadSource),
        ];
        for (name, packet, reason) in rows {
            let mut director = two();
            assert_eq!(director.forward(&packet), Verdict::Drop(reason), "{name} {family:?}");
            assert_eq!(
                director.balancer.snapshot().fragments,
                snapshot::FragmentsSnapshot::default()
            );
        }
    }
}

#[test]
fn later_fragments_stop_where_the_service_is_removed() {
    for family in FAMILIES {
        let mut director = two();
        let pieces = four(family, 5);
        assert_eq!(out(&mut director, &pieces[0]).len(), 1);
        director.apply(&remove_real(A));
        assert_eq!(out(&mut director, &pieces[1]), [(A, pieces[1].clone())], "it drains");
        let other = ServiceSpec { name: "other".to_owned(), ..web(SchedulerKind::RoundRobin, &[]) };
        director.apply(&remove_web());
        director.apply(&Change::AddService(other.clone()));
        assert_eq!(director.forward(&pieces[2]), Verdict::Drop(Reason::Fragment));
        // Its ID is free once its connection is noticed to be dead, and then another real server
        // gets it.
        director.pass(seconds(20));
        let _ = director.forward(&family.udp(80).bytes());
        let (service, real) = ("other".to_owned(), spec(C, 1));
        director.apply(&Change::AddReal { service, real });
        director.check_ids();
        assert_eq!(director.forward(&pieces[3]), Verdict::Drop(Reason::Fragment));
    }
}

/// A datagram may be fragmented so that a later fragment is longer than the first.
#[test]
fn a_held_fragment_that_is_too_large_for_the_path_is_dropped() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(B, 1)]);
    let whole = Family::V6.udp(80).data(&vec![7; 2_000]).bytes();
    let pieces = cut(&whole, 5, &[24, 1_464]);
    director
        .balancer
        .believe(director.now, TunnelError { real: B, kind: TunnelErrorKind::PathMtu(1_400) });
    assert_eq!([2, 1].map(|at| director.forward(&pieces[at])), [Verdict::Hold; 2]);
    assert_eq!(out(&mut director, &pieces[0]), [(B, pieces[0].clone()), (B, pieces[2].clone())]);
    assert_eq!((held(&director), dropped(&director, Reason::PathMtu)), ((0, 0), 2));
}

#[test]
fn fragments_are_held_until_their_deadline_and_then_dropped() {
    for family in FAMILIES {
        let pieces = four(family, 5);
        for (waits, sent) in [(LIFETIME - Duration::from_millis(1), 3), (LIFETIME, 1)] {
            let mut director = two();
            let start = director.now;
            assert_eq!(director.forward(&pieces[2]), Verdict::Hold);
            director.pass(seconds(10));
            assert_eq!(
                director.forward(&pieces[1]),
                Verdict::Hold,
                "the first piece's time counts"
            );
            assert_eq!(director.balancer.next_deadline(), Some(start.after(LIFETIME)));
            director.pass(waits - seconds(10));
            assert!(!director.balancer.tables.fragments.has_released());
            assert_eq!(held(&director).0, if sent == 3 { 2 } else { 0 });
            assert_eq!(out(&mut director, &pieces[0]).len(), sent);
            let expired = dropped(&director, Reason::FragmentExpired);
            assert_eq!(expired, if sent == 3 { 0 } else { 2 });
        }
    }
}

/// A decided datagram may be older than those before it in the list.
#[test]
fn a_first_fragment_that_comes_late_gives_no_more_time() {
    for family in FAMILIES {
        let mut director = two();
        let pieces = four(family, 5);
        assert_eq!(director.forward(&pieces[1]), Verdict::Hold);
        director.pass(seconds(29));
        assert_eq!(out(&mut director, &four(family, 6)[0]).len(), 1);
        assert_eq!(out(&mut director, &pieces[0]).len(), 2);
        director.pass(Duration::from_millis(999));
        assert_eq!(out(&mut director, &pieces[2]).len(), 1);
        director.pass(Duration::from_millis(1));
        assert_eq!(director.forward(&pieces[3]), Verdict::Hold, "the datagram is forgotten");
        director.pass(LIFETIME);
        assert_eq!(director.balancer.snapshot().fragments, snapshot::FragmentsSnapshot::default());
    }
}

/// An expiring template must not scan the datagrams again: thousands of them do within one turn.
#[test]
fn a_freed_real_server_is_searched_for_once_among_the_datagrams() {
    let persistence = Persistence {
        timeout: seconds(60),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    for change in [remove_real(A), remove_web()] {
        let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
        director.apply(&set_policy(Policy { persistence: Some(persistence), ..Policy::default() }));
        for number in 0..50 {
            director.connect(flow(number));
        }
        assert_eq!(out(&mut director, &four(Family::V4, 5)[0]).len(), 1);
        for number in 0..50 {
            director.to(&flow(number).tcp(Flags::RST));
        }
        director.apply(&change);
        // The datagram's own flow is the last one to expire.
        director.pass(seconds(1_000));
        assert_eq!(director.balancer.snapshot().templates, 0);
        assert_eq!(director.balancer.tables.fragments.sweeps, 1, "{change:?}");
        assert_eq!(director.balancer.registry.reals.iter().count(), 0, "it is forgotten");
    }
}

/// Another real server has the ID now: further fragments of the datagram must not go there.
#[test]
fn fragments_for_a_freed_real_server_do_not_go_to_the_next_with_its_id() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let pieces = four(Family::V4, 5);
    assert_eq!(out(&mut director, &pieces[0]).len(), 1);
    let idle = Timeouts { udp: seconds(1), ..Timeouts::DEFAULT };
    director.apply(&Change::SetTimeouts(idle));
    director.apply(&remove_real(A));
    assert_eq!(out(&mut director, &pieces[1]).len(), 1, "it serves its last flows");
    let udp = Family::V4.udp(80).data(&[7; 88]).bytes();
    director.to(&udp);
    director.pass(seconds(2));
    assert!(director.real(A).is_none());
    director.apply(&add_real(B, 1));
    assert_eq!(director.forward(&pieces[2]), Verdict::Drop(Reason::Fragment));
}
