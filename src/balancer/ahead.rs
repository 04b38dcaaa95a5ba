//! Looking ahead: a batch of packets' connections are brought into the cache together.
//!
//! Among many connections a packet waits for two reads from memory, one after the other: the
//! index's slot and the entry it names. Those of a whole batch overlap where nothing waits for
//! them.

use super::Balancer;
use super::forward::key;
use crate::wire::{Packet, Transport};

/// Connections from which on looking ahead is worth its own work, a parse and a hash for each
/// packet: with their slots they take some 4 MB, more than the caches next to a processor hold.
pub(super) const MANY: usize = 50_000;

impl Balancer {
    /// Brings what [`Self::forward`] will look at for these packets into the processor's caches,
    /// where there are so many connections that it is not there anyway. At most
    /// [`AHEAD`](super::table::AHEAD) packets; it changes nothing.
    pub fn look_ahead<'a>(&self, packets: impl ExactSizeIterator<Item = &'a [u8]>) {
        // Alone, a packet would only wait here instead of there.
        if self.tables.connections.len() < MANY || packets.len() < 2 {
            return;
        }
        self.tables.connections.look_ahead(packets.filter_map(|bytes| {
            let packet = Packet::parse(bytes).ok()?;
            match packet.transport {
                Transport::Tcp(header) => {
                    Some(key(&packet, header.source_port, header.destination_port))
                }
                Transport::Udp { source_port, destination_port } => {
                    Some(key(&packet, source_port, destination_port))
                }
                _ => None,
            }
        }));
    }
}
