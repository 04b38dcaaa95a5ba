//! The ways from client to real server that are compared, all up at once, each with a VIP of its own.
//!
//! An idle way costs nothing, so rounds change from one to the next without a restart.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::node::Program;
use crate::sandbox;
use crate::topology::{DIRECTOR, DIRECTOR_V6, REAL, REAL_V6, Topology, alone};

/// One way to a VIP.
pub(crate) struct Side {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// Where the client sends.
    pub(crate) vip: IpAddr,
    /// The director's process, if there is a director on the way.
    pub(crate) process: Option<u32>,
}

/// The bare loop, a second, equal one, whose ratio to the first is the noise of the meter, the director's shape without its
/// mind, and the bare loop for IPv6.
pub(crate) fn bare_directors(topology: &Topology) -> Result<[(Side, Program); 4]> {
    Ok([
        bare(topology, BARE_LOOP, V4_BARE, ("bare0", "bare-director"))?,
        bare(topology, BARE_LOOP_AGAIN, V4_BARE_AGAIN, ("bare1", "bare-director"))?,
        bare(topology, BARE_BATCHED, V4_BATCHED, ("bare2", "bare-batched"))?,
        bare(topology, BARE_LOOP_6IN6, V6_BARE, ("bare3", "bare-director"))?,
    ])
}

/// A director of the VIP's own family.
fn bare(
    topology: &Topology,
    name: &'static str,
    vip: IpAddr,
    (tun, program): (&str, &str),
) -> Result<(Side, Program)> {
    let (from, to): (IpAddr, IpAddr) = match vip {
        IpAddr::V4(_) => (DIRECTOR.into(), REAL.into()),
        IpAddr::V6(_) => (DIRECTOR_V6.into(), REAL_V6.into()),
    };
    let (from, to) = (from.to_string(), to.to_string());
    let director = yardstick(&topology.director, name, &[program, tun, &from, &to])?;
    topology.director.run(&format!("ip link set {tun} up"))?;
    topology.director.run(&format!("ip route add {} dev {tun}", alone(vip)))?;
    topology.deepen_queue(tun)?;
    topology.announce(vip)?;
    Ok((Side { name, vip, process: Some(director.pid()) }, director))
}

/// The director this project is about: one process for the four mixes of families, a service for each.
pub(crate) fn vstun(topology: &Topology) -> Result<(Vec<Side>, Program)> {
    let mut text = format!(
        "[director]\n\
         tun = \"vstun0\"\n\
         uplinks = [\"{uplink}\"]\n\
         arp = false\n\
         source = [\"{DIRECTOR}\", \"{DIRECTOR_V6}\"]\n\
         control = \"{control}\"\n",
        uplink = topology.uplink,
        control = sandbox::scratch().join("director.sock").display(),
    );
    MIXES.iter().for_each(|mix| text.push_str(&service(mix)));
    let config = written("director.toml", &text)?;
    let command = [env!("CARGO_BIN_EXE_vstun-director"), "--config", &config];
    let director = Program::start(&topology.director, VSTUN, &command)?;
    topology.deepen_queue("vstun0")?;
    let process = Some(director.pid());
    let sides = MIXES.map(|(name, vip, _)| Side { name, vip, process });
    sides.iter().try_for_each(|side| topology.announce(side.vip))?;
    Ok((sides.into(), director))
}

fn service(&(name, vip, real): &Mix) -> String {
    let listens = [(UDP, "udp"), (UPLOAD, "tcp"), (DOWNLOAD, "tcp")]
        .map(|(port, protocol)| match vip {
            IpAddr::V4(vip) => format!("\"{vip}:{port}/{protocol}\""),
            IpAddr::V6(vip) => format!("\"[{vip}]:{port}/{protocol}\""),
        })
        .join(", ");
    format!(
        "[[service]]\n\
         name = \"{name}\"\n\
         listen = [{listens}]\n\
         scheduler = \"wlc\"\n\
         [[service.real]]\n\
         address = \"{real}\"\n\
         weight = 1\n",
        name = name.replace(' ', "-"),
    )
}

/// No balancer: the kernel routes requests to a real server that owns the VIP, replies go straight back.
pub(crate) fn kernel(topology: &Topology) -> Result<Side> {
    let (name, vip) = (KERNEL, V4_KERNEL);
    topology.director.run(&format!("ip route add {} via {REAL}", alone(vip)))?;
    topology.real.run(&format!("ip addr add {} dev lo", alone(vip)))?;
    topology.announce(vip)?;
    Ok(Side { name, vip, process: None })
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
            let nodad = if vip.is_ipv4() { "" } else { "nodad" };
            topology.real.run(&format!("ip addr add {} dev real0 {nodad}", alone(vip)))?;
        }
        Ok(Self { name, _program: program })
    }

    /// This project's.
    pub(crate) fn vstun(topology: &Topology) -> Result<Self> {
        let name = "vstun-realserver";
        let vips: Vec<_> = tunnelled().map(|vip| format!("\"{vip}\"")).collect();
        let vips = vips.join(", ");
        let text = format!(
            "[realserver]\n\
             tun = \"vstun0\"\n\
             vips = [{vips}]\n\
             directors = [\"{DIRECTOR}/32\", \"{DIRECTOR_V6}/128\"]\n\
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
fn tunnelled() -> impl Iterator<Item = IpAddr> {
    [V4_BARE, V4_BARE_AGAIN, V4_BATCHED, V6_BARE].into_iter().chain(MIXES.map(|(_, vip, _)| vip))
}

const fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))
}

const fn v6(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host))
}

/// A way through this project's director: its name, its VIP and its real server.
type Mix = (&'static str, IpAddr, IpAddr);

const MIXES: [Mix; 4] = [
    (VSTUN, v4(12), IpAddr::V4(REAL)),
    (VSTUN_6IN6, v6(0x10), IpAddr::V6(REAL_V6)),
    (VSTUN_6IN4, v6(0x11), IpAddr::V4(REAL)),
    (VSTUN_4IN6, v4(15), IpAddr::V6(REAL_V6)),
];

const V4_BARE: IpAddr = v4(10);
const V4_BARE_AGAIN: IpAddr = v4(11);
const V4_KERNEL: IpAddr = v4(13);
const V4_BATCHED: IpAddr = v4(14);
const V6_BARE: IpAddr = v6(0x12);

pub(crate) const BARE_LOOP: &str = "bare loop";
pub(crate) const BARE_LOOP_AGAIN: &str = "bare loop (again)";
pub(crate) const BARE_BATCHED: &str = "bare loop, batched";
pub(crate) const BARE_LOOP_6IN6: &str = "bare loop 6in6";
/// IPv4 in IPv4, as all ways are whose names say nothing else.
pub(crate) const VSTUN: &str = "vstun-director";
pub(crate) const VSTUN_6IN6: &str = "vstun-director 6in6";
pub(crate) const VSTUN_6IN4: &str = "vstun-director 6in4";
pub(crate) const VSTUN_4IN6: &str = "vstun-director 4in6";
pub(crate) const KERNEL: &str = "no balancer";
/// Ports of the services behind every VIP.
pub(crate) const UDP: u16 = 9000;
/// Swallows.
pub(crate) const UPLOAD: u16 = 9001;
/// Pours.
pub(crate) const DOWNLOAD: u16 = 9002;
