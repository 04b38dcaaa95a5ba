//! Flows whose real server has no time left for them: past its drain deadline, down, or disabled.

use super::Balancer;
use super::availability::Ending;
use super::table::Handle;
use super::tcp::State;
use super::verdict::{Disposition, Reason};
use crate::model::{Millis, Protocol, RealId, RealState};
use crate::wire::{Packet, tcp};

impl Balancer {
    /// Whether, and how, a flow of this real server's ends with its next packet.
    #[inline]
    pub(super) fn ending(&self, now: Millis, id: RealId, protocol: Protocol) -> Option<Ending> {
        let real = &self.registry.reals[id];
        let availability = real.availability();
        if availability.state() == RealState::Up {
            return None;
        }
        let service = &self.registry.services[real.service()];
        availability.ending(now, service.policy.existing, protocol)
    }

    /// Whether a real server takes nothing new, so that a SYN on one of its connections is for
    /// another.
    #[inline]
    pub(super) fn leaving(&self, id: RealId) -> bool {
        self.registry.reals[id].availability().state() != RealState::Up
    }

    /// Ends a TCP connection with the packet at hand, which is no reset and opens nothing.
    ///
    /// The client is answered as by a host without the connection, the real server is told in the
    /// client's name. The entry stays for `tcp_close`: where a reset is lost, or only draws the
    /// real server's challenge (RFC 5961 section 3.2), the client answers what the real server
    /// still sends with a reset of its own, which has to find its way.
    #[cold]
    pub(super) fn end(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        (handle, state, real): (Handle, State, RealId),
        ending: Ending,
    ) -> Disposition {
        // One answer for each connection is not to be saved on; what else was on its way counts as
        // stray.
        if state == State::Close && !self.answers.resets.allow(now) {
            return Disposition::Drop(Reason::NoConnection);
        }
        if tcp::reset(packet, &mut self.answers.reply).is_none() {
            return Disposition::Drop(Reason::NoConnection);
        }
        self.counters.ended += u64::from(state != State::Close);
        // Also where it is on probation: this is the director's decision, and no packet's.
        self.enter_state(now, handle, state, State::Close, real);
        self.hang_up(packet, real, ending)
    }

    /// The same for a flow of before, which has no entry and gets none: whoever sends its packet
    /// may be nobody. So it is answered within the rate of resets. The client's own finds its way
    /// by the hash.
    #[cold]
    pub(super) fn end_unknown(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        real: RealId,
        ending: Ending,
    ) -> Disposition {
        match self.refuse_packet(now, packet, Reason::NoConnection) {
            Disposition::Reply => self.hang_up(packet, real, ending),
            dropped => dropped,
        }
    }

    /// The client has its answer; now the real server is told, where that can be.
    fn hang_up(&mut self, packet: &Packet<'_>, real: RealId, ending: Ending) -> Disposition {
        match ending {
            Ending::Client => Disposition::Reply,
            Ending::Both => match tcp::hang_up(packet, &mut self.answers.server_reset) {
                Some(()) => Disposition::Reset(real),
                None => Disposition::Reply,
            },
        }
    }
}
