//! The base of every work: the nodes, the sides, the generators, and the measurement of cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::meter;
use crate::node::Program;
use crate::side::{self, DOWNLOAD, Side, UDP, UPLOAD, WEB, yardstick};
use crate::topology::{DIRECTOR, End, Placement, Topology};
use crate::{peer, tunnel_end};

/// The whole set-up of a run.
pub(crate) struct Bed {
    pub(crate) topology: Topology,
    /// All sides; those that could not be started are in `missing`.
    pub(crate) sides: Vec<Side>,
    directors: Vec<Program>,
    bare_real: Program,
    vstun_real: Option<Program>,
    pub(crate) udp_load: Program,
    pub(crate) tcp_load: Program,
    pub(crate) web_load: Program,
    pub(crate) ready_made: Program,
    /// The sides that are missing in this run, and the reasons.
    pub(crate) missing: Vec<String>,
    _servers: Vec<Program>,
}

/// The processes whose CPU counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spenders {
    /// The process under test in the director's node.
    pub(crate) director: Option<u32>,
    /// The program that ends the tunnel at the real server.
    pub(crate) tunnel_end: Option<u32>,
}

/// The cost of one window of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU of the process under test, nanoseconds.
    pub(crate) process_ns: f64,
    /// The same plus the kernel threads that receive for the director.
    pub(crate) host_ns: f64,
    /// CPU of the program that ends the tunnel at the real server.
    pub(crate) tunnel_end_ns: f64,
    /// Packets that left for the real servers: each wire segment is one.
    pub(crate) packets: f64,
}

impl Bed {
    /// Builds the topology and starts everything that can be started.
    pub(crate) fn build(placement: Placement) -> Result<Self> {
        let topology = Topology::build(placement)?;
        let mut missing = Vec::new();
        let mut servers = servers_at(&topology, End::Bare)?;
        servers.extend(servers_at(&topology, End::Vstun)?);
        let bare_real = tunnel_end::bare(&topology)?;
        let vstun_real =
            started(tunnel_end::VSTUN_REAL, tunnel_end::vstun(&topology), &mut missing);
        let mut sides = vec![peer::direct_return(&topology)?, peer::routing(&topology)?];
        let mut directors = Vec::new();
        for (side, director) in side::bare_directors(&topology)? {
            sides.push(side);
            directors.push(director);
        }
        if let Some((more, director)) = started(side::VSTUN, side::vstun(&topology), &mut missing) {
            sides.extend(more);
            directors.push(director);
        }
        if let Some((more, director)) = started(side::FAST, side::fast(&topology), &mut missing) {
            sides.extend(more);
            directors.push(director);
        }
        for (name, peer) in
            [(side::HAPROXY, peer::haproxy(&topology)), (side::NGINX, peer::nginx(&topology))]
        {
            if let Some((side, proxy)) = started(name, peer, &mut missing) {
                sides.push(side);
                directors.push(proxy);
            }
        }
        sides.retain(|side| side.end == End::Bare || vstun_real.is_some());
        let ports = [UDP, UPLOAD, DOWNLOAD, WEB].map(|port| port.to_string());
        let [udp, upload, download, web] = ports.each_ref().map(String::as_str);
        let (from, to) = (DIRECTOR.to_string(), End::Bare.v4().to_string());
        Ok(Self {
            bare_real,
            vstun_real,
            udp_load: yardstick(&topology.client, "udp load", &["udp-load", udp])?,
            tcp_load: yardstick(&topology.client, "tcp load", &["tcp-load", upload, download])?,
            web_load: yardstick(&topology.client, "web load", &["web-load", web])?,
            ready_made: yardstick(&topology.director, READY_MADE, &["ready-made", &from, &to])?,
            topology,
            sides,
            directors,
            missing,
            _servers: servers,
        })
    }

    /// The index of the side called `name`, if it could be started.
    pub(crate) fn side(&self, name: &str) -> Option<usize> {
        self.sides.iter().position(|side| side.name == name)
    }

    /// The sides of these names that could be started, with their indexes.
    pub(crate) fn sides(&self, names: &[&'static str]) -> Vec<(&'static str, usize)> {
        names.iter().filter_map(|name| Some((*name, self.side(name)?))).collect()
    }

    /// The side called `side`, if it could be started, under another name in the table.
    pub(crate) fn renamed(&self, side: &str, name: &'static str) -> Option<(&'static str, usize)> {
        Some((name, self.side(side)?))
    }

    /// The processes of the side at `index`.
    pub(crate) fn spenders(&self, index: usize) -> Spenders {
        let side = &self.sides[index];
        let tunnel_end = match side.end {
            End::Bare => Some(&self.bare_real),
            End::Vstun => self.vstun_real.as_ref(),
        };
        Spenders { director: side.process, tunnel_end: tunnel_end.map(Program::pid) }
    }

    /// Runs `load` and measures the cost of the `spenders`.
    pub(crate) fn cost<T>(
        &mut self,
        spenders: Spenders,
        load: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(Cost, T)> {
        let before = self.reading(spenders)?;
        let result = load(self)?;
        self.drained()?;
        let after = self.reading(spenders)?;
        self.directors.iter_mut().try_for_each(Program::check_alive)?;
        let [process_ns, receive_ns, tunnel_end_ns, packets] =
            [0, 1, 2, 3].map(|figure| (after[figure] - before[figure]) as f64);
        ensure!(packets > 0.0, "no packet left the director for the real server");
        let host_ns = process_ns + receive_ns;
        Ok((Cost { process_ns, host_ns, tunnel_end_ns, packets }, result))
    }

    fn reading(&self, spenders: Spenders) -> Result<[u64; 4]> {
        let mut receive = 0;
        for &thread in &self.topology.director_receive {
            receive += meter::cpu_ns(thread).context("read a receive thread")?;
        }
        let of = |process: Option<u32>| process.map_or(Ok(0), meter::cpu_ns);
        let tunnelled = self.topology.tunnelled()?;
        Ok([of(spenders.director)?, receive, of(spenders.tunnel_end)?, tunnelled])
    }

    /// Waits until no packet leaves by the tunnel wire any more.
    fn drained(&self) -> Result<()> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut last = self.topology.tunnelled()?;
        loop {
            thread::sleep(QUIET);
            let now = self.topology.tunnelled()?;
            if now == last {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "packets still leave though no load runs");
            last = now;
        }
    }
}

/// The program if it could be started; otherwise the reason goes below the table.
fn started<T>(name: &str, result: Result<T>, missing: &mut Vec<String>) -> Option<T> {
    result.map_err(|e| missing.push(format!("{name}: {e:#}"))).ok()
}

/// The services of one real server.
fn servers_at(topology: &Topology, end: End) -> Result<Vec<Program>> {
    let node = &topology.real(end).node;
    let ports = [UDP, UPLOAD, DOWNLOAD, WEB].map(|port| port.to_string());
    let [udp, upload, download, web] = ports.each_ref().map(String::as_str);
    let named = |what: &str| format!("{what} at {}", node.name());
    Ok(vec![
        yardstick(node, &named("udp sink"), &["udp-sink", udp])?,
        yardstick(node, &named("tcp server"), &["tcp-server", upload, download])?,
        yardstick(node, &named("web server"), &["web-server", web])?,
    ])
}

pub(crate) const READY_MADE: &str = "ready-made sendmmsg";
/// A path without packets for this long is empty.
const QUIET: Duration = Duration::from_millis(30);
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
