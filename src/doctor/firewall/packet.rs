//! A packet to be judged.

use std::net::IpAddr;

/// The connection tracking state of a packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CtState {
    /// The first of a connection.
    #[default]
    New,
    /// Of a connection whose replies were never seen.
    Invalid,
    /// Not tracked.
    Untracked,
    /// A reply of a connection whose request was seen.
    Established,
}

/// The version of a packet of ARP, which is not one of IP.
pub const ARP: u8 = 0;

/// A packet to be judged; `None`: the field may have any value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JudgedPacket {
    /// 4 or 6, or [`ARP`].
    pub version: u8,
    /// The input interface; empty for a packet of this host.
    pub input: Option<String>,
    /// The output interface; empty for a packet to this host.
    pub output: Option<String>,
    /// The source address; of ARP the sender's.
    pub source: Option<IpAddr>,
    /// The destination address; of ARP the target's.
    pub destination: Option<IpAddr>,
    /// Its protocol number.
    pub protocol: u8,
    /// Its destination port, of TCP and UDP.
    pub port: Option<u16>,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its type, of ICMP; its operation, of ARP.
    pub icmp: Option<u8>,
    /// The user whose socket sends it.
    pub user: Option<u32>,
    /// Whether replies to its source leave by its input interface.
    pub reverse_path: Option<bool>,
    /// Its connection tracking state.
    pub state: CtState,
}

impl JudgedPacket {
    /// Whether this host sends it.
    pub(super) fn is_sent_here(&self) -> bool {
        self.input.as_deref() == Some("")
    }

    /// Whether connection tracking has a connection for it.
    pub(super) fn is_tracked(&self) -> bool {
        matches!(self.state, CtState::New | CtState::Established)
    }
}
