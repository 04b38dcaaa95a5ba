//! The compared sides from client to real server, all running at the same time, each with its own
//! VIP.
//!
//! An idle side costs nothing, so rounds switch between sides without a restart.

pub(crate) mod large;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{env, fs};

use anyhow::{Context, Result};

use crate::node::{Node, Program};
use crate::sandbox;
use crate::topology::{
    BEHIND_NIC, DIRECTOR, DIRECTOR_V6, End, NEIGHBOUR, NEIGHBOUR_V6, Topology, alone,
};

/// One side: a path to a VIP.
pub(crate) struct Side {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// The destination of the client.
    pub(crate) vip: IpAddr,
    /// The director's or the proxy's process, if there is one.
    pub(crate) process: Option<u32>,
    /// Its real server.
    pub(crate) end: End,
}

/// The bare loop; a second, equal one, whose ratio to the first is the noise of the measurement;
/// the director's structure without its decisions; the bare loop for IPv6; the bare loop with this
/// project's real server, the same in GUE, and in GUE by the wire that segments.
pub(crate) fn bare_directors(topology: &Topology) -> Result<[(Side, Program); 7]> {
    const LOOP: &[&str] = &["bare-director"];
    let v4 = |end: End| end.v4().into();
    Ok([
        bare(topology, (BARE_LOOP, V4_BARE, End::Bare), v4(End::Bare), ("bare0", LOOP))?,
        bare(
            topology,
            (BARE_LOOP_AGAIN, V4_BARE_AGAIN, End::Bare),
            v4(End::Bare),
            ("bare1", LOOP),
        )?,
        bare(
            topology,
            (BARE_BATCHED, V4_BATCHED, End::Bare),
            v4(End::Bare),
            ("bare2", &["bare-batched"]),
        )?,
        bare(
            topology,
            (BARE_LOOP_6IN6, V6_BARE, End::Bare),
            End::Bare.v6().into(),
            ("bare3", LOOP),
        )?,
        bare(
            topology,
            (BARE_LOOP_VSTUN, V4_BARE_VSTUN, End::Vstun),
            v4(End::Vstun),
            ("bare4", LOOP),
        )?,
        bare(
            topology,
            (BARE_GUE, V4_BARE_GUE, End::Vstun),
            v4(End::Vstun),
            ("bare5", &["bare-gue", "61500"]),
        )?,
        bare(
            topology,
            (BARE_GUE_NIC, V4_BARE_GUE_NIC, End::Vstun),
            BEHIND_NIC.into(),
            ("bare6", &["bare-gue", "61600"]),
        )?,
    ])
}

/// A director that sends to `to`, of the VIP's own family.
fn bare(
    topology: &Topology,
    (name, vip, end): (&'static str, IpAddr, End),
    to: IpAddr,
    (tun, program): (&str, &[&str]),
) -> Result<(Side, Program)> {
    let from: IpAddr = match vip {
        IpAddr::V4(_) => DIRECTOR.into(),
        IpAddr::V6(_) => DIRECTOR_V6.into(),
    };
    let (from, to) = (from.to_string(), to.to_string());
    let arguments = [program, &[tun, &from, &to]].concat();
    let director = yardstick(&topology.director, name, &arguments)?;
    topology.director.run(&format!("ip link set {tun} up"))?;
    topology.director.run(&format!("ip route add {} dev {tun}", alone(vip)))?;
    topology.deepen_queue(tun)?;
    topology.announce(vip)?;
    Ok((Side { name, vip, process: Some(director.pid()), end }, director))
}

/// This project's director: one process for the four mixes of families and for both real servers,
/// with a service for each.
pub(crate) fn vstun(topology: &Topology) -> Result<(Vec<Side>, Program)> {
    director(topology, VSTUN, "vstun0", "off", &WAYS)
}

/// A second director, whose established flows the kernel carries.
pub(crate) fn fast(topology: &Topology) -> Result<(Vec<Side>, Program)> {
    director(topology, FAST, "vstun1", "on", &FAST_WAYS)
}

fn director(
    topology: &Topology,
    name: &'static str,
    tun: &str,
    fast_path: &str,
    ways: &[Way],
) -> Result<(Vec<Side>, Program)> {
    let mut text = format!(
        "[director]\n\
         tun = \"{tun}\"\n\
         fast_path = \"{fast_path}\"\n\
         uplinks = [\"{uplink}\"]\n\
         arp = false\n\
         source = [\"{DIRECTOR}\", \"{DIRECTOR_V6}\"]\n\
         control = \"{control}\"\n",
        uplink = topology.uplink,
        control = sandbox::scratch().join(format!("{tun}.sock")).display(),
    );
    if let Ok(length) = env::var("BUSY_POLL") {
        text.push_str(&format!("busy_poll = \"{length}\"\n"));
    }
    ways.iter().for_each(|way| text.push_str(&service(way)));
    let config = written(&format!("{tun}.toml"), &text)?;
    let command = [env!("CARGO_BIN_EXE_vstun-director"), "--config", &config];
    let director = Program::start(&topology.director, name, &command)?;
    topology.deepen_queue(tun)?;
    let process = Some(director.pid());
    let side = |&(name, vip, _, end): &Way| Side { name, vip, process, end };
    let sides: Vec<_> = ways.iter().map(side).collect();
    sides.iter().try_for_each(|side| topology.announce(side.vip))?;
    Ok((sides, director))
}

fn service(&(name, vip, real, _): &Way) -> String {
    let listens = [(UDP, "udp"), (UPLOAD, "tcp"), (DOWNLOAD, "tcp"), (WEB, "tcp")]
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
         encap = \"{encap}\"\n\
         [[service.real]]\n\
         address = \"{real}\"\n\
         weight = 1\n",
        encap = if [VSTUN_GUE, VSTUN_GUE_NIC].contains(&name) { "gue" } else { "ipip" },
        name = name.replace(", ", "-").replace(' ', "-"),
    )
}

/// Starts one of this binary's own yardsticks in a node.
pub(crate) fn yardstick(node: &Node, name: &str, arguments: &[&str]) -> Result<Program> {
    let itself = env::current_exe()?;
    let itself = itself.to_str().context("the path of the bench is not UTF-8")?;
    let command = [&[itself, "yardstick"], arguments].concat();
    Program::start(node, name, &command)
}

/// Writes a file that only this run sees.
pub(crate) fn written(file: &str, text: &str) -> Result<String> {
    let path = sandbox::scratch().join(file);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// The VIPs whose tunnels lead to `end`.
pub(crate) fn tunnelled(end: End) -> Vec<IpAddr> {
    let bare: &[IpAddr] = match end {
        End::Bare => &[V4_BARE, V4_BARE_AGAIN, V4_BATCHED, V6_BARE, large::VIP],
        End::Vstun => &[V4_BARE_VSTUN, V4_BARE_GUE, V4_BARE_GUE_NIC],
    };
    let ways = WAYS.iter().chain(&FAST_WAYS).filter(|way| way.3 == end).map(|way| way.1);
    bare.iter().copied().chain(ways).collect()
}

const fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))
}

const fn v6(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host))
}

/// A side of this project's director: its name, its VIP, its real server and the program that ends
/// the tunnel there.
type Way = (&'static str, IpAddr, IpAddr, End);

const WAYS: [Way; 9] = [
    (VSTUN, v4(12), IpAddr::V4(End::Bare.v4()), End::Bare),
    (VSTUN_6IN6, v6(0x10), IpAddr::V6(End::Bare.v6()), End::Bare),
    (VSTUN_6IN4, v6(0x11), IpAddr::V4(End::Bare.v4()), End::Bare),
    (VSTUN_4IN6, v4(15), IpAddr::V6(End::Bare.v6()), End::Bare),
    (VSTUN_NEIGHBOUR, v4(21), IpAddr::V4(NEIGHBOUR), End::Bare),
    (VSTUN_6IN6_NEIGHBOUR, v6(0x13), IpAddr::V6(NEIGHBOUR_V6), End::Bare),
    (VSTUN_BOTH, v4(16), IpAddr::V4(End::Vstun.v4()), End::Vstun),
    (VSTUN_GUE, v4(24), IpAddr::V4(End::Vstun.v4()), End::Vstun),
    (VSTUN_GUE_NIC, v4(26), IpAddr::V4(BEHIND_NIC), End::Vstun),
];

const FAST_WAYS: [Way; 2] = [
    (FAST, v4(22), IpAddr::V4(End::Bare.v4()), End::Bare),
    (FAST_BOTH, v4(23), IpAddr::V4(End::Vstun.v4()), End::Vstun),
];

const V4_BARE: IpAddr = v4(10);
const V4_BARE_AGAIN: IpAddr = v4(11);
pub(crate) const V4_KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 13);
const V4_BATCHED: IpAddr = v4(14);
const V4_BARE_VSTUN: IpAddr = v4(17);
const V4_BARE_GUE: IpAddr = v4(25);
const V4_BARE_GUE_NIC: IpAddr = v4(27);
pub(crate) const V4_ROUTING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
pub(crate) const V4_HAPROXY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 19);
pub(crate) const V4_NGINX: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const V6_BARE: IpAddr = v6(0x12);

pub(crate) const BARE_LOOP: &str = "bare loop";
pub(crate) const BARE_LOOP_AGAIN: &str = "bare loop (again)";
pub(crate) const BARE_BATCHED: &str = "bare loop, batched";
/// With `UDP_SEGMENT`, to this project's real server.
pub(crate) const BARE_GUE: &str = "bare loop, GUE";
/// The same by a wire that cuts a send's datagrams apart itself.
pub(crate) const BARE_GUE_NIC: &str = "bare loop, GUE, NIC that segments";
pub(crate) const BARE_LOOP_6IN6: &str = "bare loop 6in6";
/// IPv4 in IPv4, like all sides without another mix in their name.
pub(crate) const VSTUN: &str = "vstun-director";
pub(crate) const VSTUN_6IN6: &str = "vstun-director 6in6";
pub(crate) const VSTUN_6IN4: &str = "vstun-director 6in4";
pub(crate) const VSTUN_4IN6: &str = "vstun-director 4in6";
/// With `encap = "gue"`, which only this project's real server takes.
pub(crate) const VSTUN_GUE: &str = "vstun-director, GUE";
/// The same by a wire that cuts a send's datagrams apart itself.
pub(crate) const VSTUN_GUE_NIC: &str = "vstun-director, GUE, NIC that segments";
/// With `neighbour_routes`.
pub(crate) const VSTUN_NEIGHBOUR: &str = "vstun-director, neighbour route";
pub(crate) const VSTUN_6IN6_NEIGHBOUR: &str = "vstun-director 6in6, neighbour route";
/// Both ends of the tunnel.
pub(crate) const VSTUN_BOTH: &str = "vstun-director and vstun-realserver";
/// With `fast_path = "on"`.
pub(crate) const FAST: &str = "vstun-director, fast path";
/// With `fast_path = "on"` and this project's real server.
pub(crate) const FAST_BOTH: &str = "vstun-director, fast path, and vstun-realserver";
/// The bare loop's side, named after both of its programs.
pub(crate) const BARE_BOTH: &str = "bare loop and bare real server";
pub(crate) const BARE_LOOP_VSTUN: &str = "bare loop and vstun-realserver";
/// Replies pass the director as well.
pub(crate) const ROUTING: &str = "plain routing";
/// Replies go straight back.
pub(crate) const KERNEL: &str = "kernel direct return";
pub(crate) const HAPROXY: &str = "HAProxy";
pub(crate) const NGINX: &str = "nginx stream";
/// Ports of the services behind every VIP.
pub(crate) const UDP: u16 = 9000;
/// Discards.
pub(crate) const UPLOAD: u16 = 9001;
/// Sends.
pub(crate) const DOWNLOAD: u16 = 9002;
/// Answers requests.
pub(crate) const WEB: u16 = 9003;
