//! Carried flows: which they are, what takes them back, and that nothing else differs.

mod model;

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::wire::Fragment;
use crate::wire::icmp::{Quoted, QuotedPacket};
use crate::wire::pieces::piece;
use model::{Kernel, Model};

/// A director whose flows are carried, with the kernel's half.
struct Fast {
    director: Director,
    kernel: Arc<Mutex<Kernel>>,
}

impl Fast {
    fn with(scheduler: SchedulerKind, reals: &[(IpAddr, u32)]) -> Self {
        let mut director = Director::with(scheduler, reals);
        ways(&mut director);
        let kernel = Arc::new(Mutex::new(Kernel::default()));
        director.balancer.carry_by(Box::new(Model(Arc::clone(&kernel))), 7);
        Self { director, kernel }
    }

    /// The packets sent for a packet. `empty`: it was the last one that waited.
    fn send(&mut self, packet: &[u8], empty: bool) -> Vec<Sent> {
        let parsed = Packet::parse(packet).unwrap();
        if let Some(real) = self.kernel.lock().unwrap().run(self.director.now, &parsed) {
            let (source, sequence) = (None, 0);
            let tunnel = Tunnel { real, encap: Encap::Ipip, source, sequence, limit: 0, link: 0 };
            return vec![Sent::ToReal(tunnel, packet.to_vec())];
        }
        self.send_late(packet, empty)
    }

    /// The same for a packet that was in the TUN before its flow was carried.
    fn send_late(&mut self, packet: &[u8], empty: bool) -> Vec<Sent> {
        let sent = self.director.send(packet).1;
        if empty {
            self.director.balancer.carry_wanted();
        }
        sent
    }

    /// Whether a packet is carried.
    fn carries(&mut self, packet: &[u8]) -> bool {
        let before = self.kernel.lock().unwrap().packets;
        self.send(packet, true);
        self.kernel.lock().unwrap().packets > before
    }

    /// A connection that is carried from its next packet on.
    fn carried(&mut self, flow: Flow) {
        self.send(&flow.tcp(Flags::SYN), true);
        for number in 2..=8 {
            assert!(!self.carries(&flow.tcp(Flags::ACK)), "packet {number}");
        }
        assert!(self.carries(&flow.tcp(Flags::ACK)));
    }
}

/// All real servers can be reached.
fn ways(director: &mut Director) {
    let source = |real: IpAddr| if real.is_ipv4() { Family::V4 } else { Family::V6 }.director();
    let all = [A, B, C];
    director.apply(&Change::SetSources(all.map(|real| (real, source(real))).into()));
    director.apply(&Change::SetLinkMtus(all.map(|real| (real, 1_500)).into()));
    director.apply(&Change::SetInterfaces(all.map(|real| (real, 2)).into()));
}

#[test]
fn a_flow_is_carried_from_its_ninth_packet_on_of_either_transport() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.carried(flow(1));
    for number in 1..=8 {
        assert!(!fast.carries(&flow(2).udp()), "datagram {number}");
    }
    assert!(fast.carries(&flow(2).udp()));
    assert_eq!(fast.director.real(A).unwrap().packets, 16, "carried packets are counted later");
    fast.director.pass(seconds(1));
    fast.director.balancer.collect_carried(fast.director.now);
    let real = fast.director.real(A).unwrap();
    assert_eq!((real.packets, real.carried_packets), (18, 2));
    let counters = fast.director.balancer.counters();
    assert_eq!((counters.read, counters.tunnelled, counters.carried), (18, 18, 2));
}

#[test]
fn a_flow_is_carried_only_once_the_tun_is_empty() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.send(&flow(1).tcp(Flags::SYN), false);
    for _ in 0..20 {
        fast.send(&flow(1).tcp(Flags::ACK), false);
    }
    assert_eq!(fast.kernel.lock().unwrap().packets, 0);
    assert!(fast.director.balancer.wants_to_carry());
    fast.director.balancer.carry_wanted();
    assert!(fast.carries(&flow(1).tcp(Flags::ACK)));
}

/// Packets that waited in the TUN when their flow was entered would otherwise keep it here for as
/// long as others come meanwhile.
#[test]
fn a_late_packet_takes_its_flow_back_only_until_its_verdict() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.carried(flow(1));
    let data = |number: u32| {
        flow(1).segment(Flags::ACK).sequence(1_001 + 100 * number).data(&[7; 100]).bytes()
    };
    for number in [1, 3, 5] {
        assert!(fast.carries(&data(number)));
        fast.send_late(&data(number - 1), false);
        assert!(!fast.director.balancer.wants_to_carry());
    }
    assert!(fast.carries(&data(6)), "the balancer has what the carrier recorded");
    let connections = |fast: &Fast| fast.director.balancer.connections(fast.director.now, 0, 9).0;
    assert!(connections(&fast)[0].carried);
    // After a change it waits until the TUN has been read empty, as a new flow does.
    fast.director.balancer.take_all_back();
    assert!(!connections(&fast)[0].carried);
    fast.send_late(&data(7), false);
    assert!(fast.director.balancer.wants_to_carry());
    fast.send_late(&data(8), false);
    assert!(!fast.carries(&data(9)));
    assert!(fast.carries(&data(10)));
    // A packet that changes the connection keeps it here.
    fast.send_late(&flow(1).segment(Flags::FIN | Flags::ACK).sequence(2_101).bytes(), false);
    assert!(!fast.carries(&data(10)));
    assert_eq!(fast.director.states(), ["FIN_WAIT"]);
}

/// Each change takes all flows back before it is applied, and they are carried again afterwards if
/// they may be.
#[test]
fn every_change_takes_flows_back() {
    let deadline = Some(seconds(60));
    let drain = |deadline| set_state(A, AdminState::Draining { deadline });
    let rows = [
        (set_weight(A, 0), true),
        (drain(None), true),
        (drain(deadline), false),
        (set_state(A, AdminState::Down), true),
        (set_state(A, AdminState::Disabled), true),
        (set_health(A, Health::Down), true),
        (remove_real(A), true),
        (remove_web(), false),
        (Change::SetLinkMtus([(A, 1_400)].into()), true),
        (Change::SetSources([(A, "192.0.2.99".parse().unwrap())].into()), true),
        (Change::SetInterfaces([].into()), false),
        (Change::SetTimeouts(Timeouts::DEFAULT), true),
        (Change::SetCapacity(64), true),
        (Change::SetHashSeed(Seed(3, 4)), true),
        (set_encap(A, Encap::Gue), false),
    ];
    for (change, again) in rows {
        let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
        fast.carried(flow(1));
        fast.director.apply(&change);
        assert!(!fast.carries(&flow(1).tcp(Flags::ACK)), "{change:?}");
        assert_eq!(fast.carries(&flow(1).tcp(Flags::ACK)), again, "{change:?}");
    }
}

/// Larger packets go without DF then, or are answered.
#[test]
fn a_path_mtu_that_a_router_claims_takes_flows_back() {
    let packet = flow(1).tcp(Flags::ACK);
    let quoted = QuotedPacket::of(&Packet::parse(&packet).unwrap()).unwrap();
    for quoted in [Quoted::Packet(quoted), Quoted::TooShort] {
        let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
        fast.carried(flow(1));
        let error = TunnelError { real: A, kind: TunnelErrorKind::PathMtu(1_400) };
        fast.director.balancer.tunnel_error(fast.director.now, error, quoted);
        assert!(!fast.carries(&packet), "{quoted:?}");
        // Said again, it changes nothing: otherwise a stranger could keep all flows here.
        assert!(fast.carries(&packet), "{quoted:?}");
        fast.director.balancer.tunnel_error(fast.director.now, error, quoted);
        assert!(fast.carries(&packet), "{quoted:?}");
    }
}

fn set_encap(address: IpAddr, encap: Encap) -> Change {
    Change::SetReal { service: "web".to_owned(), address, value: RealValue::Encap(encap) }
}

#[test]
fn what_a_check_or_a_probe_changes_takes_nothing_back() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.carried(flow(1));
    let load = Load { thousandths: 500, ..Default::default() };
    fast.director.apply(&Change::SetLoad { service: "web".to_owned(), address: A, load });
    assert!(fast.carries(&flow(1).tcp(Flags::ACK)));
}

#[test]
fn a_flow_without_room_stays_here_and_a_tunnel_that_is_closed_carries_nothing() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.kernel.lock().unwrap().full = true;
    for _ in 0..12 {
        assert!(!fast.carries(&flow(2).udp()));
    }
    fast.kernel.lock().unwrap().full = false;
    assert!(!fast.carries(&flow(2).udp()));
    assert!(fast.carries(&flow(2).udp()));
    fast.director.balancer.take_all_back();
    assert!(!fast.carries(&flow(2).udp()));
    assert!(fast.carries(&flow(2).udp()));
}

#[test]
fn a_carried_connection_lives_as_long_as_its_packets_come_and_ends_with_its_own_fin() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let ack = flow(1).segment(Flags::ACK);
    fast.carried(flow(1));
    let mut sequence = 1_001;
    for _ in 0..2_000 {
        fast.director.pass(seconds(1));
        let segment = ack.clone().sequence(sequence).data(&[7; 1_000]).bytes();
        assert!(fast.carries(&segment));
        sequence += 1_000;
    }
    let (listed, _) = fast.director.balancer.connections(fast.director.now, 0, 9);
    assert_eq!(listed[0].state, "ESTABLISHED");
    let timeouts = Timeouts::DEFAULT;
    let left = timeouts.tcp_established - listed[0].expires;
    assert!(left <= seconds(1), "{left:?}");
    let sequence = sequence + (8 << 20);
    let forged = flow(1).segment(Flags::FIN | Flags::ACK).sequence(sequence);
    assert!(!fast.carries(&forged.bytes()));
    assert_eq!(fast.director.states(), ["ESTABLISHED"]);
    let fin = flow(1).segment(Flags::FIN | Flags::ACK).sequence(sequence - (8 << 20));
    assert!(!fast.carries(&fin.bytes()));
    assert_eq!(fast.director.states(), ["FIN_WAIT"]);
}

/// The balancer has not seen the segments before the end, and none of the numbers near the end's.
#[test]
fn a_carried_connection_ends_by_its_own_end_only() {
    for (flags, state) in [
        (Flags::FIN | Flags::ACK, "FIN_WAIT"),
        (Flags::RST | Flags::ACK, "CLOSE"),
        (Flags::RST, "CLOSE"),
    ] {
        let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
        fast.carried(flow(1));
        let mut sequence = 1_001_u32;
        while sequence < 16 << 20 {
            let segment = flow(1).segment(Flags::ACK).sequence(sequence).data(&[7; 1_400]);
            assert!(fast.carries(&segment.bytes()));
            sequence += 1_400;
        }
        let end = |sequence| flow(1).segment(flags).flags(flags).sequence(sequence).bytes();
        let forged = [1_001, sequence + (8 << 20), sequence ^ (1 << 31)];
        for sequence in forged {
            assert!(!fast.carries(&end(sequence)));
            assert_eq!(fast.director.states(), ["ESTABLISHED"], "{flags:#x}");
        }
        let ack = flow(1).segment(Flags::ACK).sequence(sequence).bytes();
        assert!(fast.carries(&ack), "forged segments keep no flow here");
        fast.send(&end(sequence), true);
        assert_eq!(fast.director.states(), [state], "{flags:#x}");
        assert!(!fast.carries(&ack));
    }
}

#[test]
fn a_connection_without_packets_is_idle_and_then_forgotten() {
    let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    fast.carried(flow(1));
    let timeouts = Timeouts::DEFAULT;
    fast.director.pass(timeouts.tcp_idle + seconds(1));
    assert_eq!(fast.director.counts(A), (0, 1));
    assert!(!fast.carries(&flow(1).tcp(Flags::ACK)), "it is to be active again");
    assert_eq!(fast.director.counts(A), (1, 0));
    assert!(fast.carries(&flow(1).tcp(Flags::ACK)));
    fast.director.pass(timeouts.tcp_established + seconds(1));
    assert_eq!(fast.director.connections(), 0);
}

/// What happens to both directors.
#[derive(Clone, Debug)]
enum Event {
    /// So many segments with that many bytes of new data each.
    Data(Flow, usize, u32),
    Tcp(Flow, u8, u32),
    Udp(Flow, usize, usize),
    Piece(Flow, u32, bool),
    PathMtu(IpAddr, u16),
    Change(Change),
    Flush(IpAddr),
    Pass(u64),
}

fn flows() -> impl Strategy<Value = Flow> {
    (0_u32..4).prop_map(flow)
}

fn changes() -> impl Strategy<Value = Change> {
    let real = || prop::sample::select(vec![A, B, C]);
    let wanted = prop_oneof![
        Just(AdminState::Up),
        prop::option::of((0_u64..90).prop_map(seconds))
            .prop_map(|deadline| AdminState::Draining { deadline }),
        Just(AdminState::Down),
        Just(AdminState::Disabled),
    ];
    let health = prop::sample::select(vec![Health::Up, Health::Down]);
    let policies = vec![
        Policy { existing: Existing::Reset, flood: FloodMarks::OFF, ..Policy::default() },
        Policy { one_packet: true, flood: FloodMarks::OFF, ..Policy::default() },
        Policy { unknown: Some(Unknown::Adopt), flood: FloodMarks::OFF, ..Policy::default() },
        Policy { drain_deadline: Some(seconds(9)), flood: FloodMarks::OFF, ..Policy::default() },
    ];
    prop_oneof![
        Just(Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]))),
        Just(remove_web()),
        (real(), 600_u32..2_000).prop_map(|way| Change::SetLinkMtus([way].into())),
        (real(), 0_u32..3).prop_map(|(real, weight)| add_real(real, weight)),
        real().prop_map(remove_real),
        (real(), 0_u32..3).prop_map(|(real, weight)| set_weight(real, weight)),
        (real(), wanted).prop_map(|(real, wanted)| set_state(real, wanted)),
        (real(), health).prop_map(|(real, health)| set_health(real, health)),
        prop::sample::select(policies).prop_map(set_policy),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let flags = vec![Flags::SYN, Flags::SYN, Flags::FIN | Flags::ACK, Flags::RST, Flags::ACK, 0];
    let real = || prop::sample::select(vec![A, B]);
    let event = prop_oneof![
        6 => (flows(), 1_usize..9, 0_u32..1_500)
            .prop_map(|(flow, count, len)| Event::Data(flow, count, len)),
        3 => (flows(), prop::sample::select(flags), 0_u32..3)
            .prop_map(|(flow, flags, ahead)| Event::Tcp(flow, flags, ahead << 22)),
        2 => (flows(), 1_usize..9, 0_usize..1_500)
            .prop_map(|(flow, count, len)| Event::Udp(flow, count, len)),
        1 => (flows(), 0_u32..3, any::<bool>())
            .prop_map(|(flow, number, first)| Event::Piece(flow, number, first)),
        1 => (real(), 500_u16..1_500).prop_map(|(real, mtu)| Event::PathMtu(real, mtu)),
        1 => changes().prop_map(Event::Change),
        1 => real().prop_map(Event::Flush),
        2 => (0_u64..100_000).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..80)
}

/// Each client's next sequence number.
#[derive(Default)]
struct Clients(HashMap<u32, u32>);

impl Clients {
    fn packets(&mut self, event: &Event) -> Vec<Vec<u8>> {
        match *event {
            Event::Data(flow, count, len) => {
                let next = self.0.entry(flow.client).or_insert(1_001);
                let data = vec![7; len as usize];
                let mut one = || {
                    let segment = flow.segment(Flags::ACK).sequence(*next).data(&data).bytes();
                    *next += len;
                    segment
                };
                (0..count).map(|_| one()).collect()
            }
            Event::Tcp(flow, flags, ahead) => {
                let next = self.0.get(&flow.client).copied().unwrap_or(1_001);
                vec![match flags {
                    Flags::SYN => flow.tcp(flags),
                    _ => flow.segment(flags).sequence(next.wrapping_add(ahead)).bytes(),
                }]
            }
            Event::Udp(flow, count, len) => {
                vec![flow.datagram().data(&vec![7; len]).bytes(); count]
            }
            Event::Piece(flow, number, first) => {
                let whole = flow.datagram().data(&[7; 40]).bytes();
                vec![piece(&whole, number, if first { 0..24 } else { 24..48 }, first)]
            }
            _ => Vec::new(),
        }
    }
}

use crate::wire::encap::Encap;
use std::collections::HashMap;

/// The real server and bytes of each sent packet, without the inputs of the outer header.
fn plain(sent: Vec<Sent>) -> Vec<(Option<IpAddr>, Vec<u8>)> {
    let one = |sent| match sent {
        Sent::ToClient(bytes) => (None, bytes),
        Sent::ToReal(tunnel, bytes) => (Some(tunnel.real), bytes),
    };
    sent.into_iter().map(one).collect()
}

/// The state that must be equal at the end.
fn outcome(director: &mut Director) -> (Snapshot, Vec<snapshot::ConnectionSnapshot>) {
    director.balancer.collect_carried(director.now);
    let mut snapshot = director.balancer.snapshot();
    snapshot.counters.carried = 0;
    snapshot.turnover = table::Turnover::default();
    for real in snapshot.services.iter_mut().flat_map(|service| &mut service.reals) {
        (real.carried_packets, real.carried_bytes) = (0, 0);
        // A carried flow is not timed.
        real.latency = None;
    }
    let (mut connections, _) = director.balancer.connections(director.now, 0, usize::MAX);
    connections.iter_mut().for_each(|connection| connection.carried = false);
    (snapshot, connections)
}

proptest! {
    #[test]
    fn any_history_is_the_same_with_and_without(
        events in events(),
        empty in prop::collection::vec(any::<bool>(), 1..20),
        late in prop::collection::vec(prop::bool::weighted(0.2), 1..30),
    ) {
        let mut fast = Fast::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
        let mut slow = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
        ways(&mut slow);
        let (mut clients, mut turns) = (Clients::default(), empty.iter().cycle());
        let mut late = late.into_iter().cycle();
        for event in events {
            for packet in clients.packets(&event) {
                let empty = turns.next().copied().unwrap_or_default();
                let with = match late.next() {
                    Some(true) => fast.send_late(&packet, empty),
                    _ => fast.send(&packet, empty),
                };
                prop_assert_eq!(plain(with), plain(slow.send(&packet).1), "{:?}", event);
            }
            match &event {
                Event::Change(change) => {
                    let with = fast.director.balancer.apply(fast.director.now, change);
                    prop_assert_eq!(with, slow.balancer.apply(slow.now, change));
                }
                Event::PathMtu(real, mtu) => {
                    let error = TunnelError { real: *real, kind: TunnelErrorKind::PathMtu(*mtu) };
                    fast.director.balancer.believe(fast.director.now, error);
                    slow.balancer.believe(slow.now, error);
                }
                Event::Flush(real) => {
                    let which = Flush { service: None, real: Some(*real) };
                    let with = fast.director.balancer.flush(&which, 0);
                    prop_assert_eq!(with, slow.balancer.flush(&which, 0));
                }
                Event::Pass(milliseconds) => {
                    fast.director.pass(Duration::from_millis(*milliseconds));
                    slow.pass(Duration::from_millis(*milliseconds));
                }
                _ => {}
            }
        }
        fast.director.pass(Duration::from_millis(20));
        slow.pass(Duration::from_millis(20));
        prop_assert_eq!(outcome(&mut fast.director), outcome(&mut slow));
    }
}
