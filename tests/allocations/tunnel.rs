//! Packets on their way through the tunnel, at both ends.

use vstun::balancer::outer::Inner;
use vstun::decap::{Admission, Gate, Mss};
use vstun::wire::coalesce::{self, Coalescer};
use vstun::wire::encap::joins::{GuePacket, Joins, OuterFields};
use vstun::wire::encap::{self, Encap, MAX_OUTER_LEN, Opened, ipip};
use vstun::wire::segment::{MAX_HEADER_LEN, SplitPlan};
use vstun::wire::virtio::Offload;

use super::*;
use crate::build::MIXES;

fn tunnel(outer: Family) -> Tunnel {
    let source = Some(outer.director());
    Tunnel {
        real: outer.real(11),
        encap: Encap::Ipip,
        source,
        sequence: 0,
        limit: usize::MAX,
        link: usize::MAX,
    }
}

#[test]
fn a_super_frame_is_split_and_wrapped_without_allocating() {
    for (family, outer) in MIXES {
        let mut director = director(16);
        forward(&mut director, 0, &family.tcp(Flags::SYN).bytes());
        let frame = family.tcp(Flags::ACK).data(&vec![7; 64_000]).bytes();
        let start = u16::try_from(family.header_len()).unwrap();
        let tunnel = tunnel(outer);
        let mut room = [0; MAX_OUTER_LEN + MAX_HEADER_LEN];
        let mut segments = 0;
        let calls = allocations(|| {
            let packet = Packet::parse(&frame).unwrap();
            let plan = SplitPlan::new(&packet, Offload::Tcp { segment: 1_440, start }).unwrap();
            let verdict = director.forward(Millis(0), &packet.split_into(plan.on_wire()));
            assert!(matches!(verdict, Verdict::Tunnel(_)));
            let inner = Inner::of(&packet, 7);
            for index in 0..plan.count() {
                let (outer_room, header) = room.split_at_mut(MAX_OUTER_LEN);
                let payload = plan.write(index, packet.bytes(), header).unwrap();
                let outer = inner.outer(&tunnel, index, outer.director());
                let len = plan.header_len() + payload.len();
                ipip::write(&outer, inner.version, len, outer_room).unwrap();
                segments += 1;
            }
        });
        assert_eq!((calls, segments), (0, 45));
    }
}

/// From the second packet on: the first one makes the memory of all sends.
#[test]
fn packets_in_gue_are_joined_without_allocating() {
    let mut joins = Joins::default();
    for number in 0..2_000_u16 {
        let way = OuterFields {
            source: Family::V6.director(),
            destination: Family::V6.real(u8::try_from(number % 50).unwrap()),
            source_port: 61_440 + number % 4,
            traffic_class: u8::try_from(number % 3).unwrap(),
        };
        let inner = vec![7; 18 + usize::from(number) % 1_400];
        let segment = GuePacket::new(way, number.into(), 4, [&inner[..8], &inner[8..]]).unwrap();
        let entered = allocations(|| {
            while let Err(index) = joins.enter(&segment) {
                let send = joins.take(index).unwrap();
                black_box(send.datagrams().count());
                joins.give_back(send);
            }
        });
        assert!(entered == 0 || number == 0, "packet {number}");
    }
}

#[test]
fn the_gate_opens_without_allocating() {
    let directors = FAMILIES.map(|family| family.director().into()).to_vec();
    let vips = FAMILIES.map(Family::vip).to_vec();
    let mut gate = Gate::new(directors, vips, Mss { v4: 1_440, v6: 1_420 });
    for (family, outer) in MIXES {
        let packet = family.tcp(Flags::ACK).data(&[7; 1_440]).bytes();
        let inner = Inner::of(&Packet::parse(&packet).unwrap(), 7);
        let header = inner.outer(&tunnel(outer), 0, outer.director());
        let mut datagram = vec![0; outer.header_len()];
        ipip::write(&header, inner.version, packet.len(), &mut datagram).unwrap();
        datagram.extend_from_slice(&packet);
        let opened = encap::open(&datagram).unwrap();
        let foreign = Opened { source: family.client(), ..opened.clone() };
        let mut scratch = datagram.clone();
        let calls = allocations(|| {
            for _ in 0..100 {
                scratch.copy_from_slice(&datagram);
                assert!(matches!(gate.open(&mut scratch), Admission::Deliver(_)));
                scratch.copy_from_slice(&datagram);
                assert!(matches!(gate.open_payload(&opened, &mut scratch), Admission::Deliver(_)));
                assert!(matches!(gate.open_payload(&foreign, &mut scratch), Admission::Drop(_)));
            }
        });
        assert_eq!(calls, 0);
    }
}

#[test]
fn a_batch_is_coalesced_without_allocating() {
    let segment = |family: Family, index: u32| {
        let ip = family.tcp(Flags::ACK).sequence(index * 1_400).data(&[7; 1_400]);
        [&[0; 10][..], &ip.bytes()].concat()
    };
    let of_both = |index| FAMILIES.map(|family| segment(family, index));
    let frames: Vec<_> = (0..32).flat_map(of_both).collect();
    let mut coalescer = Coalescer::default();
    let (mut room, mut written) = ([0; coalesce::MAX_HEADER_LEN], 0);
    let calls = allocations(|| {
        for _ in 0..10 {
            assert_eq!(coalescer.sort(&frames), 64);
            for group in coalescer.groups() {
                written += Coalescer::header(group, &frames[group.first()], &mut room).unwrap();
                written += coalescer
                    .frame_indexes(group)
                    .map(|index| group.payload(&frames[index]).len())
                    .sum::<usize>();
            }
        }
    });
    assert_eq!((calls, written), (0, 10 * (2 * 32 * 1_400 + 50 + 70)));
}
