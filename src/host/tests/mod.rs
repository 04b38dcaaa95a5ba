//! Plans as tables: the host's state, the configuration, the resulting plan.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use ipnet::IpNet;

use super::*;

mod copies;
mod director;
mod director6;
mod ipsec;
mod items;
mod neighbours;
mod own_macs;
mod realserver;
mod realserver6;
mod record;
mod routes;
mod scale;
mod selective;
mod steps;
mod undone;
mod watching;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mtu: 1500,
        up: true,
        carrier: true,
        loopback: name == "lo",
        arp: name != "lo",
        mac: Some([2, 0, 0, 0, 0, 1]),
        tunnel: None,
        master: None,
        takes_packets: false,
    }
}

fn own(link: u32, cidr: &str) -> LocalAddress {
    let subnet: IpNet = cidr.parse().unwrap();
    LocalAddress {
        link,
        address: subnet.addr(),
        subnet: subnet.trunc(),
        tentative: false,
        temporary: false,
        deprecated: false,
        host_scope: false,
    }
}

fn towards(link: u32, source: &str) -> Lookup {
    Lookup { kind: RouteKind::Unicast, link: Some(link), source: Some(ip(source)), mtu: None }
}

fn route(to: &str, link: u32, gateway: Option<&str>) -> Route {
    Route {
        destination: to.parse().unwrap(),
        from: None,
        tos: 0,
        table: 254,
        protocol: 3,
        scope: if gateway.is_some() { 0 } else { 253 },
        kind: RouteKind::Unicast,
        priority: 0,
        source: None,
        nexthop: None,
        hops: vec![Hop { link, gateway: gateway.map(ip), weight: 0, onlink: false, rest: vec![] }],
        metrics: [].into(),
        congestion: None,
        rest: vec![],
    }
}

/// lo; eth0 10.1.0.1/24 towards clients, with the default route; eth1 10.2.0.1/24 towards real
/// servers.
fn facts() -> Facts {
    let links = vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1")];
    let names = links.iter().map(|link| link.name.clone());
    let names: Vec<String> = names.chain(["all".into(), "default".into()]).collect();
    Facts {
        addresses: vec![own(1, "127.0.0.1/8"), own(2, "10.1.0.1/24"), own(3, "10.2.0.1/24")],
        lookups: [(ip("10.2.0.2"), towards(3, "10.2.0.1"))].into(),
        routes: Routes::from_iter([
            route("0.0.0.0/0", 2, Some("10.1.0.254")),
            route("10.1.0.0/24", 2, None),
            route("10.2.0.0/24", 3, None),
        ]),
        rules: [(0, 255), (32_766, 254), (32_767, 253)]
            .into_iter()
            .map(|(priority, table)| Rule {
                family: Family::V4,
                priority,
                from: None,
                table: Some(table),
                special: false,
                only: Selectors::default(),
                protocol: 2,
            })
            .collect(),
        sysctls: names
            .iter()
            .flat_map(|name| sysctl::of_link(name))
            .map(|path| {
                let value = if path.ends_with("proxy_delay") { "80" } else { "0" };
                (path, value.to_owned())
            })
            .collect(),
        links,
        ..Facts::default()
    }
}

/// The same with IPv6 in addition: eth0 2001:db8:1::1/64 with the default route, eth1
/// 2001:db8:2::1/64.
fn facts6() -> Facts {
    let mut facts = facts();
    let rules = [(0, 255), (32_766, 254)].map(|(priority, table)| Rule {
        family: Family::V6,
        priority,
        from: None,
        table: Some(table),
        special: false,
        only: Selectors::default(),
        protocol: 2,
    });
    facts.rules.extend(rules);
    facts.addresses.extend([own(2, "2001:db8:1::1/64"), own(3, "2001:db8:2::1/64")]);
    facts.lookups.insert(ip("2001:db8:2::2"), towards(3, "2001:db8:2::1"));
    let route6 =
        |to, link, gateway, priority| Route { scope: 0, priority, ..route(to, link, gateway) };
    facts.routes.extend([
        route6("::/0", 2, Some("fe80::1"), 1024),
        route6("2001:db8:1::/64", 2, None, 256),
        route6("2001:db8:2::/64", 3, None, 256),
        route6("fe80::/64", 2, None, 256),
    ]);
    for link in ["all", "default", "lo", "eth0", "eth1"] {
        set(&mut facts, &sysctl::conf6(link, "accept_ra"), "1");
        set(&mut facts, &sysctl::conf6(link, "mtu"), if link == "lo" { "65536" } else { "1500" });
    }
    facts
}

/// Rebuilds the routes, in the order of their tables and destinations.
fn remake(facts: &mut Facts, change: impl FnMut(Route) -> Option<Route>) {
    facts.routes = facts.routes.iter().cloned().filter_map(change).collect();
}

/// Changes the routes with this destination.
fn change_route(facts: &mut Facts, to: &str, change: impl Fn(&mut Route)) {
    let to: IpNet = to.parse().unwrap();
    remake(facts, |mut route| {
        if route.destination == to {
            change(&mut route);
        }
        Some(route)
    });
}

fn set(facts: &mut Facts, path: &str, value: &str) {
    facts.sysctls.insert(path.to_owned(), value.to_owned());
}

fn desired_director() -> DesiredDirector {
    DesiredDirector {
        tun: "vstun0".into(),
        vips: vec![ip("10.1.0.10")],
        reals: vec![ip("10.2.0.2")],
        arp: true,
        ..DesiredDirector::default()
    }
}

fn desired_server() -> DesiredRealServer {
    DesiredRealServer {
        shim: 0,
        gre: false,
        tun: "vstun0".into(),
        vips: vec![ip("192.0.2.10")],
        directors: vec!["10.0.0.1/32".parse().unwrap()],
        mss_route: true,
        rule_priority: 100,
        table: 100,
    }
}

fn lines(steps: &[HostStep]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}
