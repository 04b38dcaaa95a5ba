//! A fragment's way through the balancer.

use super::Role;
use crate::balancer::Balancer;
use crate::balancer::flow::Key;
use crate::balancer::real::{Life, Real};
use crate::balancer::verdict::{Reason, Verdict};
use crate::model::{Millis, RealId};
use crate::wire::packet::extension::is_extension;
use crate::wire::{Fragment, Packet, protocol};

impl Balancer {
    /// Decides what becomes of a fragment from a host that can be a client.
    #[cold]
    pub(in crate::balancer) fn fragment(&mut self, now: Millis, packet: &Packet<'_>) -> Verdict {
        if let Some(reason) = self.refused_at_once(packet) {
            return Verdict::Drop(reason);
        }
        let Some(part) = packet.part() else { return Verdict::Drop(Reason::Malformed) };
        let key = key(packet, part.identification);
        let role = match self.fragments.file(now, key, part, &mut self.counters) {
            Ok(role) => role,
            Err(reason) => return Verdict::Drop(reason),
        };
        match role {
            Role::First(datagram) => {
                let verdict = self.transport(now, packet);
                let real = if let Verdict::Tunnel(real) = verdict { Some(real) } else { None };
                self.fragments.decide(datagram, real, &mut self.counters);
                verdict
            }
            Role::Ahead(datagram) => {
                if self.fragments.hold(datagram, packet.bytes(), &mut self.counters) {
                    Verdict::Hold
                } else {
                    Verdict::Drop(Reason::FragmentLimit)
                }
            }
            Role::Follows(Some(real)) if self.serves(real) => self.tunnel(now, packet, real),
            Role::Follows(_) => Verdict::Drop(Reason::Fragment),
        }
    }

    /// Whether [`Self::release`] has something: look after each packet that was tunnelled, when it has been
    /// [dispatched](Self::dispatch).
    #[inline]
    #[must_use]
    pub fn has_released(&self) -> bool {
        self.fragments.has_released()
    }

    /// Takes the next of the fragments that were held ([`Verdict::Hold`]) for one that has now been tunnelled, in the order in
    /// which they came. It is copied to `room`, which has [`MAX_PACKET_LEN`](crate::wire::packet::MAX_PACKET_LEN) bytes, and
    /// is to be tunnelled to this real server.
    #[cold]
    pub fn release<'a>(&mut self, now: Millis, room: &'a mut [u8]) -> Option<(RealId, Packet<'a>)> {
        let (real, len) = loop {
            let (real, len) = self.fragments.take_released(room)?;
            let packet = Packet::parse(room.get(..len)?).ok()?;
            match self.tunnel(now, &packet, real) {
                Verdict::Tunnel(real) if self.serves(real) => {
                    self.counters.release();
                    break (real, len);
                }
                Verdict::Tunnel(_) => self.counters.unhold(Reason::Fragment, 1),
                // Of a later fragment nobody is told that it is too big.
                _ => self.counters.unhold(Reason::PathMtu, 1),
            }
        };
        Some((real, Packet::parse(room.get(..len)?).ok()?))
    }

    /// What needs no look at the datagram.
    fn refused_at_once(&self, packet: &Packet<'_>) -> Option<Reason> {
        if !self.listens.is_vip(packet.destination) {
            return Some(Reason::NotVip);
        }
        if self.listens.is_vip(packet.source) {
            return Some(Reason::BadSource);
        }
        match packet.protocol {
            protocol::TCP | protocol::UDP => None,
            // The answer to an echo request, and what an error quotes, would take the whole message.
            protocol::ICMP if packet.version() == 4 => Some(Reason::Fragment),
            protocol::ICMPV6 if packet.version() == 6 => Some(Reason::Fragment),
            // A later fragment's headers are those of the first: what they lead to, only that one shows.
            other if is_extension(other) && packet.fragment == Fragment::Later => None,
            _ => Some(Reason::Protocol),
        }
    }

    fn serves(&self, real: RealId) -> bool {
        let life = self.reals.get(real.0 as usize).map(Real::life);
        matches!(life, Some(Life::Up | Life::Draining))
    }
}

/// A datagram's key is a flow's, with its number in the ports' place. Among IPv4's there is a sequence of numbers for each
/// protocol (RFC 791 section 3.2); of IPv6 fragments nothing but the first one's protocol counts (RFC 8200 section 4.5).
fn key(packet: &Packet<'_>, identification: u32) -> Key {
    let [a, b, c, d] = identification.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let protocol = if packet.version() == 4 { packet.protocol } else { 0 };
    Key::new(protocol, packet.source, high, packet.destination, low)
}
