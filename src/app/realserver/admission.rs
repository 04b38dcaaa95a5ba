//! A batch of datagrams on its way through the gate to the TUN.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Instant;

use tokio::sync::mpsc;

use super::answers::Asked;
use super::delivery::Delivery;
use super::last_sources::SourceWatch;
use crate::app::log_throttle::LogThrottle;
use crate::decap::{Admission, Gate, Payload, Refusal, source_of};
use crate::doctor::inquiry::Question;
use crate::sys::raw::{HEADROOM, Received};
use crate::wire::coalesce::{Coalescer, MAX_BATCH};
use crate::wire::encap::Encap;
use crate::wire::frame::Frame;
use crate::wire::{Packet, protocol};

/// Frames that wait for others of their stream in the batch.
pub(super) struct WaitingFrames<'a, 'd> {
    delivery: &'a mut Delivery,
    coalescer: &'a mut Coalescer,
    /// The frame of a single datagram does not wait; there is no buffer for it here.
    waiting: Option<[Frame<'d>; MAX_BATCH]>,
    len: usize,
}

impl<'a, 'd> WaitingFrames<'a, 'd> {
    /// For the frames of `count` datagrams.
    #[inline]
    pub(super) fn new(
        delivery: &'a mut Delivery,
        coalescer: &'a mut Coalescer,
        count: usize,
    ) -> Self {
        let mut frames = Self { delivery, coalescer, waiting: None, len: 0 };
        if count > 1 {
            frames.wait_for_each_other();
        }
        frames
    }

    /// Lets frames wait for each other from now on, if they may be merged.
    fn wait_for_each_other(&mut self) {
        if self.waiting.is_none() && self.delivery.coalesces() {
            self.waiting = Some(std::array::from_fn(|_| Frame::default()));
        }
    }

    /// Makes room for frames that may be merged with each other; if it does not suffice, the frames
    /// before them are delivered first.
    fn make_room(&mut self, count: usize) -> anyhow::Result<()> {
        if self.len + count > MAX_BATCH { self.flush() } else { Ok(()) }
    }

    #[inline]
    fn add(&mut self, mut frame: Frame<'d>) -> anyhow::Result<()> {
        if self.waiting.is_none() {
            return self.delivery.deliver(&mut frame);
        }
        self.make_room(1)?;
        let waiting = self.waiting.as_mut();
        if let Some(slot) = waiting.and_then(|waiting| waiting.get_mut(self.len)) {
            *slot = frame;
            self.len += 1;
        }
        Ok(())
    }

    /// Delivers all that wait.
    ///
    /// # Errors
    /// The TUN is gone.
    #[inline]
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        let Self { delivery, coalescer, waiting, len } = self;
        let frames = waiting.as_mut().and_then(|waiting| waiting.get_mut(..*len));
        let frames = frames.unwrap_or_default();
        *len = 0;
        if let [lone] = frames {
            return delivery.deliver(lone);
        }
        coalescer.sort(frames);
        for group in coalescer.groups() {
            delivery.deliver_group(coalescer, group, frames)?;
        }
        Ok(())
    }
}

/// The gate, and the receivers of datagrams that are not delivered.
pub(super) struct Admitter<'a> {
    pub(super) gate: &'a mut Gate,
    /// The header at the start of the socket's payloads.
    pub(super) payload: Payload,
    pub(super) merged_udp: &'a mut LogThrottle,
    pub(super) remote_checksum: &'a mut LogThrottle,
    /// The channel to the task that answers inquiries.
    pub(super) questions: &'a mpsc::Sender<Asked>,
    /// Where packets have come from.
    pub(super) sources: &'a mut SourceWatch,
}

impl Admitter<'_> {
    /// Passes a datagram, or each of those that the kernel has merged, through the gate, and adds
    /// what it accepts to the frames.
    ///
    /// # Errors
    /// The TUN is gone.
    #[inline]
    pub(super) fn admit<'d>(
        &mut self,
        datagram: Received<'d>,
        frames: &mut WaitingFrames<'_, 'd>,
    ) -> anyhow::Result<()> {
        let (decision, outer, bytes) = match datagram {
            Received::Whole(bytes) => (self.gate.open(bytes), None, bytes),
            Received::Payload { source, port, traffic_class, piece: Some(piece), bytes } => {
                let merged = bytes.get_mut(HEADROOM..).unwrap_or_default();
                return self.admit_pieces((source, port), traffic_class, (merged, piece), frames);
            }
            Received::Payload { source, port, traffic_class, piece: None, bytes } => {
                let gate = &mut self.gate;
                let decision = gate.open_bare(self.payload, source, traffic_class, HEADROOM, bytes);
                (decision, Some((source, port)), bytes)
            }
        };
        match self.follow(decision, outer, bytes) {
            Some(frame) => frames.add(frame),
            None => Ok(()),
        }
    }

    /// Each of the datagrams of `piece` bytes in `merged`, of which the last may be shorter.
    fn admit_pieces<'d>(
        &mut self,
        (source, port): (IpAddr, u16),
        traffic_class: u8,
        (merged, piece): (&'d mut [u8], usize),
        frames: &mut WaitingFrames<'_, 'd>,
    ) -> anyhow::Result<()> {
        let count = merged.len().div_ceil(piece);
        if self.gate.refuse_merged(&source, count) {
            self.sources.refuse(source, count as u64);
            return Ok(());
        }
        frames.wait_for_each_other();
        frames.make_room(count)?;
        for bytes in merged.chunks_mut(piece) {
            let decision = self.gate.open_piece(source, traffic_class, bytes);
            if let Some(frame) = self.follow(decision, Some((source, port)), bytes) {
                frames.add(frame)?;
            }
        }
        Ok(())
    }

    /// Carries out the gate's decision on `bytes`; returns the frame for the TUN if they are
    /// accepted. `outer`: the outer source and UDP port, if there is no outer header in `bytes`.
    #[inline]
    fn follow<'d>(
        &mut self,
        decision: Admission,
        outer: Option<(IpAddr, u16)>,
        bytes: &'d mut [u8],
    ) -> Option<Frame<'d>> {
        match decision {
            Admission::Deliver(frame) => return bytes.get_mut(frame).map(Frame::Joined),
            Admission::DeliverPiece(header, packet) => {
                return bytes.get_mut(packet).map(|packet| Frame::Apart(header, packet));
            }
            Admission::Drop(Refusal::UdpSuperPacket) => explain_merged_udp(self.merged_udp),
            Admission::Drop(Refusal::RemoteChecksum) => {
                explain_remote_checksum(self.remote_checksum);
            }
            Admission::Drop(Refusal::Source) => {
                let source = outer.map(|(source, _)| source).or_else(|| source_of(bytes));
                source.into_iter().for_each(|source| self.sources.refuse(source, 1));
            }
            Admission::Inquiry(inner) => self.ask(outer, (bytes, inner)),
            Admission::Drop(_) => {}
        }
        None
    }

    /// Passes an inquiry to the task that answers.
    #[cold]
    fn ask(&mut self, from: Option<(IpAddr, u16)>, (bytes, inner): (&[u8], Range<usize>)) {
        // Before the inquiry is parsed, so that a flood of them costs no more than this.
        let Ok(room) = self.questions.try_reserve() else {
            self.gate.refuse(Refusal::InquiryLimit);
            return;
        };
        let outer = from.is_none().then(|| Packet::parse(bytes).ok()).flatten();
        let by = |outer: &Packet<'_>| (outer.source, 0, by_protocol(outer.protocol));
        let from = from.map(|(director, port)| (director, port, self.payload.encap()));
        let from = from.or_else(|| outer.as_ref().map(by));
        let packet = bytes.get(inner).and_then(|inner| Packet::parse(inner).ok());
        let question = packet.as_ref().and_then(|packet| Question::parse(packet.payload()).ok());
        let (Some((director, port, encap)), Some(packet), Some(question)) =
            (from, packet, question)
        else {
            self.gate.refuse(Refusal::Inquiry);
            return;
        };
        let here = outer.map(|outer| outer.destination);
        let (asker, vip) = (packet.source, packet.destination);
        room.send(Asked { director, encap, port, here, asker, vip, question });
        self.gate.count_inquiry();
    }
}

/// What a raw socket of that protocol receives.
fn by_protocol(number: u8) -> Encap {
    if number == protocol::GRE { Encap::Gre } else { Encap::Ipip }
}

#[cold]
fn explain_remote_checksum(throttle: &mut LogThrottle) {
    if let Some(count) = throttle.note(Instant::now()) {
        log::warn!(
            count;
            "dropped {count} packets in GUE with remote checksum offload, which leaves inner \
             checksums to the receiver: turn it off at the director that sends them (`ip link` \
             with noencap-remcsum, `ipvsadm` with --tun-csum)"
        );
    }
}

#[cold]
fn explain_merged_udp(throttle: &mut LogThrottle) {
    if let Some(count) = throttle.note(Instant::now()) {
        log::warn!(
            count;
            "dropped {count} UDP packets that the network card had merged and that cannot be \
             split: a program here receives with UDP_GRO, or rx-udp-gro-forwarding is on; turn it \
             off with `ethtool -K DEV rx-udp-gro-forwarding off`, or use a director that sends UDP \
             with ids that stop merging, as vstun does"
        );
    }
}
