//! The tunnels' other ends: the bare loop's twin, and this project's.

use std::env;

use anyhow::Result;

use crate::node::Program;
use crate::sandbox;
use crate::side::{tunnelled, written, yardstick};
use crate::topology::{DIRECTOR, DIRECTOR_V6, End, Topology, alone};

/// Their names in the table.
pub(crate) const BARE_REAL: &str = "bare real server";
pub(crate) const VSTUN_REAL: &str = "vstun-realserver";

/// Receives, writes the virtio header over the outer one, writes to the TUN: for every side that
/// tunnels to the bare real server.
pub(crate) fn bare(topology: &Topology) -> Result<Program> {
    let node = &topology.real(End::Bare).node;
    let program = yardstick(node, BARE_REAL, &["bare-real", "real0"])?;
    for vip in tunnelled(End::Bare) {
        let nodad = if vip.is_ipv4() { "" } else { "nodad" };
        node.run(&format!("ip addr add {} dev real0 {nodad}", alone(vip)))?;
    }
    Ok(program)
}

/// This project's.
pub(crate) fn vstun(topology: &Topology) -> Result<Program> {
    let vips: Vec<_> = tunnelled(End::Vstun).iter().map(|vip| format!("\"{vip}\"")).collect();
    let vips = vips.join(", ");
    let text = format!(
        "[realserver]\n\
         tun = \"vstun0\"\n\
         vips = [{vips}]\n\
         directors = [\"{DIRECTOR}/32\", \"{DIRECTOR_V6}/128\"]\n\
         fast_path = \"{fast_path}\"\n\
         control = \"{control}\"\n",
        fast_path = env::var("REAL_FAST_PATH").unwrap_or_else(|_| "off".to_owned()),
        control = sandbox::scratch().join("realserver.sock").display(),
    );
    let config = written("realserver.toml", &text)?;
    let command = [env!("CARGO_BIN_EXE_vstun-realserver"), "--config", &config];
    Program::start(&topology.real(End::Vstun).node, VSTUN_REAL, &command)
}
