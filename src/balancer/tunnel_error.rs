//! ICMP errors about tunnelled packets: what they show about a real server and the path to it.

use std::net::IpAddr;

use super::Balancer;
use super::flow::Key;
use super::position::SEQUENCE_WINDOW;
use super::real::Life;
use super::tunnel::PATH_MTU_LIFETIME;
use super::verdict::{Reason, Verdict};
use crate::model::{Millis, RealId};
use crate::wire::icmp::{Quote, Quoted, QuotedPacket};
use crate::wire::protocol;

/// The error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelErrorKind {
    /// The host does not accept tunnelled packets: the real server's daemon does not run. An IPv4
    /// host sends "protocol unreachable", an IPv6 host "unrecognized next header" (RFC 4443 section
    /// 3.4).
    ProtocolUnreachable,
    /// The real server is unreachable, or a packet's hop limit expired on the path.
    Unreachable,
    /// A router on the path reports this MTU in bytes.
    PathMtu(u16),
}

/// An ICMP error about a packet that was sent to a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelError {
    /// The real server that the packet was sent to.
    pub real: IpAddr,
    /// The error.
    pub kind: TunnelErrorKind,
}

/// How far a quoted TCP segment may be behind its client's next one: a window, as for segments in
/// flight.
const QUOTED_WINDOW: u32 = SEQUENCE_WINDOW;

impl Balancer {
    /// Records an error at each real server with that address, if it quotes a packet that was sent
    /// there. Any host can send ICMP errors; the verdict has [`Reason::TunnelErrorUnverified`] if
    /// this one changed nothing.
    ///
    /// A path MTU counts if a probe of the director's own is quoted. A client can quote its own
    /// flow, so a quoted flow only causes a probe of the path (`size_probes`). A router's quote may
    /// be too short to identify a flow: larger packets are then sent without DF (IPv4).
    pub fn tunnel_error(&mut self, now: Millis, error: TunnelError, quoted: Quoted) -> Verdict {
        match (quoted, error.kind) {
            (Quoted::Packet(packet), _) if self.is_probe(error.real, packet) => {
                return self.believe(now, error);
            }
            (Quoted::Packet(packet), kind) => {
                if let Some(real) = self.sent_to(now, error.real, packet) {
                    let TunnelErrorKind::PathMtu(mtu) = kind else {
                        return self.believe(now, error);
                    };
                    self.counters.tunnel_errors += 1;
                    self.try_size(now, real, mtu, packet.flow);
                    return self.refuse(Reason::PathMtu);
                }
            }
            (Quoted::EchoReply(reply), TunnelErrorKind::PathMtu(_))
                if self.is_size_probe(now, error.real, reply) =>
            {
                return self.believe(now, error);
            }
            (Quoted::TooShort, TunnelErrorKind::PathMtu(mtu)) if error.real.is_ipv4() => {
                let mut narrower = false;
                self.registry.change_at(error.real, |real| {
                    narrower |= real.room.doubt(now, error.real, mtu, PATH_MTU_LIFETIME);
                });
                if narrower {
                    self.take_back_at(error.real);
                }
            }
            _ => {}
        }
        self.counters.tunnel_errors += 1;
        self.refuse(Reason::TunnelErrorUnverified)
    }

    /// The real server at `address` that a client's packet was sent to: the table has its flow
    /// there, and for TCP the sequence number is a recent one of its client.
    fn sent_to(&self, now: Millis, address: IpAddr, packet: QuotedPacket) -> Option<RealId> {
        let QuotedPacket { flow, number: sequence, .. } = packet;
        let Quote { source, destination, protocol, source_port, destination_port } = flow;
        let key = Key::new(protocol, source, source_port, destination, destination_port);
        [key, key.former()].into_iter().find_map(|key| {
            let connections = &self.tables.connections;
            let handle = connections.find(&key)?;
            let entry = connections.as_seen(handle, now, &self.settings.timeouts)?;
            let id = self.real_of(&entry);
            let real = &self.registry.reals[id];
            let behind = entry.position().next.wrapping_sub(sequence);
            let sent = real.life() != Life::Gone
                && real.address() == address
                && (protocol != protocol::TCP || behind <= QUOTED_WINDOW);
            sent.then_some(id)
        })
    }

    /// Records an error that quotes a packet that was sent, and of a path MTU a probe.
    pub(super) fn believe(&mut self, now: Millis, error: TunnelError) -> Verdict {
        self.counters.tunnel_errors += 1;
        if let TunnelErrorKind::PathMtu(_) = error.kind {
            self.take_back_at(error.real);
        }
        self.registry.change_at(error.real, |real| match error.kind {
            TunnelErrorKind::ProtocolUnreachable => real.errors.protocol_unreachable += 1,
            TunnelErrorKind::Unreachable => real.errors.unreachable += 1,
            TunnelErrorKind::PathMtu(mtu) => {
                let known = real.errors.path_mtu.unwrap_or(mtu);
                real.errors.path_mtu = Some(known.min(mtu));
                real.room.narrow(now, error.real, mtu);
            }
        });
        self.refuse(match error.kind {
            TunnelErrorKind::PathMtu(_) => Reason::PathMtu,
            TunnelErrorKind::ProtocolUnreachable | TunnelErrorKind::Unreachable => {
                Reason::TunnelError
            }
        })
    }
}
