//! Writes to the TUN, also on kernels that do not accept super-frames there.
//!
//! Some kernels refuse or corrupt super-frames that are written to a TUN. If the configuration says
//! so, or after the kernel has refused several, they are split here: this is slower, but traffic
//! goes on.

use std::io::{self, IoSlice};
use std::time::Instant;

use anyhow::Context;

use crate::app::log_throttle::LogThrottle;
use crate::control::counted;
use crate::sys::tun::{MAX_FRAME_LEN, Tun, VIRTIO_HEADER_LEN};
use crate::wire::Packet;
use crate::wire::coalesce::{Coalescer, Group, MAX_BATCH, MAX_HEADER_LEN};
use crate::wire::frame::{Frame, Framed};
use crate::wire::segment::{self, SplitPlan};
use crate::wire::virtio::{Header, Offload};

/// Frames with offload that the kernel may refuse in a row before offload is given up. If it
/// accepts one in between, the fault is in the refused frames, which a sender may have crafted.
const REFUSALS: u32 = 8;

/// The result of writing to the TUN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Bytes of the inner packets that the kernel accepted.
    pub(super) bytes: u64,
    /// Frames that it refused, or that could not be written.
    pub(super) failed: u64,
    /// Frames with offload that it refused and that were written without offload instead.
    pub(super) refused_super_frames: u64,
    /// Super-frames that were built here and that the kernel accepted.
    pub(super) coalesced_frames: u64,
    /// The packets in them.
    pub(super) coalesced_packets: u64,
}

/// The TUN and the way it is written to.
#[derive(Debug)]
pub(super) struct Delivery {
    tun: Tun,
    /// Whether vstun splits super-frames.
    splits: bool,
    /// Whether vstun builds super-frames.
    coalesce: bool,
    /// Frames with offload that the kernel has refused since it last accepted one.
    refusals: u32,
    scratch: Vec<u8>,
    written: Written,
    throttle: LogThrottle,
}

impl Delivery {
    /// `coalesce`: whether to build super-frames here, if the TUN accepts them.
    pub(super) fn new(tun: Tun, coalesce: bool) -> Self {
        let scratch = vec![0; MAX_FRAME_LEN];
        Self {
            splits: !tun.offload(),
            tun,
            coalesce,
            refusals: 0,
            scratch,
            written: Written::default(),
            throttle: LogThrottle::default(),
        }
    }

    /// Sets whether super-frames are built here.
    pub(super) fn set_coalesce(&mut self, coalesce: bool) {
        self.coalesce = coalesce;
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// Whether super-frames are written to the TUN unchanged.
    pub(super) fn offload(&self) -> bool {
        !self.splits
    }

    /// Whether packets of a batch may be merged into super-frames here.
    #[inline]
    pub(super) fn coalesces(&self) -> bool {
        self.coalesce && !self.splits
    }

    /// Delivers a group of a batch's `frames`, merged into one frame if there are several.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub(super) fn deliver_group(
        &mut self,
        coalescer: &Coalescer,
        group: &Group,
        frames: &mut [Frame<'_>],
    ) -> anyhow::Result<()> {
        if group.count() > 1 && self.coalesces() && self.deliver_merged(coalescer, group, frames)? {
            return Ok(());
        }
        for index in coalescer.frame_indexes(group) {
            if let Some(frame) = frames.get_mut(index) {
                self.deliver(frame)?;
            }
        }
        Ok(())
    }

    /// Writes a group as one frame: its headers, and the payloads from their buffers; copying them
    /// together was not cheaper. `false` if the kernel refuses it; each frame then has to be
    /// written alone.
    fn deliver_merged(
        &mut self,
        coalescer: &Coalescer,
        group: &Group,
        frames: &[Frame<'_>],
    ) -> anyhow::Result<bool> {
        let mut header = [0; MAX_HEADER_LEN];
        let first = frames.get(group.first());
        let header_len = first.and_then(|first| Coalescer::header(group, first, &mut header));
        let Some(header_len) = header_len else { return Ok(false) };
        let mut parts = [IoSlice::new(&[]); 1 + MAX_BATCH];
        let (head, payloads) = parts.split_at_mut(1);
        head.fill(IoSlice::new(header.get(..header_len).unwrap_or_default()));
        for (part, index) in payloads.iter_mut().zip(coalescer.frame_indexes(group)) {
            *part = IoSlice::new(frames.get(index).map_or(&[], |frame| group.payload(frame)));
        }
        match self.tun.write_parts(parts.get(..=group.count()).unwrap_or_default()) {
            Ok(_) => {
                self.refusals = 0;
                self.written.bytes += group.packets_len() as u64;
                self.written.coalesced_frames += 1;
                self.written.coalesced_packets += group.count() as u64;
                Ok(true)
            }
            Err(error) if is_refusal(&error) => {
                self.refused(&error);
                Ok(false)
            }
            // A large frame needs contiguous memory, which single packets do not.
            Err(error) if is_for_want_of_memory(&error) => Ok(false),
            Err(error) => self.failed(error, group.count() as u64).map(|()| true),
        }
    }

    /// Delivers a frame that the gate has accepted.
    ///
    /// # Errors
    /// The TUN is gone. A frame that the kernel refuses is only counted.
    #[inline]
    pub(super) fn deliver(&mut self, frame: &mut Frame<'_>) -> anyhow::Result<()> {
        let header = frame.parts().and_then(|(header, _)| Header::decode(header));
        let Some(Ok(offload)) = header.map(|(header, _)| header.offload()) else {
            return self.unfit();
        };
        if offload == Offload::None {
            let taken = self.write(frame);
            return self.note(taken, frame.packet().len());
        }
        if self.splits {
            return self.split(frame, offload);
        }
        match self.write(frame) {
            Err(error) if is_refusal(&error) => {
                self.refused(&error);
                self.split(frame, offload)
            }
            taken => {
                self.refusals = 0;
                self.note(taken, frame.packet().len())
            }
        }
    }

    #[inline]
    fn write(&self, frame: &Frame<'_>) -> io::Result<usize> {
        match frame {
            Frame::Joined(bytes) => self.tun.write(bytes),
            Frame::Apart(header, packet) => {
                self.tun.write_parts(&[IoSlice::new(header), IoSlice::new(packet)])
            }
        }
    }

    /// Counts a frame with offload that the kernel refused.
    #[cold]
    fn refused(&mut self, error: &io::Error) {
        self.written.refused_super_frames += 1;
        self.refusals += 1;
        if self.refusals == REFUSALS {
            log::warn!(
                "this kernel does not take super-frames on a TUN ({error}); every packet goes \
                 alone from now on; set offload = false to start so"
            );
            self.splits = true;
        }
    }

    /// Completes the frame's checksum, or writes its segments one by one.
    fn split(&mut self, frame: &mut Frame<'_>, offload: Offload) -> anyhow::Result<()> {
        let Some((header, packet)) = frame.parts_mut() else { return self.unfit() };
        header.fill(0);
        if let Offload::Checksum { start, offset } = offload {
            if segment::complete_checksum(packet, start, offset).is_err() {
                return self.unfit();
            }
            let taken = self.write(frame);
            return self.note(taken, frame.packet().len());
        }
        let plan =
            Packet::parse(packet).ok().and_then(|packet| SplitPlan::new(&packet, offload).ok());
        let Some(plan) = plan else { return self.unfit() };
        for index in 0..plan.count() {
            let Some(len) = self.segment(&plan, index, packet) else {
                self.unfit()?;
                continue;
            };
            let taken = self.tun.write(self.scratch.get(..len).unwrap_or_default());
            self.note(taken, len - VIRTIO_HEADER_LEN)?;
        }
        Ok(())
    }

    /// Writes one segment into the scratch buffer, as a frame; returns its length.
    fn segment(&mut self, plan: &SplitPlan, index: usize, packet: &[u8]) -> Option<usize> {
        let (header, room) = self.scratch.split_at_mut_checked(VIRTIO_HEADER_LEN)?;
        header.fill(0);
        let payload = packet.get(plan.write(index, packet, room)?)?;
        room.get_mut(plan.header_len()..)?.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(VIRTIO_HEADER_LEN + plan.header_len() + payload.len())
    }

    /// Counts a frame with a packet of `len` bytes by the result of its write.
    #[inline]
    fn note(&mut self, taken: io::Result<usize>, len: usize) -> anyhow::Result<()> {
        match taken {
            Ok(_) => self.written.bytes += len as u64,
            Err(error) => self.failed(error, 1)?,
        }
        Ok(())
    }

    /// Counts a frame or a segment that cannot be split.
    #[cold]
    fn unfit(&mut self) -> anyhow::Result<()> {
        self.failed(io::Error::new(io::ErrorKind::InvalidData, "it cannot be taken apart"), 1)
    }

    /// Counts `packets` that were not written.
    #[cold]
    fn failed(&mut self, error: io::Error, packets: u64) -> anyhow::Result<()> {
        self.written.failed += packets;
        if error.raw_os_error() == Some(libc::EBADFD) {
            let name = self.tun.name();
            return Err(error).with_context(|| format!("the TUN device {name:?} is gone"));
        }
        if let Some(count) = self.throttle.note(Instant::now()) {
            let times = counted(count, "time");
            log::warn!(count; "the TUN did not take a packet: {error} ({times})");
        }
        Ok(())
    }
}

/// Whether the kernel had no memory for a frame of this length.
fn is_for_want_of_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN))
}

/// Whether the kernel refuses the virtio-net header.
fn is_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}
