//! Ends flows whose real server keeps them no longer: past its drain deadline, down, or disabled.

use super::Balancer;
use super::availability::ResetEnds;
use super::table::Handle;
use super::tcp::ConnState;
use super::verdict::{AnswerCause, Disposition, Reason};
use crate::model::{Millis, Protocol, RealId};
use crate::wire::{Packet, tcp};

impl Balancer {
    /// Whether, and how, a flow of this real server ends with its next packet.
    #[inline]
    pub(super) fn ending(&self, now: Millis, id: RealId, protocol: Protocol) -> Option<ResetEnds> {
        let real = &self.registry.reals[id];
        let availability = real.availability();
        if availability.is_up() {
            return None;
        }
        let service = &self.registry.services[real.service()];
        availability.ending(now, service.policy.existing, protocol)
    }

    /// Whether a real server takes no new flow, so that a SYN on one of its connections goes to
    /// another server.
    #[inline]
    pub(super) fn leaving(&self, id: RealId) -> bool {
        !self.registry.reals[id].availability().is_up()
    }

    /// Ends a TCP connection with the current packet, which is neither a reset nor a SYN.
    ///
    /// The client gets a reset as from a host without the connection, the real server one in the
    /// client's name. The entry stays for `tcp_close`, since the real server's reset may be lost,
    /// or cause only a challenge ACK (RFC 5961 section 3.2). Then the real server sends on, and the
    /// client answers with a reset of its own, which the entry directs to the real server.
    #[cold]
    pub(super) fn end(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        (handle, state, real): (Handle, ConnState, RealId),
        ending: ResetEnds,
    ) -> Disposition {
        // The first reset of a connection is not rate-limited; those for its further packets are.
        if state == ConnState::Close && !self.answers.resets.allow(now) {
            return Disposition::Drop(Reason::NoConnection);
        }
        if tcp::reset(packet, &mut self.answers.reply).is_none() {
            return Disposition::Drop(Reason::NoConnection);
        }
        self.counters.ended += u64::from(state != ConnState::Close);
        // Also on probation: this is the director's decision, not the effect of a packet.
        self.enter_state(now, handle, state, ConnState::Close, real);
        self.reset_receiver(packet, real, ending)
    }

    /// The same for an existing flow without an entry. It gets none, since one packet proves
    /// nothing about its sender, and the answer counts against the rate of resets. The client's own
    /// reset is placed by hash.
    #[cold]
    pub(super) fn end_unknown(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        real: RealId,
        ending: ResetEnds,
    ) -> Disposition {
        match self.refuse_packet(now, packet, Reason::NoConnection) {
            Disposition::Reply(_) => self.reset_receiver(packet, real, ending),
            dropped => dropped,
        }
    }

    /// The client has its answer; this sends the reset to the real server, if that can receive it.
    fn reset_receiver(
        &mut self,
        packet: &Packet<'_>,
        real: RealId,
        ending: ResetEnds,
    ) -> Disposition {
        self.noted.real = Some(real);
        match ending {
            ResetEnds::Client => Disposition::Reply(AnswerCause::ConnectionEnded),
            ResetEnds::Both => match tcp::reset_receiver(packet, &mut self.answers.server_reset) {
                Some(()) => Disposition::Reset(real),
                None => Disposition::Reply(AnswerCause::ConnectionEnded),
            },
        }
    }
}
