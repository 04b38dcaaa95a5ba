//! Carries out one frame's verdict. Packets to send stay in the input until the output is flushed.

use std::net::IpAddr;

use crate::balancer::outer::Inner;
use crate::balancer::{Outlet, Tunnel};
use crate::wire::Packet;
use crate::wire::segment::SplitPlan;

use super::input::Input;
use super::output::Output;

/// The current packet and its buffers.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    pub(super) input: &'a mut Input,
    pub(super) output: &'a mut Output,
    /// See [`Inner::of`].
    pub(super) label_key: u64,
    pub(super) client: IpAddr,
    pub(super) inner: Inner,
    /// The packet's length in bytes.
    pub(super) len: usize,
    /// How it is split, if it is a super-frame.
    pub(super) plan: Option<&'a SplitPlan>,
}

impl Sending<'_> {
    fn whole(&mut self, tunnel: &Tunnel, inner: Inner, len: usize) {
        self.input.cut(len);
        let at = self.input.packet_range();
        self.output.whole(self.input, at, inner, tunnel);
    }
}

impl Outlet for Sending<'_> {
    #[inline]
    fn packet(&mut self, tunnel: &Tunnel) {
        match self.plan {
            None => self.whole(tunnel, self.inner, self.len),
            Some(plan) => {
                self.input.cut(self.len);
                self.output.split(self.input, self.inner, plan, tunnel);
            }
        }
    }

    fn reply(&mut self, answer: &[u8]) {
        let mut stored = self.input.answer(answer);
        if stored.is_none() {
            self.output.flush(self.input);
            self.input.clear_answers();
            stored = self.input.answer(answer);
        }
        if let Some(stored) = stored {
            self.output.plain(self.input, self.client, stored);
        }
    }

    /// Sends the reset instead of the packet whose connection it ends.
    #[cold]
    fn server_reset(&mut self, tunnel: &Tunnel, reset: &[u8]) {
        let Ok(packet) = Packet::parse(reset) else { return };
        let inner = Inner::of(&packet, self.label_key);
        let Some(room) = self.input.packet_mut().get_mut(..reset.len()) else { return };
        room.copy_from_slice(reset);
        self.whole(tunnel, inner, reset.len());
    }

    #[cold]
    fn room(&mut self) -> &mut [u8] {
        if self.input.released_room().is_empty() {
            self.output.flush(self.input);
            self.input.clear_answers();
        }
        self.input.released_room()
    }

    #[cold]
    fn released(&mut self, tunnel: &Tunnel, len: usize) {
        let Some(bytes) = self.input.released_room().get(..len) else { return };
        let Ok(packet) = Packet::parse(bytes) else { return };
        let inner = Inner::of(&packet, self.label_key);
        let at = self.input.released(len);
        self.output.whole(self.input, at, inner, tunnel);
    }
}
