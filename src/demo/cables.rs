//! The demonstration's network: each host is a network namespace, each cable a pair of veth
//! devices. All have both address families. Hosts and addresses are those of the namespace tests
//! (`netns-tests/topology.sh`).
//!
//! ```text
//!   client 198.51.100.10 ──── router ──┬─ uplink ── eth0 192.0.2.2  director  (the VIPs 192.0.2.10
//!          2001:db8:c::10              │                 2001:db8:b::2         and 2001:db8:b::10)
//!                                      └─ lan ──┬── eth1 10.0.0.1   2001:db8:a::1
//!                                               ├── real1 10.0.0.11  2001:db8:a::11
//!                                               ├── real2 10.0.0.12  2001:db8:a::12
//!                                               └── real3 10.0.0.13  2001:db8:a::13
//! ```

use std::process::Command;

use anyhow::Result;

use crate::netns::{self, Device, at, output};

/// An address family, and the addresses in it.
#[derive(Debug)]
pub(super) struct FamilyAddresses {
    pub(super) name: &'static str,
    /// The virtual IP.
    pub(super) vip: &'static str,
    /// The director's address on the real servers' network.
    pub(super) director: &'static str,
    /// The prefix length of every subnet.
    prefix: u8,
    /// The name of its header in nftables.
    header: &'static str,
}

/// The two families; a host's two addresses are in this order.
pub(super) const FAMILIES: [FamilyAddresses; 2] = [
    FamilyAddresses {
        name: "IPv4",
        vip: "192.0.2.10",
        director: "10.0.0.1",
        prefix: 24,
        header: "ip",
    },
    FamilyAddresses {
        name: "IPv6",
        vip: "2001:db8:b::10",
        director: "2001:db8:a::1",
        prefix: 64,
        header: "ip6",
    },
];

/// A real server.
#[derive(Debug)]
pub(super) struct DemoReal {
    pub(super) name: &'static str,
    addresses: [&'static str; 2],
    /// The index of the address that the director sends to.
    tunnel: usize,
    pub(super) weight: usize,
}

/// Tunnels of either family carry half of the requests of each family.
pub(super) const REALS: [DemoReal; 3] = [
    DemoReal { name: "real1", addresses: ["10.0.0.11", "2001:db8:a::11"], tunnel: 0, weight: 1 },
    DemoReal { name: "real2", addresses: ["10.0.0.12", "2001:db8:a::12"], tunnel: 0, weight: 1 },
    DemoReal { name: "real3", addresses: ["10.0.0.13", "2001:db8:a::13"], tunnel: 1, weight: 2 },
];

impl DemoReal {
    /// The address that the director sends to.
    pub(super) fn address(&self) -> &'static str {
        self.addresses[self.tunnel]
    }

    /// The outer family of its tunnel.
    pub(super) fn tunnel(&self) -> &'static FamilyAddresses {
        &FAMILIES[self.tunnel]
    }
}

impl FamilyAddresses {
    /// The virtual IP in the form used in URLs.
    pub(super) fn host(&self) -> String {
        if self.vip.contains(':') { format!("[{}]", self.vip) } else { self.vip.to_owned() }
    }
}

/// Builds the network and the counters of replies.
pub(super) fn lay() -> Result<()> {
    for host in ["client", "router", "director"].into_iter().chain(REALS.map(|real| real.name)) {
        netns::add(host)?;
        allow_ipv6(host)?;
    }
    let forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    output(at("router", "sysctl").arg("-qw").args(forwarding))?;
    let (uplink, lan) = (["192.0.2.1", "2001:db8:b::1"], ["10.0.0.254", "2001:db8:a::254"]);
    for (bridge, addresses) in [("uplink", uplink), ("lan", lan)] {
        ip(&format!("-n router link add {bridge} type bridge"))?;
        address("router", bridge, addresses)?;
        Device::of("router", bridge).up()?;
    }
    cable("client", "eth0", ["198.51.100.10", "2001:db8:c::10"], "client", None)?;
    let client = ["198.51.100.1", "2001:db8:c::1"];
    address("router", "client", client)?;
    default_route("client", client)?;
    cable("director", "eth0", ["192.0.2.2", "2001:db8:b::2"], "director-up", Some("uplink"))?;
    let director = FAMILIES.map(|family| family.director);
    cable("director", "eth1", director, "director-lan", Some("lan"))?;
    default_route("director", uplink)?;
    for DemoReal { name, addresses, .. } in REALS {
        cable(name, "eth0", addresses, name, Some("lan"))?;
        default_route(name, lan)?;
    }
    count_replies()
}

/// Enables IPv6 even if it is off for new interfaces, and without the second that duplicate address
/// detection takes.
fn allow_ipv6(host: &str) -> Result<()> {
    let settings = ["all", "default"].map(|interface| {
        ["disable_ipv6", "accept_dad"].map(|key| format!("net.ipv6.conf.{interface}.{key}=0"))
    });
    output(at(host, "sysctl").arg("-qw").args(settings.as_flattened())).map(drop)
}

/// Connects the host's `device` to the router's `port`, which joins the `bridge`.
fn cable(
    host: &str,
    device: &str,
    addresses: [&str; 2],
    port: &str,
    bridge: Option<&str>,
) -> Result<()> {
    let (near, far) = (Device::of(host, device), Device::of("router", port));
    netns::cable(near, far)?;
    address(host, device, addresses)?;
    if let Some(bridge) = bridge {
        ip(&format!("-n router link set dev {port} master {bridge}"))?;
    }
    far.up()?;
    near.up()
}

fn address(host: &str, device: &str, addresses: [&str; 2]) -> Result<()> {
    for (family, address) in FAMILIES.iter().zip(addresses) {
        Device::of(host, device).address(&format!("{address}/{}", family.prefix))?;
    }
    Ok(())
}

fn default_route(host: &str, routers: [&str; 2]) -> Result<()> {
    routers.iter().try_for_each(|router| ip(&format!("-n {host} route add default via {router}")))
}

/// Counts packets from the VIPs: those that the router forwards to the client, and those that reach
/// the director.
fn count_replies() -> Result<()> {
    for (host, hook, from) in
        [("router", "forward", "iifname lan oifname client "), ("director", "prerouting", "")]
    {
        let chain = format!("type filter hook {hook} priority -300;");
        let mut rules = format!("add table inet demo; add chain inet demo count {{ {chain} }}; ");
        for FamilyAddresses { name, vip, header, .. } in &FAMILIES {
            rules += &format!(
                "add counter inet demo {name}; \
                 add rule inet demo count {from}{header} saddr {vip} counter name {name}; "
            );
        }
        output(at(host, "nft").arg(rules))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    output(Command::new("ip").args(arguments.split_whitespace())).map(drop)
}
