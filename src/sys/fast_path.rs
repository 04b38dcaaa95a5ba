//! The kernel's half of the fast path: an eBPF program at the uplinks, and the maps that it shares
//! with this process (`bpf/fast_path.bpf.c`).
//!
//! The flows, the index of their keys and the tunnels are arrays in memory that both halves
//! share: a flow is entered or taken back by a few stores. The process owns all of it: the kernel
//! detaches the program when the process ends.

mod flow_index;
mod shared;

use std::fmt;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray};
use aya::{EbpfLoader, Pod};

pub use flow_index::FlowKey;
use flow_index::{FlowIndex, buckets_for};
use shared::Shared;

use super::ingress::{self, IngressProgram};
use super::random;

/// The compiled program; `make bpf` rebuilds it.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/fast_path.bpf.o");

/// The tunnels that the program has slots for; a tunnel's slot is its number modulo this.
pub const TUNNELS: u32 = 16_384;

/// The program's answer to a packet that it carries (`TC_ACT_REDIRECT`).
pub const REDIRECT: u32 = 7;

/// A unit of [`Flow::last`] in nanoseconds, as a shift.
const TICK_SHIFT: u32 = 28;

/// The reasons for which a packet is not carried; the program's first one is 1.
pub const REASONS: usize = 13;

/// A flow, at its entry's index in the connection table.
#[repr(C)]
#[derive(Debug)]
struct Flow {
    /// Its key. The last word is 0 if no key has this index.
    key: [AtomicU64; 5],
    ticket: AtomicU64,
    position: AtomicU64,
    last: AtomicU32,
    label: AtomicU32,
}
const _: () = assert!(size_of::<Flow>() == 64 && offset_of!(Flow, last) == 56);

/// A tunnel to a real server, in the layout of the program.
#[repr(C)]
#[derive(Debug)]
struct MapTunnel {
    number: AtomicU32,
    interface: AtomicU32,
    limit: AtomicU32,
    version: AtomicU32,
    source: [AtomicU32; 4],
    destination: [AtomicU32; 4],
    unused: [u64; 2],
}
const _: () = assert!(size_of::<MapTunnel>() == 64 && offset_of!(MapTunnel, destination) == 32);

/// What one CPU has carried through a tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CarriedCount {
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes, without outer headers.
    pub bytes: u64,
    /// Frames; a super-frame is one.
    pub frames: u64,
}
const _: () = assert!(size_of::<CarriedCount>() == 24);

// SAFETY: it is plain integers without padding.
unsafe impl Pod for CarriedCount {}

/// The headers and the interface for packets to a real server.
#[derive(Clone, Copy, Debug)]
pub struct MapTunnelSpec {
    /// The real server.
    pub destination: IpAddr,
    /// The outer source, of the same family.
    pub source: IpAddr,
    /// The index of the interface towards it.
    pub interface: u32,
    /// Bytes of the longest inner packet that fits.
    pub limit: u32,
}

/// The program's record of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapProgress {
    /// The end of the tick of its last packet, in nanoseconds of `CLOCK_MONOTONIC`. `None`: there
    /// was no packet since it was entered.
    pub last: Option<u64>,
    /// The client's next sequence number.
    pub next: u32,
    /// The client's last acknowledgement number.
    pub acknowledged: u32,
}

/// The maps.
pub struct Maps {
    flow_index: FlowIndex,
    counts: PerCpuArray<MapData, CarriedCount>,
    refused: PerCpuArray<MapData, u64>,
    flows: Shared<Flow>,
    tunnels: Shared<MapTunnel>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flow_index, counts: _, refused: _, flows, tunnels } = self;
        let mut shown = formatter.debug_struct("Maps");
        shown.field("flow_index", flow_index).field("flows", flows).field("tunnels", tunnels);
        shown.finish_non_exhaustive()
    }
}

/// The program's name in the kernel.
const NAME: &str = "fast_path";

/// The interfaces of this network namespace whose ingress has the program, of any process.
///
/// # Errors
/// The process may not ask, or the kernel has no tcx.
pub fn attached() -> io::Result<Vec<String>> {
    ingress::attached(NAME)
}

/// Loads the program, with room for `flows` flows.
///
/// # Errors
/// The kernel or the process's rights do not allow it.
pub fn load(flows: u32) -> io::Result<(IngressProgram, Maps)> {
    let (buckets, [seed]) = (buckets_for(flows), random::words()?);
    let mut loader = EbpfLoader::new();
    let mask = buckets - 1;
    loader
        .override_global("seed", &seed, true)
        .override_global("bucket_mask", &mask, true)
        .map_max_entries("buckets", buckets)
        .map_max_entries("flows", flows.max(1));
    let mut program = IngressProgram::load(&mut loader, OBJECT, NAME)?;
    let maps = Maps {
        flow_index: FlowIndex::new(Shared::of(program.map("buckets")?, buckets)?, seed),
        refused: program.typed_map("refused")?,
        counts: program.typed_map("counts")?,
        flows: Shared::of(program.map("flows")?, flows.max(1))?,
        tunnels: Shared::of(program.map("tunnels")?, TUNNELS)?,
    };
    Ok((program, maps))
}

impl Maps {
    /// Opens a tunnel. No other tunnel may have its number.
    pub fn open(&mut self, number: u32, spec: &MapTunnelSpec) {
        let Some(tunnel) = self.tunnels.at(slot(number)) else { return };
        let store = |at: &AtomicU32, value| at.store(value, Ordering::Relaxed);
        store(&tunnel.interface, spec.interface);
        store(&tunnel.limit, spec.limit);
        store(&tunnel.version, if spec.destination.is_ipv4() { 4 } else { 6 });
        for (to, address) in
            [(&tunnel.source, spec.source), (&tunnel.destination, spec.destination)]
        {
            to.iter().zip(plain(address)).for_each(|(to, word)| store(to, word));
        }
        tunnel.number.store(number, Ordering::Release);
    }

    /// Closes a tunnel: no packet that comes from now on is carried through it.
    pub fn close(&mut self, number: u32) {
        if let Some(tunnel) = self.tunnels.at(slot(number)) {
            tunnel.number.store(0, Ordering::SeqCst);
        }
    }

    /// The totals of all tunnels that have had this number's slot.
    #[must_use]
    pub fn count(&self, number: u32) -> CarriedCount {
        let Ok(counts) = self.counts.get(&slot(number), 0) else { return CarriedCount::default() };
        counts.iter().fold(CarriedCount::default(), |sum, one| CarriedCount {
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
            frames: sum.frames.wrapping_add(one.frames),
        })
    }

    /// Carries a flow through the tunnel `number` from now on. Returns whether there was room.
    pub fn enter(
        &mut self,
        index: u32,
        key: &FlowKey,
        number: u32,
        label: u32,
        (next, acknowledged): (u32, u32),
    ) -> bool {
        let Some(flow) = self.flows.at(index) else { return false };
        let position = u64::from(acknowledged) << 32 | u64::from(next);
        flow.position.store(position, Ordering::Relaxed);
        flow.last.store(0, Ordering::Relaxed);
        flow.label.store(label.to_be(), Ordering::Relaxed);
        let words = key.words();
        if flow.key[4].load(Ordering::Relaxed) == 0 {
            if !self.flow_index.insert(words, index) {
                return false;
            }
            flow.key.iter().zip(words).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
        }
        let ticket = u64::from(self.flow_index.tag(words)) << 32 | u64::from(number);
        flow.ticket.store(ticket, Ordering::Release);
        true
    }

    /// The record of the flow at an index.
    #[must_use]
    pub fn seen(&self, index: u32) -> MapProgress {
        let Some(flow) = self.flows.at(index) else {
            return MapProgress { last: None, next: 0, acknowledged: 0 };
        };
        let position = flow.position.load(Ordering::Acquire);
        let last = flow.last.load(Ordering::Acquire);
        let [next, acknowledged] = halves(position);
        let last = (last > 0).then(|| (u64::from(last) + 1) << TICK_SHIFT);
        MapProgress { last, next, acknowledged }
    }

    /// Whether the flow at an index is carried: it was entered, and its tunnel is open.
    #[must_use]
    pub fn carries(&self, index: u32) -> bool {
        self.flows.at(index).is_some_and(|flow| self.is_open(flow.ticket.load(Ordering::Relaxed)))
    }

    /// Stops carrying the flow at an index. Returns whether it was carried until now.
    pub fn hold(&mut self, index: u32) -> bool {
        let Some(flow) = self.flows.at(index) else { return false };
        let ticket = flow.ticket.swap(0, Ordering::SeqCst);
        self.is_open(ticket)
    }

    /// Whether a ticket's tunnel is open.
    fn is_open(&self, ticket: u64) -> bool {
        let [number, _] = halves(ticket);
        let tunnel = self.tunnels.at(slot(number));
        number != 0 && tunnel.is_some_and(|tunnel| tunnel.number.load(Ordering::Relaxed) == number)
    }

    /// As [`Self::hold`]; also forgets its key.
    pub fn forget(&mut self, index: u32) {
        self.hold(index);
        let Some(flow) = self.flows.at(index) else { return };
        let words = flow.key.each_ref().map(|word| word.load(Ordering::Relaxed));
        if words[4] != 0 {
            self.flow_index.remove(words, index);
            flow.key[4].store(0, Ordering::Relaxed);
        }
    }

    /// How many packets were not carried, by reason.
    #[must_use]
    pub fn refused(&self) -> [u64; REASONS] {
        let sum = |reason: usize| {
            let reason = u32::try_from(reason + 1).unwrap_or_default();
            self.refused.get(&reason, 0).map_or(0, |counts| counts.iter().sum())
        };
        std::array::from_fn(sum)
    }

    /// How many keys the index has.
    #[cfg(test)]
    pub(crate) fn slots_in_use(&self) -> usize {
        self.flow_index.in_use()
    }

    /// The descriptors of the maps that have a part for each flow.
    #[cfg(test)]
    pub(crate) fn descriptors(&self) -> [i32; 2] {
        [self.flow_index.descriptor(), self.flows.descriptor()]
    }
}

fn slot(number: u32) -> u32 {
    number % TUNNELS
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_ne_bytes);
    }
    words
}

/// An address in the form that the program copies into a header.
fn plain(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => words(address.octets()),
    }
}

#[allow(clippy::cast_possible_truncation)] // both halves are used
fn halves(bits: u64) -> [u32; 2] {
    [bits as u32, (bits >> 32) as u32]
}

/// The current time of `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into `now` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// The object was compiled from the current source. A checksum shows a change of the source
    /// without a compiler.
    #[test]
    fn the_object_was_built_from_this_source() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf");
        let mut check = Command::new("sha256sum");
        let checked = check.args(["--check", "--quiet", "SHA256SUMS"]).current_dir(folder).output();
        let checked = checked.expect("sha256sum is there");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "run `make bpf` and commit the object: {said}");
    }
}
