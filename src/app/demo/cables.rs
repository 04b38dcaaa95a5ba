//! The demonstration's network: each host is a network namespace, each cable a pair of veth devices.
//!
//! ```text
//!   client 198.51.100.10 ──── router ──┬─ uplink ── eth0 192.0.2.2  director  (the VIP 192.0.2.10 is announced here)
//!                                      └─ lan ──┬── eth1 10.0.0.1
//!                                               ├── real1 10.0.0.11
//!                                               ├── real2 10.0.0.12
//!                                               └── real3 10.0.0.13
//! ```

use std::process::Command;

use anyhow::Result;

use super::output;

/// The virtual IP.
pub(super) const VIP: &str = "192.0.2.10";
/// The director's address towards the real servers.
pub(super) const DIRECTOR: &str = "10.0.0.1";
/// The real servers: name, address, weight.
pub(super) const REALS: [(&str, &str, u32); 3] =
    [("real1", "10.0.0.11", 1), ("real2", "10.0.0.12", 1), ("real3", "10.0.0.13", 2)];

/// A command in a namespace.
pub(super) fn at(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Makes all of it, and the counters of replies.
pub(super) fn lay() -> Result<()> {
    for host in ["client", "router", "director"].into_iter().chain(REALS.map(|(name, ..)| name)) {
        ip(&format!("netns add {host}"))?;
        ip(&format!("-n {host} link set dev lo up"))?;
    }
    output(at("router", "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]))?;
    for (bridge, address) in [("uplink", "192.0.2.1/24"), ("lan", "10.0.0.254/24")] {
        ip(&format!("-n router link add {bridge} type bridge"))?;
        ip(&format!("-n router address add {address} dev {bridge}"))?;
        ip(&format!("-n router link set dev {bridge} up"))?;
    }
    cable("client", "eth0", "198.51.100.10/24", "client", None)?;
    ip("-n router address add 198.51.100.1/24 dev client")?;
    ip("-n client route add default via 198.51.100.1")?;
    cable("director", "eth0", "192.0.2.2/24", "director-up", Some("uplink"))?;
    cable("director", "eth1", &format!("{DIRECTOR}/24"), "director-lan", Some("lan"))?;
    ip("-n director route add default via 192.0.2.1")?;
    for (name, address, _) in REALS {
        cable(name, "eth0", &format!("{address}/24"), name, Some("lan"))?;
        ip(&format!("-n {name} route add default via 10.0.0.254"))?;
    }
    count_replies()
}

/// From the host's `device` to the router's `port`, which joins the `bridge`.
fn cable(host: &str, device: &str, address: &str, port: &str, bridge: Option<&str>) -> Result<()> {
    ip(&format!("-n {host} link add {device} type veth peer name {port} netns router"))?;
    ip(&format!("-n {host} address add {address} dev {device}"))?;
    if let Some(bridge) = bridge {
        ip(&format!("-n router link set dev {port} master {bridge}"))?;
    }
    ip(&format!("-n router link set dev {port} up"))?;
    ip(&format!("-n {host} link set dev {device} up"))
}

/// Packets from the VIP: those that the router hands to the client, and those that reach the director.
fn count_replies() -> Result<()> {
    for (host, hook, from) in
        [("router", "forward", "iifname lan oifname client "), ("director", "prerouting", "")]
    {
        let rules = format!(
            "add table inet demo; add counter inet demo replies; \
             add chain inet demo count {{ type filter hook {hook} priority -300; }}; \
             add rule inet demo count {from}ip saddr {VIP} counter name replies"
        );
        output(at(host, "nft").arg(rules))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    output(Command::new("ip").args(arguments.split_whitespace())).map(drop)
}
