//! Records the packets that are sent for a packet.

use super::{MAX_PACKET_LEN, Outlet, Tunnel};

/// A sent packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    ToClient(Vec<u8>),
    ToReal(Tunnel, Vec<u8>),
}

/// The packets sent for one packet, in this order.
pub(crate) struct Recorder<'a> {
    packet: &'a [u8],
    room: Vec<u8>,
    pub(crate) sent: Vec<Sent>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(packet: &'a [u8]) -> Self {
        Self { packet, room: Vec::new(), sent: Vec::new() }
    }
}

impl Outlet for Recorder<'_> {
    fn packet(&mut self, tunnel: &Tunnel) {
        self.sent.push(Sent::ToReal(*tunnel, self.packet.to_vec()));
    }

    fn reply(&mut self, answer: &[u8]) {
        self.sent.push(Sent::ToClient(answer.to_vec()));
    }

    fn server_reset(&mut self, tunnel: &Tunnel, reset: &[u8]) {
        assert!(reset.len() <= self.packet.len(), "it takes the packet's place");
        self.sent.push(Sent::ToReal(*tunnel, reset.to_vec()));
    }

    fn room(&mut self) -> &mut [u8] {
        // Allocated on demand, since few packets need it.
        self.room.resize(MAX_PACKET_LEN, 0);
        &mut self.room
    }

    fn released(&mut self, tunnel: &Tunnel, len: usize) {
        self.sent.push(Sent::ToReal(*tunnel, self.room[..len].to_vec()));
    }
}
