//! The director's own probes: flows pinned to their real servers before their first packet.
//!
//! A probe through the tunnel is sent by the director's own sockets to the virtual IP, arrives from
//! the TUN like a client's packet, and must reach that one real server. It uses no scheduler and no
//! connection entry, and counts in no service: its real server is a separate one that no service
//! lists.

use std::net::IpAddr;

use super::flow::Key;
use super::probe_flows::ProbeFlow;
use super::real::Real;
use super::verdict::Disposition;
use super::{Balancer, ChangeError};
use crate::model::{Millis, RealSpec, ServiceId};
use crate::wire::{Fragment, Packet, Transport, icmp};

/// The real servers of probes belong to no service.
const NO_SERVICE: ServiceId = ServiceId { place: u32::MAX, generation: u32::MAX };

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
                let way = self.registry.own_way(address);
                let real = Real::new(NO_SERVICE, RealSpec::new(address, 1), way);
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
