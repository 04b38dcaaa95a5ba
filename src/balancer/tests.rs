//! The balancer's guarantees: changes, the life cycles of connections and real servers, limits, a
//! full table.
#![allow(clippy::unwrap_used)]

mod apply;
mod batch;
mod carried;
mod comes_true;
mod connections;
mod counting;
mod deadlines;
mod explain;
mod flood;
mod following;
mod forged;
mod fragments;
mod full;
mod handshakes;
mod idle;
mod ids;
mod last_resort;
mod latency;
mod life;
mod listing;
mod load;
mod one_packet;
mod outages;
mod persistence;
mod pieces;
mod placed_by_weight;
mod placing;
mod prediction;
mod probation;
mod probes;
mod record;
mod refused_probes;
mod slow_start;
mod states;
mod thresholds;
mod tunnels;
mod unknown;

#[path = "../../tests/packets/recorder.rs"]
mod recorder;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::model::{
    AdminState, Existing, FloodMarks, Health, Listen, Load, Persistence, Policy, Protocol,
    Quiescent, RealSpec, RealState, RealValue, RealValues, SchedulerKind, ServiceSpec, Thresholds,
    Unknown,
};
use crate::wire::build::{Family, Ip};
use crate::wire::packet::MAX_PACKET_LEN;
use crate::wire::tcp::Flags;
use crate::wire::{Packet, Transport};
use recorder::{Recorder, Sent};

/// Real servers of both families: what holds for one also holds for a service that mixes them.
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const B: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 12));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 13));

/// A client's flow to the virtual IP; clients differ by port and address, and every other one is
/// IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flow {
    client: u32,
    port: u16,
}

/// The `number`th client's flow to port 80.
fn flow(number: u32) -> Flow {
    Flow { client: number, port: 80 }
}

impl Flow {
    fn family(self) -> Family {
        if self.client.is_multiple_of(2) { Family::V4 } else { Family::V6 }
    }

    fn source(self) -> IpAddr {
        let v4 = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.client;
        let v6 =
            u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0)) + u128::from(self.client);
        self.family().pick(Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into())
    }

    /// With the numbers of a client that sends no data; all but the SYN acknowledge.
    fn segment(self, flags: u8) -> Ip {
        const SYN: u32 = 1_000;
        let opens = flags & Flags::SYN != 0;
        let flags = if opens || flags == 0 { flags } else { flags | Flags::ACK };
        let segment = self.family().tcp(flags).from(self.source()).destination_port(self.port);
        segment.sequence(SYN + u32::from(!opens))
    }

    fn datagram(self) -> Ip {
        self.family().udp(self.port).from(self.source()).data(b"data")
    }

    fn tcp(self, flags: u8) -> Vec<u8> {
        self.segment(flags).bytes()
    }

    fn udp(self) -> Vec<u8> {
        self.datagram().bytes()
    }
}

/// A balancer with its clock, and the assertions of the tests.
struct Director {
    balancer: Balancer,
    now: Millis,
}

impl Director {
    fn new(capacity: u32) -> Self {
        let limits = Limits { connections: capacity, refusals_per_second: 1_000 };
        Self { balancer: Balancer::new(limits, Seed(3, 5)), now: Millis(1_000) }
    }

    /// One service, `web`, on port 80 of both transports.
    fn with(scheduler: SchedulerKind, reals: &[(IpAddr, u32)]) -> Self {
        let mut director = Self::new(1_000);
        director.apply(&Change::AddService(web(scheduler, reals)));
        director
    }

    fn apply(&mut self, change: &Change) {
        self.balancer.apply(self.now, change).unwrap();
    }

    /// Asserts that the change is refused with this error, and nothing has changed.
    fn refuses(&mut self, change: &Change, error: &ChangeError) {
        let before = self.balancer.snapshot();
        assert_eq!(self.balancer.apply(self.now, change).as_ref(), Err(error), "{change:?}");
        assert_eq!(self.balancer.snapshot(), before, "{change:?}");
    }

    /// Advances the time as the daemon does: timers run whenever one is due.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.balancer.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.balancer.expire(self.now);
        }
        self.now = end;
        self.balancer.expire(self.now);
    }

    /// The verdict on a packet, and what is sent for it.
    fn send(&mut self, packet: &[u8]) -> (Verdict, Vec<Sent>) {
        let mut recorder = Recorder::new(packet);
        self.balancer.stamp(self.now.0 * 1_000);
        let verdict = self.balancer.forward(self.now, &Packet::parse(packet).unwrap());
        self.balancer.carry_out(self.now, &verdict, &mut recorder);
        (verdict, recorder.sent)
    }

    fn forward(&mut self, packet: &[u8]) -> Verdict {
        self.send(packet).0
    }

    /// The tunnel that the packet is sent through.
    fn tunnel(&mut self, packet: &[u8]) -> Tunnel {
        match self.forward(packet) {
            Verdict::Tunnel(tunnel) => tunnel,
            verdict => panic!("{verdict:?}"),
        }
    }

    /// The real server that the packet is tunnelled to.
    fn to(&mut self, packet: &[u8]) -> IpAddr {
        self.tunnel(packet).real
    }

    /// Asserts that the packet is answered by a TCP reset.
    fn resets(&mut self, packet: &[u8]) {
        assert_eq!(self.forward(packet), Verdict::Reply);
        let reply = Packet::parse(&self.balancer.answers.reply).unwrap();
        let Transport::Tcp(header) = reply.transport else { panic!("{reply:?}") };
        assert!(header.flags.rst());
    }

    fn syn(&mut self, flow: Flow) -> IpAddr {
        self.to(&flow.tcp(Flags::SYN))
    }

    fn ack(&mut self, flow: Flow) -> IpAddr {
        self.to(&flow.tcp(Flags::ACK))
    }

    /// Asserts that the connection is ended: the client gets a reset. Returns the real server that
    /// gets one too, and its sequence number.
    fn ends(&mut self, packet: &[u8]) -> Option<(IpAddr, u32)> {
        let sent = Packet::parse(packet).unwrap();
        let Transport::Tcp(segment) = sent.transport else { panic!("{sent:?}") };
        let (_, answers) = self.send(packet);
        let [Sent::ToClient(reply), rest @ ..] = &answers[..] else { panic!("{answers:?}") };
        let reply = Packet::parse(reply).unwrap();
        assert_eq!((reply.source, reply.destination), (sent.destination, sent.source));
        let Transport::Tcp(reset) = reply.transport else { panic!("{reply:?}") };
        assert!(reset.flags.rst() && !reset.flags.ack());
        assert_eq!(reset.sequence, segment.acknowledgement);
        let (tunnel, server_reset) = match rest {
            [] => return None,
            [Sent::ToReal(tunnel, reset)] => (tunnel, Packet::parse(reset).unwrap()),
            rest => panic!("{rest:?}"),
        };
        assert_eq!(
            (server_reset.source, server_reset.destination),
            (sent.source, sent.destination)
        );
        let Transport::Tcp(reset) = server_reset.transport else { panic!("{server_reset:?}") };
        let ports = (reset.source_port, reset.destination_port);
        assert_eq!(ports, (segment.source_port, segment.destination_port));
        assert!(reset.flags.rst());
        Some((tunnel.real, reset.sequence))
    }

    /// Handshake of a new connection.
    fn connect(&mut self, flow: Flow) -> IpAddr {
        let real = self.syn(flow);
        assert_eq!(self.ack(flow), real);
        real
    }

    fn real(&self, address: IpAddr) -> Option<snapshot::RealSnapshot> {
        let services = self.balancer.snapshot().services;
        services.into_iter().flat_map(|service| service.reals).find(|real| real.address == address)
    }

    /// Active and inactive connections.
    fn counts(&self, address: IpAddr) -> (u64, u64) {
        let real = self.real(address).unwrap();
        (real.active, real.inactive)
    }

    fn connections(&self) -> usize {
        self.balancer.snapshot().connections
    }

    fn states(&self) -> Vec<&'static str> {
        let (listed, _) = self.balancer.connections(self.now, 0, usize::MAX);
        listed.into_iter().map(|connection| connection.state).collect()
    }
}

/// Adds the listens of the IPv6 virtual IP to those of the IPv4 one.
fn listens(texts: &[&str]) -> Vec<Listen> {
    let both = |text: &&str| {
        let twin =
            text.contains("192.0.2.10:").then(|| text.replace("192.0.2.10", "[2001:db8::10]"));
        std::iter::once((*text).to_owned()).chain(twin).map(|text| text.parse().unwrap())
    };
    texts.iter().flat_map(both).collect::<Vec<Listen>>()
}

fn web(scheduler: SchedulerKind, reals: &[(IpAddr, u32)]) -> ServiceSpec {
    ServiceSpec {
        name: "web".to_owned(),
        listens: listens(&["192.0.2.10:80/tcp", "192.0.2.10:80/udp"]),
        scheduler,
        reals: reals.iter().map(|&(address, weight)| spec(address, weight)).collect(),
        // Tables are small in these tests.
        policy: Policy { flood: FloodMarks::OFF, ..Policy::default() },
    }
}

fn spec(address: IpAddr, weight: u32) -> RealSpec {
    RealSpec::new(address, weight)
}

fn set_weight(address: IpAddr, weight: u32) -> Change {
    Change::SetReal { service: "web".to_owned(), address, value: RealValue::Weight(weight) }
}

fn add_real(address: IpAddr, weight: u32) -> Change {
    Change::AddReal { service: "web".to_owned(), real: spec(address, weight) }
}

fn remove_real(address: IpAddr) -> Change {
    Change::RemoveReal { service: "web".to_owned(), address }
}

fn set_state(address: IpAddr, state: AdminState) -> Change {
    Change::SetState { service: "web".to_owned(), address, state }
}

fn set_health(address: IpAddr, health: Health) -> Change {
    Change::SetHealth { service: "web".to_owned(), address, health }
}

fn set_policy(policy: Policy) -> Change {
    Change::SetPolicy { service: "web".to_owned(), policy }
}

fn remove_web() -> Change {
    Change::RemoveService { service: "web".to_owned() }
}

/// A director that adopts unknown TCP flows.
fn adopting(reals: &[(IpAddr, u32)]) -> Director {
    let mut director = Director::with(SchedulerKind::RoundRobin, reals);
    director.apply(&set_policy(Policy { unknown: Some(Unknown::Adopt), ..Policy::default() }));
    director
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn known_shares() {
    use SchedulerKind::{
        LeastConnections, RoundRobin, WeightedLeastConnections, WeightedRoundRobin,
    };
    let rows = [
        (RoundRobin, [4, 4]),
        (WeightedRoundRobin, [6, 2]),
        (LeastConnections, [4, 4]),
        (WeightedLeastConnections, [6, 2]),
    ];
    for (scheduler, expected) in rows {
        let mut director = Director::with(scheduler, &[(A, 3), (B, 1)]);
        for number in 0..8 {
            director.connect(flow(number));
        }
        let shares = [A, B].map(|real| director.real(real).unwrap().connections);
        assert_eq!(shares, expected, "{}", scheduler.name());
    }
}
