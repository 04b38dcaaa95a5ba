//! The kernel's half of the fast path: an eBPF program at the uplinks, and the maps that it shares
//! with this process (`bpf/fast_path.bpf.c`).
//!
//! The flows and the tunnels are arrays in memory that both halves share, so taking a flow back is
//! one store. The index of a flow by its key is a hash map in the kernel, which takes a system call
//! to change. Everything belongs to the process: the kernel detaches the program when the process
//! ends.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
#[cfg(test)]
use aya::programs::{TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};

use super::memory::page_size;

/// The compiled program; `make bpf` rebuilds it.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/fast_path.bpf.o");

/// The tunnels that the program has slots for; a tunnel's slot is its number modulo this.
pub const TUNNELS: u32 = 16_384;

/// A unit of [`Flow::last`] in nanoseconds, as a shift.
const TICK_SHIFT: u32 = 28;

/// Both ends of a flow; an IPv4 address is in its mapped form. Numbers are in network byte order,
/// except for the protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowKey {
    client: [u8; 16],
    vip: [u8; 16],
    ports: [u8; 4],
    protocol: u32,
}
const _: () = assert!(size_of::<FlowKey>() == 40 && offset_of!(FlowKey, protocol) == 36);

// SAFETY: it is plain integers without padding.
unsafe impl Pod for FlowKey {}

impl FlowKey {
    /// The key of packets of `protocol` between these ends.
    #[must_use]
    pub fn new(protocol: u8, client: (IpAddr, u16), vip: (IpAddr, u16)) -> Self {
        let ([a, b], [c, d]) = (client.1.to_be_bytes(), vip.1.to_be_bytes());
        Self {
            client: mapped(client.0),
            vip: mapped(vip.0),
            ports: [a, b, c, d],
            protocol: protocol.into(),
        }
    }

    /// The program's `check`.
    fn check(&self) -> u32 {
        let (client, vip) = (words(self.client), words(self.vip));
        let mut sum = self.protocol;
        for (client, vip) in client.into_iter().zip(vip) {
            sum = (sum ^ client).wrapping_mul(0x9e37_79b1);
            sum = (sum ^ vip).wrapping_mul(0x85eb_ca77);
        }
        let [a, b, c, d] = self.ports;
        let ports = [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])].map(u32::from);
        sum = (sum ^ (ports[0] << 16 | ports[1])).wrapping_mul(0xc2b2_ae3d);
        sum ^ sum >> 15
    }
}

/// A flow, at its entry's index in the connection table.
#[repr(C)]
#[derive(Debug)]
struct Flow {
    ticket: AtomicU64,
    position: AtomicU64,
    last: AtomicU32,
    label: AtomicU32,
    /// Whether the hash map has its key; used by this half only.
    known: AtomicU64,
}
const _: () = assert!(size_of::<Flow>() == 32 && offset_of!(Flow, last) == 16);

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
pub struct Count {
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes, without outer headers.
    pub bytes: u64,
    /// Frames; a super-frame is one.
    pub frames: u64,
}
const _: () = assert!(size_of::<Count>() == 24);

// SAFETY: it is plain integers without padding.
unsafe impl Pod for Count {}

/// The headers and the interface for packets to a real server.
#[derive(Clone, Copy, Debug)]
pub struct Way {
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
    places: HashMap<MapData, FlowKey, u32>,
    counts: PerCpuArray<MapData, Count>,
    flows: Shared<Flow>,
    tunnels: Shared<MapTunnel>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { places, counts: _, flows, tunnels } = self;
        let mut shown = formatter.debug_struct("Maps");
        shown.field("places", places).field("flows", flows).field("tunnels", tunnels);
        shown.finish_non_exhaustive()
    }
}

/// The loaded program and where it is attached.
#[derive(Debug)]
pub struct Program {
    ebpf: Ebpf,
    /// The uplinks by index, each with its name.
    links: BTreeMap<u32, SchedClassifierLink>,
}

/// Loads the program, with room for `flows` flows.
///
/// # Errors
/// The kernel or the process's rights do not allow it.
pub fn load(flows: u32) -> io::Result<(Program, Maps)> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("places", flows.max(1))
        .map_max_entries("flows", flows.max(1))
        .load(OBJECT)
        .map_err(|error| because("the kernel refuses its maps", &error))?;
    program(&mut ebpf)?
        .load()
        .map_err(|error| because("the kernel refuses the program", &error))?;
    let mut map = |name: &str| ebpf.take_map(name).ok_or_else(|| missing(name));
    let maps = Maps {
        places: map("places")?.try_into().map_err(|error| because("places", &error))?,
        counts: map("counts")?.try_into().map_err(|error| because("counts", &error))?,
        flows: Shared::of(map("flows")?, flows.max(1))?,
        tunnels: Shared::of(map("tunnels")?, TUNNELS)?,
    };
    Ok((Program { ebpf, links: BTreeMap::new() }, maps))
}

fn program(ebpf: &mut Ebpf) -> io::Result<&mut SchedClassifier> {
    let program = ebpf.program_mut("fast_path").ok_or_else(|| missing("fast_path"))?;
    program.try_into().map_err(|error| because("fast_path", &error))
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the object has no {what}"))
}

/// The error with all its causes; aya shows only the first.
fn because(what: &str, error: &dyn std::error::Error) -> io::Error {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    io::Error::other(format!("{what}: {}", causes.join(": ")))
}

impl Program {
    /// Attaches the program at an interface's ingress, before other programs there. It is detached
    /// with the process, or with [`Self::detach_others`].
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no tcx (before Linux 6.6).
    pub fn attach(&mut self, index: u32, name: &str) -> io::Result<()> {
        if self.links.contains_key(&index) {
            return Ok(());
        }
        let program = program(&mut self.ebpf)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(name, TcAttachType::Ingress, order)
            .map_err(|error| because("the kernel does not attach the program", &error))?;
        let link = program.take_link(id).map_err(|error| because("no link", &error))?;
        self.links.insert(index, link);
        Ok(())
    }

    /// Runs the program on a frame. Returns its result and the resulting frame.
    #[cfg(test)]
    pub(crate) fn run(&mut self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let mut sent = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out) = (Some(frame), Some(sent.as_mut_slice()));
        options.repeat = 1;
        let done = program(&mut self.ebpf)?
            .test_run(options)
            .map_err(|error| because("the test does not run", &error))?;
        sent.truncate(done.data_size_out as usize);
        Ok((done.return_value, sent))
    }

    /// Detaches the program from all interfaces but these.
    pub fn detach_others(&mut self, indexes: &[u32]) {
        self.links.retain(|index, _| indexes.contains(index));
    }
}

impl Maps {
    /// Opens a tunnel. No other tunnel may have its number.
    pub fn open(&mut self, number: u32, way: &Way) {
        let Some(tunnel) = self.tunnels.at(slot(number)) else { return };
        let store = |at: &AtomicU32, value| at.store(value, Ordering::Relaxed);
        store(&tunnel.interface, way.interface);
        store(&tunnel.limit, way.limit);
        store(&tunnel.version, if way.destination.is_ipv4() { 4 } else { 6 });
        for (to, address) in [(&tunnel.source, way.source), (&tunnel.destination, way.destination)]
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
    pub fn count(&self, number: u32) -> Count {
        let Ok(counts) = self.counts.get(&slot(number), 0) else { return Count::default() };
        counts.iter().fold(Count::default(), |sum, one| Count {
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
            frames: sum.frames.wrapping_add(one.frames),
        })
    }

    /// Carries a flow through the tunnel `number` from now on. Returns whether there was room.
    pub fn enter(
        &mut self,
        place: u32,
        key: &FlowKey,
        number: u32,
        label: u32,
        (next, acknowledged): (u32, u32),
    ) -> bool {
        let Some(flow) = self.flows.at(place) else { return false };
        let position = u64::from(acknowledged) << 32 | u64::from(next);
        flow.position.store(position, Ordering::Relaxed);
        flow.last.store(0, Ordering::Relaxed);
        flow.label.store(label.to_be(), Ordering::Relaxed);
        if flow.known.load(Ordering::Relaxed) == 0 {
            if self.places.insert(key, place, 0).is_err() {
                return false;
            }
            flow.known.store(1, Ordering::Relaxed);
        }
        let ticket = u64::from(key.check()) << 32 | u64::from(number);
        flow.ticket.store(ticket, Ordering::Release);
        true
    }

    /// The record of the flow at an index.
    #[must_use]
    pub fn seen(&self, place: u32) -> MapProgress {
        let Some(flow) = self.flows.at(place) else {
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
    pub fn carries(&self, place: u32) -> bool {
        self.flows.at(place).is_some_and(|flow| self.is_open(flow.ticket.load(Ordering::Relaxed)))
    }

    /// Stops carrying the flow at an index. Returns whether it was carried until now.
    pub fn hold(&mut self, place: u32) -> bool {
        let Some(flow) = self.flows.at(place) else { return false };
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
    pub fn forget(&mut self, place: u32, key: &FlowKey) {
        self.hold(place);
        let Some(flow) = self.flows.at(place) else { return };
        if flow.known.swap(0, Ordering::Relaxed) != 0 {
            // An error would mean that it is not there.
            let _ = self.places.remove(key);
        }
    }
}

fn slot(number: u32) -> u32 {
    number % TUNNELS
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
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

/// An array map in this process's memory.
#[derive(Debug)]
struct Shared<T> {
    start: NonNull<T>,
    count: u32,
    /// The whole mapping in bytes.
    len: usize,
    /// Keeps the map open.
    _map: MapData,
}

// SAFETY: the elements are atomics and constants, and the mapping is this value's own.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// Maps an array of `count` elements of `T`'s size.
    fn of(map: Map, count: u32) -> io::Result<Self> {
        let Map::Array(map) = map else { return Err(missing("array")) };
        let element = size_of::<T>();
        let len = (count as usize * element).next_multiple_of(page_size());
        let start = map_memory(map.fd().as_fd(), len)?;
        Ok(Self { start: start.cast(), count, len, _map: map })
    }

    fn at(&self, index: u32) -> Option<&T> {
        // SAFETY: the index is within the mapping, which lives as long as `self`; its elements have
        // `T`'s size, are aligned (they begin on a page, and the size is a multiple of eight), and
        // are valid with any content. Both halves write them as atomics.
        (index < self.count).then(|| unsafe { self.start.add(index as usize).as_ref() })
    }
}

fn map_memory(map: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<libc::c_void>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel chooses; it touches no other memory.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, map.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start).ok_or_else(io::Error::last_os_error)
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The current `CLOCK_MONOTONIC` in nanoseconds.
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
