//! The flows of the director's own probes ([`super::probes`]), pinned to their real servers.

use std::collections::HashMap;
use std::net::IpAddr;

use super::flow::Key;
use super::position::{SegmentFields, later};
use crate::model::{Encap, RealId};
use crate::wire::icmp::{Quote, QuotedPacket};
use crate::wire::{Packet, Transport, protocol};

/// The most pinned flows at a time: two for each possible check.
pub const MAX_PINNED: usize = 131_072;

/// The TTL or hop limit of the director's own probes. A packet from elsewhere has been forwarded
/// into the TUN, which takes one off (RFC 5082), whatever its source address.
pub const PROBE_HOPS: u8 = u8::MAX;

/// A probe's flow, as in its packets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProbeFlow {
    /// The protocol's number: TCP, UDP, or the ICMP of the family.
    pub protocol: u8,
    /// The director's own address.
    pub source: IpAddr,
    /// The source port, or the identifier of an echo request.
    pub source_port: u16,
    /// The virtual IP.
    pub destination: IpAddr,
    /// The destination port; 0 for an echo request.
    pub destination_port: u16,
}

impl ProbeFlow {
    /// The flow of a packet or of its quote.
    pub(super) fn of(quote: Quote) -> Self {
        let Quote { source, destination, protocol, source_port, destination_port } = quote;
        Self { protocol, source, source_port, destination, destination_port }
    }

    pub(super) fn key(&self) -> Key {
        let Self { protocol, source, source_port, destination, destination_port } = *self;
        Key::new(protocol, source, source_port, destination, destination_port)
    }
}

/// A pinned flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinned {
    pub(super) real: RealId,
    /// The packets sent of the current probe.
    pub(super) sent: Option<SentProbe>,
}

/// The packets sent of a probe, in the form in which ICMP errors quote them.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentProbe {
    /// The first and the last [`QuotedPacket::number`]; they differ for TCP only.
    first: u32,
    last: u32,
    label: u32,
    /// Whether an error has refused it.
    pub(super) refused: bool,
}

impl SentProbe {
    /// The packets sent, with this one.
    pub(super) fn with(
        before: Option<Self>,
        packet: &Packet<'_>,
        quoted: QuotedPacket,
    ) -> Option<Self> {
        let QuotedPacket { number, label, .. } = quoted;
        match packet.transport {
            Transport::Tcp(header) if !header.flags.syn() => {
                let end = SegmentFields::of(packet, header).end();
                before.map(|sent| Self { last: later(sent.last, end), ..sent })
            }
            // The kernel's next attempt to open the same connection.
            Transport::Tcp(_) if before.is_some_and(|sent| sent.first == number) => before,
            // A probe's connection begins with its SYN, and any other probe is one packet.
            _ => Some(Self { first: number, last: number, label, refused: false }),
        }
    }

    /// Whether the error quotes one of these packets. In a quoted datagram only the label is
    /// random.
    pub(super) fn is_quoted_by(self, quoted: QuotedPacket) -> bool {
        let Self { first, last, label, .. } = self;
        let tcp = quoted.flow.protocol == protocol::TCP;
        quoted.number.wrapping_sub(first) <= last.wrapping_sub(first)
            && (tcp || quoted.label == label)
    }
}

/// The pinned flows.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) flows: HashMap<Key, Pinned>,
    /// The director's own addresses with pinned flows, and how many each has: a client's packet
    /// costs one comparison.
    sources: Vec<(IpAddr, usize)>,
    /// The real servers that flows are pinned to, by encapsulation, each with its ID and number of
    /// flows.
    pub(super) reals: HashMap<(IpAddr, Encap), (RealId, usize)>,
}

impl Probes {
    /// Whether a packet from this address may be a probe's.
    #[inline]
    pub(super) fn may_come_from(&self, source: IpAddr) -> bool {
        self.sources.iter().any(|(own, _)| *own == source)
    }

    /// Whether another flow can be pinned.
    pub(super) fn has_room(&self) -> bool {
        self.flows.len() < MAX_PINNED
    }

    /// The real servers that flows are pinned to.
    #[cfg(test)]
    pub(super) fn reals(&self) -> impl Iterator<Item = RealId> {
        self.reals.values().map(|&(id, _)| id)
    }

    pub(super) fn add_source(&mut self, source: IpAddr) {
        match self.sources.iter_mut().find(|(own, _)| *own == source) {
            Some((_, count)) => *count += 1,
            None => self.sources.push((source, 1)),
        }
    }

    pub(super) fn remove_source(&mut self, source: IpAddr) {
        if let Some((_, count)) = self.sources.iter_mut().find(|(own, _)| *own == source) {
            *count -= 1;
        }
        self.sources.retain(|(_, count)| *count > 0);
    }
}
