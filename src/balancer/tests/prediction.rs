//! Whatever came before, a predicted packet has the effect that all steps have.

use proptest::prelude::*;

use super::*;
use crate::balancer::forward::key;
use crate::balancer::position::SegmentFields;
use crate::model::Timeouts;

const CLIENTS: u32 = 4;
const FLAGS: [u8; 6] = [
    Flags::SYN,
    Flags::FIN | Flags::ACK,
    Flags::RST,
    Flags::RST | Flags::ACK,
    Flags::SYN | Flags::ACK,
    0,
];

#[derive(Clone, Debug)]
enum Act {
    /// The client, its flags, the distances from its first sequence and acknowledgement numbers,
    /// and bytes of data.
    Segment(u32, u8, u32, u32, usize),
    Datagram(u32, usize),
    Pass(Duration),
    Change(Change),
}

impl Director {
    /// As [`Director::forward`], for a packet of a known flow without prediction.
    fn in_all_steps(&mut self, bytes: &[u8]) -> Verdict {
        let (now, packet) = (self.now, Packet::parse(bytes).unwrap());
        let (from, to) = match packet.transport {
            Transport::Tcp(header) => (header.source_port, header.destination_port),
            Transport::Udp { source_port, destination_port } => (source_port, destination_port),
            other => panic!("{other:?}"),
        };
        let key = key(&packet, from, to);
        let Some(found) = self.balancer.connection(&key) else { return self.forward(bytes) };
        self.balancer.stamp(now.0 * 1_000);
        let disposition = match packet.transport {
            Transport::Tcp(header) => {
                let segment = SegmentFields::of(&packet, header);
                self.balancer.segment(now, &packet, key, found, &segment)
            }
            _ => self.balancer.datagram(now, &packet, key, found),
        };
        self.balancer.counters.count(disposition);
        self.balancer.verdict(disposition, &packet)
    }

    /// All that packets change.
    fn everything(&self) -> (Snapshot, Vec<String>) {
        let table = &self.balancer.tables.connections;
        let entries = table.iter_in(0..table.entry_count());
        (self.balancer.snapshot(), entries.map(|entry| format!("{entry:?}")).collect())
    }
}

fn packet(act: &Act) -> Option<Vec<u8>> {
    Some(match *act {
        Act::Segment(client, flags, sequence, acknowledgement, data) => flow(client)
            .segment(flags)
            .flags(flags)
            .sequence(1_001_u32.wrapping_add(sequence))
            .acknowledgement(acknowledgement)
            .data(&vec![7; data])
            .bytes(),
        Act::Datagram(client, data) => flow(client).datagram().data(&vec![7; data]).bytes(),
        Act::Pass(_) | Act::Change(_) => return None,
    })
}

fn timeouts(udp: u64) -> Timeouts {
    Timeouts { tcp_idle: seconds(udp / 2), udp: seconds(udp), ..Timeouts::DEFAULT }
}

fn changes() -> impl Strategy<Value = Change> {
    let mut changes = vec![
        Change::SetTimeouts(timeouts(300)),
        Change::SetTimeouts(timeouts(20)),
        Change::SetLinkMtus([(A, 1_300), (B, 1_300)].into()),
        Change::SetLinkMtus([(A, 1_500), (B, 1_500)].into()),
        remove_real(A),
    ];
    for address in [A, B] {
        changes.extend([
            set_health(address, Health::Down),
            set_health(address, Health::Up),
            set_state(address, AdminState::Disabled),
            set_state(address, AdminState::Up),
        ]);
    }
    prop::sample::select(changes)
}

fn acts() -> impl Strategy<Value = Act> {
    let near = prop::sample::select(vec![0, 0, 1, 700, 1 << 20, 4 << 20, 0x4000_0000, u32::MAX]);
    let data = prop::sample::select(vec![0, 0, 700, 1_400]);
    let answer = prop::sample::select(vec![0, 0, 1, 1 << 16, 1 << 22]);
    let client = 0..CLIENTS;
    prop_oneof![
        8 => (client.clone(), near.clone(), answer.clone(), data.clone()).prop_map(
            |(client, near, answer, data)| Act::Segment(client, Flags::ACK, near, answer, data)
        ),
        2 => client.clone().prop_map(|client| {
            Act::Segment(client, Flags::SYN, u32::MAX, 0, 0)
        }),
        2 => (client.clone(), prop::sample::select(FLAGS.to_vec()), near, answer).prop_map(
            |(client, flags, near, answer)| Act::Segment(client, flags, near, answer, 0)
        ),
        3 => (client, data).prop_map(|(client, data)| Act::Datagram(client, data)),
        2 => (0_u64..100_000).prop_map(|ms| Act::Pass(Duration::from_millis(ms / 20))),
        1 => (0_u64..100).prop_map(|passed| Act::Pass(seconds(passed))),
        1 => changes().prop_map(Act::Change),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_predicted_packet_has_the_effect_of_all_steps(
        existing in prop::sample::select(vec![Existing::Keep, Existing::Reset]),
        flooded in prop::bool::weighted(0.3),
        acts in prop::collection::vec(acts(), 1..60),
    ) {
        let reals = [(A, 1), (B, 1), (C, 1)];
        let mut directors = [(); 2].map(|()| Director::with(SchedulerKind::RoundRobin, &reals));
        for director in &mut directors {
            let flood = FloodMarks { new_flows: if flooded { CLIENTS } else { 0 }, table_use: 0 };
            director.apply(&set_policy(Policy { existing, flood, ..Policy::default() }));
            (0..CLIENTS).for_each(|client| { director.connect(flow(client)); });
        }
        let [predicting, stepping] = &mut directors;
        for act in acts {
            match (&act, packet(&act)) {
                (_, Some(bytes)) => {
                    prop_assert_eq!(predicting.forward(&bytes), stepping.in_all_steps(&bytes));
                }
                (Act::Pass(duration), _) => {
                    predicting.pass(*duration);
                    stepping.pass(*duration);
                }
                (Act::Change(change), _) => {
                    // A real server can be removed once.
                    let applied = predicting.balancer.apply(predicting.now, change);
                    prop_assert_eq!(&stepping.balancer.apply(stepping.now, change), &applied);
                }
                _ => {}
            }
            prop_assert_eq!(predicting.everything(), stepping.everything(), "{:?}", act);
        }
    }
}
