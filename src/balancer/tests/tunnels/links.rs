//! The director's own links towards the real servers.

use super::*;
use crate::model::Encap;

impl Director {
    fn link_mtu(&mut self, real: IpAddr, mtu: u32) {
        self.apply(&Change::SetLinkMtus([(real, mtu)].into()));
    }
}

/// The MTU that a client gets if the link to its real server has that MTU.
fn fits(mtu: usize, outer: Family) -> Option<u32> {
    Some(u32::try_from(mtu - outer.header_len()).unwrap())
}

#[test]
fn a_small_link_is_that_real_server_s_alone() {
    for outer in FAMILIES {
        let (near, far) = (outer.real(11), outer.real(12));
        let mut director = Director::with(RoundRobin, &[(near, 1), (far, 1)]);
        director.apply(&Change::SetLinkMtus([(near, 1_500), (far, 1_400)].into()));
        let longest = |number: u32, mtu: usize| {
            let data = vec![7; mtu - outer.header_len() - 40];
            flow(number).segment(Flags::ACK).data(&data).bytes()
        };
        assert_eq!([director.syn(flow(0)), director.syn(flow(2))], [near, far]);
        assert_eq!(director.reported_mtu(&longest(0, 1_500)), None);
        assert_eq!(director.reported_mtu(&longest(2, 1_400)), None);
        assert_eq!(director.reported_mtu(&longest(2, 1_401)), fits(1_400, outer));
        assert_eq!(director.reported_mtu(&longest(0, 1_501)), fits(1_500, outer));
    }
}

#[test]
fn a_link_s_mtu_is_known_for_real_servers_now_and_later_and_for_probes() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    director.apply(&Change::SetLinkMtus([(A, 1_400), (B, 1_300)].into()));
    let links = |director: &mut Director, number| director.tunnel(&flow(number).tcp(Flags::SYN));
    let tunnel = links(&mut director, 0);
    assert_eq!((tunnel.link, tunnel.limit), (1_380, 1_380));
    director.apply(&add_real(B, 1));
    director.apply(&set_weight(A, 0));
    assert_eq!(links(&mut director, 1).link, 1_260, "it joined later");
    director.apply(&Change::SetLinkMtus(LinkMtus::new()));
    assert_eq!(links(&mut director, 2).link, 1_260, "without a route the last one is kept");
    director.apply(&Change::SetLinkMtus([(B, 9_000)].into()));
    assert_eq!(links(&mut director, 3).link, 8_960, "it changes at once");

    let inner = Family::V4;
    let probe = ProbeFlow {
        protocol: 17,
        source: inner.director(),
        source_port: 1_000,
        destination: inner.vip(),
        destination_port: 53,
    };
    director.apply(&Change::PinProbe { flow: probe, address: B, encap: Encap::Ipip });
    let packet = inner.udp(53).from(inner.director()).source_port(1_000).bytes();
    assert_eq!(director.tunnel(&packet).link, 8_960);
}

/// Of the link and what routers report the smaller one counts.
#[test]
fn a_reported_mtu_expires_after_ten_minutes_and_the_link_s_mtu_stays() {
    for (inner, outer) in MIXES {
        let real = outer.real(11);
        let mut director = director(outer);
        director.apply(&Change::SetTimeouts(Timeouts {
            tcp_established: seconds(4_000),
            ..Timeouts::DEFAULT
        }));
        director.to(&client(inner, Flags::ACK, 0));
        let longest = client(inner, Flags::ACK, 1_500);
        director.link_mtu(real, 1_450);
        assert_eq!(director.reported_mtu(&longest), fits(1_450, outer));
        director.path_mtu(real, 1_400);
        assert_eq!(director.reported_mtu(&longest), fits(1_400, outer));
        director.link_mtu(real, 1_350);
        assert_eq!(director.reported_mtu(&longest), fits(1_350, outer));
        director.link_mtu(real, 1_480);
        assert_eq!(
            director.reported_mtu(&longest),
            fits(1_400, outer),
            "the router's report stays"
        );
        director.pass(TEN_MINUTES);
        assert_eq!(director.reported_mtu(&longest), fits(1_480, outer));
        director.path_mtu(real, 1_490);
        assert_eq!(director.reported_mtu(&longest), fits(1_480, outer));
        let snapshot = director.real(real).unwrap();
        assert_eq!((snapshot.path_mtu, snapshot.link_mtu), (Some(1_400), Some(1_480)));
    }
}

/// A packet that cannot be smaller, or may be fragmented, is sent. The kernel sends nothing longer
/// than the link's MTU, so the packet is cut here, over IPv4 too.
#[test]
fn a_packet_that_may_not_be_refused_is_cut_to_the_link() {
    for outer in FAMILIES {
        let real = outer.real(11);
        let mut director = director(outer);
        for mtu in [700_usize, 1_280, 1_310] {
            director.link_mtu(real, u32::try_from(mtu).unwrap());
            let room = mtu - outer.header_len();
            let smallest = client(Family::V6, Flags::ACK, 1_280);
            let free = segment(Family::V4, Flags::ACK, 1_400).dont_fragment(false).bytes();
            for packet in [smallest, free] {
                let tunnel = director.tunnel(&packet);
                assert_eq!((tunnel.link, tunnel.limit), (room, room));
                let cut = outer::pieces(&tunnel, packet.len());
                assert_eq!(cut.is_some(), packet.len() > room, "{mtu} {}", packet.len());
                let header = outer::Inner::of(&Packet::parse(&packet).unwrap(), 7);
                let header = header.outer(&tunnel, 0, outer.director());
                assert_eq!(header.dont_fragment, packet.len() <= room);
            }
            let least = u32::try_from(room.max(1_280)).unwrap();
            let longer = client(Family::V6, Flags::ACK, room.max(1_280) + 1);
            assert_eq!(director.reported_mtu(&longer), Some(least));
            let reported_mtu = director.reported_mtu(&client(Family::V4, Flags::ACK, room + 1));
            assert_eq!(reported_mtu, fits(mtu, outer));
        }
    }
}

/// Packets that fit the link are left to routers, which know their own links' MTUs.
#[test]
fn over_ipv4_routers_fragment_packets_that_fit_the_link() {
    for outer in FAMILIES {
        let real = outer.real(11);
        let mut director = director(outer);
        director.link_mtu(real, 1_400);
        director.path_mtu(real, 1_290);
        let tunnel = director.tunnel(&client(Family::V6, Flags::ACK, 1_280));
        assert_eq!(tunnel.link, 1_400 - outer.header_len());
        assert_eq!(tunnel.limit, 1_290 - outer.header_len());
        assert_eq!(outer::pieces(&tunnel, 1_280).is_some(), outer == Family::V6);
        assert!(outer::pieces(&tunnel, tunnel.link + 1).is_some());
    }
}
