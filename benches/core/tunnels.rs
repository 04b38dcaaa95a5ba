//! Into the tunnel and out of it, in the four mixes of families.

use std::hint::black_box;

use vstun::balancer::Tunnel;
use vstun::balancer::outer::Inner;
use vstun::decap::{Admission, Gate, Mss};
use vstun::sys::raw::HEADROOM;
use vstun::wire::Packet;
use vstun::wire::encap::{Encap, MAX_OUTER_LEN, Opened, ipip};

use super::packets::Family::{self, V4, V6};
use super::rows::Run;

/// The key of flow labels.
const KEY: u64 = 0x5bd1_e995_9e37_79b9;
/// Any number except zero.
/// The length of a full segment of an IPv4 client.
const DATA: [u8; 1_448] = [7; 1_448];

fn tunnel(real: Family) -> Tunnel {
    Tunnel {
        real: real.real(0),
        encap: Encap::Ipip,
        source: Some(real.director()),
        sequence: 0,
        limit: usize::MAX,
        link: usize::MAX,
    }
}

/// Writes the outer header of a packet of one family towards a real server of another.
pub(crate) fn outer(inner: Family, real: Family) -> Run {
    let packet = inner.segment(0, &DATA);
    let mut room = [0; MAX_OUTER_LEN];
    let (source, tunnel) = (V4.director(), tunnel(real));
    Box::new(move |count| {
        let packet = Packet::parse(&packet).unwrap();
        for _ in 0..count {
            let inner = Inner::of(black_box(&packet), KEY);
            let outer = inner.outer(black_box(&tunnel), 0, source);
            let len = packet.bytes().len();
            black_box(ipip::write(&outer, inner.version, len, &mut room)).unwrap();
        }
    })
}

/// Opens the packets of such a tunnel.
pub(crate) fn gate(inner: Family, real: Family) -> Run {
    let mut gate = Gate::new(
        [V4, V6].map(|family| family.director().into()).to_vec(),
        [V4, V6].map(Family::vip).to_vec(),
        Mss { v4: 1_440, v6: 1_400 },
    );
    let packet = inner.segment(0, &DATA);
    let mut datagram = vec![0; HEADROOM];
    datagram.extend_from_slice(&packet);
    if real == V6 {
        // The kernel does not deliver the outer header.
        let (source, inner_version) = (real.director(), inner.version());
        let outer = Opened {
            source,
            traffic_class: 0,
            encap: Encap::Ipip,
            inner_version,
            inner: HEADROOM..datagram.len(),
        };
        return Box::new(move |count| {
            for _ in 0..count {
                admitted(&gate.open_payload(black_box(&outer), black_box(&mut datagram)));
            }
        });
    }
    let mut header = [0; 20];
    let outer = Inner::of(&Packet::parse(&packet).unwrap(), KEY);
    let outer = outer.outer(&tunnel(real), 0, real.director());
    ipip::write(&outer, inner.version(), packet.len(), &mut header).unwrap();
    let start = HEADROOM - header.len();
    Box::new(move |count| {
        for _ in 0..count {
            // The gate has overwritten its end.
            datagram[start..HEADROOM].copy_from_slice(&header);
            admitted(&gate.open(black_box(&mut datagram[start..])));
        }
    })
}

fn admitted(outcome: &Admission) {
    assert!(matches!(black_box(outcome), Admission::Deliver(_)));
}
