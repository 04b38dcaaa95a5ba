//! Kernel settings that plans read and write: their paths below `/proc/sys`, with slashes, since
//! interface names may contain dots.

use std::collections::BTreeMap;

use super::family::Family;

/// For an interface, `all` or `default`: whether the kernel forwards IPv6 packets that arrive there
/// whatever `all/forwarding` says (Linux 6.17).
pub const FORCE_FORWARDING: &str = "force_forwarding";

/// An IPv4 setting of an interface, `all` or `default`.
#[must_use]
pub fn conf(link: &str, name: &str) -> String {
    conf_of(Family::V4, link, name)
}

/// An IPv6 setting of an interface, `all` or `default`.
#[must_use]
pub fn conf6(link: &str, name: &str) -> String {
    conf_of(Family::V6, link, name)
}

/// A setting of an interface, `all` or `default`.
#[must_use]
pub fn conf_of(family: Family, link: &str, name: &str) -> String {
    format!("net/{}/conf/{link}/{name}", directory(family))
}

/// A setting of an interface's neighbour table.
#[must_use]
pub fn neigh(family: Family, link: &str, name: &str) -> String {
    format!("net/{}/neigh/{link}/{name}", directory(family))
}

/// The settings of an interface (or `all`, or `default`) that plans read.
#[must_use]
pub fn of_link(link: &str) -> Vec<String> {
    let v4 = ["forwarding", "rp_filter", "arp_ignore", "arp_announce"];
    let v6 = [
        "forwarding",
        FORCE_FORWARDING,
        "accept_ra",
        "proxy_ndp",
        "disable_ipv6",
        "addr_gen_mode",
        "mtu",
    ];
    let v4 = v4.iter().map(|name| conf(link, name));
    let v6 = v6.iter().map(|name| conf6(link, name));
    let delays = Family::BOTH.map(|family| neigh(family, link, "proxy_delay"));
    v4.chain(v6).chain(delays).collect()
}

/// The same setting after interfaces were renamed: the new names by the old ones.
#[must_use]
pub fn renamed(path: &str, names: &BTreeMap<String, String>) -> String {
    // net/ipv4/conf/LINK/name, net/ipv4/neigh/LINK/name
    let new = |(index, part): (usize, &str)| match names.get(part) {
        Some(new) if index == LINK => new.clone(),
        _ => part.to_owned(),
    };
    path.split('/').enumerate().map(new).collect::<Vec<_>>().join("/")
}

/// The interface of a setting.
#[must_use]
pub fn link(path: &str) -> Option<&str> {
    path.split('/').nth(LINK)
}

/// The index of the interface's name among the parts of a path.
const LINK: usize = 3;

fn directory(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
