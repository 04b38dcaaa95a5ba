//! The settings that make the kernel forward packets for the virtual IPs from an uplink, without
//! making the host more of a router than necessary.

use std::collections::BTreeMap;

use crate::host::desired::DesiredDirector;
use crate::host::facts::{Facts, Link};
use crate::host::family::Family;
use crate::host::ipv6;
use crate::host::plan::write;
use crate::host::problem::{Problem, ProblemKind};
use crate::host::step::HostStep;
use crate::host::sysctl::{self, FORCE_FORWARDING, conf, conf6};

/// IPv4. The kernel forwards packets that arrive on an interface with `forwarding` on, proxy ARP
/// included; the global `ip_forward` would make the whole host a router. Proxied answers are
/// otherwise delayed by up to `proxy_delay`.
pub(super) fn v4(uplink: &Link, facts: &Facts) -> Vec<HostStep> {
    let name = &uplink.name;
    [
        write(facts, conf(name, "forwarding"), "", "1"),
        write(facts, sysctl::neigh(Family::V4, name, "proxy_delay"), "", "0"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// IPv6. `ip6_forward()` checks `all/forwarding`, or the uplink's own `force_forwarding` if it
/// exists; neighbour discovery is proxied if the uplink's own `forwarding` and `proxy_ndp` are on.
pub(super) fn v6(desired: &DesiredDirector, uplinks: &[&Link], facts: &Facts) -> Vec<HostStep> {
    let uplinks: Vec<&&Link> = uplinks.iter().filter(|link| ipv6::is_on(link, facts)).collect();
    let mut steps = accept_ra(&desired.tun, facts);
    if uplinks.iter().any(|link| !forces(link, facts)) {
        steps.extend(forward_everywhere(&desired.tun, facts));
    }
    for link in uplinks {
        let name = &link.name;
        if forces(link, facts) && !suffices("forwarding", name, FORCE_FORWARDING, facts) {
            steps.extend(write(facts, conf6(name, FORCE_FORWARDING), "", "1"));
        }
        steps.extend(write(facts, conf6(name, "forwarding"), "", "1"));
        if desired.arp {
            if !suffices("proxy_ndp", name, "proxy_ndp", facts) {
                steps.extend(write(facts, conf6(name, "proxy_ndp"), "", "1"));
            }
            let delay = sysctl::neigh(Family::V6, name, "proxy_delay");
            steps.extend(write(facts, delay, "", "0"));
        }
    }
    steps
}

/// Whether the whole host has the setting, so that the interface's own need not be turned on: a
/// container may have the first and no right to write the second. A setting that is on stays in the
/// plan, since it may be vstun's.
fn suffices(everywhere: &str, link: &str, own: &str, facts: &Facts) -> bool {
    facts.conf6("all", everywhere) == Some(1) && facts.conf6(link, own) == Some(0)
}

/// Warnings that forwarding applies to all packets that arrive there, not only those to the virtual
/// IPs; and problems: uplinks without IPv6.
pub(super) fn warnings(
    desired: &DesiredDirector,
    uplinks: &[&Link],
    families: &[Family],
    facts: &Facts,
) -> (Vec<String>, Vec<Problem>) {
    let tun = &desired.tun;
    let mut warnings = Vec::new();
    let mut problems = Vec::new();
    let v6 = families.contains(&Family::V6);
    let everywhere = v6 && !all_force(uplinks, facts);
    if everywhere && facts.conf6("all", "forwarding") == Some(0) {
        warnings.push(format!(
            "IPv6 forwarding is turned on for every interface, since this kernel has no \
             `force_forwarding` (Linux 6.17) for one alone: hosts everywhere can now use this host \
             as a router; to let them reach {tun} only: {}",
            firewall(&format!("meta nfproto ipv6 oifname != \"{tun}\" drop"))
        ));
    }
    for link in uplinks {
        let name = &link.name;
        let off = |family: &&Family| {
            let forwarding = facts.sysctl(&sysctl::conf_of(**family, name, "forwarding"));
            forwarding == Some("0") && !(everywhere && **family == Family::V6)
        };
        let names: Vec<&str> = families.iter().filter(off).map(|family| family.name()).collect();
        if !names.is_empty() {
            warnings.push(format!(
                "{} forwarding is turned on for interface {name}: hosts there can now use this \
                 host as a router to its other networks; to let them reach {tun} only: {}",
                names.join(" and "),
                firewall(&format!("iifname \"{name}\" oifname != \"{tun}\" drop"))
            ));
        }
        if v6 && !ipv6::is_on(link, facts) {
            let text = format!(
                "IPv6 is off on uplink {name}, so no packet for an IPv6 virtual IP arrives there; \
                 turn it on with `sysctl -w net/ipv6/conf/{name}/disable_ipv6=0`"
            );
            problems.push(Problem::new(ProblemKind::Uplink, format!("{name} IPv6"), text));
        }
    }
    (warnings, problems)
}

/// The command that adds a rule for forwarded packets, on a host with or without a firewall.
fn firewall(rule: &str) -> String {
    format!(
        "`nft 'add table inet vstun; add chain inet vstun forward {{ type filter hook forward \
         priority filter; }}; add rule inet vstun forward {rule}'`"
    )
}

/// When any interface's `forwarding` is turned on, the kernel drops the default routes that
/// interfaces with `accept_ra` = 1 have learnt from router advertisements
/// (`rt6_purge_dflt_routes()`). While it is on, such interfaces learn none. Interfaces with 2 learn
/// whether they forward or not. Interfaces that were routers before had learnt none.
fn accept_ra(tun: &str, facts: &Facts) -> Vec<HostStep> {
    let learns = |link: &&Link| match facts.conf6(&link.name, "accept_ra") {
        Some(1) => before(&link.name, facts) == Some(0),
        // vstun may have written it.
        Some(2) => true,
        _ => false,
    };
    facts
        .links
        .iter()
        .filter(|link| !link.loopback && link.name != tun)
        .filter(learns)
        .filter_map(|link| write(facts, conf6(&link.name, "accept_ra"), "", "2"))
        .collect()
}

/// The interface's own `forwarding` before vstun changed it.
fn before(link: &str, facts: &Facts) -> Option<u32> {
    let original = |link| facts.originals.get(&conf6(link, "forwarding"));
    match original(link).or_else(|| original("all")) {
        Some(value) => value.parse().ok(),
        None => facts.conf6(link, "forwarding"),
    }
}

/// `all/forwarding`, which the kernel also writes to `default` and to every interface, when it is
/// restored too.
fn forward_everywhere(tun: &str, facts: &Facts) -> Option<HostStep> {
    let HostStep::Write { sysctl, from, to, .. } =
        write(facts, conf6("all", "forwarding"), "", "1")?
    else {
        return None;
    };
    let links = facts.links.iter().map(|link| link.name.as_str());
    let beside: BTreeMap<String, String> = links
        .filter(|name| *name != tun)
        .chain(["default"])
        .map(|name| conf6(name, "forwarding"))
        .filter_map(|path| Some((path.clone(), facts.sysctl(&path)?.to_owned())))
        .filter(|(_, value)| *value != from)
        .collect();
    Some(HostStep::Write { sysctl, from, to, beside })
}

fn all_force(uplinks: &[&Link], facts: &Facts) -> bool {
    uplinks.iter().filter(|link| ipv6::is_on(link, facts)).all(|link| forces(link, facts))
}

/// Whether the kernel has the setting for the interface, and it is readable.
fn forces(link: &Link, facts: &Facts) -> bool {
    facts.conf6(&link.name, FORCE_FORWARDING).is_some()
}
