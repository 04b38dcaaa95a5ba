//! Executes verdicts: which packets are sent, and in which order.

use super::verdict::{Reason, Verdict};
use super::{Balancer, Disposition, Tunnel};
use crate::model::Millis;
use crate::wire::Packet;

/// Sends the packets of a verdict; see [`Balancer::carry_out`].
pub trait Outlet {
    /// Sends the verdict's packet into this tunnel.
    fn packet(&mut self, tunnel: &Tunnel);

    /// Sends the director's own answer, a whole IP packet, to the client.
    fn reply(&mut self, answer: &[u8]);

    /// Sends the director's own reset to the real server: a whole IP packet from the client to the
    /// virtual IP. It is no longer than the verdict's packet, whose buffer it may use.
    fn server_reset(&mut self, tunnel: &Tunnel, reset: &[u8]);

    /// A buffer for a held fragment: [`MAX_PACKET_LEN`](crate::wire::packet::MAX_PACKET_LEN) bytes.
    fn room(&mut self) -> &mut [u8];

    /// Sends the held fragment that was copied to the first `len` bytes of [`Self::room`].
    fn released(&mut self, tunnel: &Tunnel, len: usize);
}

impl Balancer {
    /// Executes the latest verdict of [`Self::forward`] with `outlet`: sends the packet and, after
    /// the first fragment of a datagram, its held fragments in the order of their arrival; or the
    /// answer to the client and then the reset to the real server.
    #[inline]
    pub fn carry_out(&mut self, now: Millis, verdict: &Verdict, outlet: &mut impl Outlet) {
        match verdict {
            Verdict::Drop(_) | Verdict::Hold => {}
            Verdict::Reply => outlet.reply(&self.answers.reply),
            Verdict::Reset(tunnel) => {
                outlet.reply(&self.answers.reply);
                outlet.server_reset(tunnel, &self.answers.server_reset);
            }
            Verdict::Tunnel(tunnel) => {
                outlet.packet(tunnel);
                if self.tables.fragments.has_released() {
                    self.release(now, outlet);
                }
            }
        }
    }

    #[cold]
    fn release(&mut self, now: Millis, outlet: &mut impl Outlet) {
        while let Some((tunnel, len)) = self.next_released(now, outlet.room()) {
            outlet.released(&tunnel, len);
        }
    }

    /// Copies the next released fragment to `room`, and returns its tunnel and length.
    fn next_released(&mut self, now: Millis, room: &mut [u8]) -> Option<(Tunnel, usize)> {
        loop {
            let (real, len) = self.tables.fragments.take_released(room)?;
            let packet = Packet::parse(room.get(..len)?).ok()?;
            if !self.registry.lists(real) {
                self.counters.unhold(Reason::Fragment, 1);
                continue;
            }
            if let Disposition::Tunnel(real) = self.tunnel(now, &packet, real) {
                self.counters.release();
                let tunnel = self.registry.reals[real].count(1, len as u64);
                return Some((tunnel, len));
            }
            // A later fragment that is too big gets no ICMP error.
            self.counters.unhold(Reason::PathMtu, 1);
        }
    }
}
