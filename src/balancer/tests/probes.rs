//! The director's own probes: pinned, and not in the service's counts.

use super::*;
use crate::balancer::ProbeFlow;
use crate::model::Encap;
use crate::wire::protocol;

fn probe(flow: Flow) -> ProbeFlow {
    let packet = flow.tcp(Flags::SYN);
    let packet = Packet::parse(&packet).unwrap();
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    ProbeFlow {
        protocol: protocol::TCP,
        source: packet.source,
        source_port: header.source_port,
        destination: packet.destination,
        destination_port: header.destination_port,
    }
}

#[test]
fn a_probe_goes_to_its_real_server_and_no_service_counts_it() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&set_health(B, Health::Down));
    let before = director.balancer.snapshot();
    let flow = flow(1);
    director.apply(&Change::PinProbe { flow: probe(flow), address: B, encap: Encap::Ipip });
    for flags in [Flags::SYN, Flags::ACK, Flags::ACK | Flags::FIN, Flags::RST] {
        assert_eq!(director.to(&flow.tcp(flags)), B);
    }
    let after = director.balancer.snapshot();
    assert_eq!(after.counters, Counters { probes: 4, ..before.counters });
    assert_eq!(after.services, before.services);
    assert_eq!(after.connections, 0);
    // Another flow of the same host is a client's, and so is this one once it is unpinned.
    assert_eq!(director.syn(super::flow(2)), A);
    director.apply(&Change::UnpinProbe(probe(flow)));
    assert_eq!(director.syn(flow), A);
    assert_eq!(director.connections(), 2);
}

#[test]
fn a_pinned_port_need_not_be_a_service_s_nor_its_real_server_one() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let flow = Flow { port: 8080, ..flow(1) };
    director.resets(&flow.tcp(Flags::SYN));
    director.apply(&Change::PinProbe { flow: probe(flow), address: B, encap: Encap::Ipip });
    assert_eq!(director.syn(flow), B);
    // Pinned to another server, it goes there.
    director.apply(&Change::PinProbe { flow: probe(flow), address: A, encap: Encap::Ipip });
    assert_eq!(director.syn(flow), A);
}

#[test]
fn a_probe_is_encapsulated_as_its_service_says() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let mut next = 0;
    for encap in Encap::ALL {
        // At once with the others.
        next += 1;
        let flow = flow(next);
        director.apply(&Change::PinProbe { flow: probe(flow), address: B, encap });
        let tunnel = director.tunnel(&flow.tcp(Flags::SYN));
        assert_eq!((tunnel.real, tunnel.encap), (B, encap));
    }
}

#[test]
fn ids_of_probes_are_reused() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    for number in 0..100 {
        let flow = probe(flow(number % 7));
        director.apply(&Change::PinProbe { flow, address: B, encap: Encap::Ipip });
        director.apply(&Change::UnpinProbe(flow));
    }
    assert_eq!(director.balancer.registry.reals.iter().count(), 1);
    director.check_ids();
    assert!(!director.balancer.tables.probes.may_come_from(probe(flow(1)).source));
}

#[test]
fn an_echo_request_is_pinned_by_its_identifier() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let ping = |id: u16| {
        let mut message = vec![8, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend([0, 1]);
        let sum = crate::wire::checksum::Sum::default().add_bytes(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 1, 0, 0];
        packet.extend([198, 51, 100, 7, 192, 0, 2, 10]);
        let sum = crate::wire::checksum::Sum::default().add_bytes(&packet).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(message);
        packet
    };
    let flow = ProbeFlow {
        protocol: protocol::ICMP,
        source: "198.51.100.7".parse().unwrap(),
        source_port: 77,
        destination: "192.0.2.10".parse().unwrap(),
        destination_port: 0,
    };
    director.apply(&Change::PinProbe { flow, address: A, encap: Encap::Ipip });
    assert_eq!(director.to(&ping(77)), A);
    assert_eq!(director.forward(&ping(78)), Verdict::Reply);
}
