//! The director's own probes: flows pinned to their real servers before their first packet.
//!
//! A probe through the tunnel is sent by the director's own sockets to the virtual IP, arrives from
//! the TUN like a client's packet, and must reach that one real server. It uses no scheduler and no
//! connection entry, and counts in no service: its real server is a separate one that no service
//! lists.

use std::net::IpAddr;

use super::probe_flows::{PROBE_HOPS, Pinned, ProbeFlow, SentProbe};
use super::real::Real;
use super::verdict::Disposition;
use super::{Balancer, ChangeError};
use crate::model::{Encap, Millis, RealSpec, ServiceId};
use crate::wire::icmp::{Quoted, QuotedPacket};
use crate::wire::{Fragment, Packet};

/// The real servers of probes belong to no service.
const NO_SERVICE: ServiceId = ServiceId { index: u32::MAX, generation: u32::MAX };

impl Balancer {
    /// Decides on a probe's packet; `None`: it is not one, but a client's.
    #[cold]
    pub(super) fn probe(&mut self, now: Millis, packet: &Packet<'_>) -> Option<Disposition> {
        if packet.fragment != Fragment::Whole {
            return None;
        }
        let quoted = QuotedPacket::of(packet)?;
        let pinned = self.tables.probes.flows.get_mut(&ProbeFlow::of(quoted.flow).key())?;
        // The kernel's answers in a closed socket's name have its usual TTL; no error about them
        // matters.
        if packet.ttl == PROBE_HOPS {
            pinned.sent = SentProbe::with(pinned.sent, packet, quoted);
        }
        let real = pinned.real;
        self.counters.probes += 1;
        Some(self.tunnel(now, packet, real))
    }

    /// Whether a probe to the real server at `address` is quoted.
    ///
    /// To forge such a quote, an attacker has to guess two values within the time of one probe.
    /// TCP: port and sequence number. Echo request: identifier and sequence number. Datagram: port
    /// and the label of its IP header.
    pub(super) fn is_probe(&self, address: IpAddr, quoted: QuotedPacket) -> bool {
        let pinned = self.tables.probes.flows.get(&ProbeFlow::of(quoted.flow).key());
        pinned.is_some_and(|pinned| {
            self.registry.reals[pinned.real].address() == address
                && pinned.sent.is_some_and(|sent| sent.is_quoted_by(quoted))
        })
    }

    /// The flow of the probe that an ICMP error refuses by quoting it. Each probe is refused once.
    pub fn refused_probe(&mut self, address: IpAddr, quoted: Quoted) -> Option<ProbeFlow> {
        let Quoted::Packet(quoted) = quoted else { return None };
        if !self.is_probe(address, quoted) {
            return None;
        }
        let flow = ProbeFlow::of(quoted.flow);
        let sent = self.tables.probes.flows.get_mut(&flow.key())?.sent.as_mut()?;
        (!std::mem::replace(&mut sent.refused, true)).then_some(flow)
    }

    pub(super) fn pin_probe(
        &mut self,
        flow: &ProbeFlow,
        address: IpAddr,
        encap: Encap,
    ) -> Result<(), ChangeError> {
        self.unpin_probe(flow);
        if !self.tables.probes.has_room() {
            return Err(ChangeError::Probes);
        }
        let id = match self.tables.probes.reals.get_mut(&(address, encap)) {
            Some((id, count)) => {
                *count += 1;
                *id
            }
            None => {
                let route = self.registry.local_route(address);
                let real =
                    Real::new(NO_SERVICE, RealSpec::new(address, 1).encapsulated(encap), route);
                let id = self.registry.add_real(real);
                self.tables.probes.reals.insert((address, encap), (id, 1));
                id
            }
        };
        self.tables.probes.add_source(flow.source);
        self.tables.probes.flows.insert(flow.key(), Pinned { real: id, sent: None });
        Ok(())
    }

    pub(super) fn unpin_probe(&mut self, flow: &ProbeFlow) {
        let Some(Pinned { real: id, .. }) = self.tables.probes.flows.remove(&flow.key()) else {
            return;
        };
        self.tables.probes.remove_source(flow.source);
        let real = &self.registry.reals[id];
        let key = (real.address(), real.encap());
        let Some((_, count)) = self.tables.probes.reals.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            self.tables.probes.reals.remove(&key);
            self.registry.remove_real(id);
        }
    }
}
