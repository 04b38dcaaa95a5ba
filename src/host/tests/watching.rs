//! Watching a running host: problems that begin and end, steps that other programs undo, packets
//! that bypass the TUN.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::host::capture::{RouteAnswer, RouteQuestion, judge, questions};
use crate::host::contest::{Contest, ContestMove, FORGOTTEN_AFTER, Presence, ROUNDS};
use crate::host::default_route::DefaultRoute;
use crate::host::defence::{CONFLICT_END, Claim, DEFEND_INTERVAL, Defence};
use crate::host::realserver;
use crate::host::rename::{Uplinks, renamed};
use crate::host::replies::{self, Reply};

#[test]
fn a_problem_is_reported_when_it_begins_ends_and_returns() {
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let problem = |text: &str| Problem::new(ProblemKind::RealServer, "10.2.0.2", text);
    let mut ledger = CurrentProblems::default();
    let first = problem("no route");
    assert_eq!(ledger.update(at(1), vec![first.clone()]), [ProblemChange::Began(first.clone())]);
    // With another text it is the same problem, and a duplicate is too.
    let second = problem("no route, really");
    assert_eq!(ledger.update(at(2), vec![second.clone(), second.clone()]), []);
    let ongoing = OngoingProblem { problem: second, since: at(1) };
    assert_eq!(ledger.ongoing(), std::slice::from_ref(&ongoing));
    assert_eq!(ledger.update(at(3), vec![]), [ProblemChange::Ended(ongoing)]);
    assert_eq!(ledger.update(at(4), vec![first.clone()]), [ProblemChange::Began(first)]);
    assert_eq!(ledger.ongoing()[0].since, at(4));
}

/// A local address can be seen first by its route. Its own message names the command that helps.
#[test]
fn a_problem_of_another_cause_is_reported_too() {
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let address = ip("10.1.0.10");
    let route = Problem::from(HostRefusal::Ipv6Missing(address));
    let local = Problem::from(HostRefusal::UplinkMissing(address));
    assert_eq!(route.key(), local.key());
    let mut ledger = CurrentProblems::default();
    ledger.update(at(1), vec![route.clone()]);
    let ended = OngoingProblem { problem: route.clone(), since: at(1) };
    let changes = ledger.update(at(2), vec![local.clone(), route]);
    assert_eq!(changes, [ProblemChange::Began(local.clone()), ProblemChange::Ended(ended)]);
    assert_eq!(ledger.ongoing(), [OngoingProblem { problem: local, since: at(2) }]);
}

/// What `vstun announce` says where the virtual IP is announced nowhere.
#[test]
fn why_a_virtual_ip_is_not_announced_is_said_as_it_is() {
    type Change = fn(&mut Facts);
    let rows: [(&str, Change, &str); 4] = [
        ("down", |facts| facts.links[1].up = false, "uplink eth0 is down"),
        ("no carrier", |facts| facts.links[1].carrier = false, "has no carrier"),
        (
            "no ARP",
            |facts| {
                facts.links[1].arp = false;
                facts.links[1].mac = Some([2; 6]);
            },
            "answers no ARP",
        ),
        ("local", |facts| facts.addresses.push(own(2, "10.1.0.10/24")), "is a local address"),
    ];
    for (name, change, expected) in rows {
        let mut facts = facts();
        change(&mut facts);
        let plan = crate::host::director::plan_items(&desired_director(), &facts).unwrap();
        let mut ledger = CurrentProblems::default();
        // Of another virtual IP: no reason.
        let other = Problem::new(ProblemKind::VirtualIp, "10.1.0.11", "another");
        ledger.update(SystemTime::UNIX_EPOCH, [vec![other], plan.problems].concat());
        let why = ledger.why_silent(ip("10.1.0.10")).map(|problem| problem.text.clone());
        assert!(why.as_ref().is_some_and(|why| why.contains(expected)), "{name}: {why:?}");
    }
    let step = "proxy neighbour entry 10.1.0.10 dev eth0";
    let left = Problem::new(ProblemKind::Contested, step, "left");
    let down = Problem::new(ProblemKind::Uplink, "eth1", "down");
    let mut ledger = CurrentProblems::default();
    ledger.update(SystemTime::UNIX_EPOCH, vec![down, left]);
    assert_eq!(ledger.why_silent(ip("10.1.0.10")).unwrap().text, "left");
    assert_eq!(ledger.why_silent(ip("10.1.0.1")).unwrap().text, "down");
}

#[test]
fn every_state_of_a_contest_over_everything_that_can_be_seen() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let put_back = |rounds, second| Contest::PutBack { rounds, at: at(second) };
    let table = [
        (Contest::Kept, Presence::InForce, 0, Contest::Kept, ContestMove::Nothing),
        (Contest::Kept, Presence::Missing, 0, put_back(1, 0), ContestMove::PutBack),
        (Contest::Kept, Presence::LostWithLink, 0, Contest::Kept, ContestMove::PutBackUnlogged),
        (put_back(1, 0), Presence::InForce, 599, put_back(1, 0), ContestMove::Nothing),
        (put_back(1, 0), Presence::InForce, 600, Contest::Kept, ContestMove::Nothing),
        (put_back(1, 0), Presence::Missing, 0, put_back(1, 0), ContestMove::Wait),
        (put_back(1, 0), Presence::Missing, 1, put_back(2, 1), ContestMove::PutBack),
        (put_back(2, 0), Presence::Missing, 1, put_back(2, 0), ContestMove::Wait),
        (put_back(2, 0), Presence::Missing, 2, put_back(3, 2), ContestMove::PutBack),
        (put_back(4, 0), Presence::Missing, 599, put_back(5, 599), ContestMove::PutBack),
        (put_back(4, 0), Presence::Missing, 600, put_back(1, 600), ContestMove::PutBack),
        (put_back(ROUNDS, 0), Presence::Missing, 15, put_back(ROUNDS, 0), ContestMove::Wait),
        (put_back(ROUNDS, 0), Presence::Missing, 16, Contest::Yielded, ContestMove::Yield),
        (put_back(ROUNDS, 0), Presence::Missing, 600, put_back(1, 600), ContestMove::PutBack),
        (put_back(3, 0), Presence::LostWithLink, 0, put_back(3, 0), ContestMove::PutBackUnlogged),
        (Contest::Yielded, Presence::InForce, 0, Contest::Kept, ContestMove::Nothing),
        (Contest::Yielded, Presence::Missing, 9999, Contest::Yielded, ContestMove::LeaveUndone),
        (Contest::Yielded, Presence::LostWithLink, 0, Contest::Kept, ContestMove::PutBackUnlogged),
    ];
    for (state, seen, second, next, decision) in table {
        assert_eq!(state.next(seen, at(second)), (next, decision), "{state:?} {seen:?} {second}");
    }
}

#[test]
fn a_step_undone_at_every_check_is_left_after_five_rounds() {
    let start = Instant::now();
    let mut contest = Contest::default();
    let mut put_back = 0;
    for second in 0..300 {
        let (next, decision) = contest.next(Presence::Missing, start + Duration::from_secs(second));
        contest = next;
        put_back += u32::from(decision == ContestMove::PutBack);
    }
    assert_eq!((put_back, contest), (ROUNDS, Contest::Yielded));
    assert!(Duration::from_secs(300) < FORGOTTEN_AFTER);
}

/// Otherwise a real server's own connections leave from the virtual IP, and the answers to them go
/// to the director.
#[test]
fn a_virtual_ip_that_can_be_a_source_is_not_in_force() {
    let table = [("192.0.2.10/32", false, true), ("2001:db8:9::10/128", true, false)];
    for (cidr, deprecated, host_scope) in table {
        let mut facts = facts6();
        let eth0 = facts.link("eth0").unwrap().index;
        let address = own(eth0, cidr).address;
        let step = HostStep::Add(Object::Address { address, link: "eth0".to_owned() });
        assert!(facts.lacks(&step), "{cidr}");
        for (own, lacks) in [
            (own(eth0, cidr), true),
            (
                LocalAddress {
                    deprecated: !deprecated,
                    host_scope: !host_scope,
                    ..own(eth0, cidr)
                },
                true,
            ),
            (LocalAddress { deprecated, host_scope, ..own(eth0, cidr) }, false),
        ] {
            facts.addresses.push(own);
            assert_eq!(facts.lacks(&step), lacks, "{cidr} {:?}", facts.addresses.last());
        }
    }
}

#[test]
fn a_claimed_address_is_defended_once_in_ten_seconds() {
    let start = Instant::now();
    let mut defence = Defence::default();
    let mac = [2, 0, 0, 0, 0, 9];
    assert_eq!(defence.rival(start), None);
    assert!(defence.record(Claim::Has(mac), start));
    assert!(!defence.record(Claim::Has(mac), start + DEFEND_INTERVAL - Duration::from_millis(1)));
    assert!(defence.record(Claim::Has(mac), start + DEFEND_INTERVAL));
    assert_eq!(defence.next_defence(), None);
    assert_eq!(defence.rival(start + DEFEND_INTERVAL), Some(mac));
    assert_eq!(defence.rival(start + DEFEND_INTERVAL + CONFLICT_END), None);
    // The last claim is answered too, when the interval is over.
    let mut defence = Defence::default();
    assert!(defence.record(Claim::Has(mac), start));
    assert!(!defence.record(Claim::Has(mac), start + DEFEND_INTERVAL / 2));
    assert_eq!(defence.next_defence(), Some(start + DEFEND_INTERVAL));
    assert!(!defence.take_due(start + DEFEND_INTERVAL - Duration::from_millis(1)));
    assert!(defence.take_due(start + DEFEND_INTERVAL));
    assert!(!defence.take_due(start + DEFEND_INTERVAL * 2), "once");
    assert!(!defence.record(Claim::Has(mac), start + DEFEND_INTERVAL), "just announced");
    // A probe is answered whatever was defended, and is not a conflict.
    let mut defence = Defence::default();
    assert!(defence.record(Claim::Probes, start));
    assert!(!defence.record(Claim::Probes, start + Duration::from_millis(999)));
    assert_eq!(defence.rival(start), None);
}

#[test]
fn the_kernel_is_asked_as_if_a_neighbour_of_the_uplink_had_sent() {
    let asked = |vip: &str, facts: &Facts| {
        questions(&[ip(vip)], &["eth0".into()], facts).into_iter().map(|one| one.from).next()
    };
    let mut facts = facts6();
    assert_eq!(asked("10.1.0.10", &facts), Some(ip("10.1.0.254")), "the router there");
    assert_eq!(asked("2001:db8:1::10", &facts), Some(ip("2001:db8:1::")), "no link-local one");
    facts.routes = Routes::default();
    assert_eq!(asked("10.1.0.10", &facts), Some(ip("10.1.0.2")), "not this host's .1");
    facts.addresses.clear();
    assert_eq!(asked("10.1.0.10", &facts), None);
}

#[test]
fn a_default_route_that_goes_is_missed_where_packets_without_a_reverse_route_are_dropped() {
    let plan = |vip: &str| HostPlan {
        captured: vec![ip(vip)],
        uplinks: vec!["eth0".into()],
        ..HostPlan::default()
    };
    let filtering = |all: &str, own: &str| {
        let mut facts = facts();
        for (link, value) in [("all", all), ("eth0", own)] {
            facts.sysctls.insert(sysctl::conf(link, "rp_filter"), value.to_owned());
        }
        facts
    };
    let without = |facts: &Facts| {
        let others = facts.routes.iter().filter(|route| route.destination.prefix_len() > 0);
        Facts { routes: others.cloned().collect(), ..facts.clone() }
    };
    let rows = [
        ("10.1.0.10", "0", "0", false),
        ("10.1.0.10", "0", "2", true),
        ("10.1.0.10", "1", "0", true),
        ("2001:db8:1::10", "1", "1", false),
    ];
    for (vip, all, own, missed) in rows {
        let (plan, there) = (plan(vip), filtering(all, own));
        let gone = without(&there);
        let mut route = DefaultRoute::default();
        assert_eq!(route.note(&plan, &gone), None, "it never had one");
        assert_eq!(route.note(&plan, &there), None);
        let problem = route.note(&plan, &gone);
        assert_eq!(problem.is_some(), missed, "{vip} {all} {own}");
        let command = "`ip route add default via 10.1.0.254 dev eth0`";
        assert!(problem.is_none_or(|problem| problem.text.ends_with(command)));
        assert_eq!(route.note(&plan, &there), None, "it is back");
    }
}

#[test]
fn packets_that_bypass_the_tun_are_reported() {
    let mut facts = facts();
    facts.links.push(link(9, "vstun0"));
    let question = RouteQuestion { vip: ip("10.1.0.10"), from: ip("10.1.0.254"), uplink: 2 };
    let way = |kind, link| RouteAnswer::Route { kind, link, table: 254 };
    let table = [
        (way(RouteKind::Unicast, Some(9)), None),
        (way(RouteKind::Unicast, Some(2)), Some("leave by eth0")),
        (way(RouteKind::Local, Some(1)), Some("delivered on this host")),
        (way(RouteKind::Blackhole, None), Some("dropped by a route")),
        (RouteAnswer::Error(113), Some("does not forward")),
        (RouteAnswer::Error(101), Some("no routing table")),
        (RouteAnswer::Error(13), Some("dropped by a rule")),
        (RouteAnswer::Error(18), None),
        (RouteAnswer::Error(22), None),
    ];
    for (answer, expected) in table {
        let problem = judge(&question, answer, "vstun0", &facts);
        assert_eq!(problem.is_some(), expected.is_some(), "{answer:?}");
        if let (Some(problem), Some(expected)) = (problem, expected) {
            assert!(problem.text.contains(expected), "{}", problem.text);
            assert_eq!(problem.address, Some(ip("10.1.0.10")));
        }
    }
}

/// The kernel answers a lookup that ends in a blackhole as if it refused the guessed source.
#[test]
fn a_blackhole_is_told_from_a_source_that_the_kernel_refuses() {
    let question = RouteQuestion { vip: ip("10.1.0.10"), from: ip("10.1.0.2"), uplink: 2 };
    let mut plain = facts();
    plain.links.push(link(9, "vstun0"));
    let to_vip = |table, selectors: Selectors| {
        let mut facts = plain.clone();
        let only = Selectors { to: Some("10.1.0.10/32".parse().unwrap()), ..selectors };
        let rule = Rule { priority: 1, table, special: true, only, ..facts.rules[0].clone() };
        facts.rules.push(rule);
        facts
    };
    let black = |table, to: &str| Route { table, kind: RouteKind::Blackhole, ..route(to, 2, None) };
    let with = |mut facts: Facts, route: Route| {
        facts.routes.extend([route]);
        facts
    };
    let any = Selectors::default;
    let rows = [
        (plain.clone(), false),
        (to_vip(None, any()), true),
        (to_vip(None, Selectors { input: Some("eth0".into()), ..any() }), true),
        (to_vip(None, Selectors { input: Some("eth1".into()), ..any() }), false),
        (to_vip(None, Selectors { idle: true, ..any() }), false),
        (to_vip(Some(500), any()), false),
        (with(to_vip(Some(500), any()), black(500, "0.0.0.0/0")), true),
        (
            with(to_vip(Some(500), any()), Route { table: 500, ..route("0.0.0.0/0", 2, None) }),
            false,
        ),
        (with(plain.clone(), black(254, "10.1.0.10/32")), true),
        (with(plain.clone(), black(254, "10.0.0.0/8")), false),
    ];
    for (at, (facts, expected)) in rows.into_iter().enumerate() {
        let problem = judge(&question, RouteAnswer::Error(22), "vstun0", &facts);
        assert_eq!(problem.is_some(), expected, "row {at}: {problem:?}");
    }
}

/// If exactly one foreign rule explains the problem, the text has the command that removes it.
#[test]
fn a_rule_that_takes_a_virtual_ips_packets_is_named() {
    let rule = |priority, table| Rule {
        priority,
        table,
        special: true,
        protocol: 0,
        ..facts().rules[0].clone()
    };
    let question = RouteQuestion { vip: ip("10.1.0.10"), from: ip("10.1.0.1"), uplink: 2 };
    let dropped = RouteAnswer::Error(13);
    let found = |table| RouteAnswer::Route { kind: RouteKind::Unicast, link: Some(3), table };
    let elsewhere = found(7);
    let from = |range: &str, rule: Rule| Rule { from: Some(range.parse().unwrap()), ..rule };
    for (rules, answer, named) in [
        (vec![rule(10, None)], dropped, Some(10)),
        (vec![rule(10, None)], elsewhere, None),
        (vec![rule(11, Some(7))], elsewhere, Some(11)),
        (vec![rule(11, Some(7))], dropped, None),
        (vec![rule(11, Some(7)), rule(12, Some(8))], elsewhere, Some(11)),
        (vec![rule(11, Some(7)), rule(12, Some(7))], elsewhere, None),
        // A rule that leads to another table, or that does not match the client.
        (vec![rule(11, Some(8))], elsewhere, None),
        (vec![rule(11, Some(255))], found(255), None),
        (vec![from("198.51.100.1/32", rule(11, Some(7)))], elsewhere, None),
        (vec![from("10.1.0.0/24", rule(11, Some(7)))], elsewhere, Some(11)),
        (vec![from("198.51.100.1/32", rule(10, None))], dropped, None),
        (vec![], elsewhere, None),
    ] {
        let mut facts = facts();
        facts.rules.extend(rules);
        let text = judge(&question, answer, "vstun0", &facts).unwrap().text;
        let expected = named.map(|rule| format!("`ip rule del priority {rule}`"));
        assert_eq!(text.contains("rule del"), expected.is_some(), "{text}");
        assert!(text.contains(&expected.unwrap_or_default()), "{text}");
        let shown = matches!(answer, RouteAnswer::Route { .. }) && named.is_none();
        assert_eq!(text.contains("route show table"), shown, "{text}");
    }
}

#[test]
fn an_uplink_is_followed_by_its_number() {
    let mut facts = facts();
    let mut uplinks = Uplinks::default();
    let names = ["eth0".to_owned(), "eth7".to_owned()];
    assert_eq!(uplinks.current(&names, &facts), ["eth0", "eth7"]);
    let known = [("eth0".to_owned(), 2), ("eth1".to_owned(), 3)].into();
    let by_index =
        |facts: &Facts| facts.links.iter().map(|link| (link.index, link.name.clone())).collect();
    assert_eq!(renamed(&known, &by_index(&facts)), [].into());
    facts.links[1].name = "wan".into();
    assert_eq!(uplinks.current(&names, &facts), ["wan", "eth7"]);
    let expected = [("eth0".to_owned(), "wan".to_owned())].into();
    assert_eq!(renamed(&known, &by_index(&facts)), expected);
    // A new interface with the old name is not the uplink, until the renamed one is removed.
    facts.links.push(link(8, "eth0"));
    assert_eq!(uplinks.current(&names, &facts), ["wan", "eth7"]);
    facts.links.remove(1);
    assert_eq!(uplinks.current(&names, &facts), ["eth0", "eth7"]);
}

#[test]
fn replies_that_the_kernel_looks_up_elsewhere_are_a_problem_that_names_the_rule() {
    let desired = desired_server();
    let mut facts = facts();
    let plan = realserver::plan(&desired, &facts).unwrap();
    let reply = Reply { vip: ip("192.0.2.10"), to: ip("203.0.113.1") };
    assert_eq!(replies::questions(&plan, &facts), [reply]);
    let problem = |table, facts: &Facts| replies::judge(&reply, table, &desired, facts);
    assert_eq!(problem(Some(desired.table), &facts), None);
    assert_eq!(problem(None, &facts), None, "there is no route");
    assert_eq!(problem(Some(255), &facts), None, "an address of this host is no client");
    let text = problem(Some(254), &facts).unwrap().text;
    assert!(text.contains("`ip rule`"), "no rule explains it: {text}");
    let rule = |priority, from: Option<&str>, table| Rule {
        family: Family::V4,
        priority,
        from: from.map(|range| range.parse().unwrap()),
        table: Some(table),
        special: false,
        only: Selectors::default(),
        protocol: 0,
    };
    facts.rules.extend([
        rule(60, None, 254),
        rule(50, Some("198.51.100.0/24"), 254),
        rule(40, None, 7),
        rule(101, None, 254),
    ]);
    let text = problem(Some(254), &facts).unwrap().text;
    assert!(text.contains("routing rule 60 takes the replies"), "{text}");
    assert!(text.contains("`ip rule del priority 60`"), "{text}");
    // Without a default route, the lookup is for a host of a subnet other than this host.
    facts.routes = Routes::from_iter([route("10.1.0.0/24", 2, None)]);
    let [Reply { to, .. }] = replies::questions(&plan, &facts)[..] else { panic!() };
    assert_eq!(to, ip("10.1.0.2"));
    facts.routes = Routes::default();
    assert_eq!(replies::questions(&plan, &facts), []);
    // A host of the virtual IP's own family.
    let both = DesiredRealServer {
        vips: vec![ip("192.0.2.10"), ip("2001:db8:b::10")],
        ..desired_server()
    };
    let facts6 = facts6();
    let plan = realserver::plan(&both, &facts6).unwrap();
    let asked = replies::questions(&plan, &facts6).into_iter().map(|reply| reply.to);
    assert_eq!(asked.collect::<Vec<_>>(), [ip("203.0.113.1"), ip("2001:db8:ffff::1")]);
    let off = DesiredRealServer { mss_route: false, ..desired_server() };
    let plan = realserver::plan(&off, &facts).unwrap();
    assert_eq!(replies::questions(&plan, &facts), [], "nothing is copied");
}
