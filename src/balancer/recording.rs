//! Makes records of decisions.
//!
//! Forwarding notes what it has found out about a new flow or a refusal, so packets of known
//! connections cost nothing more. To get a record, a caller calls [`Balancer::observe`] before
//! [`Balancer::forward`] and [`Balancer::record`] after it.

use std::sync::Arc;

use super::Balancer;
use super::flow::Key;
use super::forward;
use super::real::Real;
use super::record::{DecisionBasis, Placed, Record, RecordNotes, RecordedEnds, RecordedVerdict};
use super::segment::Found;
use super::tcp::ConnState;
use super::verdict::{Reason, Verdict};
use crate::model::{Millis, RealId, Seed, ServiceId};
use crate::wire::{Fragment, Packet, Transport};

/// The state of a packet's flow before its verdict.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    key: Option<Key>,
    found: Option<Found>,
    service: Option<ServiceId>,
    probes: u64,
}

impl Observation {
    /// Whether the packet's flow had an entry.
    #[must_use]
    pub fn has_entry(&self) -> bool {
        self.found.is_some()
    }
}

impl Balancer {
    /// Observes the flow of the packet that is passed to [`Self::forward`] next.
    #[cold]
    pub fn observe(&mut self, packet: &Packet<'_>) -> Observation {
        self.noted = RecordNotes::default();
        let key = ports(packet).map(|(client, port)| forward::key(packet, client, port));
        let found = key.and_then(|key| self.peek(&key).0);
        let service = found.and_then(|(.., real)| self.service_of_real(real));
        Observation { key, found, service, probes: self.counters.probes }
    }

    /// The record of the packet for which [`Self::forward`] has just returned this verdict.
    #[cold]
    #[must_use]
    pub fn record(
        &self,
        now: Millis,
        packet: &Packet<'_>,
        seen: &Observation,
        verdict: &Verdict,
    ) -> Record {
        let (verdict, mut reason, tunnel) = match verdict {
            Verdict::Drop(reason) => (RecordedVerdict::Drop, Some(*reason), None),
            Verdict::Reply => (RecordedVerdict::Reply, self.noted.refused, None),
            Verdict::Reset(tunnel) => (RecordedVerdict::Reset, None, Some(tunnel.real)),
            Verdict::Tunnel(tunnel) => (RecordedVerdict::Tunnel, None, Some(tunnel.real)),
            Verdict::Hold => (RecordedVerdict::Hold, None, None),
        };
        let why = self.grounds(packet, seen, verdict, reason);
        // A reset of an unknown flow is noted as a refusal, but the flow has a real server.
        if why == Some(DecisionBasis::Ended) {
            reason = None;
        }
        let noted = self.noted.real.or_else(|| seen.found.map(|(.., real)| real));
        let ended = noted.filter(|_| why == Some(DecisionBasis::Ended));
        let ended = ended.and_then(|real| self.registry.reals.get(real)).map(Real::address);
        let service = self.noted.placed.map(|(service, _)| service);
        let service = service.or_else(|| self.noted.real.and_then(|id| self.service_of_real(id)));
        Record {
            at: now,
            ends: Some(RecordedEnds {
                protocol: packet.protocol,
                client: packet.source,
                virtual_address: packet.destination,
                ports: ports(packet),
            }),
            length: packet.bytes().len(),
            packets: packet.wire_packets(),
            verdict,
            reason,
            service: service
                .or(seen.service)
                .and_then(|id| self.registry.services.get(id))
                .map(|service| Arc::clone(&service.name)),
            real: tunnel.or(ended),
            why,
            before: seen.found.map(|(_, state, _)| state),
            after: self.state_after(seen),
        }
    }

    /// The record of a frame that is not a packet.
    #[must_use]
    pub fn record_of_frame(now: Millis, length: usize, reason: Reason) -> Record {
        Record {
            at: now,
            ends: None,
            length,
            packets: 1,
            verdict: RecordedVerdict::Drop,
            reason: Some(reason),
            service: None,
            real: None,
            why: None,
            before: None,
            after: None,
        }
    }

    /// The seed of this director alone, and that of the hash that places flows.
    #[must_use]
    pub fn seeds(&self) -> (Seed, Seed) {
        (self.settings.seed, self.settings.hash_seed)
    }

    fn grounds(
        &self,
        packet: &Packet<'_>,
        seen: &Observation,
        verdict: RecordedVerdict,
        reason: Option<Reason>,
    ) -> Option<DecisionBasis> {
        match verdict {
            RecordedVerdict::Drop | RecordedVerdict::Hold => return None,
            RecordedVerdict::Reset => return Some(DecisionBasis::Ended),
            RecordedVerdict::Reply if self.noted.real.is_some() => {
                return Some(DecisionBasis::Ended);
            }
            RecordedVerdict::Reply => {
                return match (reason, packet.transport) {
                    (None, Transport::Icmp { .. }) => Some(DecisionBasis::Echo),
                    _ => None,
                };
            }
            RecordedVerdict::Tunnel => {}
        }
        if self.counters.probes != seen.probes {
            return Some(DecisionBasis::Probe);
        }
        if let Some((service, placed)) = self.noted.placed {
            let kind = self.registry.services.get(service)?.kind;
            return Some(match placed {
                Placed::Template => DecisionBasis::Template,
                Placed::Hash => DecisionBasis::Hash,
                Placed::OnePacket => DecisionBasis::OnePacket(kind),
                Placed::Scheduler => DecisionBasis::Scheduler(kind),
            });
        }
        Some(match packet.transport {
            Transport::Icmp { .. } => DecisionBasis::IcmpError,
            _ if packet.fragment == Fragment::Later => DecisionBasis::Fragment,
            _ => DecisionBasis::Entry,
        })
    }

    fn state_after(&self, seen: &Observation) -> Option<ConnState> {
        let key = seen.key?;
        let same = seen.found.and_then(|(handle, ..)| self.tables.connections.entry(handle));
        if let Some(entry) = same.filter(|entry| entry.key() == key) {
            return Some(entry.state());
        }
        self.peek(&key).0.map(|(_, state, _)| state)
    }

    fn service_of_real(&self, real: RealId) -> Option<ServiceId> {
        self.registry.reals.get(real).map(Real::service)
    }
}

/// The ports of a packet that has them.
pub(super) fn ports(packet: &Packet<'_>) -> Option<(u16, u16)> {
    match packet.transport {
        Transport::Tcp(header) => Some((header.source_port, header.destination_port)),
        Transport::Udp { source_port, destination_port } => Some((source_port, destination_port)),
        Transport::Icmp { .. } | Transport::Other => None,
    }
}
