//! A director with 1,000 services of 20 real servers beside the one that is measured.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Result;

use super::{WEB, v4, written};
use crate::node::Program;
use crate::sandbox;
use crate::topology::{DIRECTOR, End, Topology};

/// The running director.
pub(crate) struct Large {
    pub(crate) director: Program,
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// The uplink on which clients' packets arrive.
    pub(crate) uplink: String,
    /// The weight in its file.
    pub(crate) weight: u32,
}

/// Where the measured service listens.
pub(crate) const VIP: IpAddr = v4(24);

/// The other services' real servers.
pub(crate) const REALS: usize = SERVICES * EACH;

const SERVICES: usize = 1_000;
const EACH: usize = 20;

/// Starts it, with routes to all its real servers.
pub(crate) fn start(topology: &Topology) -> Result<Large> {
    let via = End::Bare.v4();
    topology.director.run(&format!("ip route replace 10.64.0.0/16 via {via}"))?;
    let (uplink, weight) = (topology.uplink.clone(), 1);
    let file = write(&uplink, weight)?;
    let command = [env!("CARGO_BIN_EXE_vstun-director"), "--config", &file];
    let director = Program::start(&topology.director, "large director", &command)?;
    topology.deepen_queue(TUN)?;
    topology.announce(VIP)?;
    Ok(Large { director, socket: socket(), uplink, weight })
}

/// Writes its file again, with this weight for each of the other real servers; returns the path.
pub(crate) fn write(uplink: &str, weight: u32) -> Result<String> {
    let mut text = format!(
        "[director]\ntun = \"{TUN}\"\nuplinks = [\"{uplink}\"]\narp = false\n\
         source = \"{DIRECTOR}\"\ncontrol = \"{}\"\n",
        socket().display(),
    );
    let real = End::Bare.v4();
    write!(
        text,
        "[[service]]\nname = \"measured\"\nlisten = [\"{VIP}:{WEB}/tcp\"]\nscheduler = \"wlc\"\n\
         real = [{{ address = \"{real}\" }}]\n",
    )?;
    for service in 0..SERVICES {
        let port = 10_000 + service;
        write!(
            text,
            "[[service]]\nname = \"s{service}\"\nlisten = [\"{VIP}:{port}/tcp\"]\nreal = [\n"
        )?;
        for real in service * EACH..(service + 1) * EACH {
            let [.., high, low] = (real + 1).to_be_bytes();
            let real = Ipv4Addr::new(10, 64, high, low);
            writeln!(text, "  {{ address = \"{real}\", weight = {weight} }},")?;
        }
        text.push_str("]\n");
    }
    written("large.toml", &text)
}

fn socket() -> PathBuf {
    sandbox::scratch().join("large.sock")
}

const TUN: &str = "vstun2";
