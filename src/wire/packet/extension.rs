//! IPv6 extension headers (RFC 8200 section 4), walked to the transport header.
//!
//! ```text
//! 0              1              2                                  (length + 1) * 8
//! +--------------+--------------+----------------------------------+
//! | next header  | length       | options, or a route              | hop-by-hop, destination,
//! |              |              |                                  | routing
//! +--------------+--------------+----------------------------------+
//! | next header  | 0            | offset (13 bits), 0, more | id   | fragment: eight bytes
//! +--------------+--------------+----------------------------------+
//! ```
//!
//! Authentication, mobility, host identity and shim6 headers are not walked: their content concerns
//! the two end hosts. (An encapsulating security payload counts as a protocol; its content is
//! encrypted.)

use super::ParseError;

/// The most extension headers of one packet. RFC 8200 section 4.1 advises one of each kind and two
/// of destination options: five of those that are walked.
pub const MAX_HEADERS: usize = 8;
/// The most bytes of extension headers. Real packets carry 8 to 40 (RFC 9098), and each byte is
/// copied to every segment of a super-frame.
pub const MAX_LEN: usize = 160;
/// Length of a fragment header.
pub const FRAGMENT_LEN: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Authentication (RFC 4302), mobility (RFC 6275), host identity (RFC 7401), shim6 (RFC 5533).
const NOT_WALKED: [u8; 4] = [51, 135, 139, 140];

/// Lengths count in units of eight bytes.
const UNIT: usize = 8;

/// Where the chain ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeaderChain {
    /// The next-header number after the last header walked: the transport's, or that of a header
    /// not walked.
    pub protocol: u8,
    /// Bytes of the headers walked.
    pub len: usize,
    /// The fragment header's fields, and how many bytes of the chain come before it.
    pub piece: Option<(Piece, usize)>,
}

/// A piece of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Its offset, in bytes.
    pub offset: usize,
    /// Whether another follows.
    pub more: bool,
}

/// Whether this number is an extension header's and not a transport's.
#[inline]
#[must_use]
pub fn is_extension(number: u8) -> bool {
    is_walked(number) || NOT_WALKED.contains(&number)
}

#[inline]
fn is_walked(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Walks the chain that `upper`, what follows the fixed header, starts with; `first` is the fixed
/// header's next header. A later fragment's chain ends with its fragment header, since the bytes
/// after it can be any part of the datagram.
///
/// # Errors
/// [`ParseError::ExtensionHeader`] for more than [`MAX_HEADERS`] headers or [`MAX_LEN`]
/// bytes, hop-by-hop options anywhere but first (RFC 8200 section 4.1), a fragment in a fragment, a
/// jumbo payload (RFC 2675). [`ParseError::SourceRoute`] for a routing header of type 0 (RFC 5095)
/// or with segments left: the packet is then for another host. [`ParseError::Unsupported`] for a
/// header that is not walked. [`ParseError::Malformed`] for a chain that exceeds the packet or an
/// option that exceeds its header.
pub fn walk(first: u8, upper: &[u8]) -> Result<HeaderChain, ParseError> {
    // A jumbogram's payload length is zero (RFC 2675 section 3), so its options are outside of the
    // packet that this field describes.
    if first == HOP_BY_HOP && upper.is_empty() {
        return Err(ParseError::ExtensionHeader);
    }
    let mut chain = HeaderChain { protocol: first, len: 0, piece: None };
    for index in 0..=MAX_HEADERS {
        if NOT_WALKED.contains(&chain.protocol) {
            return Err(ParseError::Unsupported);
        }
        if !is_walked(chain.protocol) {
            return Ok(chain);
        }
        if index == MAX_HEADERS {
            break;
        }
        let rest = upper.get(chain.len..).ok_or(ParseError::Malformed)?;
        let header = header(chain.protocol, rest)?;
        match chain.protocol {
            HOP_BY_HOP if index > 0 => return Err(ParseError::ExtensionHeader),
            HOP_BY_HOP | DESTINATION_OPTIONS => check_options(header)?,
            ROUTING => check_routing(header)?,
            _ if chain.piece.is_some() => return Err(ParseError::ExtensionHeader),
            _ => chain.piece = Some((piece(header), chain.len)),
        }
        chain.protocol = header.first().copied().ok_or(ParseError::Malformed)?;
        chain.len += header.len();
        if chain.len > MAX_LEN {
            break;
        }
        if chain.piece.is_some_and(|(piece, _)| piece.offset > 0) {
            return Ok(chain);
        }
    }
    Err(ParseError::ExtensionHeader)
}

/// The header that `rest` starts with.
fn header(kind: u8, rest: &[u8]) -> Result<&[u8], ParseError> {
    let len = match kind {
        FRAGMENT => FRAGMENT_LEN,
        _ => (usize::from(*rest.get(1).ok_or(ParseError::Malformed)?) + 1) * UNIT,
    };
    rest.get(..len).ok_or(ParseError::Malformed)
}

/// Walks options (RFC 8200 section 4.2), on which only the destination acts. A jumbo payload among
/// destination options is refused: hosts do not accept it there, and its number requires a drop.
fn check_options(header: &[u8]) -> Result<(), ParseError> {
    const PAD_1: u8 = 0;
    const JUMBO_PAYLOAD: u8 = 0xc2;
    let mut options = header.get(2..).ok_or(ParseError::Malformed)?;
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            PAD_1 => rest,
            JUMBO_PAYLOAD => return Err(ParseError::ExtensionHeader),
            _ => {
                let (&len, data) = rest.split_first().ok_or(ParseError::Malformed)?;
                data.get(usize::from(len)..).ok_or(ParseError::Malformed)?
            }
        };
    }
    Ok(())
}

/// A routing header that has been followed to its end may be ignored, unless it is of type 0 (RFC
/// 8200 section 4.4).
fn check_routing(header: &[u8]) -> Result<(), ParseError> {
    match header {
        [_, _, kind, 0, ..] if *kind != 0 => Ok(()),
        _ => Err(ParseError::SourceRoute),
    }
}

fn piece(header: &[u8]) -> Piece {
    const MORE: u16 = 1;
    const OFFSET: u16 = !0b111;
    let word = match header {
        [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    Piece { offset: usize::from(word & OFFSET), more: word & MORE != 0 }
}

#[cfg(test)]
mod tests;
