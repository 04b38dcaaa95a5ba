//! Packets in GUE that go to a real server in one send.
//!
//! The kernel cuts the payload of one send into UDP datagrams of one size, of which the last may be
//! shorter (`UDP_SEGMENT`). So packets of many flows go together if they have the same outer
//! header. Those that are shorter are padded with zeros where that costs less than another send;
//! the inner packet's own length says where it ends.
//!
//! ```text
//!  one send     | GUE | packet | GUE | packet | zeros | GUE | packet |
//!  datagrams    |<--- size --->|<------ size -------->|<- shorter -->|
//! ```
//!
//! Packets of one flow never overtake each other. All of a flow have one destination and one source
//! port, a *lane*. Sends of a lane that differ in source or traffic class are open at the same time
//! and leave in the order in which they were opened. A packet joins a send only if no later one has
//! packets of its flow.

use std::net::IpAddr;

use super::gue;

/// The most datagrams of a send: what kernels before Linux 6.9 take, and what a receiver merges.
pub const MAX_SEGMENTS: usize = 64;

/// The most bytes of a send: an IPv4 datagram's less the IPv4 and UDP headers.
pub const MAX_BYTES: usize = 65_535 - 20 - 8;

/// Bytes of the longest inner packet that can be sent.
pub const MAX_INNER: usize = MAX_BYTES - gue::HEADER_LEN;

/// The most sends that are open at a time: the source ports of small packets to eight real servers.
pub const MAX_OPEN: usize = 32;

/// The most bytes of zeros that a packet may cost that joins others. A send of its own costs some
/// 2 µs, in which the kernel copies several thousand bytes; but zeros also need the network.
pub const MAX_PADDING: usize = 512;

/// What the kernel writes into the outer headers of all datagrams of a send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OuterFields {
    /// The director; 0.0.0.0 if the kernel is to pick it.
    pub source: IpAddr,
    /// The real server.
    pub destination: IpAddr,
    /// The UDP source port.
    pub source_port: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl OuterFields {
    fn is_lane(&self, destination: IpAddr, source_port: u16) -> bool {
        self.source_port == source_port && self.destination == destination
    }
}

/// A packet that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct GuePacket<'a> {
    outer: OuterFields,
    flow: u32,
    header: [u8; gue::HEADER_LEN],
    inner: [&'a [u8]; 2],
}

impl<'a> GuePacket<'a> {
    /// A packet of a flow with that number, in two parts. `None` if its version is neither 4 nor 6,
    /// or it is longer than [`MAX_INNER`].
    #[inline]
    #[must_use]
    pub fn new(outer: OuterFields, flow: u32, version: u8, inner: [&'a [u8]; 2]) -> Option<Self> {
        let segment = Self { outer, flow, header: gue::header(version)?, inner };
        (segment.len() <= MAX_BYTES).then_some(segment)
    }

    /// Bytes of the datagram's payload.
    fn len(&self) -> usize {
        self.header.len() + self.inner[0].len() + self.inner[1].len()
    }
}

/// Packets that go in one send.
#[derive(Debug)]
pub struct Send {
    outer: OuterFields,
    bytes: Vec<u8>,
    /// Where each datagram's bytes end.
    ends: Vec<usize>,
    /// Bytes of the longest datagram.
    size: usize,
    /// A bit for each flow, by its number.
    flows: u64,
}

impl Send {
    fn new(outer: OuterFields) -> Self {
        let ends = Vec::with_capacity(MAX_SEGMENTS);
        Self { outer, bytes: Vec::with_capacity(MAX_BYTES), ends, size: 0, flows: 0 }
    }

    /// The outer header of each datagram.
    #[must_use]
    pub fn outer(&self) -> OuterFields {
        self.outer
    }

    /// Bytes of each datagram's payload with its padding; the last one has none and may be shorter.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many datagrams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all payloads with padding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.size * self.count().saturating_sub(1) + self.last()
    }

    /// Whether there is no datagram.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of zeros.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.len() - self.bytes.len()
    }

    /// The payloads without padding, one behind the other, and where each of them ends.
    #[must_use]
    pub fn payloads(&self) -> (&[u8], &[usize]) {
        (&self.bytes, &self.ends)
    }

    /// The datagrams' payloads without padding.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            self.bytes.get(std::mem::replace(&mut start, end)..end).unwrap_or_default()
        })
    }

    fn last(&self) -> usize {
        let start = self.ends.iter().nth_back(1).copied().unwrap_or_default();
        self.bytes.len() - start
    }

    /// Whether a datagram of `len` bytes joins. Those before it, the last one too, then have the
    /// size of the longest.
    fn takes(&self, len: usize) -> bool {
        let size = self.size.max(len);
        let before = size * self.count();
        self.count() < MAX_SEGMENTS
            && before + len <= MAX_BYTES
            && before - self.bytes.len() <= self.padding() + MAX_PADDING
    }

    fn push(&mut self, segment: &GuePacket<'_>) {
        let [first, rest] = segment.inner;
        self.bytes.extend_from_slice(&segment.header);
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(rest);
        self.ends.push(self.bytes.len());
        self.size = self.size.max(segment.len());
        self.flows |= flow_bit(segment.flow);
    }
}

fn flow_bit(flow: u32) -> u64 {
    1 << (flow % u64::BITS)
}

/// The sends that are open. Their memory is allocated once, when the first packet comes.
#[derive(Debug, Default)]
pub struct Joins {
    /// Those that are open, in the order of their opening.
    open: Vec<Send>,
    free: Vec<Send>,
}

impl Joins {
    /// Whether no packet waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Enters a packet.
    ///
    /// # Errors
    /// The position of a send that must leave first: the caller takes it out ([`Self::take`]) and
    /// tries again.
    #[inline]
    pub fn enter(&mut self, segment: &GuePacket<'_>) -> Result<(), usize> {
        let position = match self.joined(segment)? {
            Some(position) => position,
            None => self.begin(segment.outer)?,
        };
        if let Some(send) = self.open.get_mut(position) {
            send.push(segment);
        }
        Ok(())
    }

    /// The open send that the packet joins, if there is one; or the one that must leave before it.
    fn joined(&self, segment: &GuePacket<'_>) -> Result<Option<usize>, usize> {
        let (outer, len) = (&segment.outer, segment.len());
        let mut overtaken = 0;
        for (position, send) in self.open.iter().enumerate().rev() {
            if send.outer == *outer {
                let joins = overtaken & flow_bit(segment.flow) == 0 && send.takes(len);
                return if joins {
                    Ok(Some(position))
                } else {
                    Err(self.before(outer.destination, outer.source_port).unwrap_or(position))
                };
            }
            if send.outer.is_lane(outer.destination, outer.source_port) {
                overtaken |= send.flows;
            }
        }
        Ok(None)
    }

    fn begin(&mut self, outer: OuterFields) -> Result<usize, usize> {
        if self.open.len() >= MAX_OPEN {
            return Err(0);
        }
        if self.open.capacity() == 0 {
            self.open.reserve_exact(MAX_OPEN);
            self.free.extend((0..MAX_OPEN).map(|_| Send::new(outer)));
        }
        let mut send = self.free.pop().unwrap_or_else(|| Send::new(outer));
        send.outer = outer;
        self.open.push(send);
        Ok(self.open.len() - 1)
    }

    /// The position of the first send to that destination from that port: it must leave before a
    /// packet that does not join.
    #[must_use]
    pub fn before(&self, destination: IpAddr, source_port: u16) -> Option<usize> {
        self.open.iter().position(|send| send.outer.is_lane(destination, source_port))
    }

    /// Takes out the open send at `position`; the first one is at 0. Give it back with
    /// [`Self::give_back`].
    pub fn take(&mut self, position: usize) -> Option<Send> {
        (position < self.open.len()).then(|| self.open.remove(position))
    }

    /// Its memory is for another send.
    pub fn give_back(&mut self, mut send: Send) {
        send.bytes.clear();
        send.ends.clear();
        (send.size, send.flows) = (0, 0);
        self.free.push(send);
    }
}

#[cfg(test)]
mod tests;
