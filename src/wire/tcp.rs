//! The fields of a TCP header that are needed to follow one direction of a connection (RFC 9293
//! section 3.1).

pub use super::reply::{MAX_RESET_LEN, reset, reset_receiver};

/// The flag bits of a TCP header's fourteenth byte.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;

    /// Whether FIN is set.
    #[must_use]
    pub fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether SYN is set.
    #[must_use]
    pub fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Whether RST is set.
    #[must_use]
    pub fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether ACK is set.
    #[must_use]
    pub fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// Whether ACK is set, and neither SYN nor FIN nor RST.
    #[inline]
    #[must_use]
    pub fn only_acknowledges(self) -> bool {
        self.0 & (Self::SYN | Self::FIN | Self::RST | Self::ACK) == Self::ACK
    }

    /// Whether it is a client's SYN: neither ACK nor RST is set.
    #[inline]
    #[must_use]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::RST | Self::ACK) == Self::SYN
    }
}

/// A TCP header, parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; meaningful where [`Flags::ack`].
    pub acknowledgement: u32,
    /// Header length in bytes with options: 20 to 60.
    pub header_len: u8,
    /// Flag bits.
    pub flags: Flags,
}

/// Length of a TCP header without options.
pub const MIN_HEADER_LEN: usize = 20;

impl Header {
    /// Parses the header at the start of `segment`, an IP payload.
    ///
    /// `None` when the segment is shorter than its header says or the data offset is below five
    /// words.
    #[must_use]
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let (fixed, _) = segment.split_first_chunk::<MIN_HEADER_LEN>()?;
        let header_len = (fixed[12] >> 4) * 4;
        if usize::from(header_len) < MIN_HEADER_LEN || usize::from(header_len) > segment.len() {
            return None;
        }
        Some(Self {
            source_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            destination_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            acknowledgement: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            header_len,
            flags: Flags(fixed[13]),
        })
    }
}
