//! A real server with IPv6.

use super::*;

/// `ndisc_recv_ns()` answers as a proxy for an address of another interface.
#[test]
fn a_proxy_entry_for_a_virtual_ip_is_reported_where_the_kernel_uses_it() {
    let desired = DesiredRealServer { vips: vec![ip("2001:db8:9::10")], ..desired_server() };
    let mut facts = facts6();
    let said = |facts: &Facts| {
        let plan = realserver::plan_items(&desired, facts).unwrap();
        let kind = |problem: &&Problem| problem.kind == ProblemKind::Announcing;
        plan.problems.iter().filter(kind).map(|problem| problem.text.clone()).collect::<Vec<_>>()
    };
    facts.proxies.insert((2, ip("2001:db8:9::10")), 0);
    assert_eq!(said(&facts), Vec::<String>::new(), "it does not forward");
    set(&mut facts, &sysctl::conf6("eth0", "forwarding"), "1");
    set(&mut facts, &sysctl::conf6("eth0", "proxy_ndp"), "1");
    let command = "`ip -6 neigh del proxy 2001:db8:9::10 dev eth0`";
    let found = said(&facts);
    assert!(found.len() == 1 && found[0].contains(command), "{found:?}");
}
use crate::host::realserver;
use crate::host::route::attribute;
use crate::host::{TUNNEL_MODULES, copies};

fn desired() -> DesiredRealServer {
    DesiredRealServer { vips: vec![ip("192.0.2.10"), ip("2001:db8:9::10")], ..desired_server() }
}

fn only6() -> DesiredRealServer {
    DesiredRealServer { vips: vec![ip("2001:db8:9::10")], ..desired_server() }
}

#[test]
fn ipv6_alone_needs_no_arp_settings() {
    let plan = realserver::plan(&only6(), &facts6()).unwrap();
    assert_eq!(
        lines(&plan.steps),
        [
            "address 2001:db8:9::10 dev vstun0",
            "copied routes in table 100",
            "rule 100: from 2001:db8:9::10 lookup 100",
        ]
    );
    let tun = lines(&plan.on_tun);
    assert_eq!(tun.last().unwrap(), "sysctl net/ipv6/conf/vstun0/disable_ipv6 = 0 (was 0)");
    assert_eq!(plan.tunnel_routes, TunnelRoutes::default());
}

#[test]
fn the_mss_by_mix() {
    // MTU, directors → MSS for IPv4, for IPv6
    let v4 = "10.0.0.1/32";
    let v6 = "2001:db8::1/128";
    let table = [
        (1500, vec![v4], 1440, 1420),
        (1500, vec![v6], 1420, 1400),
        (1500, vec![v4, v6], 1420, 1400),
        (1500, vec!["10.0.0.0/8", "2001:db8::/32"], 1420, 1400),
        (9000, vec![v4], 8940, 8920),
        (9000, vec![v6], 8920, 8900),
        (1280, vec![v6], 1200, 1180),
        (68, vec![v6], 536, 536),
    ];
    for (mtu, directors, for4, for6) in table {
        let mut facts = facts6();
        for link in &mut facts.links {
            link.mtu = mtu;
        }
        for link in ["eth0", "eth1"] {
            set(&mut facts, &sysctl::conf6(link, "mtu"), &mtu.to_string());
        }
        let said = format!("{mtu} {directors:?}");
        let directors = directors.iter().map(|net| net.parse().unwrap()).collect();
        let desired = DesiredRealServer { directors, ..desired() };
        let plan = realserver::plan(&desired, &facts).unwrap();
        assert_eq!(plan.advertised_mss, AdvertisedMss { v4: for4, v6: for6 }, "{said}");
        for copy in copies::wanted(&desired, &facts) {
            let mss = if copy.destination.addr().is_ipv4() { for4 } else { for6 };
            assert_eq!(copy.metrics[&metric::ADVMSS], u32::from(mss), "{said}: {copy:?}");
        }
    }
}

#[test]
fn copies_of_the_families_that_have_vips() {
    let destinations = |desired: &DesiredRealServer| {
        let copies = copies::wanted(desired, &facts6());
        copies.iter().map(|route| route.destination.to_string()).collect::<Vec<_>>()
    };
    let v4 = ["10.1.0.0/24", "10.2.0.0/24", "0.0.0.0/0"];
    // A virtual IP needs no link-local destinations.
    let v6 = ["2001:db8:1::/64", "2001:db8:2::/64", "::/0"];
    assert_eq!(destinations(&desired_server()), v4);
    assert_eq!(destinations(&only6()), v6);
    assert_eq!(destinations(&desired()), [v4, v6].concat());
}

#[test]
fn routers_of_one_metric_keep_the_order_of_their_preference() {
    let mut facts = facts6();
    let preferred = |gateway: &str, preference| {
        let mut default = Route { scope: 0, priority: 1024, ..route("::/0", 2, Some(gateway)) };
        default.hops[0].rest = vec![Raw { kind: attribute::PREF, value: vec![preference] }];
        default
    };
    remake(&mut facts, |route| (route.destination.to_string() != "::/0").then_some(route));
    // medium, low, high; and another after them
    facts.routes.extend([
        preferred("fe80::1", 0),
        preferred("fe80::2", 3),
        preferred("fe80::3", 1),
        Route { priority: 1025, ..preferred("fe80::4", 1) },
    ]);
    let copies = copies::wanted(&only6(), &facts);
    let defaults = copies.iter().filter(|copy| copy.destination.prefix_len() == 0);
    let order: Vec<_> =
        defaults.map(|copy| (copy.priority, copy.hops[0].gateway.unwrap().to_string())).collect();
    let expected = [(1024, "fe80::3"), (1025, "fe80::1"), (1026, "fe80::2"), (1027, "fe80::4")];
    assert_eq!(order, expected.map(|(metric, router)| (metric, router.to_owned())));

    facts.routes.extend(copies);
    assert_eq!(copies::changes(&only6(), &facts), [], "in step");
}

#[test]
fn a_route_for_other_sources_is_none_for_the_vip() {
    let mut facts = facts6();
    let from = |from: &str| Route {
        from: Some(from.parse().unwrap()),
        ..route("2001:db8:a::/64", 2, Some("fe80::1"))
    };
    facts.routes.extend([from("2001:db8:9::/64"), from("2001:db8:8::/64")]);
    let copies = copies::wanted(&only6(), &facts);
    let sources: Vec<_> = copies.iter().filter_map(|copy| copy.from).collect();
    assert_eq!(sources, ["2001:db8:9::/64".parse().unwrap()]);
}

#[test]
fn tables_and_rules_of_one_family_do_not_stop_the_other() {
    let mut facts = facts6();
    facts.routes.push(Route { table: 100, ..route("2001:db8:a::/64", 2, None) });
    facts.rules.push(Rule {
        family: Family::V6,
        priority: 100,
        from: None,
        table: Some(50),
        special: true,
        only: Selectors::default(),
        protocol: 3,
    });
    assert!(realserver::plan(&desired_server(), &facts).is_ok());
    assert_eq!(realserver::plan(&only6(), &facts), Err(HostRefusal::TableUsed(100)));
    let elsewhere = DesiredRealServer { table: 101, ..only6() };
    assert_eq!(realserver::plan(&elsewhere, &facts), Err(HostRefusal::Priority(100)));
    facts.rules.last_mut().unwrap().priority = 200;
    assert_eq!(copies::unseen_rules(&elsewhere, &facts), [200]);
    assert_eq!(copies::unseen_rules(&desired_server(), &facts), [] as [u32; 0]);
}

#[test]
fn kernel_tunnels_that_compete_are_named() {
    let v4 = "10.0.0.1/32";
    let v6 = "2001:db8::1/128";
    // VIP, director, kind → whether it competes
    let table = [
        ("192.0.2.10", v4, TunnelDevice::Ipip, true),
        ("192.0.2.10", v4, TunnelDevice::Sit, true),
        ("192.0.2.10", v4, TunnelDevice::Ip6Tnl, false),
        ("2001:db8:9::10", v4, TunnelDevice::Ipip, true),
        ("2001:db8:9::10", v4, TunnelDevice::Sit, true),
        ("192.0.2.10", v6, TunnelDevice::Ip6Tnl, true),
        ("2001:db8:9::10", v6, TunnelDevice::Ip6Tnl, true),
        ("2001:db8:9::10", v6, TunnelDevice::Sit, false),
        ("192.0.2.10", v4, TunnelDevice::Gre, true),
        ("2001:db8:9::10", v4, TunnelDevice::Gre, true),
        ("192.0.2.10", v4, TunnelDevice::Ip6Gre, false),
        ("192.0.2.10", v6, TunnelDevice::Ip6Gre, true),
        ("192.0.2.10", v6, TunnelDevice::Gre, false),
    ];
    for (vip, director, kind, competes) in table {
        let desired = DesiredRealServer {
            vips: vec![ip(vip)],
            directors: vec![director.parse().unwrap()],
            gre: true,
            ..desired_server()
        };
        let mut up = facts6();
        up.links.push(Link { tunnel: Some(kind), ..link(7, "kernel0") });
        let modules = vec![kind.module().to_owned()];
        for facts in [up, Facts { tunnel_modules: modules, ..facts6() }] {
            let warnings = realserver::plan(&desired, &facts).unwrap().warnings;
            let said = warnings.iter().any(|text| text.contains("modprobe -r"));
            assert_eq!(said, competes, "{vip} by {director}, {kind:?}: {warnings:?}");
        }
    }
    let modules = TUNNEL_MODULES.map(str::to_owned).to_vec();
    let all = Facts { tunnel_modules: modules, ..facts6() };
    let directors = vec![v4.parse().unwrap(), v6.parse().unwrap()];
    let mut both = DesiredRealServer { directors, ..desired() };
    for (gre, expected) in [(false, 2), (true, 4)] {
        both.gre = gre;
        let warnings = realserver::plan(&both, &all).unwrap().warnings;
        assert_eq!(warnings.len(), expected, "each once: {warnings:?}");
    }
}

#[test]
fn the_vip_on_an_ethernet_is_refused_for_neighbour_discovery() {
    let mut facts = facts6();
    facts.addresses.push(own(3, "2001:db8:9::10/64"));
    let refusal = realserver::plan(&only6(), &facts).unwrap_err().to_string();
    assert!(refusal.contains("would answer neighbour discovery for it"), "{refusal}");
    assert!(refusal.contains("`ip addr del 2001:db8:9::10/64 dev eth1`"), "{refusal}");
}

#[test]
fn a_host_without_ipv6() {
    let mut none = facts();
    none.sysctls.retain(|path, _| !path.starts_with("net/ipv6/"));
    let vip = ip("2001:db8:9::10");
    assert_eq!(realserver::plan(&desired(), &none), Err(HostRefusal::Ipv6Missing(vip)));
    assert!(realserver::plan(&desired_server(), &none).is_ok());
}
