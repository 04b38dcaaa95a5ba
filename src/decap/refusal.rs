//! Why tunnelled packets are refused.

use crate::wire::ParseError;
use crate::wire::encap::{OpenError, ShimError};
use crate::wire::reasons::reasons;

reasons! {
    /// Why a tunnelled packet was refused.
    pub enum Refusal {
        /// The outer or the inner packet is not IP.
        NotIp = "not_ip",
        /// The outer or the inner packet is shorter than its headers say.
        Truncated = "truncated",
        /// Contradictory lengths or offsets in the outer or the inner packet.
        Malformed = "malformed",
        /// An IPv4 source route option, or an IPv6 routing header with segments left or of type 0,
        /// in the outer or the inner packet.
        SourceRoute = "source_route",
        /// A chain of IPv6 extension headers that is too long, out of order, or holds a jumbo
        /// payload or nested fragments.
        ExtensionHeader = "extension_header",
        /// An unsupported encapsulation, another tunnel inside, or an unsupported IPv6 extension
        /// header.
        Unsupported = "unsupported",
        /// The outer source address is not a configured director.
        Source = "source",
        /// The inner destination is not a configured virtual IP.
        NotVip = "not_vip",
        /// An inner source address that a client cannot have: a virtual IP, multicast, broadcast,
        /// loopback, unspecified, link-local or IPv4-mapped.
        BadSource = "bad_source",
        /// A congestion mark on a packet whose sender does not support ECN (RFC 6040).
        Ecn = "ecn",
        /// UDP datagrams merged by the receiving network card, which cannot be separated again.
        UdpSuperPacket = "udp_super_packet",
        /// A question of `vstun doctor` that is malformed or of an unknown version.
        Inquiry = "inquiry",
        /// A question of `vstun doctor` while earlier ones wait for their answers.
        InquiryLimit = "inquiry_limit",
        /// A GUE or GRE header with a version, flag, option or control message that is not
        /// supported.
        TunnelHeader = "tunnel_header",
        /// Padding behind the packet in GUE that is not all zeros, or makes it longer than a link
        /// takes.
        Padding = "padding",
        /// GUE with remote checksum offload, which leaves the inner packet's checksum to the
        /// receiver.
        RemoteChecksum = "remote_checksum",
    }
}

impl From<ParseError> for Refusal {
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

impl From<ShimError> for Refusal {
    fn from(error: ShimError) -> Self {
        match error {
            ShimError::Truncated => Self::Truncated,
            ShimError::Header => Self::TunnelHeader,
            ShimError::Protocol => Self::Unsupported,
            ShimError::RemoteChecksum => Self::RemoteChecksum,
        }
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Outer(error) => error.into(),
            OpenError::Shim(error) => error.into(),
        }
    }
}
