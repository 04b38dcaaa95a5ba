//! Looking at the host.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::host::{Facts, Link, Lookup, sysctls_of};
use crate::sys::netlink::Netlink;
use crate::sys::sysctl;

use super::{messages, routes};

/// What plans depend on, with a route lookup for each of `destinations`.
pub(super) async fn facts(
    netlink: &Netlink,
    destinations: &[IpAddr],
    tun_is_ours: bool,
) -> Result<Facts> {
    let context = |what| move || format!("cannot read the {what} of this host");
    let links = netlink.links().await.with_context(context("interfaces"))?;
    let addresses = netlink.addresses().await.with_context(context("addresses"))?;
    let routes = netlink.routes().await.with_context(context("routes"))?;
    let rules = netlink.rules().await.with_context(context("routing rules"))?;
    let proxies = netlink.proxies().await.with_context(context("proxy neighbours"))?;
    let links: Vec<Link> = links.iter().filter_map(messages::link).collect();
    Ok(Facts {
        sysctls: sysctls(&links)?,
        links,
        addresses: addresses.iter().filter_map(messages::address).collect(),
        lookups: lookups(netlink, destinations).await,
        routes: routes.iter().filter_map(routes::route).collect(),
        rules: rules.iter().map(messages::rule).collect(),
        proxies: proxies.iter().filter_map(messages::proxy).collect(),
        tunnel_module: tunnel_module(),
        tun_is_ours,
    })
}

/// A destination without a route is left out: the kernel says so with an error.
async fn lookups(netlink: &Netlink, destinations: &[IpAddr]) -> BTreeMap<IpAddr, Lookup> {
    let mut lookups = BTreeMap::new();
    for &to in destinations {
        if let Ok(answer) = netlink.lookup(messages::lookup_request(to)).await {
            lookups.insert(to, messages::lookup(&answer));
        }
    }
    lookups
}

/// Compiled into the kernel it is not listed; then only a tunnel interface shows it.
fn tunnel_module() -> Option<String> {
    let modules = std::fs::read_to_string("/proc/modules").ok()?;
    let loaded = |name: &&str| modules.lines().any(|line| line.split(' ').next() == Some(*name));
    ["ipip", "tunnel4"].into_iter().find(loaded).map(str::to_owned)
}

fn sysctls(links: &[Link]) -> Result<BTreeMap<String, String>> {
    let names = links.iter().map(|link| link.name.as_str()).chain(["all", "default"]);
    let mut values = BTreeMap::new();
    for path in names.flat_map(sysctls_of) {
        match sysctl::read(&path) {
            Ok(value) => {
                values.insert(path, value);
            }
            // The kernel lacks it (no IPv6, `all` has no neighbour table), or the interface has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read sysctl {path}"));
            }
        }
    }
    Ok(values)
}
