//! The references for the sides with a tunnel: the kernel alone, and common proxies.
//!
//! All of them use the bare real server's node, without its tunnel.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::{Result, ensure};
use vstun::netns;

use crate::node::Program;
use crate::sandbox;
use crate::side::{
    DOWNLOAD, HAPROXY, KERNEL, NGINX, ROUTING, Side, UPLOAD, V4_HAPROXY, V4_KERNEL, V4_NGINX,
    V4_ROUTING, WEB, written,
};
use crate::topology::{DIRECTOR, End, Topology, alone};

/// Direct return without a balancer: the kernel routes requests to a real server that has the VIP,
/// replies go straight back. The upper limit of this project.
pub(crate) fn direct_return(topology: &Topology) -> Result<Side> {
    owned(topology, KERNEL, V4_KERNEL)
}

/// As [`direct_return`], with replies through the director as well.
pub(crate) fn routing(topology: &Topology) -> Result<Side> {
    let real = &topology.real(End::Bare).node;
    real.run(&format!("ip route add default via {DIRECTOR} table {BACK}"))?;
    real.run(&format!("ip rule add from {V4_ROUTING} lookup {BACK}"))?;
    owned(topology, ROUTING, V4_ROUTING)
}

fn owned(topology: &Topology, name: &'static str, vip: Ipv4Addr) -> Result<Side> {
    let (end, vip) = (End::Bare, vip.into());
    topology.director.run(&format!("ip route add {} via {}", alone(vip), end.v4()))?;
    topology.real(end).node.run(&format!("ip addr add {} dev lo", alone(vip)))?;
    topology.announce(vip)?;
    Ok(Side { name, vip, process: None, end })
}

/// HAProxy in TCP mode at its best: one thread, forced splicing, 64 kB buffers.
pub(crate) fn haproxy(topology: &Topology) -> Result<(Side, Program)> {
    let mut text = String::from(
        "global\n\
         \x20   nbthread 1\n\
         \x20   maxconn 4096\n\
         \x20   tune.bufsize 65536\n\
         defaults\n\
         \x20   mode tcp\n\
         \x20   timeout connect 5s\n\
         \x20   timeout client 1m\n\
         \x20   timeout server 1m\n\
         \x20   option splice-request\n\
         \x20   option splice-response\n",
    );
    for port in PORTS {
        let real = SocketAddrV4::new(End::Bare.v4(), port);
        text.push_str(&format!(
            "listen {port}\n\
             \x20   bind {V4_HAPROXY}:{port} backlog 4096\n\
             \x20   server real {real}\n"
        ));
    }
    let config = written("haproxy.cfg", &text)?;
    let program = path_of("haproxy");
    proxy(topology, HAPROXY, V4_HAPROXY, &[&program, "-db", "-f", &config])
}

/// nginx's `stream` module with one worker and 64 kB buffers.
pub(crate) fn nginx(topology: &Topology) -> Result<(Side, Program)> {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    ensure!(Path::new(module).exists(), "no {module}: {INSTALL}");
    let scratch = sandbox::scratch();
    let mut text = format!(
        "load_module {module};\n\
         daemon off;\n\
         master_process off;\n\
         pid {scratch}/nginx.pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         stream {{\n\
         proxy_buffer_size 64k;\n\
         proxy_half_close on;\n\
         proxy_timeout 1m;\n",
        scratch = scratch.display(),
    );
    for port in PORTS {
        let real = SocketAddrV4::new(End::Bare.v4(), port);
        text.push_str(&format!(
            "server {{ listen {V4_NGINX}:{port} backlog=4096; proxy_pass {real}; }}\n"
        ));
    }
    text.push_str("}\n");
    let config = written("nginx.conf", &text)?;
    let program = path_of("nginx");
    proxy(topology, NGINX, V4_NGINX, &[&program, "-e", "stderr", "-c", &config])
}

/// The program's path; empty if it is not installed.
fn path_of(program: &str) -> String {
    netns::find(program).map(|path| path.display().to_string()).unwrap_or_default()
}

/// A proxy owns its VIP, at the director.
fn proxy(
    topology: &Topology,
    name: &'static str,
    vip: Ipv4Addr,
    command: &[&str],
) -> Result<(Side, Program)> {
    ensure!(command.first().is_some_and(|program| !program.is_empty()), "not found: {INSTALL}");
    let director = &topology.director;
    director.run(&format!("ip addr add {vip}/32 dev lo"))?;
    let last = SocketAddrV4::new(vip, WEB);
    let program = Program::start_listener(director, name, command, last)?;
    topology.announce(vip.into())?;
    Ok((Side { name, vip: vip.into(), process: Some(program.pid()), end: End::Bare }, program))
}

/// The proxied ports; the one opened last is the last.
const PORTS: [u16; 3] = [UPLOAD, DOWNLOAD, WEB];
/// The table that routes replies of plain routing's VIP back to the director.
const BACK: u32 = 100;
const INSTALL: &str = "netns-tests/deps bench installs it";
