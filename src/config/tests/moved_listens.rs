//! A connection stays through every reload after which the service that owns its port has its real
//! server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::balancer::{Balancer, Change, Limits, Verdict};
use crate::config::{Director, diff, director};
use crate::model::{AdminState, Existing, Listen, Millis, PortRange, Protocol, Seed, ServiceSpec};
use crate::wire::Packet;
use crate::wire::build::Family;
use crate::wire::tcp::Flags;

const PORTS: u16 = 12;

/// A service of a configuration, without its ports.
#[derive(Clone, Debug)]
struct Parts {
    name: usize,
    reals: Vec<u8>,
    /// The real server in this state, if there is one.
    out: Option<usize>,
    keys: usize,
}

/// What a service may say about connections that exist. None of it concerns those of other
/// services.
const KEYS: [&str; 4] = [
    "",
    "drain_deadline = \"1s\"",
    "existing = \"reset\"",
    "scheduler = \"rr\"\npersistence = \"6m\"",
];

fn parts() -> impl Strategy<Value = Vec<Parts>> {
    let reals = prop::sample::subsequence(vec![1_u8, 2, 3, 4], 1..=4);
    let part = (reals, prop::option::weighted(0.2, 0_usize..4), 0..KEYS.len());
    let names = Just(vec![0_usize, 1, 2, 3]).prop_shuffle();
    (vec(part, 1..=4), names).prop_map(|(parts, names)| {
        let named = parts.into_iter().zip(names);
        named.map(|((reals, out, keys), name)| Parts { name, reals, out, keys }).collect()
    })
}

/// Up to four services that divide the ports of one virtual IP, some of them in ranges.
fn layout() -> impl Strategy<Value = Director> {
    let owners = vec(0_usize..4, usize::from(PORTS));
    (parts(), owners, any::<bool>()).prop_map(|(parts, owners, joined)| {
        let text: String = parts
            .iter()
            .enumerate()
            .map(|(at, part)| {
                let count = parts.len();
                let own = (1..=PORTS).zip(&owners).filter(|(_, owner)| *owner % count == at);
                written(part, &ranges(own.map(|(port, _)| port), joined), at)
            })
            .collect();
        director(&format!("[director]\n{text}")).unwrap()
    })
}

/// Neighbouring ports as ranges, or each port on its own.
fn ranges(ports: impl Iterator<Item = u16>, joined: bool) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(range) if joined && range.last + 1 == port => range.last = port,
            _ => ranges.push(PortRange { first: port, last: port }),
        }
    }
    ranges
}

fn written(part: &Parts, ranges: &[PortRange], at: usize) -> String {
    let listens: Vec<String> = match ranges {
        [] => vec![format!("\"192.0.2.10:{}/udp\"", at + 1)],
        ranges => ranges
            .iter()
            .map(|&ports| {
                let (protocol, address) = (Protocol::Tcp, "192.0.2.10".parse().unwrap());
                format!("\"{}\"", Listen { protocol, address, ports })
            })
            .collect(),
    };
    let real = |(index, host): (usize, &u8)| {
        let state = if part.out == Some(index) { ", state = \"disabled\"" } else { "" };
        format!("{{ address = \"10.0.0.{host}\"{state} }}")
    };
    let reals: Vec<_> = part.reals.iter().enumerate().map(real).collect();
    format!(
        "[[service]]\nname = \"s{}\"\nflood_new_flows = 0\nflood_table_use = \"off\"\n{}\n\
         listen = [{}]\nreal = [{}]\n",
        part.name,
        KEYS[part.keys],
        listens.join(", "),
        reals.join(", ")
    )
}

/// The service that owns this port of TCP.
fn owner(config: &Director, port: u16) -> Option<&ServiceSpec> {
    let owns = |listen: &Listen| {
        let PortRange { first, last } = listen.ports;
        listen.protocol == Protocol::Tcp && (first..=last).contains(&port)
    };
    config.specs().find(|spec| spec.listens.iter().any(owns))
}

/// The real servers that keep a connection to this port: those of the service that owns it, except
/// real servers whose connections the service resets.
fn keeping(config: &Director, port: u16) -> Vec<IpAddr> {
    let reals = owner(config, port).into_iter().flat_map(|spec| {
        let ends = spec.policy.existing == Existing::Reset;
        let reals = spec.reals.iter();
        reals.filter(move |real| !ends || real.state == AdminState::Up)
    });
    reals.map(|real| real.address).collect()
}

struct World {
    balancer: Balancer,
    now: Millis,
}

impl World {
    fn reload(&mut self, old: &Director, new: &Director) {
        self.now = self.now.after(Duration::from_secs(2));
        self.balancer.apply_all(self.now, &diff(old, new).unwrap()).unwrap();
        self.balancer.expire(self.now);
    }

    /// Waits until all connections have followed their listens.
    fn settle(&mut self) {
        while self.balancer.follows_listens() {
            self.balancer.expire(self.now);
        }
    }

    /// The real server that a packet of the connection goes to.
    fn real(&mut self, port: u16, from: u16, flags: u8) -> Option<IpAddr> {
        let opens = flags == Flags::SYN;
        let segment = Family::V4.tcp(flags).destination_port(port).source_port(from);
        let packet = segment.sequence(1_000 + u32::from(!opens)).bytes();
        match self.balancer.forward(self.now, &Packet::parse(&packet).unwrap()) {
            Verdict::Tunnel(tunnel) => Some(tunnel.real),
            _ => None,
        }
    }
}

proptest! {
    #[test]
    fn connections_follow_their_listens_through_any_reloads(
        layouts in vec(layout(), 2..5),
        a_turn in prop::sample::select(vec![1, 5, usize::MAX]),
        early: bool,
    ) {
        let limits = Limits { connections: 1_000, refusals_per_second: 1_000 };
        let mut world = World { balancer: Balancer::new(limits, Seed(3, 5)), now: Millis(1_000) };
        world.balancer.follow_at_most(a_turn);
        let first = layouts[0].specs().cloned().map(Change::AddService);
        let first: Vec<_> = first.collect();
        world.balancer.apply_all(world.now, &first).unwrap();
        let mut live = BTreeMap::new();
        for (port, from) in (1..=PORTS).flat_map(|port| (1..4).map(move |from| (port, from))) {
            if let Some(real) = world.real(port, from, Flags::SYN) {
                prop_assert_eq!(world.real(port, from, Flags::ACK), Some(real));
                live.insert((port, from), real);
            }
        }
        for two in layouts.windows(2) {
            world.reload(&two[0], &two[1]);
            live.retain(|&(port, _), real| keeping(&two[1], port).contains(real));
            for (&(port, from), &real) in live.iter().filter(|_| early) {
                prop_assert_eq!(world.real(port, from, Flags::ACK), Some(real), "{} early", port);
            }
            world.settle();
            // Each connection counts for the service that owns its port.
            let mut counts = BTreeMap::new();
            for (&(port, _), &real) in &live {
                let name = owner(&two[1], port).unwrap().name.clone();
                *counts.entry((name, real)).or_insert(0) += 1;
            }
            let snapshot = world.balancer.snapshot();
            for ((name, address), count) in counts {
                let service = snapshot.services.iter().find(|one| *one.name == name).unwrap();
                let real = service.reals.iter().find(|real| real.address == address).unwrap();
                prop_assert!(real.active >= count, "{} {}: {:?}", name, address, real);
            }
            for (&(port, from), &real) in &live {
                prop_assert_eq!(
                    world.real(port, from, Flags::ACK),
                    Some(real),
                    "port {} from {}: {:#?}", port, from, snapshot.services
                );
            }
        }
    }
}
