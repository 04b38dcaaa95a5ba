//! A real server.

use super::*;
use crate::host::realserver;

#[test]
fn arp_settings_before_the_address_and_routes_before_the_rule() {
    let plan = realserver::plan(&desired_server(), &facts()).unwrap();
    assert_eq!(
        lines(&plan.steps),
        [
            "sysctl net/ipv4/conf/eth0/arp_ignore = 1 (was 0)",
            "sysctl net/ipv4/conf/eth0/arp_announce = 2 (was 0)",
            "sysctl net/ipv4/conf/eth1/arp_ignore = 1 (was 0)",
            "sysctl net/ipv4/conf/eth1/arp_announce = 2 (was 0)",
            "address 192.0.2.10 dev vstun0",
            "copied routes in table 100",
            "rule 100: from 192.0.2.10 lookup 100",
        ]
    );
    assert_eq!(plan.advertised_mss, AdvertisedMss { v4: 1440, v6: 1420 });
    let off = DesiredRealServer { mss_route: false, ..desired_server() };
    let plan = realserver::plan(&off, &facts()).unwrap();
    assert_eq!(plan.steps.len(), 5);
    assert_eq!(plan.advertised_mss, AdvertisedMss { v4: 1460, v6: 1440 });
}

#[test]
fn sufficient_arp_settings_are_not_written() {
    // all, eth0 → whether eth0's is written
    let table = [
        ("0", "0", true),
        ("1", "0", false),
        ("2", "0", false),
        ("0", "2", false),
        ("0", "3", true),
        ("0", "8", false),
    ];
    for (all, eth0, written) in table {
        let mut facts = facts();
        set(&mut facts, "net/ipv4/conf/all/arp_ignore", all);
        set(&mut facts, "net/ipv4/conf/eth0/arp_ignore", eth0);
        let plan = realserver::plan(&desired_server(), &facts).unwrap();
        let found = lines(&plan.steps).iter().any(|line| line.contains("eth0/arp_ignore"));
        assert_eq!(found, written, "all {all}, eth0 {eth0}");
    }
    let mut facts = facts();
    set(&mut facts, "net/ipv4/conf/all/arp_ignore", "3");
    let plan = realserver::plan(&desired_server(), &facts).unwrap();
    assert!(plan.problems[0].text.contains("all.arp_ignore is 3"), "{:?}", plan.problems);
}

#[test]
fn a_tunnel_of_the_ipip_module_is_a_warning() {
    let mut facts = facts();
    facts.links.push(Link { tunnel: Some(TunnelDevice::Ipip), ..link(7, "tunl0") });
    let plan = realserver::plan(&desired_server(), &facts).unwrap();
    assert!(plan.warnings[0].contains("tunl0") && plan.warnings[0].contains("modprobe -r ipip"));
}

#[test]
fn a_loaded_tunnel_module_without_a_tunnel_is_a_warning() {
    let facts = Facts { tunnel_modules: vec!["tunnel4".into()], ..facts() };
    let plan = realserver::plan(&desired_server(), &facts).unwrap();
    assert!(plan.warnings[0].contains("module tunnel4 is loaded"), "{:?}", plan.warnings);
}

#[test]
fn the_vip_may_be_on_loopback_and_nowhere_else() {
    let mut facts = facts();
    facts.addresses.push(own(1, "192.0.2.10/32"));
    let plan = realserver::plan(&desired_server(), &facts).unwrap();
    assert!(plan.warnings[0].contains("ip addr del 192.0.2.10/32 dev lo"));
    facts.addresses.push(own(3, "192.0.2.10/24"));
    let refusal = HostRefusal::VipOnLink {
        address: ip("192.0.2.10"),
        prefix: 24,
        link: "eth1".into(),
        needed: false,
    };
    assert_eq!(realserver::plan(&desired_server(), &facts), Err(refusal));
}

#[test]
fn tables_and_priorities_in_use_are_refused() {
    let desired = desired_server;
    let mut used = facts();
    used.routes.push(Route { table: 100, ..route("10.0.0.0/8", 2, None) });
    let mut ours = used.clone();
    change_route(&mut ours, "10.0.0.0/8", |route| route.protocol = PROTOCOL);
    assert_eq!(realserver::plan(&desired(), &used), Err(HostRefusal::TableUsed(100)));
    assert!(realserver::plan(&desired(), &ours).is_ok(), "a predecessor's are taken over");
    let main = DesiredRealServer { table: 254, ..desired() };
    let refusal = HostRefusal::TableReserved { key: "table", table: 254 };
    assert_eq!(realserver::plan(&main, &facts()), Err(refusal));
    for (priority, fits) in [(0, false), (1, true), (32_765, true), (32_766, false)] {
        let desired = DesiredRealServer { rule_priority: priority, ..desired() };
        assert_eq!(realserver::plan(&desired, &facts()).is_ok(), fits, "{priority}");
    }
    let mut late = facts();
    late.rules[0].priority = 200;
    assert_eq!(realserver::plan(&desired(), &late), Err(HostRefusal::Priority(100)));
}

/// Blackhole and its like, for packets from the virtual IP or from all.
#[test]
fn a_rule_before_ours_that_takes_the_replies_is_named() {
    for (priority, from, special, named) in [
        (50, None, false, true),
        (100, None, false, true),
        (50, Some("VIP/32"), false, true),
        (50, Some("10.9.0.0/16"), false, false),
        (50, None, true, false),
        (101, None, false, false),
    ] {
        let mut facts = facts();
        let vip = desired_server().vips[0].to_string();
        let from = from.map(|net: &str| net.replace("VIP", &vip).parse().unwrap());
        facts.rules.push(Rule { priority, from, table: None, special, ..facts.rules[0].clone() });
        let plan = realserver::plan_items(&desired_server(), &facts).unwrap();
        let texts: Vec<_> = plan.problems.iter().map(|problem| &*problem.text).collect();
        let found = texts.iter().any(|text| text.contains("and routes none of them"));
        assert_eq!(found, named, "{priority} {from:?}: {texts:?}");
    }
}
