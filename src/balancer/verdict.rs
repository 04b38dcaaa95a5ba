//! The verdict on a packet.

use super::tunnel::Tunnel;
use crate::model::RealId;
use crate::wire::ParseError;
use crate::wire::reasons::reasons;

/// What to do with one packet; [`Balancer::carry_out`](super::Balancer::carry_out) executes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Drop it, for a reason that is counted.
    Drop(Reason),
    /// Send the client an answer of the director's own.
    Reply,
    /// The same, and send the real server a reset of the director's own through this tunnel.
    Reset(Tunnel),
    /// Send it through this tunnel.
    Tunnel(Tunnel),
    /// Hold it: a fragment that arrived before its datagram's first one. It was copied, and is sent
    /// after that one.
    Hold,
}

/// A verdict before the tunnel to the real server is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disposition {
    Drop(Reason),
    /// The answer is built.
    Reply,
    /// The answer is built, and the reset for this real server too.
    Reset(RealId),
    Tunnel(RealId),
    Hold,
}

reasons! {
    /// Why a packet was dropped. Each variant is a counter, a field in the JSON output, and a line
    /// in `docs/drops.md`.
    pub enum Reason {
        /// Not an IP packet.
        NotIp = "not_ip",
        /// Shorter than its headers say.
        Truncated = "truncated",
        /// Lengths or offsets that contradict each other.
        Malformed = "malformed",
        /// A bad offload header from the kernel, or a super-frame that cannot be split.
        BadOffload = "bad_offload",
        /// An IPv4 source route option, or an IPv6 routing header with segments left or of type 0.
        SourceRoute = "source_route",
        /// A chain of IPv6 extension headers that is too long, out of order, or holds a jumbo
        /// payload or nested fragments.
        ExtensionHeader = "extension_header",
        /// An IPv6 extension header that is not walked: authentication, mobility and the like.
        Unsupported = "unsupported",
        /// Neighbour discovery, router solicitations and multicast reports: what a kernel says on
        /// any IPv6 link.
        LinkNoise = "link_noise",
        /// A fragment that goes nowhere: of ICMP, or its datagram's first one was refused, answered
        /// or had no real server.
        Fragment = "fragment",
        /// A fragment that came before, exactly alike.
        FragmentDuplicate = "fragment_duplicate",
        /// Fragments that overlap or contradict each other: nothing of their datagram passes.
        FragmentOverlap = "fragment_overlap",
        /// A datagram in too many fragments, or fragments that were held and had to give way to
        /// newer ones.
        FragmentLimit = "fragment_limit",
        /// Fragments that were held, and whose datagram's first one did not come in time.
        FragmentExpired = "fragment_expired",
        /// A source address that no client can have: a virtual IP, multicast, broadcast, loopback,
        /// unspecified, link-local or IPv4-mapped.
        BadSource = "bad_source",
        /// A destination that is no virtual IP of any service.
        NotVip = "not_vip",
        /// No service listens there, and an answer was not allowed or over the rate limit.
        NoService = "no_service",
        /// The service has no usable real server, and an answer was not allowed or over the rate
        /// limit.
        NoRealServer = "no_real_server",
        /// TCP that opens nothing and belongs to no connection, and an answer was not allowed or
        /// over the rate limit.
        NoConnection = "no_connection",
        /// ICMP other than echo requests and errors.
        Icmp = "icmp",
        /// An ICMP error whose quote names no known flow, or no flow at all.
        IcmpNoFlow = "icmp_no_flow",
        /// A protocol other than TCP, UDP and ICMP.
        Protocol = "protocol",
        /// A tunnel error from a real server or a router on the way, counted by real server.
        TunnelError = "tunnel_error",
        /// A tunnel error that quotes no packet which was sent: forged, or about a flow that is
        /// forgotten.
        TunnelErrorUnverified = "tunnel_error_unverified",
        /// A router's word that the path to a real server takes less, or a packet too large for it
        /// whose sender was not told because that would have been over the rate limit.
        PathMtu = "path_mtu",
    }
}

impl From<ParseError> for Reason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::NotIp => Self::NotIp,
            ParseError::Truncated => Self::Truncated,
            ParseError::Malformed => Self::Malformed,
            ParseError::SourceRoute => Self::SourceRoute,
            ParseError::ExtensionHeader => Self::ExtensionHeader,
            ParseError::Unsupported => Self::Unsupported,
        }
    }
}
