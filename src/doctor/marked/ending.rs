//! How the path of a marked packet ended.

use std::net::{IpAddr, SocketAddr};

use crate::doctor::firewall::{DropPoint, Hook};
use crate::model::Listen;

/// What became of a client's marked packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MarkedClient {
    /// The listen that they were sent to; of a range its first port.
    pub listen: Listen,
    /// The interface where they arrived.
    pub uplink: String,
    /// The address that they came from.
    pub source: IpAddr,
    /// How the flow's first packet ended.
    pub first: Ending,
    /// The same of the packet that completes a TCP handshake; `None` if the first one did not get
    /// through.
    pub second: Option<Ending>,
    /// What a rule has made of the first packet's addresses and ports, if one has.
    pub translated: Option<Translation>,
}

/// The addresses and ports of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MarkedFlow {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
}

/// A change of addresses or ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Translation {
    /// The flow before.
    pub from: MarkedFlow,
    /// The flow after.
    pub to: MarkedFlow,
    /// The rule of nftables that did it; `None`: none of these.
    pub rule: Option<DropPoint>,
}

/// What happened to a marked packet in the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It reached its destination: the TUN, or this host's own programs.
    Through,
    /// It would have left by another interface.
    Elsewhere(String),
    /// It was for this host's own programs, and should have been forwarded.
    Local,
    /// A rule or policy of nftables dropped it.
    Dropped(DropPoint),
    /// No report shows it after this point.
    Lost(Point),
}

/// The last point where a marked packet was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    /// Nowhere: the kernel has received it, and no hook has seen it.
    Arrival,
    /// Among the programs of a hook.
    Within(Hook),
    /// Behind a hook.
    Behind(Hook),
}
