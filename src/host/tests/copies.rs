//! The copies of routes that the MSS clamp needs.

use super::*;
use crate::host::copies;

fn rule(priority: u32, from: Option<&str>, table: u32) -> Rule {
    let from = from.map(|net| net.parse().unwrap());
    Rule {
        family: Family::V4,
        priority,
        from,
        table: Some(table),
        special: false,
        only: Selectors::default(),
        protocol: 3,
    }
}

fn destinations(facts: &Facts) -> Vec<String> {
    let copies = copies::wanted(&desired_server(), facts);
    copies.iter().map(|route| route.destination.to_string()).collect()
}

#[test]
fn narrow_before_wide() {
    assert_eq!(destinations(&facts()), ["10.1.0.0/24", "10.2.0.0/24", "0.0.0.0/0"]);
}

#[test]
fn the_mss_leaves_room_for_the_tunnel() {
    // link's MTU, route's MTU, route's own advmss → the copy's advmss
    let table = [
        (1500, None, None, 1440),
        (9000, None, None, 8940),
        (9000, Some(1500), None, 1440),
        (1500, Some(9000), None, 1440),
        (1500, None, Some(1000), 1000),
        (1500, None, Some(1460), 1440),
        (596, None, None, 536),
        (595, None, None, 536),
        (65_555, None, None, 65_495),
        (65_556, None, None, 65_495),
    ];
    for (link, mtu, own, expected) in table {
        let mut facts = facts();
        facts.links[1].mtu = link;
        change_route(&mut facts, "0.0.0.0/0", |route| {
            route.metrics.extend(mtu.map(|mtu| (metric::MTU, mtu)));
            route.metrics.extend(own.map(|own| (metric::ADVMSS, own)));
        });
        let copies = copies::wanted(&desired_server(), &facts);
        let default = copies.last().unwrap();
        assert_eq!(default.metrics[&metric::ADVMSS], expected, "{link} {mtu:?} {own:?}");
    }
}

#[test]
fn a_multipath_route_takes_its_smallest_mtu() {
    let mut facts = facts();
    facts.links[2].mtu = 1400;
    let other = route("0.0.0.0/0", 3, None).hops.remove(0);
    change_route(&mut facts, "0.0.0.0/0", |route| route.hops.push(other.clone()));
    let copies = copies::wanted(&desired_server(), &facts);
    let default = copies.last().unwrap();
    assert_eq!((default.hops.len(), default.metrics[&metric::ADVMSS]), (2, 1340));
}

#[test]
fn routes_that_refuse_packets_are_copied_without_an_mss() {
    let mut facts = facts();
    let mut refusing = route("192.168.0.0/16", 2, None);
    refusing.hops.clear();
    refusing.kind = RouteKind::Unreachable;
    facts.routes.push(refusing);
    let copies = copies::wanted(&desired_server(), &facts);
    let copy = copies.iter().find(|copy| copy.kind == RouteKind::Unreachable).unwrap();
    assert_eq!(copy.metrics, [].into());
    assert_eq!((copy.table, copy.protocol), (100, PROTOCOL));
}

#[test]
fn rules_of_the_administrator_are_followed_in_order() {
    let mut facts = facts();
    facts.rules.push(rule(200, Some("192.0.2.0/24"), 50));
    facts.rules.push(rule(201, Some("198.51.100.0/24"), 51));
    facts.routes.push(Route { table: 50, ..route("10.0.0.0/8", 2, Some("10.1.0.9")) });
    facts.routes.push(Route { table: 51, ..route("172.16.0.0/12", 2, None) });
    // Table 50 hides the routes of the main table that it covers; 51 is for other packets.
    assert_eq!(destinations(&facts), ["10.0.0.0/8", "0.0.0.0/0"]);
}

#[test]
fn a_throw_uncovers_the_next_table() {
    let mut facts = facts();
    facts.rules.push(rule(200, None, 50));
    facts.routes.push(Route { table: 50, ..route("0.0.0.0/0", 2, Some("10.1.0.9")) });
    let throw =
        Route { table: 50, kind: RouteKind::Throw, hops: vec![], ..route("10.2.0.0/16", 2, None) };
    facts.routes.push(throw);
    assert_eq!(destinations(&facts), ["10.2.0.0/24", "10.2.0.0/16", "0.0.0.0/0"]);
    change_route(&mut facts, "10.2.0.0/16", |route| {
        route.destination = "10.2.0.0/24".parse().unwrap();
    });
    let copies = copies::wanted(&desired_server(), &facts);
    let kinds: Vec<RouteKind> = copies.iter().map(|copy| copy.kind).collect();
    assert_eq!(
        kinds,
        [RouteKind::Unicast, RouteKind::Unicast],
        "the route takes the throw's place"
    );
}

#[test]
fn special_rules_are_named() {
    let mut facts = facts();
    facts.rules.push(Rule { special: true, ..rule(300, None, 50) });
    facts.rules.push(Rule { special: true, ..rule(50, None, 50) });
    assert_eq!(copies::unseen_rules(&desired_server(), &facts), [300]);
}

#[test]
fn only_what_differs_is_changed() {
    let desired = desired_server();
    let mut facts = facts();
    let wanted = copies::wanted(&desired, &facts);
    let all: Vec<_> = wanted.iter().cloned().map(copies::RouteChange::Replace).collect();
    assert_eq!(copies::changes(&desired, &facts), all);

    facts.routes.extend(wanted.clone());
    assert_eq!(copies::changes(&desired, &facts), [], "in step");

    let gateway = Some(ip("10.1.0.253"));
    remake(&mut facts, |mut route| {
        if route.table == 254 && route.destination.prefix_len() == 0 {
            route.hops[0].gateway = gateway;
        }
        let gone = route.table == 254 && route.destination.to_string() == "10.2.0.0/24";
        (!gone).then_some(route)
    });
    let changes = copies::changes(&desired, &facts);
    assert_eq!(changes.len(), 2);
    let copies::RouteChange::Replace(route) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(route.hops[0].gateway, Some(ip("10.1.0.253")));
    let copies::RouteChange::Remove(route) = &changes[1] else { panic!("{changes:?}") };
    assert_eq!(route.destination.to_string(), "10.2.0.0/24");
}

#[test]
fn the_tun_s_own_routes_are_not_copied() {
    let mut facts = facts();
    facts.links.push(link(9, "vstun0"));
    facts.tun_is_ours = true;
    facts.routes.push(route("192.168.7.0/24", 9, None));
    assert_eq!(destinations(&facts).len(), 3);
}

/// An overlay between director and real server, the ordinary network between real server and
/// client.
#[test]
fn the_mss_fits_the_tunnel_where_that_is_narrower_than_the_reply_s_way() {
    // directors, route to them, its link's MTU, its own MTU → the default route's MSS
    let table = [
        ("10.3.0.1/32", "10.3.0.0/24", 1400, None, 1340),
        ("10.3.0.1/32", "10.3.0.0/24", 9000, None, 1440),
        ("10.3.0.1/32", "10.3.0.0/24", 9000, Some(1300), 1240),
        ("10.3.0.0/24", "10.3.0.0/24", 1400, None, 1340),
        ("10.0.0.0/8", "10.3.0.0/24", 1400, None, 1340),
        ("10.4.0.1/32", "10.3.0.0/24", 1400, None, 1440),
        ("2001:db8:3::1/128", "2001:db8:3::/64", 1400, None, 1320),
        ("2001:db8:3::1/128", "2001:db8:4::/64", 1400, None, 1420),
    ];
    for (director, to, mtu, own, expected) in table {
        let mut facts = facts();
        facts.rules.push(Rule { family: Family::V6, ..rule(32_766, None, 254) });
        facts.links.push(Link { mtu, ..link(4, "wg0") });
        set(&mut facts, "net/ipv6/conf/wg0/mtu", &mtu.to_string());
        let mut overlay = route(to, 4, None);
        overlay.metrics.extend(own.map(|mtu| (metric::MTU, mtu)));
        facts.routes.push(overlay);
        let directors = vec![director.parse().unwrap()];
        let desired = DesiredRealServer { directors, ..desired_server() };
        let copies = copies::wanted(&desired, &facts);
        let default = copies.iter().find(|copy| copy.destination.prefix_len() == 0).unwrap();
        assert_eq!(default.metrics[&metric::ADVMSS], expected, "{director} by {to} {mtu} {own:?}");
    }
}

/// A routing daemon's table: the work for all routes is done by look-ups, not by comparing all
/// pairs.
#[test]
fn twenty_thousand_routes_are_copied_quickly() {
    let desired = desired_server();
    let mut facts = facts();
    facts.rules.push(rule(32_767, None, 253));
    for n in 0..20_000_u32 {
        let to = format!("100.64.{}.{}/32", n >> 8, n & 0xff);
        facts.routes.push(route(&to, 2, Some("10.1.0.254")));
    }
    let begun = scale::cpu_time();
    let wanted = copies::wanted(&desired, &facts);
    assert_eq!(wanted.len(), 20_003);
    facts.routes.extend(wanted);
    assert_eq!(copies::changes(&desired, &facts), []);
    // Comparing all pairs takes minutes here.
    let took = scale::cpu_time() - begun;
    assert!(took.as_secs() < 20, "{took:?}");
}
