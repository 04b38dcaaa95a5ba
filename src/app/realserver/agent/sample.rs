//! Samples the host's load: sockets, pressure, run queues, and the owner's file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::app::latest::Latest;
use crate::config;
use crate::health::load::{ListenQueue, LoadReport, MAX_LISTENING, Pressure, Rotation};
use crate::sys::sock_diag::{self, TcpSocket};

/// The least interval over which pressure is measured.
const WINDOW: Duration = Duration::from_millis(500);

/// If the last sample is older, the kernel's own average of 10 seconds is used instead.
const OLD: Duration = Duration::from_secs(5);

/// How many samples are kept: as many as [`FRESH`](super::FRESH) allows in [`WINDOW`], and one
/// before.
const LOOKS: usize = 4;

/// Bytes of the owner's file that are read.
const FILE_LEN: usize = 4_096;

/// Takes samples of the host.
#[derive(Debug)]
pub(super) struct Sampler {
    /// The running configuration.
    running: Latest<config::RealServer>,
    agent: config::AgentSettings,
    /// The last totals of the pressures, newest first.
    looks: Vec<PressureTotals>,
}

/// The pressures' totals at a moment, in microseconds: CPU, memory, IO.
#[derive(Clone, Copy, Debug)]
struct PressureTotals {
    at: Instant,
    totals: [u64; 3],
}

impl Sampler {
    pub(super) fn new(running: Latest<config::RealServer>, agent: config::AgentSettings) -> Self {
        Self { running, agent, looks: Vec::with_capacity(LOOKS) }
    }

    /// Takes a report; the second value is a problem, if there is one.
    pub(super) async fn sample(&mut self) -> (LoadReport, Option<String>) {
        let mut odd = None;
        let mut note = |what: String| {
            let _ = odd.get_or_insert(what);
        };
        let pressure = self.pressure();
        let state = self.state().unwrap_or_else(|error| {
            note(error);
            Rotation::Up
        });
        let vips = self.running.part(|config| config.vips.clone());
        let connected = spawn_blocking(move || connections(&vips)).await.map_err(io::Error::other);
        let connected = match connected.flatten() {
            Ok(connected) => Some(connected),
            Err(error) => {
                note(format!("the kernel does not tell of its TCP sockets: {error}"));
                None
            }
        };
        let (established, queued, listening) = match connected {
            Some(Connected { established, queued, listening }) => {
                (Some(established), queued, listening)
            }
            None => (None, 0, Vec::new()),
        };
        let load_per_cpu = load_per_cpu().unwrap_or_default();
        let report = LoadReport { state, established, queued, listening, pressure, load_per_cpu };
        (report, odd)
    }

    /// The setting in the owner's file; `Up` without a file.
    fn state(&self) -> Result<Rotation, String> {
        let Some(path) = &self.agent.state else { return Ok(Rotation::Up) };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Rotation::Up),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let text = String::from_utf8_lossy(text.get(..FILE_LEN).unwrap_or(&text)).into_owned();
        let Some(word) = text.split_whitespace().next() else { return Ok(Rotation::Up) };
        Rotation::from_name(word).ok_or_else(|| {
            let word: String = word.chars().take(32).collect();
            format!("{} says {word:?}; write up, drain, maint or down", path.display())
        })
    }

    /// The recent pressure.
    fn pressure(&mut self) -> Option<Pressure> {
        let texts = pressure_files(self.agent.cgroup.as_deref()).map(fs::read_to_string);
        let texts = texts.map(|text| text.ok().and_then(|text| Stalled::parse(&text)));
        let [Some(cpu), Some(memory), Some(io)] = texts else { return None };
        let now = Instant::now();
        let totals = [cpu.total, memory.total, io.total];
        let age = |look: &PressureTotals| now.duration_since(look.at);
        let before = self.looks.iter().find(|look| age(look) >= WINDOW);
        let before = before.filter(|look| age(look) < OLD).copied();
        self.looks.truncate(LOOKS - 1);
        self.looks.insert(0, PressureTotals { at: now, totals });
        let Some(before) = before else {
            return Some(Pressure { cpu: cpu.average, memory: memory.average, io: io.average });
        };
        let passed = now.duration_since(before.at).as_micros().max(1);
        let share = |index: usize| {
            let stalled = totals[index].saturating_sub(before.totals[index]);
            u32::try_from(u128::from(stalled) * 1_000 / passed).unwrap_or(u32::MAX).min(1_000)
        };
        Some(Pressure { cpu: share(0), memory: share(1), io: share(2) })
    }
}

/// The host's files, or those of a control group.
fn pressure_files(cgroup: Option<&Path>) -> [PathBuf; 3] {
    ["cpu", "memory", "io"].map(|what| match cgroup {
        None => Path::new("/proc/pressure").join(what),
        Some(folder) => folder.join(format!("{what}.pressure")),
    })
}

/// The `some` line of a pressure file (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stalled {
    /// Microseconds since boot.
    total: u64,
    /// The average of the last 10 seconds, in thousandths.
    average: u32,
}

impl Stalled {
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        let total = field("total=")?.parse().ok()?;
        // Two decimals of per cent.
        let (whole, hundredths) = field("avg10=")?.split_once('.')?;
        let tenths = hundredths.get(..1)?.parse::<u32>().ok()?;
        Some(Self { total, average: whole.parse::<u32>().ok()?.saturating_mul(10) + tenths })
    }
}

/// The load average of a minute per CPU, in thousandths.
fn load_per_cpu() -> Option<u32> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let (whole, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let load = whole.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    u32::try_from(load / cpus).ok()
}

struct Connected {
    established: u64,
    queued: u64,
    listening: Vec<ListenQueue>,
}

fn connections(vips: &[IpAddr]) -> io::Result<Connected> {
    let mut counts: HashMap<(IpAddr, u16), ListenQueue> = HashMap::new();
    let mut listeners = Vec::new();
    let new = |address, port| ListenQueue { address, port, established: 0, queued: 0 };
    sock_diag::tcp_sockets(|socket| match socket {
        TcpSocket::Established { address, port } if vips.contains(&address) => {
            counts.entry((address, port)).or_insert_with(|| new(address, port)).established += 1;
        }
        TcpSocket::Established { .. } => {}
        TcpSocket::Listen { address, port, queued } => {
            if vips.contains(&address) {
                counts.entry((address, port)).or_insert_with(|| new(address, port));
            }
            if queued > 0 {
                listeners.push((address, port, u64::from(queued)));
            }
        }
    })?;
    let mut queued = 0;
    for (address, port, waiting) in listeners {
        // A listener on all addresses has one queue for all of them.
        let here = counts
            .values_mut()
            .filter(|one| one.port == port)
            .filter(|one| address.is_unspecified() || one.address == address);
        let mut any = false;
        here.for_each(|one| {
            one.queued += waiting;
            any = true;
        });
        if any {
            queued += waiting;
        }
    }
    let established = counts.values().map(|one| one.established).sum();
    let mut listening: Vec<ListenQueue> = counts.into_values().collect();
    listening.sort_by_key(|one| (std::cmp::Reverse(one.established), one.address, one.port));
    listening.truncate(MAX_LISTENING);
    Ok(Connected { established, queued, listening })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_file_reads_as_its_total_and_its_average() {
        let text = "some avg10=13.68 avg60=23.03 avg300=28.30 total=9213900065\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let expected = Stalled { total: 9_213_900_065, average: 136 };
        assert_eq!(Stalled::parse(text), Some(expected));
        for bad in ["", "some", "some avg10=1 total=1", "full avg10=0.00 total=1"] {
            assert_eq!(Stalled::parse(bad), None, "{bad}");
        }
    }
}
