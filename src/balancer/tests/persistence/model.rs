//! Templates against a naive model of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The events of clients.
#[derive(Clone, Debug)]
enum Event {
    Syn(u32, u16),
    Ack(u32, u16),
    Fin(u32, u16),
    Reset(u32, u16),
    Pass(u64),
    Weight(usize, u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let flow = || (0_u32..12, 1_u16..4);
    let event = prop_oneof![
        6 => flow().prop_map(|(client, port)| Event::Syn(client, port)),
        3 => flow().prop_map(|(client, port)| Event::Ack(client, port)),
        1 => flow().prop_map(|(client, port)| Event::Fin(client, port)),
        1 => flow().prop_map(|(client, port)| Event::Reset(client, port)),
        4 => (1_u64..200).prop_map(Event::Pass),
        1 => (0_usize..3, 0_u32..3).prop_map(|(real, weight)| Event::Weight(real, weight)),
    ];
    prop::collection::vec(event, 1..120)
}

/// A connection in the model: its state's name, its deadline, its real server, and the client whose
/// template it used.
#[derive(Clone, Debug)]
struct Connection {
    state: &'static str,
    until: u64,
    real: IpAddr,
    client: IpAddr,
}

/// The naive model: maps, searched linearly, advanced second by second.
struct Model {
    now: u64,
    persistence: Persistence,
    weights: BTreeMap<IpAddr, u32>,
    /// By client: its real server, and its deadline.
    templates: BTreeMap<IpAddr, (IpAddr, u64)>,
    connections: BTreeMap<(u32, u16), Connection>,
}

impl Model {
    fn client(&self, flow: Flow) -> IpAddr {
        match flow.source() {
            IpAddr::V4(address) => {
                let kept = 32 - u32::from(self.persistence.prefix_v4);
                Ipv4Addr::from(address.to_bits() >> kept << kept).into()
            }
            IpAddr::V6(address) => {
                let kept = 128 - u32::from(self.persistence.prefix_v6);
                Ipv6Addr::from(address.to_bits() >> kept << kept).into()
            }
        }
    }

    fn second(&mut self) {
        self.now += 1;
        let now = self.now;
        self.connections.retain(|_, connection| connection.until > now);
        let live: BTreeSet<_> =
            self.connections.values().map(|connection| connection.client).collect();
        self.templates.retain(|client, (_, until)| {
            if *until <= now && live.contains(client) {
                *until += 60;
            }
            *until > now
        });
    }

    /// The required real server of the client's new flow; `None`: the scheduler's choice.
    fn wanted(&self, client: IpAddr) -> Option<IpAddr> {
        let (real, _) = self.templates.get(&client)?;
        let keeps = self.persistence.quiescent == Quiescent::Keep;
        (self.weights[real] > 0 || keeps).then_some(*real)
    }

    fn usable(&self) -> bool {
        self.weights.values().any(|&weight| weight > 0)
    }

    /// A segment of an existing connection.
    fn segment(&mut self, number: (u32, u16), flags: u8) -> Option<IpAddr> {
        let now = self.now;
        let connection = self.connections.get_mut(&number)?;
        let before = connection.state;
        let late = before == "CLOSE" && connection.until == now + 10;
        connection.state = match (before, flags) {
            (_, Flags::SYN) => before,
            ("SYN_RECV" | "RESET", Flags::RST) => "RESET",
            ("SYN_RECV" | "RESET", Flags::FIN) => "TIME_WAIT",
            ("RESET", Flags::ACK) => "SYN_RECV",
            ("CLOSE", Flags::ACK) if late => "CLOSE",
            ("SYN_RECV" | "ESTABLISHED" | "CLOSE", Flags::ACK) => "ESTABLISHED",
            ("ESTABLISHED", Flags::FIN) => "FIN_WAIT",
            (_, Flags::RST) => "CLOSE",
            (state, _) => state,
        };
        if (before, connection.state) == ("CLOSE", "CLOSE") {
            return Some(connection.real);
        }
        connection.until = now
            + match connection.state {
                "SYN_RECV" | "RESET" => 60,
                "ESTABLISHED" => 900,
                "CLOSE" => 10,
                _ => 120,
            };
        Some(connection.real)
    }
}

/// Sends the packet, and compares the director with the model.
fn step(director: &mut Director, model: &mut Model, (client, port): (u32, u16), flags: u8) {
    let number = (client, port);
    let verdict = director.forward(&segment(flow(client), port, flags));
    let went = match verdict {
        Verdict::Tunnel(tunnel) => Some(tunnel.real),
        _ => None,
    };
    let over = ["FIN_WAIT", "TIME_WAIT", "CLOSE"];
    let known = model.connections.get(&number).map(|connection| connection.state);
    let reused = flags == Flags::SYN && known.is_some_and(|state| over.contains(&state));
    if reused {
        model.connections.remove(&number);
    }
    if let Some(real) = model.segment(number, flags) {
        assert_eq!(went, Some(real), "{number:?} is a connection");
    } else if flags != Flags::SYN {
        assert_eq!(went, None, "{number:?} is none");
    } else {
        let client = model.client(flow(client));
        let wanted = model.wanted(client);
        if wanted.is_none() && !model.usable() {
            assert_eq!(went, None, "no server takes {number:?}");
            return;
        }
        let real = went.unwrap();
        assert!(wanted.is_none_or(|wanted| wanted == real), "{number:?} to {real}, not {wanted:?}");
        assert!(wanted.is_some() || model.weights[&real] > 0, "{real} takes none");
        let until = model.now + model.persistence.timeout.as_secs();
        model.templates.insert(client, (real, until));
        let connection = Connection { state: "SYN_RECV", until: model.now + 60, real, client };
        model.connections.insert(number, connection);
    }
}

proptest! {
    #[test]
    fn templates_behave_as_in_a_list(
        events in events(),
        timeout in 1_u64..400,
        prefix in 28_u8..=32,
        moves: bool,
    ) {
        let quiescent = if moves { Quiescent::Move } else { Quiescent::Keep };
        let persistence = Persistence {
            timeout: seconds(timeout),
            prefix_v4: prefix,
            prefix_v6: 96 + prefix,
            quiescent,
        };
        let mut director = director(1_000, persistence);
        let mut model = Model {
            now: 0,
            persistence,
            weights: [A, B, C].into_iter().map(|real| (real, 1)).collect(),
            templates: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        for event in events {
            match event {
                Event::Syn(client, port) => {
                    step(&mut director, &mut model, (client, port), Flags::SYN);
                }
                Event::Ack(client, port) => {
                    step(&mut director, &mut model, (client, port), Flags::ACK);
                }
                Event::Fin(client, port) => {
                    step(&mut director, &mut model, (client, port), Flags::FIN);
                }
                Event::Reset(client, port) => {
                    step(&mut director, &mut model, (client, port), Flags::RST);
                }
                Event::Pass(passed) => {
                    director.pass(seconds(passed));
                    (0..passed).for_each(|_| model.second());
                }
                Event::Weight(real, weight) => {
                    let address = [A, B, C][real];
                    director.apply(&set_weight(address, weight));
                    model.weights.insert(address, weight);
                }
            }
            let snapshot = director.balancer.snapshot();
            prop_assert_eq!(snapshot.templates, model.templates.len());
            prop_assert_eq!(snapshot.connections, model.connections.len());
            for address in [A, B, C] {
                let named = model.templates.values().filter(|(real, _)| *real == address).count();
                prop_assert_eq!(templates_of(&director, address), named as u64, "{}", address);
            }
        }
    }
}
