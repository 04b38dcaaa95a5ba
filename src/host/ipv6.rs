//! IPv6 on the host and on the TUN: whether it is on, and its autonomous packets.

use std::net::IpAddr;

use super::facts::{Facts, Link};
use super::family::Family;
use super::plan::write;
use super::refusal::HostRefusal;
use super::step::HostStep;
use super::sysctl::conf6;

/// Checks that IPv6 packets can reach an IPv6 virtual IP. `all` alone does not show it: it is the
/// value last written to every interface at once. Each interface's current value counts.
pub(super) fn check(vips: &[IpAddr], tun: &str, facts: &Facts) -> Result<(), HostRefusal> {
    let Some(&address) = vips.iter().find(|vip| vip.is_ipv6()) else { return Ok(()) };
    let Some(off) = facts.conf6("all", "disable_ipv6") else {
        return Err(HostRefusal::Ipv6Missing(address));
    };
    let others = |link: &&Link| !link.loopback && link.name != tun;
    if off != 0 && !facts.links.iter().filter(others).any(|link| is_on(link, facts)) {
        let sysctl = "net.ipv6.conf.all.disable_ipv6".to_owned();
        return Err(HostRefusal::Ipv6Off { address, sysctl });
    }
    Ok(())
}

/// Whether the interface has IPv6.
pub(super) fn is_on(link: &Link, facts: &Facts) -> bool {
    facts.conf6(&link.name, "disable_ipv6") == Some(0)
}

/// The settings of a new TUN before it is up. They keep the host's own router solicitations and
/// multicast reports out of it. Without an IPv6 virtual IP it gets no IPv6; with one it gets no
/// link-local address (`addr_gen_mode` = 1), the source of these packets.
pub(super) fn on_tun(tun: &str, vips: &[IpAddr], facts: &Facts) -> Vec<HostStep> {
    let settings: &[(&str, &str)] = if Family::V6.is_among(vips) {
        &[("addr_gen_mode", "1"), ("accept_ra", "0"), ("disable_ipv6", "0")]
    } else {
        &[("disable_ipv6", "1")]
    };
    let step =
        |&(name, to): &(&str, &str)| write(facts, conf6(tun, name), &conf6("default", name), to);
    settings.iter().filter_map(step).collect()
}
