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
    /// As [`Self::Reply`], and send the director's own reset to the real server through this
    /// tunnel.
    Reset(Tunnel),
    /// Send it through this tunnel.
    Tunnel(Tunnel),
    /// Hold it: a fragment that arrived before its datagram's first one. It was copied, and is sent
    /// after that one.
    Hold,
}

/// A verdict before the tunnel to the real server is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Disposition {
    Drop(Reason),
    /// The answer is built.
    Reply(AnswerCause),
    /// The answer is built, and the reset for this real server too.
    Reset(RealId),
    Tunnel(RealId),
    Hold,
}

/// Why the director answers a packet itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AnswerCause {
    /// The packet is an echo request to a virtual IP.
    Echo,
    /// Its connection ends because of its real server's state.
    ConnectionEnded,
    /// It is refused for this reason.
    Refused(Reason),
}

reasons! {
    /// Why a packet was dropped, or refused with an answer where one is allowed and within the rate
    /// limit. Each variant is a counter of each, a field in the JSON output, and a line in
    /// `docs/drops.md`.
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
        /// An unsupported IPv6 extension header: authentication, mobility and the like.
        Unsupported = "unsupported",
        /// Neighbour discovery, router solicitations and multicast reports, which a kernel sends on
        /// any IPv6 link.
        LinkNoise = "link_noise",
        /// A fragment without a real server: of ICMP, or its datagram's first one was refused,
        /// answered or had no real server.
        Fragment = "fragment",
        /// A fragment identical to an earlier one.
        FragmentDuplicate = "fragment_duplicate",
        /// Fragments that overlap or contradict each other: their whole datagram is dropped.
        FragmentOverlap = "fragment_overlap",
        /// A datagram in too many fragments, or held fragments that were evicted for newer ones.
        FragmentLimit = "fragment_limit",
        /// Held fragments whose datagram's first one did not arrive in time.
        FragmentExpired = "fragment_expired",
        /// A source address that a client cannot have: a virtual IP, multicast, broadcast,
        /// loopback, unspecified, link-local or IPv4-mapped.
        BadSource = "bad_source",
        /// A destination that is not a virtual IP of any service.
        NotVip = "not_vip",
        /// No service listens there.
        NoService = "no_service",
        /// Every real server of the service is out, or it has none.
        NoRealServer = "no_real_server",
        /// Every real server of the service that is not out is at its upper threshold.
        RealServersFull = "real_servers_full",
        /// The flow's real server takes no new flow, and the service has no fallback to another.
        NoFallback = "no_fallback",
        /// TCP without a SYN that belongs to no connection.
        NoConnection = "no_connection",
        /// ICMP other than echo requests and errors.
        Icmp = "icmp",
        /// An ICMP error whose quote names no known flow, or no flow at all.
        IcmpNoFlow = "icmp_no_flow",
        /// A protocol other than TCP, UDP and ICMP.
        Protocol = "protocol",
        /// A tunnel error from a real server or a router on the path, counted by real server.
        TunnelError = "tunnel_error",
        /// A tunnel error that quotes no packet that was sent: forged, or about a forgotten flow.
        TunnelErrorUnverified = "tunnel_error_unverified",
        /// An ICMP error that reports a smaller path MTU to a real server, or a client's packet
        /// above it.
        PathMtu = "path_mtu",
    }
}

impl Reason {
    /// Whether a packet can be refused for this reason with an answer: a reset or an ICMP error.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(
            self,
            Self::NoService
                | Self::NoRealServer
                | Self::RealServersFull
                | Self::NoFallback
                | Self::NoConnection
                | Self::PathMtu
        )
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
