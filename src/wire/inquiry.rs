//! How inquiries of `vstun doctor` in the tunnel differ from other packets: by a protocol number
//! reserved for experiments (RFC 3692, RFC 4727), and by their first bytes.

/// Protocol 253, "use for experimentation and testing".
pub const PROTOCOL: u8 = 253;

/// The first bytes of each message, of any version.
pub const MAGIC: [u8; 4] = *b"vsDQ";

/// Whether the payload of a packet of [`PROTOCOL`] is an inquiry or its answer.
#[must_use]
pub fn is_inquiry(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
}
