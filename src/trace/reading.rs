//! Reads the files that [`super::pcapng`] writes. Their content is not trusted.

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::section_header::SectionHeaderOption;
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, SECTION_HEADER_BLOCK,
};
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{Endianness, PcapError};

use super::pcapng::{CAME, COOKED_LEN, SENT};
use crate::control::{TraceBegins, TracedDecision};
use crate::wire::packet::MAX_PACKET_LEN;

/// The most interfaces of a file; a recording has two.
const MAX_INTERFACES: usize = 16;

/// The end of an error about a file of another program.
const NEEDED: &str = "replay needs a file of `vstun trace --write`, which has decisions and seeds";

/// The first bytes of classic pcap files, with micro- or nanoseconds (draft-ietf-opsawg-pcap).
const CLASSIC: [u32; 2] = [0xa1b2_c3d4, 0xa1b2_3c4d];

/// A packet as it came, with its decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedPacket {
    /// Its number in the file, from 1 on, as Wireshark counts.
    pub number: u64,
    /// The decision about it.
    pub decision: TracedDecision,
    /// Its bytes; those that are not in the file are zero.
    pub bytes: Vec<u8>,
    /// How many of them are in the file.
    pub captured: usize,
}

/// Reads a file packet by packet.
pub struct Reader<'a> {
    rest: &'a [u8],
    parser: PcapNgParser,
    begins: TraceBegins,
    packets: u64,
    /// Packets that came and have no decision that can be read.
    unreadable: u64,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("rest", &self.rest.len()).finish_non_exhaustive()
    }
}

/// Why a file, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Empty.
    #[error("the file is empty; {NEEDED}")]
    Empty,
    /// The format from before pcapng, in which tcpdump writes.
    #[error("this is a classic pcap file, as tcpdump writes; {NEEDED}")]
    ClassicPcap,
    /// Neither.
    #[error("this is not a pcapng file; {NEEDED}")]
    NotPcapng,
    /// Its first block contradicts itself.
    #[error("the file's header is damaged: {0}")]
    Header(PcapError),
    /// Written by another program.
    #[error("the file's first comment is not that of `vstun trace --write`, which has the seeds")]
    NotOurs,
    /// A block that contradicts itself.
    #[error("the file is damaged after packet {0}: {1}")]
    Damaged(u64, PcapError),
    /// It ends within a block.
    #[error("the file is cut off after packet {0}")]
    CutOff(u64),
    /// Several recordings, one after the other.
    #[error("after packet {0} another recording begins; replay each on its own")]
    Another(u64),
    /// More interfaces than a recording may have.
    #[error("the file has more than {MAX_INTERFACES} interfaces; a recording has two")]
    Interfaces,
    /// A packet longer than IP allows.
    #[error("packet {0} is longer than a packet can be")]
    TooLong(u64),
}

impl<'a> Reader<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(file: &'a [u8]) -> Result<Self, ReadError> {
        is_pcapng(file)?;
        let (rest, parser) = PcapNgParser::new(file).map_err(ReadError::Header)?;
        let comments = parser.section().options.iter();
        let begins = comments.filter_map(|option| match option {
            SectionHeaderOption::Comment(text) => serde_json::from_str::<TraceBegins>(text).ok(),
            _ => None,
        });
        let begins = begins.into_iter().find(|begins| begins.seeds().is_some());
        let begins = begins.ok_or(ReadError::NotOurs)?;
        Ok(Self { rest, parser, begins, packets: 0, unreadable: 0 })
    }

    /// The file's first comment, about the director.
    #[must_use]
    pub fn begins(&self) -> &TraceBegins {
        &self.begins
    }

    /// How many packets so far came and have no decision that can be read: [`Self::next_packet`]
    /// passes over them.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next packet that came and has a decision; `None` at the end.
    ///
    /// # Errors
    /// See [`ReadError`]; nothing can be read after one.
    pub fn next_packet(&mut self) -> Result<Option<RecordedPacket>, ReadError> {
        while !self.rest.is_empty() {
            let Some(block) = self.block()? else { continue };
            self.packets += 1;
            if let Some(packet) = self.recorded(&block)? {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    /// The next block, if it is a packet's.
    fn block(&mut self) -> Result<Option<EnhancedPacketBlock<'a>>, ReadError> {
        let kind = self.kind().ok_or(ReadError::CutOff(self.packets))?;
        if kind == SECTION_HEADER_BLOCK {
            return Err(ReadError::Another(self.packets));
        }
        if kind == INTERFACE_DESCRIPTION_BLOCK && self.parser.interfaces().len() >= MAX_INTERFACES {
            return Err(ReadError::Interfaces);
        }
        // The library decodes only the blocks that are needed; others may have any content.
        if kind != ENHANCED_PACKET_BLOCK {
            let read = self.parser.next_raw_block(self.rest);
            let (rest, _) = read.map_err(|error| self.fault(error))?;
            self.rest = rest;
            return Ok(None);
        }
        let read = self.parser.next_block(self.rest);
        let (rest, block) = read.map_err(|error| self.fault(error))?;
        self.rest = rest;
        Ok(if let Block::EnhancedPacket(packet) = block { Some(packet) } else { None })
    }

    fn fault(&self, error: PcapError) -> ReadError {
        match error {
            PcapError::IncompleteBuffer => ReadError::CutOff(self.packets),
            error => ReadError::Damaged(self.packets, error),
        }
    }

    /// The type of the next block.
    fn kind(&self) -> Option<u32> {
        let kind = *self.rest.first_chunk::<4>()?;
        Some(match self.parser.section().endianness {
            Endianness::Big => u32::from_be_bytes(kind),
            Endianness::Little => u32::from_le_bytes(kind),
        })
    }

    /// The packet with its decision, if it came and has one.
    fn recorded(
        &mut self,
        block: &EnhancedPacketBlock<'_>,
    ) -> Result<Option<RecordedPacket>, ReadError> {
        match block.interface_id {
            CAME => {}
            SENT => return Ok(None),
            // Another program's interface.
            _ => {
                self.unreadable += 1;
                return Ok(None);
            }
        }
        let decision = block.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Comment(text) => {
                serde_json::from_str::<TracedDecision>(text).ok()
            }
            _ => None,
        });
        let (Some(decision), Some(captured)) = (decision, block.data.get(COOKED_LEN..)) else {
            self.unreadable += 1;
            return Ok(None);
        };
        let len = (block.original_len as usize).saturating_sub(COOKED_LEN).max(captured.len());
        if len > MAX_PACKET_LEN {
            return Err(ReadError::TooLong(self.packets));
        }
        let mut bytes = captured.to_vec();
        bytes.resize(len, 0);
        let (number, captured) = (self.packets, captured.len());
        Ok(Some(RecordedPacket { number, decision, bytes, captured }))
    }
}

/// Whether the file begins as pcapng does: the type of its first block reads the same in both byte
/// orders.
fn is_pcapng(file: &[u8]) -> Result<(), ReadError> {
    match file.first_chunk().copied() {
        None if file.is_empty() => Err(ReadError::Empty),
        Some(first) if u32::from_be_bytes(first) == SECTION_HEADER_BLOCK => Ok(()),
        Some(first)
            if CLASSIC.contains(&u32::from_be_bytes(first))
                || CLASSIC.contains(&u32::from_le_bytes(first)) =>
        {
            Err(ReadError::ClassicPcap)
        }
        _ => Err(ReadError::NotPcapng),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_named_and_so_is_what_is_needed() {
        let classic = |magic: [u8; 4]| [&magic[..], &[0; 20]].concat();
        for (file, what) in [
            (Vec::new(), "the file is empty; "),
            (classic([0xd4, 0xc3, 0xb2, 0xa1]), "this is a classic pcap file, as tcpdump writes; "),
            (classic([0xa1, 0xb2, 0x3c, 0x4d]), "this is a classic pcap file, as tcpdump writes; "),
            (b"[director]\n".to_vec(), "this is not a pcapng file; "),
            (b"[d".to_vec(), "this is not a pcapng file; "),
        ] {
            let error = Reader::new(&file).unwrap_err().to_string();
            assert_eq!(error, format!("{what}{NEEDED}"));
        }
        let cut = Reader::new(&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0]).unwrap_err().to_string();
        assert!(cut.starts_with("the file's header is damaged: "), "{cut}");
    }
}
