//! The buffer of held packets: a fixed number of blocks, allocated once. A packet is a chain of
//! blocks.

use std::fmt;

use crate::model::RealId;

/// Bytes of a block. A full-size packet fills three with little waste.
pub(super) const BLOCK: usize = 512;

/// No block.
const NIL: u32 = u32::MAX;

/// Packets in the order of their arrival, by their first blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { first: NIL, last: NIL };

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.first == NIL
    }
}

/// The links of a block; most of them are used in a packet's first one only.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The packet's next block, or the next free one.
    next: u32,
    /// The next packet's first block.
    next_packet: u32,
    /// Bytes of the packet.
    len: u32,
    /// The packet's real server, once it is known.
    real: RealId,
}

/// The held packets.
pub(super) struct Store {
    bytes: Vec<u8>,
    /// The blocks that have ever been used: memory of the others is not touched.
    blocks: Vec<Block>,
    free: u32,
    /// The number of blocks.
    count: usize,
    /// Blocks in use.
    used: usize,
    /// Bytes of the packets.
    held: usize,
}

/// Leaves out the blocks, which are megabytes.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let touched = self.bytes.get(..self.blocks.len() * BLOCK).unwrap_or_default();
        f.debug_struct("Store")
            .field("bytes", &touched)
            .field("blocks", &self.blocks)
            .field("free", &self.free)
            .field("count", &self.count)
            .field("used", &self.used)
            .field("held", &self.held)
            .finish()
    }
}

impl Store {
    /// A store of `bytes`, in whole blocks.
    pub(super) fn new(bytes: usize) -> Self {
        let count = bytes / BLOCK;
        let (bytes, blocks) = (vec![0; count * BLOCK], Vec::with_capacity(count));
        Self { bytes, blocks, free: NIL, count, used: 0, held: 0 }
    }

    /// Bytes of all held packets.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether there are blocks for a packet of `len` bytes.
    pub(super) fn fits(&self, len: usize) -> bool {
        len.div_ceil(BLOCK) <= self.count - self.used
    }

    /// Appends a copy of `packet`, which is not empty and [fits](Self::fits), to a queue.
    pub(super) fn push(&mut self, queue: &mut Queue, packet: &[u8]) {
        let mut first = NIL;
        // Backwards, so that each block's successor is known when it is written.
        for part in packet.chunks(BLOCK).rev() {
            let Some(block) = self.take_block(first) else { break };
            let start = block as usize * BLOCK;
            if let Some(room) = self.bytes.get_mut(start..start + part.len()) {
                room.copy_from_slice(part);
            }
            first = block;
        }
        if let Some(block) = self.blocks.get_mut(first as usize) {
            block.len = u32::try_from(packet.len()).unwrap_or_default();
            self.held += packet.len();
            self.append(queue, first, first);
        }
    }

    /// Moves all packets of one queue to the end of another, with `real` as their real server.
    /// Returns how many.
    pub(super) fn release(&mut self, from: &mut Queue, to: &mut Queue, real: RealId) -> u64 {
        let Queue { first, last } = std::mem::replace(from, Queue::EMPTY);
        let (mut at, mut count) = (first, 0);
        while let Some(block) = self.blocks.get_mut(at as usize) {
            block.real = real;
            at = block.next_packet;
            count += 1;
        }
        if count > 0 {
            self.append(to, first, last);
        }
        count
    }

    /// Removes the first packet and copies it to `room`; returns its real server and length. `None`
    /// if there is none, or `room` is too small for it.
    pub(super) fn pop(&mut self, queue: &mut Queue, room: &mut [u8]) -> Option<(RealId, usize)> {
        let &Block { len, real, .. } = self.blocks.get(queue.first as usize)?;
        let len = len as usize;
        let mut at = queue.first;
        for part in room.get_mut(..len)?.chunks_mut(BLOCK) {
            let start = at as usize * BLOCK;
            part.copy_from_slice(self.bytes.get(start..start + part.len())?);
            at = self.blocks.get(at as usize)?.next;
        }
        self.remove_first(queue);
        Some((real, len))
    }

    /// Drops all packets of a queue and returns how many.
    pub(super) fn clear(&mut self, queue: &mut Queue) -> u64 {
        let mut count = 0;
        while !queue.is_empty() {
            self.remove_first(queue);
            count += 1;
        }
        count
    }

    fn append(&mut self, queue: &mut Queue, first: u32, last: u32) {
        match self.blocks.get_mut(queue.last as usize) {
            Some(block) => block.next_packet = first,
            None => queue.first = first,
        }
        queue.last = last;
    }

    fn remove_first(&mut self, queue: &mut Queue) {
        let Some(&Block { next_packet, len, .. }) = self.blocks.get(queue.first as usize) else {
            *queue = Queue::EMPTY;
            return;
        };
        let mut at = queue.first;
        while let Some(block) = self.blocks.get_mut(at as usize) {
            let next = std::mem::replace(&mut block.next, self.free);
            self.free = at;
            self.used -= 1;
            at = next;
        }
        self.held -= len as usize;
        *queue =
            if next_packet == NIL { Queue::EMPTY } else { Queue { first: next_packet, ..*queue } };
    }

    /// Takes a free block and sets its successor to `next`.
    fn take_block(&mut self, next: u32) -> Option<u32> {
        let block = Block { next, next_packet: NIL, len: 0, real: RealId(NIL) };
        let index = match self.blocks.get_mut(self.free as usize) {
            Some(free) => std::mem::replace(&mut self.free, std::mem::replace(free, block).next),
            None if self.used < self.count => {
                self.blocks.push(block);
                u32::try_from(self.blocks.len() - 1).ok()?
            }
            None => return None,
        };
        self.used += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: RealId = RealId(5);

    /// Bytes that show their position.
    fn packet(len: usize) -> Vec<u8> {
        (0..len).map(|index| u8::try_from(index % 251).unwrap_or_default()).collect()
    }

    fn pop(store: &mut Store, queue: &mut Queue) -> Option<Vec<u8>> {
        let mut room = vec![0; 100 * BLOCK];
        let (_, len) = store.pop(queue, &mut room)?;
        Some(room[..len].to_vec())
    }

    #[test]
    fn packets_come_out_whole_and_in_their_order() {
        let mut store = Store::new(100 * BLOCK);
        let (mut waiting, mut released) = (Queue::EMPTY, Queue::EMPTY);
        let lengths = [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 1_500];
        for len in lengths {
            store.push(&mut waiting, &packet(len));
        }
        assert_eq!(store.held(), lengths.iter().sum::<usize>());
        assert_eq!(store.release(&mut waiting, &mut released, REAL), 6);
        assert!(waiting.is_empty());
        for len in lengths {
            assert_eq!(pop(&mut store, &mut released), Some(packet(len)));
        }
        assert_eq!((pop(&mut store, &mut released), store.held()), (None, 0));
        assert!(released.is_empty());
    }

    #[test]
    fn released_packets_know_their_real_server_and_wait_for_room() {
        let mut store = Store::new(10 * BLOCK);
        let (mut one, mut other, mut released) = (Queue::EMPTY, Queue::EMPTY, Queue::EMPTY);
        store.push(&mut one, &packet(600));
        store.push(&mut other, &packet(700));
        store.release(&mut one, &mut released, REAL);
        store.release(&mut other, &mut released, RealId(6));
        assert_eq!(store.release(&mut other, &mut released, RealId(7)), 0, "an empty queue");
        assert_eq!(store.pop(&mut released, &mut [0; 599]), None);
        assert_eq!(store.pop(&mut released, &mut [0; 600]), Some((REAL, 600)));
        assert_eq!(store.pop(&mut released, &mut [0; 700]), Some((RealId(6), 700)));
    }

    #[test]
    fn full_at_the_last_block_and_empty_again() {
        let mut store = Store::new(4 * BLOCK);
        for round in 0..3 {
            let mut queue = Queue::EMPTY;
            assert!(store.fits(4 * BLOCK) && !store.fits(4 * BLOCK + 1));
            store.push(&mut queue, &packet(3 * BLOCK));
            assert!(store.fits(BLOCK) && !store.fits(BLOCK + 1));
            store.push(&mut queue, &packet(1));
            assert!(!store.fits(1));
            if round == 0 {
                assert_eq!(pop(&mut store, &mut queue), Some(packet(3 * BLOCK)));
                assert_eq!(store.clear(&mut queue), 1);
            }
            assert_eq!(store.clear(&mut queue), if round == 0 { 0 } else { 2 });
            assert_eq!(store.held(), 0);
        }
    }
}
