//! Checks that a plan can have made a step of a state file; no other step is undone.

use std::net::IpAddr;

use super::family::Family;
use super::step::{HostStep, LOCAL, Object};
use super::sysctl::FORCE_FORWARDING;

/// The longest name of an interface in bytes (`IFNAMSIZ` without the closing zero).
const MAX_LINK_LEN: usize = 15;

/// The longest number in a setting: an `int`.
const MAX_VALUE_LEN: usize = 11;

/// The settings that plans write, each below `net/FAMILY/CLASS/LINK`, with their values.
const SETTINGS: [(Family, &str, &str, &[&str]); 12] = [
    (Family::V4, "conf", "forwarding", &["1"]),
    (Family::V4, "conf", "rp_filter", &["2"]),
    (Family::V4, "conf", "arp_ignore", &["1"]),
    (Family::V4, "conf", "arp_announce", &["2"]),
    (Family::V4, "neigh", "proxy_delay", &["0"]),
    (Family::V6, "conf", "forwarding", &["1"]),
    (Family::V6, "conf", FORCE_FORWARDING, &["1"]),
    (Family::V6, "conf", "accept_ra", &["0", "2"]),
    (Family::V6, "conf", "proxy_ndp", &["1"]),
    (Family::V6, "conf", "disable_ipv6", &["0", "1"]),
    (Family::V6, "conf", "addr_gen_mode", &["1"]),
    (Family::V6, "neigh", "proxy_delay", &["0"]),
];

impl HostStep {
    /// Whether a plan can have this step. A state file is only as trustworthy as its writer: any
    /// other step could write any setting and remove any route.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        match self {
            Self::Write { sysctl, from, to, beside } => {
                let written = |values: &[&str]| values.contains(&to.as_str());
                setting(sysctl).is_some_and(written)
                    && is_value(from)
                    && beside.iter().all(|(name, value)| setting(name).is_some() && is_value(value))
            }
            Self::Add(object) => object.is_planned(),
            // Plans only add: undoing a removal would add something.
            Self::Remove(_) => false,
        }
    }
}

impl Object {
    fn is_planned(&self) -> bool {
        let unicast = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast();
        match self {
            Self::Proxy { address, link } | Self::Address { address, link } => {
                unicast(address) && is_link(link)
            }
            Self::Route { address, link, table, .. } => {
                unicast(address) && is_link(link) && is_table(*table)
            }
            Self::Neighbour { address, link, .. } => unicast(address) && is_link(link),
            // Priority 0 is the kernel's rule for local addresses.
            Self::Rule { from, table, priority } => {
                unicast(from) && is_table(*table) && *priority > 0
            }
            Self::Copies { table } => is_table(*table),
        }
    }
}

/// The values that plans write to that setting; `None`: no plan writes it.
fn setting(path: &str) -> Option<&'static [&'static str]> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["net", family, class, link, name] = parts[..] else { return None };
    let known = SETTINGS.iter().find(|(of, below, setting, _)| {
        let directory = match of {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        (directory, *below, *setting) == (family, class, name)
    });
    known.filter(|_| is_link(link)).map(|(.., values)| *values)
}

fn is_value(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits_only && text.len() <= MAX_VALUE_LEN
}

fn is_link(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':' || byte >= 0x80;
    (1..=MAX_LINK_LEN).contains(&name.len())
        && ![".", ".."].contains(&name)
        && name.bytes().all(fine)
}

fn is_table(table: u32) -> bool {
    table != 0 && table != LOCAL
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn write(sysctl: &str, from: &str, to: &str) -> HostStep {
        let (sysctl, from, to) = (sysctl.to_owned(), from.to_owned(), to.to_owned());
        HostStep::Write { sysctl, from, to, beside: BTreeMap::new() }
    }

    #[test]
    fn only_writes_of_plans_are_accepted() {
        assert!(write("net/ipv4/conf/eth0.100/forwarding", "0", "1").is_planned());
        assert!(write("net/ipv6/conf/all/forwarding", "0", "1").is_planned());
        assert!(write("net/ipv6/neigh/eth0/proxy_delay", "80", "0").is_planned());
        for (sysctl, from, to) in [
            ("kernel/core_pattern", "|/tmp/x", "core"),
            ("kernel/modprobe", "1", "1"),
            ("net/ipv4/ip_default_ttl", "77", "64"),
            ("net/ipv4/ip_forward", "0", "1"),
            ("net/ipv4/conf/eth0/accept_local", "1", "1"),
            ("net/ipv4/conf/eth0/forwarding", "0", "7"),
            ("net/ipv4/conf/eth0/forwarding", "0 1", "1"),
            ("net/ipv4/conf/eth0/forwarding", "", "1"),
            ("net/ipv4/conf/eth0/forwarding", "123456789012", "1"),
            ("net/ipv4/conf/../forwarding", "0", "1"),
            ("net/ipv4/conf//forwarding", "0", "1"),
            ("net/ipv4/conf/sixteen-letters-/forwarding", "0", "1"),
            ("net/ipv4/conf/eth0/../../ip_forward", "0", "1"),
            ("net/ipv6/conf/eth0/mtu", "1500", "1280"),
            ("/net/ipv4/conf/eth0/forwarding", "0", "1"),
        ] {
            assert!(!write(sysctl, from, to).is_planned(), "{sysctl} {from} {to}");
        }
    }

    #[test]
    fn a_setting_restored_beside_a_write_is_one_of_ours() {
        let beside = |name: &str, value: &str| HostStep::Write {
            sysctl: "net/ipv6/conf/all/forwarding".into(),
            from: "0".into(),
            to: "1".into(),
            beside: [(name.to_owned(), value.to_owned())].into(),
        };
        assert!(beside("net/ipv6/conf/eth1/forwarding", "1").is_planned());
        assert!(!beside("kernel/core_pattern", "1").is_planned());
        assert!(!beside("net/ipv6/conf/eth1/forwarding", "x").is_planned());
    }

    #[test]
    fn only_objects_of_plans_are_accepted() {
        let address: IpAddr = [192, 0, 2, 10].into();
        let link = || "eth0".to_owned();
        let route = |link: &str, table| {
            let link = link.to_owned();
            HostStep::Add(Object::Route { address, link, table, source: None })
        };
        assert!(route("vstun0", 254).is_planned());
        assert!(HostStep::Add(Object::Proxy { address, link: link() }).is_planned());
        assert!(
            HostStep::Add(Object::Rule { from: address, table: 1020, priority: 1020 }).is_planned()
        );
        assert!(HostStep::Add(Object::Copies { table: 1020 }).is_planned());
        assert!(!HostStep::Remove(Object::Copies { table: 1020 }).is_planned());
        assert!(!HostStep::Add(Object::Copies { table: LOCAL }).is_planned());
        assert!(!route("vstun0", LOCAL).is_planned());
        assert!(!route("vstun0", 0).is_planned());
        assert!(!route("a b", 254).is_planned());
        assert!(
            !HostStep::Add(Object::Rule { from: address, table: 1020, priority: 0 }).is_planned()
        );
        let address: IpAddr = [0, 0, 0, 0].into();
        assert!(!HostStep::Add(Object::Address { address, link: link() }).is_planned());
    }
}
