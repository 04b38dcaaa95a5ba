//! A plan is made item by item: an impossible item is reported, and all others are in the plan.

use super::*;
use crate::host::director;
use crate::host::realserver;

fn texts(plan: &HostPlan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.text.as_str()).collect()
}

#[test]
fn one_virtual_ip_that_cannot_be_served_leaves_the_other_alone() {
    let desired =
        DesiredDirector { vips: vec![ip("10.1.0.10"), ip("10.1.0.11")], ..desired_director() };
    let mut facts = facts();
    facts.addresses.push(own(1, "10.1.0.11/32"));
    let plan = director::plan_items(&desired, &facts).unwrap();
    let expected =
        ["route 10.1.0.10 dev vstun0 table 254", "proxy neighbour entry 10.1.0.10 dev eth0"];
    assert_eq!(lines(&plan.steps)[2..], expected);
    assert!(texts(&plan)[0].contains("10.1.0.11 is a local address"), "{:?}", texts(&plan));
    assert_eq!(plan.problems[0].address, Some(ip("10.1.0.11")));
    assert!(matches!(director::plan(&desired, &facts), Err(HostRefusal::VipIsLocal { .. })));
}

#[test]
fn one_uplink_that_is_gone_leaves_the_other_alone() {
    let uplinks = Some(vec!["eth7".to_owned(), "eth0".to_owned(), "lo".to_owned()]);
    let desired = DesiredDirector { uplinks, ..desired_director() };
    let plan = director::plan_items(&desired, &facts()).unwrap();
    assert!(lines(&plan.steps).contains(&"proxy neighbour entry 10.1.0.10 dev eth0".to_owned()));
    assert_eq!(plan.uplinks, ["eth0"]);
    assert_eq!(plan.problems.len(), 2, "{:?}", texts(&plan));
    assert_eq!(director::plan(&desired, &facts()), Err(HostRefusal::UplinkUnknown("eth7".into())));
}

#[test]
fn withdrawing_needs_nothing_of_the_host() {
    let withdrawn = [ip("10.1.0.10")].into();
    let uplinks = Some(vec!["eth7".to_owned()]);
    let desired = DesiredDirector { uplinks, withdrawn, ..desired_director() };
    let plan = director::plan_items(&desired, &facts()).unwrap();
    assert_eq!(lines(&plan.steps), ["route 10.1.0.10 dev vstun0 table 254"]);
    assert_eq!(plan.announcements, []);
}

#[test]
fn another_program_s_route_replaces_one_virtual_ip_s_in_one_table() {
    let vips = vec![ip("10.1.0.10"), ip("10.1.0.11")];
    let desired = DesiredDirector { vips, announce_table: 7, ..desired_director() };
    let mut facts = facts();
    facts.routes.push(Route { table: 7, ..route("10.1.0.11/32", 3, None) });
    let plan = director::plan_items(&desired, &facts).unwrap();
    let routes: Vec<_> =
        lines(&plan.steps).into_iter().filter(|line| line.starts_with("route")).collect();
    let expected = [
        "route 10.1.0.10 dev vstun0 table 254",
        "route 10.1.0.11 dev vstun0 table 254",
        "route 10.1.0.10 dev vstun0 table 7",
    ];
    assert_eq!(routes, expected);
    assert_eq!(plan.problems.len(), 1, "{:?}", texts(&plan));
}

#[test]
fn an_uplink_without_a_carrier_announces_nothing_and_is_named() {
    for (up, carrier) in [(false, false), (true, false)] {
        let mut facts = facts();
        (facts.links[1].up, facts.links[1].carrier) = (up, carrier);
        let plan = director::plan(&desired_director(), &facts).unwrap();
        assert_eq!(plan.announcements, []);
        assert!(texts(&plan)[0].starts_with("uplink eth0"), "{:?}", texts(&plan));
    }
}

#[test]
fn an_uplink_without_arp_is_named_unless_the_virtual_ips_are_routed_or_it_needs_none() {
    for (arp, mac, named) in [(true, true, true), (false, true, false), (true, false, false)] {
        let mut facts = facts();
        facts.links[1].arp = false;
        facts.links[1].mac = facts.links[1].mac.filter(|_| mac);
        let desired = DesiredDirector { arp, ..desired_director() };
        let plan = director::plan(&desired, &facts).unwrap();
        let found = texts(&plan).iter().any(|text| text.contains("`ip link set eth0 arp on`"));
        assert_eq!(found, named, "{arp} {mac}");
    }
}

#[test]
fn a_port_of_a_bridge_is_no_uplink_and_one_of_a_vrf_is() {
    for (takes_packets, problems) in [(true, 1), (false, 0)] {
        let mut facts = facts();
        facts.links.push(Link { takes_packets, ..link(8, "br0") });
        facts.links[1].master = Some(8);
        let plan = director::plan(&desired_director(), &facts).unwrap();
        assert_eq!(plan.problems.len(), problems, "{:?}", texts(&plan));
    }
}

#[test]
fn a_real_server_on_the_director_s_own_host_is_refused() {
    let desired = DesiredDirector { reals: vec![ip("10.2.0.1")], ..desired_director() };
    let mut facts = facts();
    let local = Lookup { kind: RouteKind::Local, ..towards(1, "10.2.0.1") };
    facts.lookups.insert(ip("10.2.0.1"), local);
    let refused = director::plan(&desired, &facts).unwrap_err();
    let expected = HostRefusal::RealIsLocal { address: ip("10.2.0.1"), link: "eth1".into() };
    assert_eq!(refused, expected);
    assert!(refused.to_string().contains("cannot be both"), "{refused}");
    // While it runs, the others go on.
    assert!(!director::plan_items(&desired, &facts).unwrap().steps.is_empty());
}

#[test]
fn a_source_in_use_is_kept_while_the_host_has_it_on_the_same_interface() {
    let real = ip("10.2.0.2");
    let desired =
        DesiredDirector { known_sources: [(real, ip("10.2.0.1"))].into(), ..desired_director() };
    let mut facts = facts();
    facts.addresses.push(own(3, "10.2.0.7/24"));
    facts.lookups.insert(real, towards(3, "10.2.0.7"));
    let plan = director::plan(&desired, &facts).unwrap();
    assert_eq!(plan.tunnel_routes.sources, [(real, ip("10.2.0.1"))].into());
    assert!(
        texts(&plan)[0]
            .contains("source 10.2.0.7 towards real server 10.2.0.2; tunnels keep 10.2.0.1")
    );
    let fresh = director::plan(&desired_director(), &facts).unwrap();
    assert_eq!(
        fresh.tunnel_routes.sources,
        [(real, ip("10.2.0.7"))].into(),
        "at a start, what is preferred"
    );
    // By another interface, or without the address, the preferred one is used again.
    let mut elsewhere = facts.clone();
    elsewhere.lookups.insert(real, towards(2, "10.1.0.1"));
    let plan = director::plan(&desired, &elsewhere).unwrap();
    assert_eq!(plan.tunnel_routes.sources, [(real, ip("10.1.0.1"))].into());
    facts.addresses.retain(|own| own.address != ip("10.2.0.1"));
    let plan = director::plan(&desired, &facts).unwrap();
    assert_eq!(plan.tunnel_routes.sources, [(real, ip("10.2.0.7"))].into());
    assert_eq!(plan.problems, []);
}

#[test]
fn a_real_server_s_other_virtual_ips_and_rules_go_on() {
    let vips = vec![ip("192.0.2.10"), ip("192.0.2.11")];
    let desired = DesiredRealServer { vips, ..desired_server() };
    let mut facts = facts();
    facts.addresses.push(own(2, "192.0.2.11/32"));
    let plan = realserver::plan_items(&desired, &facts).unwrap();
    let all = lines(&plan.steps);
    assert!(all.contains(&"address 192.0.2.10 dev vstun0".to_owned()), "{all:?}");
    assert!(all.contains(&"rule 100: from 192.0.2.10 lookup 100".to_owned()), "{all:?}");
    assert!(!all.iter().any(|line| line.contains("192.0.2.11")), "{all:?}");
    assert_eq!(plan.problems.len(), 1);
    facts.rules.push(Rule { priority: 100, from: None, table: Some(5), ..facts.rules[0].clone() });
    let plan = realserver::plan_items(&desired, &facts).unwrap();
    assert!(lines(&plan.steps).contains(&"address 192.0.2.10 dev vstun0".to_owned()));
    assert_eq!(plan.problems.len(), 2, "{:?}", texts(&plan));
}
