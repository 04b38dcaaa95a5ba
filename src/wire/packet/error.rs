//! Why bytes are not a packet.

/// Why bytes are not a packet that vstun can handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Neither version 4 nor version 6, or no bytes at all.
    #[error("not an IP packet")]
    NotIp,
    /// Shorter than its headers say.
    #[error("truncated")]
    Truncated,
    /// Lengths or offsets that contradict each other.
    #[error("malformed")]
    Malformed,
    /// A source route: an IPv4 option (RFC 791 section 3.1; refused as RFC 7126 section 4.3
    /// advises), or an IPv6 routing header of type 0 (RFC 5095) or with segments left.
    #[error("source route")]
    SourceRoute,
    /// IPv6 extension headers that are not allowed: see [`walk`](super::extension::walk).
    #[error("bad chain of extension headers")]
    ExtensionHeader,
    /// An IPv6 extension header that is not walked, or an encapsulation that is not opened.
    #[error("unsupported")]
    Unsupported,
}
