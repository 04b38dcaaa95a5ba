//! Where a flow without an entry goes: the one place that decides it.
//!
//! [`Balancer::decide`] looks and changes nothing, so explanations ask the very code that forwards.
//! [`Balancer::commit`](super::commit) then does what a decision says.

use super::Balancer;
use super::availability::Ending;
use super::flood::{Beginning, Count, Fill};
use super::flow::Key;
use super::persistence::{By, Choice, TemplateStep};
use super::sched::Eligible;
use super::service::Service;
use super::tcp::State;
use super::verdict::Reason;
use crate::model::{Millis, Protocol, RealId, ServiceId};
use crate::wire::{protocol, tcp};

/// The first packet of a flow without an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// A SYN or a datagram; the flow's entry begins in this state.
    Opening(State),
    /// TCP that opens nothing.
    Middle(tcp::Flags),
}

/// Where a flow goes, and what its packet changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) service: ServiceId,
    pub(super) outcome: Outcome,
    /// What says so.
    pub(super) by: By,
    pub(super) template: TemplateStep,
    /// The flow counts as a new one in the watch for floods.
    pub(super) count: Option<Count>,
}

/// What becomes of the flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It goes to this real server and gets an entry in this state.
    Enter(RealId, State),
    /// It goes there without an entry, since a flood's SYN leaves none.
    WithoutEntry(RealId),
    /// The datagram goes there, and is a flow of its own.
    Alone(RealId),
    /// The client's own reset goes there; nothing is left to remember.
    Reset(RealId),
    /// A flow of before: this real server has no time left for it.
    End(RealId, Ending),
    /// It goes nowhere.
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
    /// Where a flow without an entry goes that begins with this packet. `freed` entries of the
    /// table count as gone already.
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

    /// A new connection: the scheduler's to place, or the hash's while the table is full or the
    /// service flooded. A datagram that is scheduled alone leaves no entry and is no part of a
    /// flood.
    fn decide_opening(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        state: State,
        freed: usize,
    ) -> Decision {
        let service = &self.registry.services[id];
        let fill = self.fill_without(freed);
        let alone = state == State::Udp && service.policy.one_packet;
        let count = (!alone).then(|| service.count(now, Beginning::Opening, fill));
        let flooded = service.flooded_with(count);
        let by_hash = !alone && (flooded || fill.is_full() || service.hashed(now));
        let by_hash = by_hash.then_some(Eligible::InRotation);
        let Choice { real, by, template } = self.choose(now, key, id, by_hash, flooded);
        let outcome = match real {
            None => Outcome::Refuse(Reason::NoRealServer),
            Some(real) if alone => Outcome::Alone(real),
            // Nothing else may come of UDP by which the flow could be told from a new one again.
            Some(real) if flooded && state == State::Udp => Outcome::Enter(real, State::UdpNew),
            Some(real) if flooded => Outcome::WithoutEntry(real),
            Some(real) => Outcome::Enter(real, state),
        };
        Decision { service: id, outcome, by, template, count }
    }

    /// TCP that opens nothing: a flow of before where the service adopts such, or while flows
    /// without an entry may be alive. From now on it has an entry if there is room.
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
        // No client answers a server's SYN in a flow of before.
        let adopts = service.adopts() && !flags.syn();
        let Some(eligible) = service.expects_unknown(now, adopts) else { return refused };
        let fill = self.fill_without(freed);
        let count = (!flags.rst()).then(|| service.count(now, Beginning::Middle, fill));
        let flooded = service.flooded_with(count);
        let Choice { real, by, template } = self.choose(now, key, id, Some(eligible), flooded);
        let Some(real) = real else { return Decision { count, ..refused } };
        // The real server has to hear of a reset, but then there is nothing left to remember.
        if flags.rst() {
            return Decision { outcome: Outcome::Reset(real), ..refused };
        }
        if let Some(ending) = self.ending(now, real, Protocol::Tcp) {
            return Decision { outcome: Outcome::End(real, ending), count, ..refused };
        }
        // On probation, in and out of floods: one packet proves nothing about its sender. A flow of
        // before loses nothing by it, since what has placed it now does so again if its entry goes.
        // A flow that was left without an entry is known for a time only, so its next packet is
        // enough.
        let state = if adopts || flooded { State::SynAck } else { State::SynRecv };
        Decision { service: id, outcome: Outcome::Enter(real, state), by, template, count }
    }

    /// Where a flow without an entry belongs, where such flows may be alive: for what speaks of it
    /// and is no packet of it.
    pub(super) fn home(&self, now: Millis, key: &Key, id: ServiceId) -> Option<RealId> {
        let service = &self.registry.services[id];
        let adopts = key.protocol() == protocol::TCP && service.adopts();
        let eligible = service.expects_unknown(now, adopts)?;
        self.choose(now, key, id, Some(eligible), true).real
    }

    /// The service that a new flow is for.
    ///
    /// # Errors
    /// Why there is none.
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
    /// Counts a new flow in the watch for floods.
    fn count(&self, now: Millis, beginning: Beginning, fill: Fill) -> Count {
        self.watch.count(now, beginning, self.policy.flood, fill)
    }

    /// Whether the service is in flood mode once this has been counted.
    fn flooded_with(&self, count: Option<Count>) -> bool {
        self.watch.flooded() || count.is_some_and(|count| count.begins.is_some())
    }

    /// Whether TCP without an entry that opens nothing may be a flow's, and among which real
    /// servers that is looked for.
    fn expects_unknown(&self, now: Millis, adopts: bool) -> Option<Eligible> {
        if adopts {
            return Some(Eligible::ForExistingFlows);
        }
        self.hashed(now).then_some(Eligible::InRotation)
    }
}
