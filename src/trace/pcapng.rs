//! Decisions as a pcapng file: each packet as it came and as it was sent, with its decision in its
//! comments.
//!
//! The packets of both interfaces begin with a Linux "cooked" header (`LINKTYPE_LINUX_SLL`), which
//! also has the direction: libpcap refuses a file with two interfaces of raw IP. All times are
//! nanoseconds, and both interfaces have the same snapshot length, which libpcap requires too.

use std::borrow::Cow;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use crate::control::{TraceBegins, TracedDecision, from_hex};

/// The interface of packets as they came, from the TUN.
pub const CAME: u32 = 0;

/// The interface of packets as they were sent.
pub const SENT: u32 = 1;

/// The length of a cooked header.
pub const COOKED_LEN: usize = 16;

/// The snapshot length of both interfaces: tcpdump's default.
const SNAPLEN: u32 = 262_144;

/// Ten to the minus ninth of a second.
const NANOSECONDS: u8 = 9;

/// Packet types of a cooked header: to this host, and from it.
const TO_US: u8 = 0;
const FROM_US: u8 = 4;

/// Writes a file into memory.
pub struct Writer {
    blocks: PcapNgWriter<Vec<u8>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("pending", &self.blocks.get_ref().len()).finish()
    }
}

/// Why a decision is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its time or its packet cannot be read.
    #[error("the daemon's line has no {0}")]
    Line(&'static str),
    /// The pcapng library refused it.
    #[error(transparent)]
    Library(#[from] pcap_file::PcapError),
}

impl Writer {
    /// A writer for a new file.
    ///
    /// # Errors
    /// The pcapng library refuses it.
    pub fn new(begins: &TraceBegins) -> Result<Self, WriteError> {
        let json = serde_json::to_string(begins).unwrap_or_default();
        let application = format!("vstun {}", begins.program);
        let section = SectionHeaderBlock {
            options: vec![
                SectionHeaderOption::Comment(json.into()),
                SectionHeaderOption::UserApplication(application.into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let mut blocks = PcapNgWriter::with_section_header(Vec::new(), section)?;
        for (name, description) in [("tun", "packets as they came"), ("out", "as they were sent")] {
            let mut interface = InterfaceDescriptionBlock::new(DataLink::LINUX_SLL, SNAPLEN);
            interface.options = vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfDescription(description.into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            blocks.write_pcapng_block(interface)?;
        }
        Ok(Self { blocks })
    }

    /// Adds a decision with its packets.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn add(&mut self, decision: &TracedDecision) -> Result<(), WriteError> {
        let human = decision.to_string();
        let bare = TracedDecision { packet: None, sent: Vec::new(), ..decision.clone() };
        let json = serde_json::to_string(&bare).unwrap_or_default();
        let came = decision.packet.as_deref().ok_or(WriteError::Line("packet"))?;
        let comments = [human.as_str(), json.as_str()];
        self.packet(decision, CAME, came, decision.bytes, &comments)?;
        for sent in &decision.sent {
            self.packet(decision, SENT, &sent.packet, sent.bytes, &[human.as_str()])?;
        }
        Ok(())
    }

    /// The bytes of the file since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.blocks.get_mut())
    }

    fn packet(
        &mut self,
        decision: &TracedDecision,
        interface_id: u32,
        hexadecimal: &str,
        len: u64,
        comments: &[&str],
    ) -> Result<(), WriteError> {
        let time = decision.time.parse::<jiff::Timestamp>().ok();
        let time = time.ok_or(WriteError::Line("time"))?.as_duration();
        let timestamp = time.try_into().map_err(|_| WriteError::Line("time"))?;
        let bytes = from_hex(hexadecimal).ok_or(WriteError::Line("packet"))?;
        let mut data = cooked(interface_id, &bytes).to_vec();
        data.extend_from_slice(&bytes);
        let len = len.saturating_add(COOKED_LEN as u64);
        self.blocks.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp,
            original_len: u32::try_from(len).unwrap_or(u32::MAX),
            data: Cow::Owned(data),
            options: comments
                .iter()
                .filter(|comment| u16::try_from(comment.len()).is_ok())
                .map(|comment| EnhancedPacketOption::Comment((*comment).to_owned().into()))
                .collect(),
        })?;
        Ok(())
    }
}

/// The cooked header: packet type, `ARPHRD_NONE`, no address, and the protocol as on Ethernet.
fn cooked(interface: u32, packet: &[u8]) -> [u8; COOKED_LEN] {
    let kind = if interface == CAME { TO_US } else { FROM_US };
    let protocol: [u8; 2] = match packet.first().map(|first| first >> 4) {
        Some(6) => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    let mut header = [0; COOKED_LEN];
    header[1] = kind;
    header[2..4].copy_from_slice(&[0xff, 0xfe]);
    header[14..].copy_from_slice(&protocol);
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgParser};

    use super::*;
    use crate::control::SentPacket;

    #[test]
    fn a_decision_is_its_packet_and_what_was_sent_each_with_a_comment() {
        let begins = TraceBegins { program: "1.2.3".to_owned(), ..TraceBegins::default() };
        let mut writer = Writer::new(&begins).unwrap();
        let decision = TracedDecision {
            time: "2026-11-28T12:00:00.250000007Z".to_owned(),
            bytes: 60,
            packet: Some("45aabb".to_owned()),
            sent: vec![SentPacket { bytes: 80, packet: "60cc".to_owned() }],
            verdict: "tunnel".to_owned(),
            ..TracedDecision::default()
        };
        writer.add(&decision).unwrap();
        let file = writer.take();
        assert!(writer.take().is_empty());
        let (mut rest, mut parser) = PcapNgParser::new(&file).unwrap();
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let (next, block) = parser.next_block(rest).unwrap();
            rest = next;
            if let Block::EnhancedPacket(packet) = block {
                packets.push(packet.into_owned());
            }
        }
        assert_eq!(parser.interfaces().len(), 2);
        let [came, sent] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((came.interface_id, sent.interface_id), (CAME, SENT));
        assert_eq!((came.original_len, sent.original_len), (76, 96));
        assert_eq!(came.data[COOKED_LEN..], [0x45, 0xaa, 0xbb]);
        assert_eq!(came.data[..2], [0, TO_US]);
        assert_eq!((&sent.data[..2], &sent.data[14..16]), (&[0, FROM_US][..], &[0x86, 0xdd][..]));
        assert_eq!(came.timestamp, sent.timestamp);
        assert_eq!(came.timestamp.subsec_nanos(), 250_000_007);
        // Without this option other readers take microseconds.
        let resolution = InterfaceDescriptionOption::IfTsResol(NANOSECONDS);
        assert!(parser.interfaces().iter().all(|one| one.options.contains(&resolution)));
        assert_eq!((came.options.len(), sent.options.len()), (2, 1));
    }

    #[test]
    fn a_line_without_a_packet_or_a_time_is_refused() {
        let mut writer = Writer::new(&TraceBegins::default()).unwrap();
        let timed =
            TracedDecision { time: "2026-11-28T12:00:00Z".to_owned(), ..TracedDecision::default() };
        for (decision, missing) in [
            (timed.clone(), "packet"),
            (TracedDecision { packet: Some("4".to_owned()), ..timed }, "packet"),
            (TracedDecision { packet: Some(String::new()), ..TracedDecision::default() }, "time"),
        ] {
            let error = writer.add(&decision).unwrap_err().to_string();
            assert_eq!(error, format!("the daemon's line has no {missing}"));
        }
    }
}
