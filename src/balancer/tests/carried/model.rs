//! A model of the kernel's half: the map and the program, as plain as they can be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::balancer::carrier::{
    Carried, CarriedFlow, CarriedTunnel, Carrier, FlowProgress, NotCarriedCounts, TunnelNumber,
};
use crate::balancer::flow::Key;

const NEAR_SEQUENCE: u32 = 4 << 20;
const NEAR_ACKNOWLEDGEMENT: u32 = 1 << 20;

/// What the two halves share.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    indexes: HashMap<Key, usize>,
    flows: HashMap<usize, Flow>,
    tunnels: HashMap<u32, (CarriedTunnel, Carried)>,
    last_number: u32,
    /// Packets carried.
    pub(super) packets: usize,
    /// Flows that have no room.
    pub(super) full: bool,
}

#[derive(Debug)]
struct Flow {
    /// Whether it is carried.
    on: bool,
    tunnel: u32,
    seen: FlowProgress,
}

/// The balancer's end.
#[derive(Debug)]
pub(super) struct Model(pub(super) Arc<Mutex<Kernel>>);

impl Kernel {
    /// The real server that a packet is carried to.
    pub(super) fn run(&mut self, now: Millis, packet: &Packet<'_>) -> Option<IpAddr> {
        let (ports, segment) = match packet.transport {
            _ if packet.fragment != Fragment::Whole => return None,
            Transport::Tcp(header) => {
                let flags = header.flags;
                if !flags.ack() || flags.syn() || flags.fin() || flags.rst() {
                    return None;
                }
                ((header.source_port, header.destination_port), Some(header))
            }
            Transport::Udp { source_port, destination_port } => {
                ((source_port, destination_port), None)
            }
            _ => return None,
        };
        let (client, vip) = (packet.source, packet.destination);
        let key = Key::new(packet.protocol, client, ports.0, vip, ports.1);
        let flow = self.flows.get_mut(self.indexes.get(&key)?).filter(|flow| flow.on)?;
        let (tunnel, carried) = self.tunnels.get_mut(&flow.tunnel)?;
        if packet.wire_len() > tunnel.limit {
            return None;
        }
        if let Some(header) = segment {
            let headers = usize::from(packet.header_len) + usize::from(header.header_len);
            let len = u32::try_from(packet.bytes().len() - headers).unwrap();
            let end = header.sequence.wrapping_add(len);
            let known = u32::from(flow.seen.acknowledged) << 16;
            let near = distance(header.sequence, flow.seen.next) <= NEAR_SEQUENCE
                && distance(header.acknowledgement & !0xffff, known) <= NEAR_ACKNOWLEDGEMENT;
            if header.sequence != flow.seen.next && !near {
                return None;
            }
            let ahead = end.wrapping_sub(flow.seen.next);
            if ahead < 1 << 31 {
                flow.seen.next = end;
            }
            flow.seen.acknowledged = u16::try_from(header.acknowledgement >> 16).unwrap();
        }
        flow.seen.last = Some(now);
        carried.frames += 1;
        carried.packets += packet.wire_packets();
        carried.bytes += packet.wire_bytes();
        self.packets += 1;
        Some(tunnel.real)
    }
}

fn distance(one: u32, other: u32) -> u32 {
    one.wrapping_sub(other).min(other.wrapping_sub(one))
}

impl Carrier for Model {
    fn open(&mut self, tunnel: &CarriedTunnel) -> Option<TunnelNumber> {
        let mut kernel = self.0.lock().unwrap();
        kernel.last_number += 1;
        let number = kernel.last_number;
        kernel.tunnels.insert(number, (*tunnel, Carried::default()));
        Some(TunnelNumber(number))
    }

    fn close(&mut self, tunnel: TunnelNumber) -> Carried {
        self.0.lock().unwrap().tunnels.remove(&tunnel.0).expect("it is open").1
    }

    fn carried(&mut self, tunnel: TunnelNumber) -> Carried {
        let mut kernel = self.0.lock().unwrap();
        std::mem::take(&mut kernel.tunnels.get_mut(&tunnel.0).expect("it is open").1)
    }

    fn enter(&mut self, index: usize, flow: &CarriedFlow) -> bool {
        let mut kernel = self.0.lock().unwrap();
        assert!(kernel.tunnels.contains_key(&flow.tunnel.0), "{flow:?}");
        let known = kernel.indexes.insert(flow.key, index);
        assert!(known.is_none_or(|known| known == index), "two indexes for {:?}", flow.key);
        let (next, acknowledged) = (flow.next, flow.acknowledged);
        let seen = FlowProgress { last: None, next, acknowledged };
        let on = !kernel.full;
        let before = kernel.flows.insert(index, Flow { on, tunnel: flow.tunnel.0, seen });
        assert!(before.is_none_or(|before| !before.on), "it was taken back before");
        on
    }

    fn seen(&self, index: usize) -> FlowProgress {
        self.0.lock().unwrap().flows[&index].seen
    }

    fn carries(&self, index: usize) -> bool {
        let kernel = self.0.lock().unwrap();
        let flow = kernel.flows.get(&index);
        flow.is_some_and(|flow| flow.on && kernel.tunnels.contains_key(&flow.tunnel))
    }

    fn hold(&mut self, index: usize) -> bool {
        let kernel = &mut *self.0.lock().unwrap();
        let flow = kernel.flows.get_mut(&index).expect("it was entered");
        std::mem::take(&mut flow.on) && kernel.tunnels.contains_key(&flow.tunnel)
    }

    fn forget(&mut self, index: usize, key: &Key) {
        let mut kernel = self.0.lock().unwrap();
        if kernel.flows.remove(&index).is_some() {
            assert_eq!(kernel.indexes.remove(key), Some(index), "{key:?}");
        }
    }

    fn not_carried(&self) -> NotCarriedCounts {
        NotCarriedCounts::default()
    }
}
