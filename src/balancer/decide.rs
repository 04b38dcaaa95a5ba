//! Decides where a flow without an entry goes; no other code does.
//!
//! [`Balancer::decide`] changes nothing, so explanations use the same code as forwarding.
//! [`Balancer::commit`](super::commit) then carries the decision out.

use super::Balancer;
use super::availability::ResetEnds;
use super::flood::{Beginning, Fill, FloodCount};
use super::flow::Key;
use super::persistence::{By, Choice, TemplateStep};
use super::pool::Eligible;
use super::service::Service;
use super::tcp::ConnState;
use super::verdict::Reason;
use crate::model::{Millis, Protocol, RealId, ServiceId};
use crate::wire::{protocol, tcp};

/// The first packet of a flow without an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// A SYN or a datagram; the flow's entry starts in this state.
    Opening(ConnState),
    /// TCP without a SYN.
    Middle(tcp::Flags),
}

/// Where a flow goes, and what its packet changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) service: ServiceId,
    pub(super) outcome: Outcome,
    /// What the decision is based on.
    pub(super) by: By,
    pub(super) template: TemplateStep,
    /// How the flow counts in flood detection, if it is a new one.
    pub(super) count: Option<FloodCount>,
}

/// What happens to the flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It goes to this real server and gets an entry in this state.
    Enter(RealId, ConnState),
    /// It goes there without an entry, since a flood's SYN leaves none.
    WithoutEntry(RealId),
    /// The datagram goes there, as a flow of one packet.
    Alone(RealId),
    /// The client's own reset goes there, without an entry.
    Reset(RealId),
    /// An existing flow that this real server keeps no longer.
    End(RealId, ResetEnds),
    /// It is refused.
    Refuse(Reason),
}

impl Outcome {
    /// The real server that the packet goes to.
    pub(super) fn real(self) -> Option<RealId> {
        match self {
            Self::Enter(real, _)
            | Self::WithoutEntry(real)
            | Self::Alone(real)
            | Self::Reset(real) => Some(real),
            Self::End(..) | Self::Refuse(_) => None,
        }
    }
}

impl Balancer {
    /// Where a flow without an entry goes if it starts with this packet. `freed` entries of the
    /// table count as removed already.
    #[inline]
    pub(super) fn decide(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        first: First,
        freed: usize,
    ) -> Decision {
        match first {
            First::Opening(state) => self.decide_opening(now, key, id, state, freed),
            First::Middle(flags) => self.decide_middle(now, key, id, flags, freed),
        }
    }

    /// A new connection: placed by the scheduler, or by hash while the table is full or the service
    /// in flood mode. A datagram that is scheduled alone gets no entry and does not count towards a
    /// flood.
    #[inline]
    fn decide_opening(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        state: ConnState,
        freed: usize,
    ) -> Decision {
        let service = &self.registry.services[id];
        let fill = self.fill_without(freed);
        let alone = state == ConnState::Udp && service.policy.one_packet;
        let count = (!alone).then(|| service.count(now, Beginning::Opening, fill));
        let flooded = service.flooded_with(count);
        let by_hash = !alone && (flooded || fill.is_full() || service.hashed(now));
        let by_hash = by_hash.then_some(Eligible::InRotation);
        let Choice { real, by, template } = self.choose(now, key, id, by_hash, flooded);
        let outcome = match real {
            None => Outcome::Refuse(service.refusal(now, &self.registry.reals)),
            Some(real) if alone => Outcome::Alone(real),
            // A UDP flow gets an entry at once, since no later packet shows that it is new.
            Some(real) if flooded && state == ConnState::Udp => {
                Outcome::Enter(real, ConnState::UdpNew)
            }
            Some(real) if flooded => Outcome::WithoutEntry(real),
            Some(real) => Outcome::Enter(real, state),
        };
        Decision { service: id, outcome, by, template, count }
    }

    /// TCP without a SYN: an existing flow if the service adopts such flows, or while flows without
    /// an entry may be alive. It gets an entry if there is space.
    fn decide_middle(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        flags: tcp::Flags,
        freed: usize,
    ) -> Decision {
        let service = &self.registry.services[id];
        let refused = Decision {
            service: id,
            outcome: Outcome::Refuse(Reason::NoConnection),
            by: By::Hash,
            template: TemplateStep::None,
            count: None,
        };
        // A SYN with ACK answers a server's SYN, which no client does.
        let adopts = service.adopts() && !flags.syn();
        let Some(eligible) = service.expects_unknown(now, adopts) else { return refused };
        let fill = self.fill_without(freed);
        let count = (!flags.rst()).then(|| service.count(now, Beginning::Middle, fill));
        let flooded = service.flooded_with(count);
        let Choice { real, by, template } = self.choose(now, key, id, Some(eligible), flooded);
        let Some(real) = real else { return Decision { count, ..refused } };
        // The real server needs the reset, but afterwards there is nothing to remember.
        if flags.rst() {
            return Decision { outcome: Outcome::Reset(real), ..refused };
        }
        if let Some(ending) = self.ending(now, real, Protocol::Tcp) {
            return Decision { outcome: Outcome::End(real, ending), count, ..refused };
        }
        // On probation, in and out of floods: one packet proves nothing about its sender. An
        // existing flow loses nothing: if its entry is evicted, the hash places it again. A flow
        // that was left without an entry is recognised for a limited time only, so its next packet
        // is enough.
        let state = if adopts || flooded { ConnState::SynAck } else { ConnState::SynRecv };
        Decision { service: id, outcome: Outcome::Enter(real, state), by, template, count }
    }

    /// The real server of a flow without an entry, while such flows may be alive: for ICMP errors
    /// and the like that refer to it.
    pub(super) fn real_without_entry(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
    ) -> Option<RealId> {
        let service = &self.registry.services[id];
        let adopts = key.protocol() == protocol::TCP && service.adopts();
        let eligible = service.expects_unknown(now, adopts)?;
        self.choose(now, key, id, Some(eligible), true).real
    }

    /// The service of a new flow.
    ///
    /// # Errors
    /// The reason if there is none.
    #[inline]
    pub(super) fn service_of(&self, key: &Key) -> Result<ServiceId, Reason> {
        let listens = &self.registry.listens;
        if listens.is_vip(key.client()) {
            return Err(Reason::BadSource);
        }
        let service = Protocol::from_number(key.protocol())
            .and_then(|protocol| listens.find(protocol, key.vip(), key.virtual_port()));
        service.ok_or_else(|| {
            if listens.is_vip(key.vip()) { Reason::NoService } else { Reason::NotVip }
        })
    }

    pub(super) fn fill_without(&self, freed: usize) -> Fill {
        let Fill { connections, capacity } = self.fill();
        Fill { connections: connections.saturating_sub(freed), capacity }
    }
}

impl Service {
    /// Counts a new flow in flood detection.
    fn count(&self, now: Millis, beginning: Beginning, fill: Fill) -> FloodCount {
        self.watch.count(now, beginning, self.policy.flood, fill)
    }

    /// Whether the service is in flood mode after this count.
    fn flooded_with(&self, count: Option<FloodCount>) -> bool {
        self.watch.flooded() || count.is_some_and(|count| count.begins.is_some())
    }

    /// Whether TCP without an entry and without a SYN may belong to a flow, and which real servers
    /// may have it.
    fn expects_unknown(&self, now: Millis, adopts: bool) -> Option<Eligible> {
        if adopts {
            return Some(Eligible::ForExistingFlows);
        }
        self.hashed(now).then_some(Eligible::InRotation)
    }
}
