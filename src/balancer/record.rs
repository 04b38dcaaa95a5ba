//! What was decided about a packet, and why: for traces and for the recorder.
//!
//! Forwarding notes what it has found out about a new flow or a refusal, which costs a packet of a
//! known connection nothing. Whoever wants a record calls [`Balancer::observe`] before
//! [`Balancer::forward`] and [`Balancer::record`] after it.

use std::net::IpAddr;
use std::sync::Arc;

use super::Balancer;
use super::decide::{Decision, Outcome};
use super::flow::Key;
use super::forward;
use super::persistence::By;
use super::real::Real;
use super::segment::Found;
use super::tcp::State;
use super::verdict::{Reason, Verdict};
use crate::model::{Millis, RealId, SchedulerKind, Seed, ServiceId};
use crate::wire::{Fragment, Packet, Transport};

/// The decision about one packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// When it was decided.
    pub at: Millis,
    /// The packet's two ends; `None`: the frame was no packet.
    pub ends: Option<RecordedEnds>,
    /// The packet's length in bytes.
    pub length: usize,
    /// How many packets it is on the wire: more than one for a super-frame.
    pub packets: u64,
    /// The verdict.
    pub verdict: RecordedVerdict,
    /// Why it was dropped, or answered by a refusal.
    pub reason: Option<Reason>,
    /// The service, if it was found.
    pub service: Option<Arc<str>>,
    /// The real server that it was sent to, or whose connection it ends.
    pub real: Option<IpAddr>,
    /// What named the real server; `None` for a drop or a refusal.
    pub why: Option<Grounds>,
    /// The state of its connection before it; `None`: it had no entry.
    pub before: Option<State>,
    /// The state of its connection after it; `None`: it has no entry.
    pub after: Option<State>,
}

/// A packet's two ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedEnds {
    /// The transport's protocol number.
    pub protocol: u8,
    /// The source.
    pub client: IpAddr,
    /// The destination.
    pub virtual_address: IpAddr,
    /// Source and destination port of TCP and UDP; later fragments have none.
    pub ports: Option<(u16, u16)>,
}

/// A [`Verdict`] without what carries it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordedVerdict {
    /// Sent to a real server.
    Tunnel,
    /// Answered by the director.
    Reply,
    /// Answered by the director with a reset, and the real server got one too.
    Reset,
    /// Dropped.
    Drop,
    /// A fragment that waits for its datagram's first one.
    Hold,
}

impl RecordedVerdict {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tunnel, Self::Reply, Self::Reset, Self::Drop, Self::Hold];

    /// The name in filters and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Reply => "reply",
            Self::Reset => "reset",
            Self::Drop => "drop",
            Self::Hold => "hold",
        }
    }
}

/// What a decision is based on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grounds {
    /// The flow's entry in the connection table.
    Entry,
    /// The client's template.
    Template,
    /// This scheduler has chosen for a new flow.
    Scheduler(SchedulerKind),
    /// This scheduler has chosen for a datagram that is a flow of its own.
    OnePacket(SchedulerKind),
    /// The hash of the flow.
    Hash,
    /// The first fragment of its datagram.
    Fragment,
    /// The flow that an ICMP error quotes.
    IcmpError,
    /// The director's own probe, bound for one real server.
    Probe,
    /// An echo request, which the director answers.
    Echo,
    /// The real server keeps its connections no longer.
    Ended,
}

impl Grounds {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Template => "template",
            Self::Scheduler(_) => "scheduler",
            Self::OnePacket(_) => "one_packet",
            Self::Hash => "hash",
            Self::Fragment => "fragment",
            Self::IcmpError => "icmp_error",
            Self::Probe => "probe",
            Self::Echo => "echo",
            Self::Ended => "ended",
        }
    }

    /// The scheduler that has chosen.
    #[must_use]
    pub fn scheduler(self) -> Option<SchedulerKind> {
        match self {
            Self::Scheduler(kind) | Self::OnePacket(kind) => Some(kind),
            _ => None,
        }
    }
}

/// What forwarding has found out about a packet, for its record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted {
    decision: Option<(ServiceId, By, bool)>,
    refused: Option<Reason>,
    /// The real server of a fragment, a quoted flow or an ended connection.
    real: Option<RealId>,
}

impl Noted {
    #[inline]
    pub(super) fn decision(&mut self, decision: &Decision) {
        let alone = matches!(decision.outcome, Outcome::Alone(_));
        self.decision = Some((decision.service, decision.by, alone));
    }

    #[inline]
    pub(super) fn refusal(&mut self, reason: Reason) {
        self.refused = Some(reason);
    }

    #[inline]
    pub(super) fn real(&mut self, real: RealId) {
        self.real = Some(real);
    }
}

/// What was known of a packet's flow before its verdict.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    key: Option<Key>,
    found: Option<Found>,
    service: Option<ServiceId>,
    probes: u64,
}

impl Balancer {
    /// Looks at the flow of a packet that [`Self::forward`] gets next.
    #[cold]
    pub fn observe(&mut self, packet: &Packet<'_>) -> Observation {
        self.noted = Noted::default();
        let key = ports(packet).map(|(client, port)| forward::key(packet, client, port));
        let found = key.and_then(|key| self.peek(&key).0);
        let service = found.and_then(|(.., real)| self.service_of_real(real));
        Observation { key, found, service, probes: self.counters.probes }
    }

    /// The record of the packet that [`Self::forward`] has just given this verdict.
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
        // A reset of an unknown flow counts as a refusal, but the packet has its place.
        if why == Some(Grounds::Ended) {
            reason = None;
        }
        let noted = self.noted.real.or_else(|| seen.found.map(|(.., real)| real));
        let ended = noted.filter(|_| why == Some(Grounds::Ended));
        let ended = ended.and_then(|real| self.registry.reals.get(real)).map(Real::address);
        let service = self.noted.decision.map(|(service, ..)| service);
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

    /// The record of a frame that is no packet.
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
    ) -> Option<Grounds> {
        match verdict {
            RecordedVerdict::Drop | RecordedVerdict::Hold => return None,
            RecordedVerdict::Reset => return Some(Grounds::Ended),
            RecordedVerdict::Reply if self.noted.real.is_some() => return Some(Grounds::Ended),
            RecordedVerdict::Reply => {
                return match (reason, packet.transport) {
                    (None, Transport::Icmp { .. }) => Some(Grounds::Echo),
                    _ => None,
                };
            }
            RecordedVerdict::Tunnel => {}
        }
        if self.counters.probes != seen.probes {
            return Some(Grounds::Probe);
        }
        if let Some((service, by, alone)) = self.noted.decision {
            let kind = self.registry.services.get(service)?.kind;
            return Some(match by {
                By::Template => Grounds::Template,
                By::Hash => Grounds::Hash,
                By::Scheduler(_) if alone => Grounds::OnePacket(kind),
                By::Scheduler(_) => Grounds::Scheduler(kind),
            });
        }
        Some(match packet.transport {
            Transport::Icmp { .. } => Grounds::IcmpError,
            _ if packet.fragment == Fragment::Later => Grounds::Fragment,
            _ => Grounds::Entry,
        })
    }

    fn state_after(&self, seen: &Observation) -> Option<State> {
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
fn ports(packet: &Packet<'_>) -> Option<(u16, u16)> {
    match packet.transport {
        Transport::Tcp(header) => Some((header.source_port, header.destination_port)),
        Transport::Udp { source_port, destination_port } => Some((source_port, destination_port)),
        Transport::Icmp { .. } | Transport::Other => None,
    }
}
