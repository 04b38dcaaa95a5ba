//! Reads the state of the host.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};
use log::debug;

use crate::host::capture::{RouteAnswer, RouteQuestion};
use crate::host::replies::{self, Reply};
use crate::host::{
    self, Facts, Family, IpsecPolicy, Link, Lookup, RouteKind, Routes, TUNNEL_MODULES,
};
use crate::sys::ipsec;
use crate::sys::netlink::Netlink;
use crate::sys::netlink::packet_route::route::RouteMessage;
use crate::sys::sysctl;

use super::pending::Concern;
use super::{messages, routes};

/// The facts that plans depend on, with a route lookup for each of `destinations`. `routes`: the
/// routes if known, else the kernel is asked for those that are a `concern`.
pub(super) async fn facts(
    netlink: &Netlink,
    destinations: &[IpAddr],
    tun_is_ours: bool,
    concern: &Concern,
    routes: Option<Routes>,
) -> Result<Facts> {
    let context = |what| move || format!("cannot read the {what} of this host");
    let links = netlink.links().await.with_context(context("interfaces"))?;
    let addresses = netlink.addresses().await.with_context(context("addresses"))?;
    let mut facts = Facts {
        links: links.iter().filter_map(messages::link).collect(),
        addresses: addresses.iter().filter_map(messages::address).collect(),
        tunnel_modules: tunnel_modules(),
        tun_is_ours,
        ..Facts::default()
    };
    facts.sysctls = sysctls(&facts.links)?;
    let known = routes.is_some();
    facts.routes = routes.unwrap_or_default();
    for family in families() {
        let version = &messages::version(family);
        if !known {
            let keep = |message: RouteMessage| {
                let route = routes::listed(&message);
                facts.routes.extend(route.filter(|route| concern.includes(route)));
            };
            netlink.routes(version, keep).await.with_context(context("routes"))?;
        }
        let rules = netlink.rules(version).await.with_context(context("routing rules"))?;
        let proxies = netlink.proxies(version).await.with_context(context("proxy neighbours"))?;
        facts.rules.extend(rules.iter().filter_map(messages::rule));
        facts.proxies.extend(proxies.iter().filter_map(messages::proxy));
    }
    facts.policies = policies();
    facts.lookups = lookups(netlink, destinations).await;
    Ok(facts)
}

/// The kernel's route lookups for packets that arrive at the uplinks.
pub(super) async fn captures(
    netlink: &Netlink,
    questions: Vec<RouteQuestion>,
) -> Vec<(RouteQuestion, RouteAnswer)> {
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let answer = match netlink.lookup(messages::capture_request(&question)).await {
            Ok(message) => {
                let Lookup { kind, link, .. } = messages::lookup(&message);
                RouteAnswer::Route { kind, link, table: messages::table(&message) }
            }
            Err(error) => RouteAnswer::Error(error.raw_os_error().unwrap_or_default()),
        };
        answers.push((question, answer));
    }
    answers
}

/// The tables in which the kernel finds the routes of replies.
pub(super) async fn reply_tables(
    netlink: &Netlink,
    replies: Vec<Reply>,
) -> Vec<(Reply, Option<u32>)> {
    let mut answers = Vec::with_capacity(replies.len());
    for reply in replies {
        let found = netlink.lookup(messages::reply_request(&reply)).await;
        answers.push((reply, found.ok().map(|message| messages::table(&message))));
    }
    answers
}

/// Whether replies from a virtual IP have a route to a host on the internet. Where this host does
/// not have the virtual IP, something else is wrong, and they count as having one.
pub(super) async fn has_reply_route(netlink: &Netlink, vip: IpAddr) -> bool {
    let reply = Reply { vip, to: replies::far(vip) };
    match netlink.lookup(messages::reply_request(&reply)).await {
        Ok(message) => messages::lookup(&message).kind == RouteKind::Unicast,
        Err(error) => {
            let none = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable];
            !none.contains(&error.kind())
        }
    }
}

/// The IPsec policies. A kernel without IPsec has none; a process without the right to read them
/// sees none.
pub(in crate::app) fn policies() -> Vec<IpsecPolicy> {
    let mut all = Vec::new();
    let read = ipsec::policies(|message| all.extend(messages::policy(&message)));
    if let Err(error) = read {
        debug!("cannot read this host's IPsec policies: {error}");
    }
    all
}

/// The families that the kernel has. A request for a missing one would be answered for another
/// family.
pub(super) fn families() -> impl Iterator<Item = Family> {
    let has = |family: &Family| match family {
        Family::V4 => true,
        Family::V6 => sysctl::read(&host::sysctl::conf6("all", "disable_ipv6")).is_ok(),
    };
    Family::BOTH.into_iter().filter(has)
}

/// A destination without a route is left out: the kernel returns an error for it.
pub(super) async fn lookups(
    netlink: &Netlink,
    destinations: &[IpAddr],
) -> BTreeMap<IpAddr, Lookup> {
    let mut lookups = BTreeMap::new();
    for &to in destinations {
        if let Ok(answer) = netlink.lookup(messages::lookup_request(to)).await {
            lookups.insert(to, messages::lookup(&answer));
        }
    }
    lookups
}

/// Modules compiled into the kernel are not listed; then only a tunnel interface shows them.
fn tunnel_modules() -> Vec<String> {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let loaded: Vec<&str> = modules.lines().filter_map(|line| line.split(' ').next()).collect();
    let ours = TUNNEL_MODULES.iter().filter(|name| loaded.contains(name));
    ours.map(|name| (*name).to_owned()).collect()
}

fn sysctls(links: &[Link]) -> Result<BTreeMap<String, String>> {
    let names = links.iter().map(|link| link.name.as_str()).chain(["all", "default"]);
    let mut values = BTreeMap::new();
    for path in names.flat_map(host::sysctl::of_link) {
        match sysctl::read(&path) {
            Ok(value) => {
                values.insert(path, value);
            }
            // The kernel lacks it (no IPv6, `all` has no neighbour table), or the interface was
            // just removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read sysctl {path}"));
            }
        }
    }
    Ok(values)
}
