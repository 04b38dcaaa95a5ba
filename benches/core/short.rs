//! Short connections, with and without a carrier: one that a flow never reaches.

use vstun::balancer::carrier::{
    Carried, CarriedFlow, CarriedTunnel, Carrier, FlowProgress, NotCarriedCounts, TunnelNumber,
};
use vstun::balancer::flow::Key;
use vstun::model::Millis;

use super::packets::Family;
use super::rows::{Run, director, take};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
/// A client's packets: opens, asks, acknowledges the answer and the server's end, ends.
const FLAGS: [u8; 6] = [SYN, ACK, ACK, ACK, FIN_ACK, ACK];
/// Where the flags are in a TCP header.
const FLAGS_AT: usize = 13;
/// Between the first packets of two connections, milliseconds: their entries expire, and some ten
/// thousand are alive.
const STEP: u64 = 10;
const TURN: u32 = 64;

/// Carries nothing. A short connection never comes this far.
#[derive(Debug)]
struct Unused;

impl Carrier for Unused {
    fn open(&mut self, _: &CarriedTunnel) -> Option<TunnelNumber> {
        unreachable!()
    }
    fn close(&mut self, _: TunnelNumber) -> Carried {
        unreachable!()
    }
    fn carried(&mut self, _: TunnelNumber) -> Carried {
        unreachable!()
    }
    fn enter(&mut self, _: usize, _: &CarriedFlow) -> bool {
        unreachable!()
    }
    fn seen(&self, _: usize) -> FlowProgress {
        unreachable!()
    }
    fn carries(&self, _: usize) -> bool {
        unreachable!()
    }
    fn hold(&mut self, _: usize) -> bool {
        unreachable!()
    }
    fn forget(&mut self, _: usize, _: &Key) {
        unreachable!()
    }
    fn not_carried(&self) -> NotCarriedCounts {
        unreachable!()
    }
}

/// All packets of a connection, one connection after the other.
pub(crate) fn connections(family: Family, with_carrier: bool) -> Run {
    let mut director = director(family, 65_536);
    if with_carrier {
        director.carry_by(Box::new(Unused), 1);
    }
    let mut packets = FLAGS.map(|flags| {
        let mut packet = family.segment(0, &[]);
        packet[family.header_len() + FLAGS_AT] = flags;
        packet
    });
    let mut number = 0_u32;
    Box::new(move |count| {
        for _ in 0..count {
            let now = Millis(u64::from(number) * STEP);
            if number.is_multiple_of(TURN) {
                director.expire(now);
            }
            for packet in &mut packets {
                family.set_client(packet, number);
                take(&mut director, now, packet);
            }
            number += 1;
        }
        assert_eq!(director.counters().without_entry, 0, "the table has room");
    })
}
