//! The director's own probes: flows pinned to their real servers before their first packet.
//!
//! A probe through the tunnel is sent by the director's own sockets to the virtual IP, arrives from
//! the TUN like a client's packet, and must reach that one real server. It uses no scheduler and no
//! connection entry, and counts in no service: its real server is a separate one that no service
//! lists.

use std::collections::HashMap;
use std::net::IpAddr;

use super::flow::Key;
use super::real::Real;
use super::verdict::Disposition;
use super::{Balancer, ChangeError};
use crate::model::{Millis, RealId, RealSpec, ServiceId};
use crate::wire::{Fragment, Packet, Transport, icmp};

/// The most pinned flows at a time: two for each possible check.
pub const MAX_PINNED: usize = 131_072;

/// The real servers of probes belong to no service.
const NO_SERVICE: ServiceId = ServiceId { place: u32::MAX, generation: u32::MAX };

/// A probe's flow, as in its packets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProbeFlow {
    /// The protocol's number: TCP, UDP, or the ICMP of the family.
    pub protocol: u8,
    /// The director's own address.
    pub source: IpAddr,
    /// The source port, or the identifier of an echo request.
    pub source_port: u16,
    /// The virtual IP.
    pub destination: IpAddr,
    /// The destination port; 0 for an echo request.
    pub destination_port: u16,
}

impl ProbeFlow {
    fn key(&self) -> Key {
        let Self { protocol, source, source_port, destination, destination_port } = *self;
        Key::new(protocol, source, source_port, destination, destination_port)
    }
}

/// The pinned flows.
#[derive(Debug, Default)]
pub(super) struct Probes {
    flows: HashMap<Key, RealId>,
    /// The director's own addresses with pinned flows, and how many each has: a client's packet
    /// costs one comparison.
    sources: Vec<(IpAddr, usize)>,
    /// The real servers that flows are pinned to, each with its ID and number of flows.
    reals: HashMap<IpAddr, (RealId, usize)>,
}

impl Probes {
    /// Whether a packet from this address may be a probe's.
    #[inline]
    pub(super) fn may_come_from(&self, source: IpAddr) -> bool {
        self.sources.iter().any(|(own, _)| *own == source)
    }

    /// Whether another flow can be pinned.
    pub(super) fn has_room(&self) -> bool {
        self.flows.len() < MAX_PINNED
    }

    /// The real servers that flows are pinned to.
    #[cfg(test)]
    pub(super) fn reals(&self) -> impl Iterator<Item = RealId> {
        self.reals.values().map(|&(id, _)| id)
    }

    fn add_source(&mut self, source: IpAddr) {
        match self.sources.iter_mut().find(|(own, _)| *own == source) {
            Some((_, count)) => *count += 1,
            None => self.sources.push((source, 1)),
        }
    }

    fn remove_source(&mut self, source: IpAddr) {
        if let Some((_, count)) = self.sources.iter_mut().find(|(own, _)| *own == source) {
            *count -= 1;
        }
        self.sources.retain(|(_, count)| *count > 0);
    }
}

impl Balancer {
    /// Decides on a probe's packet; `None`: it is not one, but a client's.
    #[cold]
    pub(super) fn probe(&mut self, now: Millis, packet: &Packet<'_>) -> Option<Disposition> {
        if packet.fragment != Fragment::Whole {
            return None;
        }
        let (source_port, destination_port) = match packet.transport {
            Transport::Tcp(header) => (header.source_port, header.destination_port),
            Transport::Udp { source_port, destination_port } => (source_port, destination_port),
            Transport::Icmp { .. } => (icmp::echo_identifier(packet)?, 0),
            Transport::Other => return None,
        };
        let (source, destination) = (packet.source, packet.destination);
        let key = Key::new(packet.protocol, source, source_port, destination, destination_port);
        let real = *self.tables.probes.flows.get(&key)?;
        self.counters.probes += 1;
        Some(self.tunnel(now, packet, real))
    }

    pub(super) fn pin_probe(
        &mut self,
        flow: &ProbeFlow,
        address: IpAddr,
    ) -> Result<(), ChangeError> {
        self.unpin_probe(flow);
        if !self.tables.probes.has_room() {
            return Err(ChangeError::Probes);
        }
        let id = match self.tables.probes.reals.get_mut(&address) {
            Some((id, count)) => {
                *count += 1;
                *id
            }
            None => {
                let source = self.registry.sources.get(&address).copied();
                let real = Real::new(NO_SERVICE, RealSpec::new(address, 1), source);
                let id = self.registry.add_real(real);
                self.tables.probes.reals.insert(address, (id, 1));
                id
            }
        };
        self.tables.probes.add_source(flow.source);
        self.tables.probes.flows.insert(flow.key(), id);
        Ok(())
    }

    pub(super) fn unpin_probe(&mut self, flow: &ProbeFlow) {
        let Some(id) = self.tables.probes.flows.remove(&flow.key()) else { return };
        self.tables.probes.remove_source(flow.source);
        let address = self.registry.reals[id].address();
        let Some((_, count)) = self.tables.probes.reals.get_mut(&address) else { return };
        *count -= 1;
        if *count == 0 {
            self.tables.probes.reals.remove(&address);
            self.registry.remove_real(id);
        }
    }
}
