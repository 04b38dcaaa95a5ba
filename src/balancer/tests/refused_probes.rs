//! An ICMP error refuses a probe only if it quotes that probe. To forge one, a sender must know the
//! probe's fields.

use super::*;
use crate::balancer::{PROBE_HOPS, ProbeFlow};
use crate::model::Encap;
use crate::wire::build::MIXES;
use crate::wire::icmp::{Quote, Quoted, QuotedPacket};

const UNREACHABLE: TunnelErrorKind = TunnelErrorKind::ProtocolUnreachable;

/// A probe of the real server 11 in this family of tunnels, from port 40000.
struct Probing {
    director: Director,
    inner: Family,
    outer: Family,
    flow: ProbeFlow,
}

impl Probing {
    fn new((inner, outer): (Family, Family), packet: &Ip) -> Self {
        let reals = [(outer.real(11), 1), (outer.real(12), 1)];
        let director = Director::with(SchedulerKind::RoundRobin, &reals);
        let flow = quoted(&packet.clone().bytes()).flow;
        let Quote { source, destination, protocol, source_port, destination_port } = flow;
        let flow = ProbeFlow { protocol, source, source_port, destination, destination_port };
        let mut probing = Self { director, inner, outer, flow };
        probing.pin();
        probing
    }

    fn pin(&mut self) {
        let address = self.outer.real(11);
        self.director.apply(&Change::PinProbe { flow: self.flow, address, encap: Encap::Ipip });
    }

    fn unpin(&mut self) {
        self.director.apply(&Change::UnpinProbe(self.flow));
    }

    fn send(&mut self, packet: &Ip) -> QuotedPacket {
        self.send_from(PROBE_HOPS, packet)
    }

    fn send_from(&mut self, hops: u8, packet: &Ip) -> QuotedPacket {
        let bytes = packet.clone().ttl(hops).bytes();
        assert_eq!(self.director.to(&bytes), self.outer.real(11));
        quoted(&bytes)
    }

    fn segment(&self, flags: u8, sequence: u32) -> Ip {
        self.inner.tcp(flags).sequence(sequence)
    }

    /// Whether an error about the probe's real server that quotes this refuses the probe.
    fn refuses(&mut self, packet: QuotedPacket) -> bool {
        let real = self.outer.real(11);
        self.refuses_at(real, Quoted::Packet(packet))
    }

    fn refuses_at(&mut self, real: IpAddr, quoted: Quoted) -> bool {
        let error = TunnelError { real, kind: UNREACHABLE };
        let verdict = self.director.balancer.tunnel_error(self.director.now, error, quoted);
        let flow = self.director.balancer.refused_probe(real, quoted);
        assert!(flow.is_none_or(|flow| flow == self.flow));
        assert!(flow.is_none() || verdict == Verdict::Drop(Reason::TunnelError), "{verdict:?}");
        flow.is_some()
    }
}

fn quoted(packet: &[u8]) -> QuotedPacket {
    QuotedPacket::of(&Packet::parse(packet).unwrap()).unwrap()
}

/// All wrong quotes of a probe: another port, another address, another protocol, and so on.
fn forgeries(probe: QuotedPacket) -> Vec<QuotedPacket> {
    let flow = probe.flow;
    let swapped = Quote { source: flow.destination, destination: flow.source, ..flow };
    [
        Quote { source_port: flow.source_port ^ 1, ..flow },
        Quote { destination_port: flow.destination_port ^ 1, ..flow },
        Quote { protocol: 6 + 17 - flow.protocol.min(17), ..flow },
        Quote { source: IpAddr::from([192, 0, 2, 99]), ..flow },
        swapped,
    ]
    .into_iter()
    .map(|flow| QuotedPacket { flow, ..probe })
    .collect()
}

#[test]
fn a_connection_is_refused_by_its_own_sequence_numbers_alone() {
    for mix in MIXES {
        let mut probing = Probing::new(mix, &mix.0.tcp(Flags::SYN));
        let syn = probing.send(&probing.segment(Flags::SYN, 70_000));
        for forged in forgeries(syn) {
            assert!(!probing.refuses(forged), "{forged:?}");
        }
        for number in [0, 69_999, 70_002, 70_000 + 65_536, 70_000 ^ 0x8000_0000] {
            assert!(!probing.refuses(QuotedPacket { number, ..syn }), "{number}");
        }
        let other = mix.1.real(12);
        assert!(!probing.refuses_at(other, Quoted::Packet(syn)), "another real server");
        assert!(!probing.refuses_at(mix.1.real(11), Quoted::TooShort));
        assert!(!probing.refuses_at(mix.1.real(11), Quoted::Other));
        // A request of 100 bytes, and the reset behind it.
        let request = probing.segment(Flags::ACK, 70_001).data(&[7; 100]);
        probing.send(&request);
        let unsent = QuotedPacket { number: 70_102, ..syn };
        assert!(!probing.refuses(unsent), "nothing was sent there");
        assert!(probing.refuses(QuotedPacket { number: 70_101, ..syn }), "the reset");
    }
}

/// The uplink brings packets with any source address, the director's own too (IPv6; IPv4 with
/// `accept_local`).
#[test]
fn a_packet_from_elsewhere_in_the_director_s_name_changes_nothing() {
    for mix in MIXES {
        let mut probing = Probing::new(mix, &mix.0.tcp(Flags::SYN));
        let forged = probing.segment(Flags::SYN, 9);
        assert!(!forged_counts(&mut probing, &forged), "before the probe");
        let syn = probing.send(&probing.segment(Flags::SYN, 70_000));
        let data = probing.segment(Flags::ACK, 70_001 + (1 << 30)).data(&[7; 100]);
        assert!(!forged_counts(&mut probing, &forged), "its own SYN");
        assert!(!forged_counts(&mut probing, &data), "data far ahead");
        assert!(probing.refuses(syn), "the probe");
    }
}

/// Whether a quote of this packet refuses the probe after it was forwarded to here.
fn forged_counts(probing: &mut Probing, forged: &Ip) -> bool {
    let quoted = probing.send_from(PROBE_HOPS - 1, forged);
    probing.refuses(quoted)
}

#[test]
fn an_error_about_the_probe_before_refuses_none() {
    for mix in MIXES {
        let mut probing = Probing::new(mix, &mix.0.tcp(Flags::SYN));
        let old = probing.send(&probing.segment(Flags::SYN, u32::MAX));
        probing.send(&probing.segment(Flags::RST, 0));
        // The check keeps its port.
        let new = probing.send(&probing.segment(Flags::SYN, 5_000_000));
        assert!(!probing.refuses(old));
        assert!(probing.refuses(new));
        probing.unpin();
        assert!(!probing.refuses(new), "the check has another port now");
        probing.pin();
        assert!(!probing.refuses(new), "nothing was sent from this one yet");
    }
}

#[test]
fn a_burst_of_errors_refuses_a_probe_once() {
    for mix in MIXES {
        let mut probing = Probing::new(mix, &mix.0.tcp(Flags::SYN));
        for sequence in [1, 2] {
            let syn = probing.send(&probing.segment(Flags::SYN, sequence));
            let refused = (0..1_000).filter(|_| probing.refuses(syn)).count();
            assert_eq!(refused, 1);
            // The kernel's next attempt is the same probe.
            probing.send(&probing.segment(Flags::SYN, sequence));
            assert!(!probing.refuses(syn));
        }
    }
}

#[test]
fn a_datagram_is_refused_by_its_checksum_and_label() {
    for (inner, outer) in MIXES {
        let datagram = inner.udp(53).identification(7_777).flow_label(77_777).data(b"question");
        let mut probing = Probing::new((inner, outer), &datagram);
        let sent = probing.send(&datagram);
        for forged in forgeries(sent) {
            assert!(!probing.refuses(forged), "{forged:?}");
        }
        for label in [0, 7_776, 77_776] {
            assert!(!probing.refuses(QuotedPacket { label, ..sent }), "{label}");
        }
        assert!(!probing.refuses(QuotedPacket { number: sent.number ^ 1, ..sent }));
        assert!(probing.refuses(sent));
    }
}

#[test]
fn an_echo_request_is_refused_by_identifier_and_sequence_number() {
    for (inner, outer) in MIXES {
        let echo = inner.icmp_echo(b"ping");
        let mut probing = Probing::new((inner, outer), &echo);
        let sent = probing.send(&echo);
        let flow = Quote { source_port: sent.flow.source_port ^ 1, ..sent.flow };
        assert!(!probing.refuses(QuotedPacket { flow, ..sent }));
        assert!(!probing.refuses(QuotedPacket { number: sent.number ^ 1, ..sent }));
        assert!(probing.refuses(sent));
    }
}

/// A genuine error about a client's own flow refuses no probe.
#[test]
fn an_error_about_a_client_s_packet_refuses_no_probe() {
    for mix in MIXES {
        let mut probing = Probing::new(mix, &mix.0.tcp(Flags::SYN));
        probing.send(&probing.segment(Flags::SYN, 1));
        let client = mix.0.tcp(Flags::SYN).source_port(9).bytes();
        assert_eq!(probing.director.to(&client), mix.1.real(11));
        assert!(!probing.refuses(quoted(&client)));
        let counted = probing.director.real(mix.1.real(11)).unwrap().protocol_unreachable;
        assert_eq!(counted, 1, "it counts for the real server");
    }
}
