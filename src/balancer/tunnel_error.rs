//! ICMP errors about tunnelled packets: what they show about a real server and the path to it.

use std::net::IpAddr;

use super::Balancer;
use super::flow::Key;
use super::position::SEQUENCE_WINDOW;
use super::real::{Life, Real};
use super::verdict::{Reason, Verdict};
use crate::model::Millis;
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
    /// A router's quote may be too short to identify a flow. Clients do not learn such a path MTU,
    /// but larger packets are then sent without DF (IPv4).
    pub fn tunnel_error(&mut self, now: Millis, error: TunnelError, quoted: Quoted) -> Verdict {
        match quoted {
            Quoted::Packet(packet) if self.is_sent(now, error.real, packet) => {
                return self.believe(now, error);
            }
            Quoted::TooShort if error.real.is_ipv4() => {
                if let TunnelErrorKind::PathMtu(mtu) = error.kind {
                    self.take_back_at(error.real);
                    let doubt = |real: &mut Real| real.room.doubt(now, error.real, mtu);
                    self.registry.change_at(error.real, doubt);
                }
            }
            _ => {}
        }
        self.counters.tunnel_errors += 1;
        self.refuse(Reason::TunnelErrorUnverified)
    }

    /// Whether the packet was sent to a real server: by a probe, or the table has its flow there,
    /// and for TCP the sequence number is a recent one of its client.
    fn is_sent(&self, now: Millis, address: IpAddr, packet: QuotedPacket) -> bool {
        if self.is_probe(address, packet) {
            return true;
        }
        let QuotedPacket { flow, number: sequence, .. } = packet;
        let Quote { source, destination, protocol, source_port, destination_port } = flow;
        let key = Key::new(protocol, source, source_port, destination, destination_port);
        [key, key.former()].into_iter().any(|key| {
            let connections = &self.tables.connections;
            let entry = connections
                .find(&key)
                .and_then(|handle| connections.as_seen(handle, now, &self.settings.timeouts));
            entry.is_some_and(|entry| {
                let real = &self.registry.reals[entry.real()];
                let behind = entry.position().next.wrapping_sub(sequence);
                real.life() != Life::Gone
                    && real.address() == address
                    && (protocol != protocol::TCP || behind <= QUOTED_WINDOW)
            })
        })
    }

    /// Records an error that quotes a packet that was sent.
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
