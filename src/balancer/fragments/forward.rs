//! Forwards fragments: the balancer's part, which asks [`super::Fragments`] where one belongs.

use super::FragmentRole;
use crate::balancer::Balancer;
use crate::balancer::flow::Key;
use crate::balancer::verdict::{Disposition, Reason};
use crate::model::Millis;
use crate::wire::packet::extension::is_extension;
use crate::wire::{Fragment, Packet, protocol};

impl Balancer {
    /// Decides on a fragment whose source can be a client.
    #[cold]
    pub(in crate::balancer) fn fragment(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
    ) -> Disposition {
        if let Some(reason) = self.refused_at_once(packet) {
            return Disposition::Drop(reason);
        }
        let Some(part) = packet.part() else { return Disposition::Drop(Reason::Malformed) };
        let key = key(packet, part.identification);
        let role = match self.tables.fragments.file(now, key, part, &mut self.counters) {
            Ok(role) => role,
            Err(reason) => return Disposition::Drop(reason),
        };
        match role {
            FragmentRole::First(datagram) => {
                let verdict = self.transport(now, packet);
                let real = if let Disposition::Tunnel(real) = verdict { Some(real) } else { None };
                self.tables.fragments.decide(datagram, real, &mut self.counters);
                verdict
            }
            FragmentRole::Ahead(datagram) => {
                if self.tables.fragments.hold(datagram, packet.bytes(), &mut self.counters) {
                    Disposition::Hold
                } else {
                    Disposition::Drop(Reason::FragmentLimit)
                }
            }
            FragmentRole::Follows(Some(real)) if self.registry.lists(real) => {
                self.noted.real = Some(real);
                self.tunnel(now, packet, real)
            }
            FragmentRole::Follows(_) => Disposition::Drop(Reason::Fragment),
        }
    }

    /// The reasons to refuse a fragment that do not depend on its datagram.
    fn refused_at_once(&self, packet: &Packet<'_>) -> Option<Reason> {
        if !self.registry.listens.is_vip(packet.destination) {
            return Some(Reason::NotVip);
        }
        if self.registry.listens.is_vip(packet.source) {
            return Some(Reason::BadSource);
        }
        match packet.protocol {
            protocol::TCP | protocol::UDP => None,
            // An echo reply and an ICMP error would need the whole message.
            protocol::ICMP if packet.version() == 4 => Some(Reason::Fragment),
            protocol::ICMPV6 if packet.version() == 6 => Some(Reason::Fragment),
            // A later fragment repeats the first one's extension headers; only the first one shows
            // the transport behind them.
            other if is_extension(other) && packet.fragment == Fragment::Later => None,
            _ => Some(Reason::Protocol),
        }
    }
}

/// A datagram's key is a flow's, with its identification instead of the ports. IPv4 numbers
/// datagrams per protocol (RFC 791 section 3.2); for IPv6 only the first fragment's protocol counts
/// (RFC 8200 section 4.5).
fn key(packet: &Packet<'_>, identification: u32) -> Key {
    let [a, b, c, d] = identification.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let protocol = if packet.version() == 4 { packet.protocol } else { 0 };
    Key::new(protocol, packet.source, high, packet.destination, low)
}
