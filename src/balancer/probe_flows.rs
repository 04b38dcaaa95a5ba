//! The flows of the director's own probes ([`super::probes`]), pinned to their real servers.

use std::collections::HashMap;
use std::net::IpAddr;

use super::flow::Key;
use crate::model::RealId;

/// The most pinned flows at a time: two for each possible check.
pub const MAX_PINNED: usize = 131_072;

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
    pub(super) fn key(&self) -> Key {
        let Self { protocol, source, source_port, destination, destination_port } = *self;
        Key::new(protocol, source, source_port, destination, destination_port)
    }
}

/// The pinned flows.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) flows: HashMap<Key, RealId>,
    /// The director's own addresses with pinned flows, and how many each has: a client's packet
    /// costs one comparison.
    sources: Vec<(IpAddr, usize)>,
    /// The real servers that flows are pinned to, each with its ID and number of flows.
    pub(super) reals: HashMap<IpAddr, (RealId, usize)>,
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
