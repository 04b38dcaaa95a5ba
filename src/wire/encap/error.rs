//! Why tunnelled datagrams are refused.

use crate::wire::ParseError;

/// Why the header between the outer IP header and the inner packet is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShimError {
    /// Shorter than its header.
    Truncated,
    /// A version, flag, option or control message that is not supported.
    Header,
    /// The inner packet is not an IP packet.
    Protocol,
    /// GUE with Linux's remote checksum offload: the receiver would have to complete the inner
    /// packet's checksum.
    RemoteChecksum,
}

/// Why a tunnelled datagram is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// The outer IP header is refused.
    Outer(ParseError),
    /// The header after it is refused.
    Shim(ShimError),
}
