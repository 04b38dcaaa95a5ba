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
        let pressure = self.pressure(Instant::now());
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
    fn pressure(&mut self, now: Instant) -> Option<Pressure> {
        let texts = pressure_files(self.agent.cgroup.as_deref()).map(fs::read_to_string);
        let texts = texts.map(|text| text.ok().and_then(|text| Stalled::parse(&text)));
        let [Some(cpu), Some(memory), Some(io)] = texts else { return None };
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

#[derive(Debug, Eq, PartialEq)]
struct Connected {
    established: u64,
    queued: u64,
    listening: Vec<ListenQueue>,
}

fn connections(vips: &[IpAddr]) -> io::Result<Connected> {
    let mut tally = SocketTally::new(vips);
    sock_diag::tcp_sockets(|socket| tally.take(socket))?;
    Ok(tally.connected())
}

/// Adds up the kernel's sockets for each virtual IP and port.
#[derive(Debug)]
struct SocketTally<'a> {
    vips: &'a [IpAddr],
    counts: HashMap<(IpAddr, u16), PortCounts>,
    /// The listeners on all addresses at which connections wait.
    on_all: Vec<ListenerOnAll>,
}

#[derive(Debug, Default)]
struct PortCounts {
    established: u64,
    queued: u64,
    /// Whether a listener has this very address. Then it gets the connections.
    own: bool,
}

/// A listener on all addresses: one queue for all of them.
#[derive(Debug)]
struct ListenerOnAll {
    v4: bool,
    v6: bool,
    port: u16,
    queued: u64,
}

impl<'a> SocketTally<'a> {
    fn new(vips: &'a [IpAddr]) -> Self {
        Self { vips, counts: HashMap::new(), on_all: Vec::new() }
    }

    fn take(&mut self, socket: TcpSocket) {
        match socket {
            TcpSocket::Established { address, port } if self.vips.contains(&address) => {
                self.counts.entry((address, port)).or_default().established += 1;
            }
            TcpSocket::Established { .. } => {}
            TcpSocket::Listen { address, port, queued, v6_only } => {
                let queued = u64::from(queued);
                if self.vips.contains(&address) {
                    let one = self.counts.entry((address, port)).or_default();
                    (one.queued, one.own) = (one.queued + queued, true);
                } else if address.is_unspecified() && queued > 0 {
                    let (v4, v6) = (address.is_ipv4() || !v6_only, address.is_ipv6());
                    self.on_all.push(ListenerOnAll { v4, v6, port, queued });
                }
            }
        }
    }

    fn connected(self) -> Connected {
        let Self { mut counts, on_all, .. } = self;
        let mut queued = counts.values().map(|one| one.queued).sum();
        for listener in on_all {
            let of_family = |address: IpAddr| match address {
                IpAddr::V4(_) => listener.v4,
                IpAddr::V6(_) => listener.v6,
            };
            let mut any = false;
            for ((address, port), one) in &mut counts {
                if *port == listener.port && of_family(*address) && !one.own {
                    one.queued += listener.queued;
                    any = true;
                }
            }
            if any {
                queued += listener.queued;
            }
        }
        let established = counts.values().map(|one| one.established).sum();
        let listed = counts.into_iter().map(|((address, port), one)| {
            let PortCounts { established, queued, .. } = one;
            ListenQueue { address, port, established, queued }
        });
        let mut listening: Vec<ListenQueue> = listed.collect();
        listening.sort_by_key(|one| (std::cmp::Reverse(one.established), one.address, one.port));
        listening.truncate(MAX_LISTENING);
        Connected { established, queued, listening }
    }
}

#[cfg(test)]
mod tests;
