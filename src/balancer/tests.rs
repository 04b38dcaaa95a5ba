//! The balancer's promises: changes, the lives of connections and real servers, limits, a full table.
#![allow(clippy::unwrap_used)]

mod apply;
mod counting;
mod full;
mod life;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use etherparse::PacketBuilder;

use super::*;
use crate::wire::tcp::Flags;
use crate::wire::{Packet, Transport};

const VIP: [u8; 4] = [192, 0, 2, 10];
const A: [u8; 4] = [10, 0, 0, 11];
const B: [u8; 4] = [10, 0, 0, 12];
const C: [u8; 4] = [10, 0, 0, 13];

/// A client's flow to the virtual IP; clients differ by port and address.
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
    fn source(self) -> [u8; 4] {
        (u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.client).to_be_bytes()
    }

    fn tcp(self, flags: u8) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(self.source(), VIP, 60).tcp(40_000, self.port, 7, 1_000);
        let mut packet = vec![0; builder.size(0)];
        builder.write_to_slice(&mut packet, &[]).unwrap();
        packet[33] = flags;
        packet
    }

    fn udp(self) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(self.source(), VIP, 60).udp(40_000, self.port);
        let mut packet = vec![0; builder.size(4)];
        builder.write_to_slice(&mut packet, b"data").unwrap();
        packet
    }
}

/// A balancer, its clock, and what tests ask of it.
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
    fn with(scheduler: SchedulerKind, reals: &[([u8; 4], u32)]) -> Self {
        let mut director = Self::new(1_000);
        director.apply(&Change::AddService(web(scheduler, reals)));
        director
    }

    fn apply(&mut self, change: &Change) {
        self.balancer.apply(change).unwrap();
    }

    /// The change is refused so, and nothing has changed.
    fn refuses(&mut self, change: &Change, error: &ChangeError) {
        let before = self.balancer.snapshot();
        assert_eq!(self.balancer.apply(change).as_ref(), Err(error), "{change:?}");
        assert_eq!(self.balancer.snapshot(), before, "{change:?}");
    }

    /// Time passes as in the daemon: timers run whenever one is due.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.balancer.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.balancer.expire(self.now);
        }
        self.now = end;
        self.balancer.expire(self.now);
    }

    fn forward(&mut self, packet: &[u8]) -> Verdict {
        self.balancer.forward(self.now, &Packet::parse(packet).unwrap())
    }

    /// The real server that the packet is tunnelled to.
    fn to(&mut self, packet: &[u8]) -> [u8; 4] {
        match self.forward(packet) {
            Verdict::Tunnel(real) => match self.balancer.dispatch(real, 1, 40).unwrap().real {
                IpAddr::V4(address) => address.octets(),
                IpAddr::V6(address) => panic!("{address}"),
            },
            verdict => panic!("{verdict:?}"),
        }
    }

    /// The packet is answered by a TCP reset.
    fn resets(&mut self, packet: &[u8]) {
        assert_eq!(self.forward(packet), Verdict::Reply);
        let reply = Packet::parse(self.balancer.reply()).unwrap();
        let Transport::Tcp(header) = reply.transport else { panic!("{reply:?}") };
        assert!(header.flags.rst());
    }

    fn syn(&mut self, flow: Flow) -> [u8; 4] {
        self.to(&flow.tcp(Flags::SYN))
    }

    fn ack(&mut self, flow: Flow) -> [u8; 4] {
        self.to(&flow.tcp(Flags::ACK))
    }

    /// Handshake of a new connection.
    fn connect(&mut self, flow: Flow) -> [u8; 4] {
        let real = self.syn(flow);
        assert_eq!(self.ack(flow), real);
        real
    }

    fn real(&self, address: [u8; 4]) -> Option<snapshot::Real> {
        let services = self.balancer.snapshot().services;
        services
            .into_iter()
            .flat_map(|service| service.reals)
            .find(|real| real.address == IpAddr::from(address))
    }

    /// Active and inactive connections.
    fn counts(&self, address: [u8; 4]) -> (u64, u64) {
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

fn listens(texts: &[&str]) -> Vec<Listen> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn web(scheduler: SchedulerKind, reals: &[([u8; 4], u32)]) -> ServiceSpec {
    ServiceSpec {
        name: "web".to_owned(),
        listens: listens(&["192.0.2.10:80/tcp", "192.0.2.10:80/udp"]),
        scheduler,
        reals: reals.iter().map(|&(address, weight)| spec(address, weight)).collect(),
    }
}

fn spec(address: [u8; 4], weight: u32) -> RealSpec {
    RealSpec { address: address.into(), weight }
}

fn set_weight(address: [u8; 4], weight: u32) -> Change {
    Change::SetWeight { service: "web".to_owned(), address: address.into(), weight }
}

fn add_real(address: [u8; 4], weight: u32) -> Change {
    Change::AddReal { service: "web".to_owned(), real: spec(address, weight) }
}

fn remove_real(address: [u8; 4]) -> Change {
    Change::RemoveReal { service: "web".to_owned(), address: address.into() }
}

fn remove_web() -> Change {
    Change::RemoveService { service: "web".to_owned() }
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
