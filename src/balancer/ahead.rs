//! Prefetching: the connections of a batch of packets are brought into the cache together.
//!
//! Among many connections a packet waits for two dependent reads from memory: the index's slot and
//! the entry in it. Prefetched for a whole batch, these reads overlap.

use super::Balancer;
use super::forward::key;
use crate::wire::{Packet, Transport};

/// The number of connections above which prefetching is worth its cost, a parse and a hash per
/// packet: with their slots they take about 4 MB, more than a processor core's private caches.
pub(super) const MANY: usize = 50_000;

impl Balancer {
    /// Prefetches the data that [`Self::forward`] will read for these packets, if there are so many
    /// connections that it is not in the caches anyway. At most [`AHEAD`](super::table::AHEAD)
    /// packets; it changes nothing.
    pub fn look_ahead<'a>(&self, packets: impl ExactSizeIterator<Item = &'a [u8]>) {
        // A single packet would wait here instead of in `forward`.
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
