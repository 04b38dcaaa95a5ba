//! The ways from client to real server that are compared, all up at once, each with a VIP of its own.
//!
//! An idle way costs nothing, so rounds change from one to the next without a restart.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::node::Program;
use crate::sandbox;
use crate::topology::{DIRECTOR, REAL, Topology};

/// One way to a VIP.
pub(crate) struct Side {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// Where the client sends.
    pub(crate) vip: Ipv4Addr,
    /// The director on the way, if there is one.
    pub(crate) director: Option<Program>,
}

impl Side {
    /// The smallest possible director.
    pub(crate) fn bare_loop(topology: &Topology) -> Result<Self> {
        Self::bare(topology, BARE_LOOP, vip(10), "bare0", "bare-director")
    }

    /// A second, equal one: its ratio to the first is the noise of the meter.
    pub(crate) fn bare_loop_again(topology: &Topology) -> Result<Self> {
        Self::bare(topology, "bare loop (again)", vip(11), "bare1", "bare-director")
    }

    /// The director's shape without its mind.
    pub(crate) fn bare_batched(topology: &Topology) -> Result<Self> {
        Self::bare(topology, BARE_BATCHED, vip(14), "bare2", "bare-batched")
    }

    /// The director this project is about.
    pub(crate) fn vstun(topology: &Topology) -> Result<Self> {
        let vip = vip(12);
        let text = format!(
            "[director]\n\
             tun = \"vstun0\"\n\
             uplinks = [\"{uplink}\"]\n\
             arp = false\n\
             source = \"{DIRECTOR}\"\n\
             control = \"{control}\"\n\
             [[service]]\n\
             name = \"bench\"\n\
             listen = [\"{vip}:{UDP}/udp\", \"{vip}:{UPLOAD}/tcp\", \"{vip}:{DOWNLOAD}/tcp\"]\n\
             scheduler = \"wlc\"\n\
             [[service.real]]\n\
             address = \"{REAL}\"\n\
             weight = 1\n",
            uplink = topology.uplink,
            control = sandbox::scratch().join("director.sock").display(),
        );
        let config = written("director.toml", &text)?;
        let command = [env!("CARGO_BIN_EXE_vstun-director"), "--config", &config];
        let director = Program::start(&topology.director, VSTUN, &command)?;
        topology.deepen_queue("vstun0")?;
        topology.announce(vip)?;
        Ok(Self { name: VSTUN, vip, director: Some(director) })
    }

    /// No balancer: the kernel routes requests to a real server that owns the VIP, replies go straight back.
    pub(crate) fn kernel(topology: &Topology) -> Result<Self> {
        let vip = vip(13);
        topology.director.run(&format!("ip route add {vip}/32 via {REAL}"))?;
        topology.real.run(&format!("ip addr add {vip}/32 dev lo"))?;
        topology.announce(vip)?;
        Ok(Self { name: KERNEL, vip, director: None })
    }

    fn bare(
        topology: &Topology,
        name: &'static str,
        vip: Ipv4Addr,
        tun: &str,
        program: &str,
    ) -> Result<Self> {
        let (from, to) = (DIRECTOR.to_string(), REAL.to_string());
        let director = yardstick(&topology.director, name, &[program, tun, &from, &to])?;
        topology.director.run(&format!("ip link set {tun} up"))?;
        topology.director.run(&format!("ip route add {vip}/32 dev {tun}"))?;
        topology.deepen_queue(tun)?;
        topology.announce(vip)?;
        Ok(Self { name, vip, director: Some(director) })
    }
}

/// The tunnel's other end, for every way that tunnels.
pub(crate) struct RealEnd {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    _program: Program,
}

impl RealEnd {
    /// The bare loop's twin.
    pub(crate) fn bare(topology: &Topology) -> Result<Self> {
        let name = "bare real server";
        let program = yardstick(&topology.real, name, &["bare-real", "real0"])?;
        for vip in tunnelled() {
            topology.real.run(&format!("ip addr add {vip}/32 dev real0"))?;
        }
        Ok(Self { name, _program: program })
    }

    /// This project's.
    pub(crate) fn vstun(topology: &Topology) -> Result<Self> {
        let name = "vstun-realserver";
        let vips = tunnelled().map(|vip| format!("\"{vip}\"")).join(", ");
        let text = format!(
            "[realserver]\n\
             tun = \"vstun0\"\n\
             vips = [{vips}]\n\
             directors = [\"{DIRECTOR}/32\"]\n\
             control = \"{control}\"\n",
            control = sandbox::scratch().join("realserver.sock").display(),
        );
        let config = written("realserver.toml", &text)?;
        let command = [env!("CARGO_BIN_EXE_vstun-realserver"), "--config", &config];
        Ok(Self { name, _program: Program::start(&topology.real, name, &command)? })
    }
}

/// Starts one of this binary's own yardsticks in a node.
pub(crate) fn yardstick(
    node: &crate::node::Node,
    name: &str,
    arguments: &[&str],
) -> Result<Program> {
    let itself = std::env::current_exe()?;
    let itself = itself.to_str().context("the path of the bench is not UTF-8")?;
    let command = [&[itself, "yardstick"], arguments].concat();
    Program::start(node, name, &command)
}

fn written(file: &str, text: &str) -> Result<String> {
    let path = sandbox::scratch().join(file);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// The VIPs behind a director.
fn tunnelled() -> [Ipv4Addr; 4] {
    [vip(10), vip(11), vip(12), vip(14)]
}

const fn vip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

pub(crate) const BARE_LOOP: &str = "bare loop";
pub(crate) const BARE_BATCHED: &str = "bare loop, batched";
pub(crate) const VSTUN: &str = "vstun-director";
pub(crate) const KERNEL: &str = "no balancer";
/// Ports of the services behind every VIP.
pub(crate) const UDP: u16 = 9000;
/// Swallows.
pub(crate) const UPLOAD: u16 = 9001;
/// Pours.
pub(crate) const DOWNLOAD: u16 = 9002;
