//! Packets that are too large for the path to their real server.

use super::tunnel::MIN_MTU_V6;
use super::verdict::{AnswerCause, Disposition, Reason};
use super::{Balancer, limit};
use crate::model::{Millis, RealId};
use crate::wire::{Packet, icmp};

impl Balancer {
    /// The verdict for a packet to a real server: into the tunnel, if it fits.
    #[inline]
    pub(super) fn tunnel(&mut self, now: Millis, packet: &Packet<'_>, id: RealId) -> Disposition {
        if self.registry.reals[id].room.excludes(packet.wire_len()) {
            return self.too_big(now, packet, id);
        }
        Disposition::Tunnel(id)
    }

    /// Clients learn the TUN's MTU, which fits the real server with the most room, from the kernel.
    /// This handles a real server with less: behind a smaller link of the director's own, or behind
    /// a router that has reported a smaller path MTU.
    #[cold]
    fn too_big(&mut self, now: Millis, packet: &Packet<'_>, id: RealId) -> Disposition {
        if self.registry.reals[id].room.expire(now) {
            self.take_back_of(id);
            if !self.registry.reals[id].room.excludes(packet.wire_len()) {
                return Disposition::Tunnel(id);
            }
        }
        self.try_size_again(now, id);
        let real = &self.registry.reals[id];
        let mut mtu = u16::try_from(real.room.advertised()).unwrap_or(u16::MAX);
        if packet.version() == 6 {
            mtu = mtu.max(MIN_MTU_V6);
        }
        // A packet that may be fragmented or cannot be smaller (RFC 2473 section 7.1, RFC 4213
        // section 3.2.2) is sent in pieces, or lets IPv4 routers fragment it.
        if !packet.dont_fragment || packet.wire_len() <= usize::from(mtu) {
            return Disposition::Tunnel(id);
        }
        self.noted.refused = Some(Reason::PathMtu);
        let answered = limit::within(&mut self.answers.unreachables, now)
            .and_then(|()| icmp::packet_too_big(packet, mtu, &mut self.answers.reply));
        match answered {
            Some(()) => Disposition::Reply(AnswerCause::Refused(Reason::PathMtu)),
            None => Disposition::Drop(Reason::PathMtu),
        }
    }
}
