//! The kernel's half of the real server's fast path: an eBPF program at the Ethernet interfaces
//! that takes packets out of the tunnel as the gate would, and its maps (`bpf/real_server.bpf.c`).
//!
//! The kernel detaches the program when the process ends.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::Sub;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::{EbpfLoader, Pod};
use ipnet::IpNet;

use super::errors::because;
use super::ingress::{self, IngressProgram};

/// The compiled program; `make bpf` rebuilds it.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/real_server.bpf.o");

/// The program's name in the kernel.
const NAME: &str = "real_fast_path";

/// Addresses of this host that its map has room for.
pub const MAX_OWN: usize = 4_096;

/// What one CPU has taken out of the tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Packets; a merged one is one.
    pub packets: u64,
    /// Their bytes, without outer headers.
    pub bytes: u64,
    /// Those that the kernel had merged.
    pub merged: u64,
}
const _: () = assert!(size_of::<Count>() == 24);

// SAFETY: it is plain integers without padding.
unsafe impl Pod for Count {}

/// The counters of a loaded program.
pub struct ProgramCounters(PerCpuArray<MapData, Count>);

impl fmt::Debug for ProgramCounters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Counts").field(&self.sum()).finish()
    }
}

impl ProgramCounters {
    /// Their sums so far.
    #[must_use]
    pub fn sum(&self) -> Count {
        let Ok(counts) = self.0.get(&0, 0) else { return Count::default() };
        counts.iter().fold(Count::default(), |sum, one| Count {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            merged: sum.merged + one.merged,
        })
    }
}

/// An address as a key of the maps; an IPv4 address is in its mapped form.
type MapAddress = [u8; 16];

/// What the program admits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Admitted {
    /// The directors.
    pub directors: Vec<IpNet>,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The addresses of this host that tunnelled packets may have as outer destination.
    pub own: BTreeSet<IpAddr>,
}

/// The keys of the maps for it.
#[derive(Debug, Default)]
struct Keys {
    directors: BTreeSet<(u32, MapAddress)>,
    vips: BTreeSet<MapAddress>,
    own: BTreeSet<MapAddress>,
}

impl Keys {
    fn of(admitted: &Admitted) -> Self {
        let all = |addresses: &mut dyn Iterator<Item = IpAddr>| addresses.map(mapped).collect();
        Self {
            directors: admitted.directors.iter().map(range).collect(),
            vips: all(&mut admitted.vips.iter().copied()),
            own: all(&mut admitted.own.iter().copied().take(MAX_OWN)),
        }
    }
}

/// The loaded program, where it is attached, and its maps.
#[derive(Debug)]
pub struct Program {
    program: IngressProgram,
    directors: LpmTrie<MapData, MapAddress, u32>,
    vips: HashMap<MapData, MapAddress, u32>,
    own: HashMap<MapData, MapAddress, u32>,
    keys: Keys,
}

/// The interfaces of this network namespace whose ingress has the program, of any process.
///
/// # Errors
/// The process may not ask, or the kernel has no tcx.
pub fn attached() -> io::Result<Vec<String>> {
    ingress::attached(NAME)
}

/// Loads the program, which hands packets to the device with the index `tun`, and none to the UDP
/// port `gue_port`. It admits nothing yet.
///
/// # Errors
/// The kernel or the process's rights do not allow it.
pub fn load(tun: u32, gue_port: u16) -> io::Result<(Program, ProgramCounters)> {
    let mut loader = EbpfLoader::new();
    loader.override_global("tun", &tun, true).override_global("gue_port", &gue_port, true);
    let mut program = IngressProgram::load(&mut loader, OBJECT, NAME)?;
    let counts = ProgramCounters(program.typed_map("counts")?);
    let directors = program.typed_map("directors")?;
    let (vips, own) = (program.typed_map("vips")?, program.typed_map("own")?);
    Ok((Program { program, directors, vips, own, keys: Keys::default() }, counts))
}

impl Program {
    /// Attaches the program at an interface's ingress, before other programs there.
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no tcx (before Linux 6.6).
    pub fn attach(&mut self, index: u32, name: &str) -> io::Result<()> {
        self.program.attach(index, name)
    }

    /// Detaches the program from all interfaces but these.
    pub fn detach_others(&mut self, indexes: &[u32]) {
        self.program.detach_others(indexes);
    }

    /// Makes the program admit exactly this.
    ///
    /// # Errors
    /// The kernel's; then it admits only what both the old and the new setting admit.
    pub fn admit(&mut self, admitted: &Admitted) -> io::Result<()> {
        let wanted = Keys::of(admitted);
        let old = std::mem::take(&mut self.keys);
        let failed = |error| because("a map of the fast path", &error);
        for (len, address) in old.directors.sub(&wanted.directors) {
            self.directors.remove(&Key::new(len, address)).map_err(failed)?;
        }
        for address in old.vips.sub(&wanted.vips) {
            self.vips.remove(&address).map_err(failed)?;
        }
        for address in old.own.sub(&wanted.own) {
            self.own.remove(&address).map_err(failed)?;
        }
        for &(len, address) in &wanted.directors {
            self.directors.insert(&Key::new(len, address), 1, 0).map_err(failed)?;
        }
        for address in &wanted.vips {
            self.vips.insert(address, 1, 0).map_err(failed)?;
        }
        for address in &wanted.own {
            self.own.insert(address, 1, 0).map_err(failed)?;
        }
        self.keys = wanted;
        Ok(())
    }

    /// Runs the program on a frame, for tests. Returns its result and the length of the resulting
    /// frame, which is in `sent`.
    ///
    /// # Errors
    /// The kernel tests no program on such a frame.
    pub fn run(&mut self, frame: &[u8], sent: &mut [u8]) -> io::Result<(u32, usize)> {
        self.program.run(frame, sent)
    }
}

fn mapped(address: IpAddr) -> MapAddress {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn range(net: &IpNet) -> (u32, MapAddress) {
    let before = if net.addr().is_ipv4() { 96 } else { 0 };
    (before + u32::from(net.prefix_len()), mapped(net.network()))
}
