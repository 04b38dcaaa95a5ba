#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const HEADER: [u8; 4] = [0, 4, 0, 0];

fn outer(real: u8, source_port: u16, traffic_class: u8) -> OuterFields {
    let [source, destination] = [1, real].map(|last| IpAddr::from([10, 0, 0, last]));
    OuterFields { source, destination, source_port, traffic_class }
}

/// Enters a packet; what had to leave before it is appended to `left`.
fn enter(joins: &mut Joins, left: &mut Vec<Sent>, outer: OuterFields, flow: u32, inner: &[u8]) {
    let (first, rest) = inner.split_at(inner.len() / 2);
    let segment = GuePacket::new(outer, flow, 4, [first, rest]).unwrap();
    while let Err(index) = joins.enter(&segment) {
        left.push(Sent::of(joins, index));
    }
}

/// A send as the kernel gets it: the inner packets, and the size of all but the last.
#[derive(Debug, Eq, PartialEq)]
struct Sent {
    outer: OuterFields,
    size: usize,
    padding: usize,
    packets: Vec<Vec<u8>>,
}

impl Sent {
    fn of(joins: &mut Joins, index: usize) -> Self {
        let send = joins.take(index).unwrap();
        let packets = send.datagrams().map(|datagram| {
            assert_eq!(datagram[..4], HEADER);
            datagram[4..].to_vec()
        });
        let sent = Self {
            outer: send.outer(),
            size: send.size(),
            padding: send.padding(),
            packets: packets.collect(),
        };
        assert_eq!(send.count(), sent.packets.len());
        let bytes: usize = send.datagrams().map(<[u8]>::len).sum();
        assert_eq!(send.len(), bytes + send.padding());
        joins.give_back(send);
        sent
    }

    fn lengths(&self) -> Vec<usize> {
        self.packets.iter().map(Vec::len).collect()
    }
}

fn all(joins: &mut Joins) -> Vec<Sent> {
    std::iter::from_fn(|| (!joins.is_empty()).then(|| Sent::of(joins, 0))).collect()
}

/// The lengths of the packets of each send, if these packets come one after the other.
fn sends_of(lengths: &[usize]) -> Vec<Vec<usize>> {
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    for len in lengths {
        enter(&mut joins, &mut left, outer(11, 61_440, 0), 7, &vec![0; *len]);
    }
    left.extend(all(&mut joins));
    left.iter().map(Sent::lengths).collect()
}

#[test]
fn equal_packets_join_and_a_shorter_one_ends_the_send() {
    assert_eq!(sends_of(&[1_400, 1_400, 100]), [vec![1_400, 1_400, 100]]);
    assert_eq!(sends_of(&[1_400, 100, 1_400]), [vec![1_400, 100], vec![1_400]]);
    assert_eq!(sends_of(&[100, 1_400]), [vec![100], vec![1_400]]);
    assert_eq!(sends_of(&[]), [[0; 0]; 0]);
}

#[test]
fn padding_that_costs_more_than_a_send_is_not_sent() {
    let sizes = [[600, 600 + MAX_PADDING], [600, 600 + MAX_PADDING + 1]];
    assert_eq!(sends_of(&sizes[0]), [sizes[0]]);
    assert_eq!(sends_of(&sizes[1]), [[sizes[1][0]], [sizes[1][1]]]);
    // One longer packet pads all before it.
    assert_eq!(sends_of(&[100, 100, 100 + MAX_PADDING / 2]).len(), 1);
    assert_eq!(sends_of(&[100, 100, 100 + MAX_PADDING / 2 + 1]).len(), 2);
    // The last one costs nothing until another follows.
    assert_eq!(sends_of(&[1_400, 40]).len(), 1);
    assert_eq!(sends_of(&[1_400, 1_400 - MAX_PADDING, 40]).len(), 1);
    assert_eq!(sends_of(&[1_400, 1_400 - MAX_PADDING - 1, 40]).len(), 2);
}

/// Each packet pays for its own zeros, however many the send has.
#[test]
fn padding_of_earlier_packets_does_not_count_against_later_ones() {
    assert_eq!(sends_of(&[1_400, 1_000, 1_400, 1_000, 1_400]).len(), 1);
}

#[test]
fn a_send_whose_memory_is_used_again_has_no_flows_of_before() {
    let (plain, marked) = (outer(11, 61_440, 2), outer(11, 61_440, 3));
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    enter(&mut joins, &mut left, plain, 5, &[0; 60]);
    enter(&mut joins, &mut left, marked, 5, &[0; 60]);
    assert_eq!(all(&mut joins).len(), 2);
    enter(&mut joins, &mut left, plain, 1, &[0; 60]);
    enter(&mut joins, &mut left, marked, 2, &[0; 60]);
    enter(&mut joins, &mut left, plain, 5, &[0; 60]);
    assert_eq!((left.len(), all(&mut joins).len()), (0, 2));
}

#[test]
fn padding_is_counted_and_the_last_has_none() {
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    for len in [40, 148, 100, 60] {
        enter(&mut joins, &mut left, outer(11, 61_440, 0), 7, &vec![0; len]);
    }
    let sends = all(&mut joins);
    assert_eq!((sends.len(), sends[0].size, sends[0].padding), (1, 152, 108 + 48));
}

#[test]
fn a_send_has_64_packets_and_no_more_bytes_than_a_datagram() {
    let small: Vec<usize> = sends_of(&[60; 65]).iter().map(Vec::len).collect();
    assert_eq!(small, [MAX_SEGMENTS, 1]);
    // As many as a super-frame of 64 KB has, and one.
    assert_eq!(sends_of(&[1_468; 45]).iter().map(Vec::len).collect::<Vec<_>>(), [44, 1]);
    let exact = MAX_BYTES - 2 * 1_000 - gue::HEADER_LEN;
    assert_eq!(sends_of(&[996, 996, 40, exact]).len(), 2, "padding counts");
    assert_eq!(sends_of(&[MAX_INNER]), [[MAX_INNER]]);
    let half = (MAX_BYTES - 1) / 2;
    assert_eq!(sends_of(&[half - 4, half - 4]).len(), 1);
    assert_eq!(sends_of(&[half + 1 - 4, half + 1 - 4]).len(), 2, "one byte too many");
}

#[test]
fn each_difference_in_the_outer_header_makes_another_send() {
    let base = outer(11, 61_440, 0);
    let others = [
        outer(12, 61_440, 0),
        outer(11, 61_441, 0),
        outer(11, 61_440, 2),
        OuterFields { source: IpAddr::from([10, 0, 0, 2]), ..base },
    ];
    for other in others {
        let (mut joins, mut left) = (Joins::default(), Vec::new());
        for (flow, outer) in [(1, base), (2, other), (3, base), (4, other)] {
            enter(&mut joins, &mut left, outer, flow, &[0; 60]);
        }
        assert!(left.is_empty(), "both are open at once");
        let sends = all(&mut joins);
        assert_eq!(sends.iter().map(|sent| sent.outer).collect::<Vec<_>>(), [base, other]);
        assert!(sends.iter().all(|sent| sent.packets.len() == 2));
    }
}

/// A flow's packets change their congestion mark.
#[test]
fn a_packet_does_not_overtake_one_of_its_flow() {
    let (plain, marked) = (outer(11, 61_440, 2), outer(11, 61_440, 3));
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    enter(&mut joins, &mut left, plain, 5, &[1; 60]);
    enter(&mut joins, &mut left, marked, 5, &[2; 60]);
    enter(&mut joins, &mut left, marked, 6, &[9; 60]);
    assert!(left.is_empty());
    enter(&mut joins, &mut left, plain, 5, &[3; 60]);
    assert_eq!(left.iter().map(|sent| sent.packets[0][0]).collect::<Vec<_>>(), [1]);
    let rest: Vec<u8> = all(&mut joins).iter().map(|sent| sent.packets[0][0]).collect();
    assert_eq!(rest, [2, 3]);
}

#[test]
fn one_send_too_many_makes_the_first_leave() {
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    for real in 0..32 {
        enter(&mut joins, &mut left, outer(real, 61_440, 0), 1, &[real; 60]);
    }
    assert!(left.is_empty());
    enter(&mut joins, &mut left, outer(99, 61_440, 0), 1, &[99; 60]);
    assert_eq!(left.iter().map(|sent| sent.packets[0][0]).collect::<Vec<_>>(), [0]);
    assert_eq!(all(&mut joins).len(), MAX_OPEN);
    assert_eq!(joins.take(0).map(|_| ()), None);
}

#[test]
fn what_another_packet_to_a_real_server_must_wait_for() {
    let (mut joins, mut left) = (Joins::default(), Vec::new());
    enter(&mut joins, &mut left, outer(11, 61_440, 0), 1, &[0; 60]);
    enter(&mut joins, &mut left, outer(12, 61_440, 0), 1, &[0; 60]);
    let real = |last| IpAddr::from([10, 0, 0, last]);
    assert_eq!(joins.before(real(12), 61_440), Some(1));
    assert_eq!(joins.before(real(12), 61_441), None);
    assert_eq!(joins.before(real(13), 61_440), None);
}

#[derive(Clone, Debug)]
struct One {
    real: u8,
    port: u16,
    traffic_class: u8,
    flow: u32,
    len: usize,
    /// What has been read is sent.
    leave: bool,
}

fn one() -> impl Strategy<Value = One> {
    let len = prop_oneof![18_usize..160, Just(1_400), 1_000_usize..1_468];
    (0_u8..12, 0_u16..3, 0_u8..3, 0_u32..3, len, prop::bool::weighted(0.02)).prop_map(
        |(real, port, traffic_class, flow, len, leave)| One {
            real,
            port,
            traffic_class,
            // A flow has one source port.
            flow: flow * 3 + u32::from(port),
            len,
            leave,
        },
    )
}

proptest! {
    /// What the sends carry is what the packets were, each once, with its own outer header, and in
    /// the order of its flow. No send is larger than the kernel takes, no packet has more room than
    /// the longest one of its send, and no zeros cost more than a send.
    #[test]
    fn sends_carry_the_packets_one_by_one(all_of_them in prop::collection::vec(one(), 0..400)) {
        let (mut joins, mut left) = (Joins::default(), Vec::new());
        let mut expected = BTreeMap::<_, Vec<_>>::new();
        for (number, one) in all_of_them.iter().enumerate() {
            let mut inner = vec![0; one.len];
            inner[..8].copy_from_slice(&(number as u64).to_be_bytes());
            inner[8..12].copy_from_slice(&one.flow.to_be_bytes());
            let outer = outer(one.real, one.port, one.traffic_class);
            enter(&mut joins, &mut left, outer, one.flow, &inner);
            expected.entry((one.real, one.flow)).or_default().push((one.traffic_class, inner));
            if one.leave {
                left.extend(all(&mut joins));
            }
        }
        left.extend(all(&mut joins));
        let mut carried = BTreeMap::<_, Vec<_>>::new();
        for sent in &left {
            let longest = sent.packets.iter().map(Vec::len).max().unwrap();
            prop_assert_eq!(sent.size, longest + gue::HEADER_LEN);
            prop_assert!(sent.packets.len() <= MAX_SEGMENTS);
            prop_assert!(sent.padding <= (sent.packets.len() - 1) * MAX_PADDING);
            let last = sent.packets.last().unwrap().len() + gue::HEADER_LEN;
            prop_assert!((sent.packets.len() - 1) * sent.size + last <= MAX_BYTES);
            let IpAddr::V4(real) = sent.outer.destination else { unreachable!() };
            for packet in &sent.packets {
                let flow = u32::from_be_bytes(packet[8..12].try_into().unwrap());
                let key = (real.octets()[3], flow);
                let one = (sent.outer.traffic_class, packet.clone());
                carried.entry(key).or_default().push(one);
            }
        }
        prop_assert_eq!(carried, expected);
    }
}
