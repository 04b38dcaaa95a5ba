//! What every work stands on: the nodes, the ways between them, the generators, and the reading of cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::meter;
use crate::node::Program;
use crate::side::{self, DOWNLOAD, RealEnd, Side, UDP, UPLOAD, yardstick};
use crate::topology::{DIRECTOR, Placement, REAL, Topology};

/// The whole set-up of a run.
pub(crate) struct Bed {
    pub(crate) topology: Topology,
    /// Every way there is; those that could not be started are in `missing`.
    pub(crate) sides: Vec<Side>,
    directors: Vec<Program>,
    pub(crate) real_end: Option<RealEnd>,
    pub(crate) udp_load: Program,
    pub(crate) tcp_load: Program,
    pub(crate) ready_made: Program,
    /// What this run goes without, and why.
    pub(crate) missing: Vec<String>,
    _sinks: [Program; 2],
}

/// What one window of load has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU of the process under test, nanoseconds.
    pub(crate) process_ns: f64,
    /// The same and that of the kernel threads that receive for the director.
    pub(crate) host_ns: f64,
    /// Packets that left by the tunnel wire: each wire segment is one.
    pub(crate) packets: f64,
}

impl Bed {
    /// Builds the topology and starts everything that can be started.
    pub(crate) fn build(placement: Placement) -> Result<Self> {
        let topology = Topology::build(placement)?;
        let mut missing = Vec::new();
        let mut sides = vec![side::kernel(&topology)?];
        let mut directors = Vec::new();
        for (side, director) in side::bare_directors(&topology)? {
            sides.push(side);
            directors.push(director);
        }
        match side::vstun(&topology) {
            Ok((more, director)) => {
                sides.extend(more);
                directors.push(director);
            }
            Err(e) => missing.push(format!("vstun-director: {e:#}")),
        }
        let ports = [UDP, UPLOAD, DOWNLOAD].map(|port| port.to_string());
        let [udp, upload, download] = ports.each_ref().map(String::as_str);
        let (from, to) = (DIRECTOR.to_string(), REAL.to_string());
        Ok(Self {
            _sinks: [
                yardstick(&topology.real, "udp sink", &["udp-sink", udp])?,
                yardstick(&topology.real, "tcp server", &["tcp-server", upload, download])?,
            ],
            real_end: Some(RealEnd::bare(&topology)?),
            udp_load: yardstick(&topology.client, "udp load", &["udp-load", udp])?,
            tcp_load: yardstick(&topology.client, "tcp load", &["tcp-load", upload, download])?,
            ready_made: yardstick(&topology.director, READY_MADE, &["ready-made", &from, &to])?,
            topology,
            sides,
            directors,
            missing,
        })
    }

    /// Puts this project's real server in place of the bare one, or says why not.
    pub(crate) fn use_vstun_realserver(&mut self) -> Result<()> {
        self.real_end = None;
        self.real_end = match RealEnd::vstun(&self.topology) {
            Ok(end) => Some(end),
            Err(e) => {
                self.missing.push(format!("vstun-realserver: {e:#}"));
                Some(RealEnd::bare(&self.topology)?)
            }
        };
        Ok(())
    }

    /// The place of the way called `name`, if it could be started.
    pub(crate) fn side(&self, name: &str) -> Option<usize> {
        self.sides.iter().position(|side| side.name == name)
    }

    /// The ways of these names that could be started, with their places.
    pub(crate) fn sides(&self, names: &[&'static str]) -> Vec<(&'static str, usize)> {
        names.iter().filter_map(|name| Some((*name, self.side(name)?))).collect()
    }

    /// Does `load` and reads what `process` in the director's node has spent on it.
    pub(crate) fn cost<T>(
        &mut self,
        process: Option<u32>,
        load: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(Cost, T)> {
        let before = self.reading(process)?;
        let result = load(self)?;
        self.drained()?;
        let after = self.reading(process)?;
        self.directors.iter_mut().try_for_each(Program::check_alive)?;
        let [process_ns, receive_ns, packets] =
            [0, 1, 2].map(|figure| (after[figure] - before[figure]) as f64);
        ensure!(packets > 0.0, "no packet left the director for the real server");
        Ok((Cost { process_ns, host_ns: process_ns + receive_ns, packets }, result))
    }

    fn reading(&self, process: Option<u32>) -> Result<[u64; 3]> {
        let mut receive = 0;
        for &thread in &self.topology.director_receive {
            receive += meter::cpu_ns(thread).context("read a receive thread")?;
        }
        Ok([process.map_or(Ok(0), meter::cpu_ns)?, receive, self.tunnelled()?])
    }

    /// Waits until nothing leaves by the tunnel wire any more.
    fn drained(&self) -> Result<()> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut last = self.tunnelled()?;
        loop {
            thread::sleep(QUIET);
            let now = self.tunnelled()?;
            if now == last {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "packets still leave though no load runs");
            last = now;
        }
    }

    fn tunnelled(&self) -> Result<u64> {
        self.topology.director.sent_packets(&self.topology.tunnel_wire)
    }
}

pub(crate) const READY_MADE: &str = "ready-made sendmmsg";
/// A path that is silent for so long is empty.
const QUIET: Duration = Duration::from_millis(30);
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
