//! Why tunnelled datagrams are refused.

use crate::wire::ParseError;

/// Why what stands between the outer header and the inner packet is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShimError {
    /// Shorter than its header.
    Truncated,
    /// A version, flag, option or control message that is not supported.
    Header,
    /// Something else than an IP packet is inside.
    Protocol,
}

/// Why a tunnelled datagram is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// Its outer header.
    Outer(ParseError),
    /// What follows it.
    Shim(ShimError),
}
