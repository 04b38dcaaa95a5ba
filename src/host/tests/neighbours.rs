//! Which real servers get a neighbour route.

use super::*;
use crate::host::director::plan;

fn desired() -> DesiredDirector {
    let reals = vec![ip("10.2.0.2"), ip("2001:db8:2::2")];
    let vips = vec![ip("10.1.0.10"), ip("2001:db8:1::10")];
    DesiredDirector { reals, vips, neighbour_routes: true, ..desired_director() }
}

/// The routes of a plan, as text.
fn planned(desired: &DesiredDirector, facts: &Facts) -> Vec<String> {
    let steps = plan(desired, facts).unwrap().steps;
    let hiding: Vec<_> = steps.into_iter().filter(HostStep::hides).collect();
    assert!(hiding.iter().all(HostStep::optional), "traffic flows without");
    lines(&hiding)
}

/// The routes of a plan after `change` of one IPv4 real server's network.
fn after(change: fn(&mut Route)) -> Vec<String> {
    let mut facts = facts6();
    change_route(&mut facts, "10.2.0.0/24", change);
    planned(&desired(), &facts)
}

const V4: &str = "route 10.2.0.2 via itself dev eth1";
const V6: &str = "route 2001:db8:2::2 via itself dev eth1";

#[test]
fn plain_neighbours_have_one_if_configured() {
    assert_eq!(planned(&desired(), &facts6()), [V4, V6]);
    let silent = DesiredDirector { neighbour_routes: false, ..desired() };
    assert_eq!(planned(&silent, &facts6()), Vec::<String>::new());
}

#[test]
fn the_source_is_that_of_the_network_s_route() {
    let mut facts = facts6();
    change_route(&mut facts, "10.2.0.0/24", |route| route.source = Some(ip("10.2.0.1")));
    let steps = plan(&desired(), &facts).unwrap().steps;
    let (address, link, source) = (ip("10.2.0.2"), "eth1".to_owned(), Some(ip("10.2.0.1")));
    assert!(steps.contains(&HostStep::Add(Object::Neighbour { address, link, source })));
}

/// The neighbour route would hide any other attribute of the network's route.
#[test]
fn a_real_server_that_is_no_plain_neighbour_has_none() {
    let none = |change| assert_eq!(after(change), [V6]);
    assert_eq!(after(|_| {}), [V4, V6]);
    none(|route| route.hops[0].gateway = Some(ip("10.2.0.254")));
    none(|route| route.hops.push(route.hops[0].clone()));
    none(|route| route.hops[0].rest.push(Raw { kind: 22, value: vec![1] }));
    none(|route| route.kind = RouteKind::Blackhole);
    none(|route| route.tos = 8);
    none(|route| route.nexthop = Some(7));
    none(|route| route.congestion = Some("reno".to_owned()));
    none(|route| route.metrics = [(metric::MTU, 1400)].into());
    none(|route| route.table = 100);
}

#[test]
fn another_route_of_the_same_prefix_may_be_for_some_packets_and_is_not_hidden() {
    let mut facts = facts6();
    let some = |to: &str, link| Route { tos: 8, ..route(to, link, Some("10.2.0.254")) };
    facts.routes.push(some("10.2.0.0/24", 3));
    assert_eq!(planned(&desired(), &facts), [V6]);
    let all: Vec<Route> = facts.routes.iter().cloned().collect();
    facts.routes = all.into_iter().rev().collect();
    assert_eq!(planned(&desired(), &facts), [V6], "whichever comes first");
    remake(&mut facts, |route| (route.tos == 0).then_some(route));
    facts.routes.push(some("10.0.0.0/8", 2));
    assert_eq!(planned(&desired(), &facts), [V4, V6], "a shorter one is hidden already");
}

#[test]
fn another_programs_route_is_kept_and_ours_does_not_prevent_the_plan() {
    let mut facts = facts6();
    facts.routes.push(route("10.2.0.2/32", 3, None));
    assert_eq!(planned(&desired(), &facts), [V6]);
    change_route(&mut facts, "10.2.0.2/32", |own| {
        own.protocol = PROTOCOL;
        own.hops[0].gateway = Some(ip("10.2.0.2"));
    });
    assert_eq!(planned(&desired(), &facts), [V4, V6]);
    remake(&mut facts, |route| (route.destination.prefix_len() != 24).then_some(route));
    assert_eq!(planned(&desired(), &facts), [V6], "the network is gone, and ours hides the way");
}

#[test]
fn a_rule_to_another_route_or_a_link_down_or_without_neighbours_prevents_it() {
    let mut facts = facts6();
    facts.lookups.insert(ip("10.2.0.2"), towards(2, "10.1.0.1"));
    assert_eq!(planned(&desired(), &facts), [V6]);
    for change in [|link: &mut Link| link.up = false, |link: &mut Link| link.arp = false] {
        let mut facts = facts6();
        facts.links.iter_mut().filter(|link| link.name == "eth1").for_each(change);
        assert_eq!(planned(&desired(), &facts), Vec::<String>::new());
    }
}

#[test]
fn the_host_lacks_one_that_goes_elsewhere_or_has_another_source() {
    let (address, link) = (ip("10.2.0.2"), "eth1".to_owned());
    let step = HostStep::Add(Object::Neighbour { address, link, source: Some(ip("10.2.0.1")) });
    let mut facts = facts();
    assert!(facts.lacks(&step));
    let mut own = route("10.2.0.2/32", 3, Some("10.2.0.2"));
    own.source = Some(ip("10.2.0.1"));
    for (made, lacks) in [
        (own.clone(), false),
        (Route { source: None, ..own.clone() }, true),
        (Route { table: 100, ..own.clone() }, true),
        (route("10.2.0.2/32", 3, None), true),
        (Route { source: own.source, ..route("10.2.0.2/32", 2, Some("10.2.0.2")) }, true),
    ] {
        facts.routes = Routes::from_iter([made.clone()]);
        assert_eq!(facts.lacks(&step), lacks, "{made:?}");
    }
}
