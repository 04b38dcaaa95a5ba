//! ICMP errors about tunnelled packets: what they tell about a real server and the way to it.

use std::net::IpAddr;

use super::Balancer;
use super::verdict::{Reason, Verdict};
use crate::model::Millis;

/// What went wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelErrorKind {
    /// Nobody receives tunnelled packets there: the real server's daemon does not run. An IPv4 host says "protocol
    /// unreachable", an IPv6 host "unrecognized next header" (RFC 4443 section 3.4).
    ProtocolUnreachable,
    /// The real server cannot be reached, or a packet ran out of hops on the way.
    Unreachable,
    /// A router on the way takes packets of at most so many bytes.
    PathMtu(u16),
}

/// An ICMP error about a packet that was sent to a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelError {
    /// The real server that the packet was sent to.
    pub real: IpAddr,
    /// What the error says.
    pub kind: TunnelErrorKind,
}

impl Balancer {
    /// Notes an error with each real server of that address. The kernel keeps a path MTU itself and refuses to send more;
    /// here it is kept so that clients are told.
    pub fn tunnel_error(&mut self, now: Millis, error: TunnelError) -> Verdict {
        self.counters.tunnel_errors += 1;
        for real in self.reals.iter_mut().filter(|real| real.address() == error.real) {
            match error.kind {
                TunnelErrorKind::ProtocolUnreachable => real.errors.protocol_unreachable += 1,
                TunnelErrorKind::Unreachable => real.errors.unreachable += 1,
                TunnelErrorKind::PathMtu(mtu) => {
                    let known = real.errors.path_mtu.unwrap_or(mtu);
                    real.errors.path_mtu = Some(known.min(mtu));
                    real.room.narrow(now, error.real, mtu);
                }
            }
        }
        self.refuse(match error.kind {
            TunnelErrorKind::PathMtu(_) => Reason::PathMtu,
            TunnelErrorKind::ProtocolUnreachable | TunnelErrorKind::Unreachable => {
                Reason::TunnelError
            }
        })
    }
}
