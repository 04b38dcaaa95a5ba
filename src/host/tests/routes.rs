//! Routes updated by kernel events, and copies updated with them.

use proptest::prelude::*;

use super::*;
use crate::host::copies::{self, Copier};

fn made(route: Route) -> RouteEvent {
    RouteEvent::Made { route, replaces: false }
}

fn replaced(route: Route) -> RouteEvent {
    RouteEvent::Made { route, replaces: true }
}

#[test]
fn lookups_find_what_a_walk_finds() {
    let facts = facts6();
    let to = |text: &str| -> IpNet { text.parse().unwrap() };
    let covering: Vec<_> = facts.routes.covering(254, to("10.2.0.2/32")).collect();
    let lengths: Vec<u8> = covering.iter().map(|route| route.destination.prefix_len()).collect();
    assert_eq!(lengths, [24, 0]);
    let count = |range| facts.routes.within(254, to(range)).count();
    assert_eq!((count("10.0.0.0/8"), count("0.0.0.0/0"), count("::/0")), (2, 3, 4));
    assert_eq!((count("10.2.0.0/24"), count("10.2.0.0/25"), count("2001:db8::/32")), (1, 0, 2));
    assert_eq!(facts.routes.at(254, &to("::/0")).len(), 1);
    assert!(facts.routes.has(254, Family::V6) && !facts.routes.has(253, Family::V6));
}

#[test]
fn unambiguous_events_are_followed() {
    let plain = || route("10.9.0.0/16", 2, Some("10.1.0.9"));
    let other = || route("10.9.0.0/16", 3, Some("10.2.0.9"));
    let metric = || Route { priority: 7, ..other() };
    // the routes, the event → the routes afterwards
    let table = [
        (vec![], made(plain()), Ok(vec![plain()])),
        (vec![plain()], made(plain()), Ok(vec![plain()])),
        (vec![plain()], made(metric()), Ok(vec![plain(), metric()])),
        (vec![plain()], replaced(other()), Ok(vec![other()])),
        (vec![plain()], RouteEvent::Gone(plain()), Ok(vec![])),
        (vec![], RouteEvent::Gone(plain()), Ok(vec![])),
        (vec![plain(), metric()], RouteEvent::Gone(metric()), Ok(vec![plain()])),
        // It may be before or after the existing one.
        (vec![plain()], made(other()), Err(AmbiguousRoute)),
        (vec![plain(), other()], RouteEvent::Gone(plain()), Err(AmbiguousRoute)),
        (vec![plain(), other()], replaced(plain()), Err(AmbiguousRoute)),
    ];
    for (there, event, expected) in table {
        let mut routes: Routes = there.clone().into_iter().collect();
        let outcome = routes.follow(event.clone());
        let found: Vec<Route> = routes.iter().cloned().collect();
        match expected {
            Ok(expected) => assert_eq!((outcome, found), (Ok(()), expected), "{event:?}"),
            Err(error) => assert_eq!((outcome, found), (Err(error), there), "{event:?}"),
        }
    }
}

#[test]
fn one_next_hop_less_of_an_ipv6_multipath_route_is_unclear() {
    let mut both = route("2001:db8:9::/64", 2, Some("fe80::1"));
    let one = both.clone();
    both.hops.push(route("::/0", 3, Some("fe80::2")).hops.remove(0));
    let mut routes = Routes::from_iter([both.clone()]);
    assert_eq!(routes.follow(RouteEvent::Gone(one)), Err(AmbiguousRoute));
    assert_eq!(routes.follow(RouteEvent::Gone(both)), Ok(()));
    assert_eq!(routes, Routes::default());
}

fn arbitrary_route() -> impl Strategy<Value = Route> {
    let kinds = prop_oneof![
        8 => Just(RouteKind::Unicast),
        1 => Just(RouteKind::Throw),
        1 => Just(RouteKind::Blackhole),
    ];
    let table = prop_oneof![3 => Just(254_u32), 1 => Just(50), 1 => Just(253)];
    (0_u8..4, 8_u8..=12, 2_u32..4, 0_u32..2, kinds, table).prop_map(
        |(net, len, link, priority, kind, table)| {
            let to = format!("10.{}.0.0/{len}", net << 4);
            let to: IpNet = to.parse::<IpNet>().unwrap().trunc();
            Route { priority, kind, table, ..route(&to.to_string(), link, None) }
        },
    )
}

proptest! {
    /// The changes of one event are computed from its destination alone, whenever `hides_others`
    /// allows it.
    #[test]
    fn copies_of_one_destination_are_those_of_all(
        routes in prop::collection::vec(arbitrary_route(), 0..12),
        event in arbitrary_route(),
        gone in any::<bool>(),
        director in "10\\.(0|16|32)\\.0\\.0/(10|12|32)",
    ) {
        let mut desired = desired_server();
        desired.directors.push(director.parse().unwrap());
        let mut facts = facts();
        let first = facts.rules[0].clone();
        let rule = |priority, table| Rule { priority, table: Some(table), ..first.clone() };
        facts.rules.extend([rule(200, 50), rule(32_767, 253)]);
        facts.links[2].mtu = 1400;
        facts.routes.extend(routes);
        let hides = Copier::new(&desired, &facts).hides_others(event.table, Family::V4);
        let mut known = facts.clone();
        let before = Copier::new(&desired, &facts);
        let there = facts.routes.at(event.table, &event.destination);
        let room = there.iter().chain([&event]).any(|route| before.may_change_room(route));
        let all_before = before.wanted();
        let event = if gone { RouteEvent::Gone(event) } else { made(event) };
        let mut after = facts.clone();
        let (had, events) = (before.room(), std::slice::from_ref(&event));
        let followed = copies::follow(&desired, &mut known, had, events);
        if hides || after.routes.follow(event).is_err() {
            prop_assert_eq!(followed, None);
            return Ok(());
        }
        let after = Copier::new(&desired, &after);
        prop_assert!(room || after.room() == before.room());
        if let Some(followed) = followed {
            prop_assert_eq!(followed, copies::difference(&all_before, after.wanted()));
        }
    }
}
